"""The client side of a Rucio data lake: the only package that talks to Rucio.

- `client`: a connection, and Rucio's errors in words with a remedy
- `content`: what is there: files of datasets, their replicas, the input lock
- `upload`: files and datasets that are put there, safely and repeatably
- `ingest`, `catalogue`, `publish`: the three steps of the workflow that need the lake
- `session`: the lake of a run: an embedded one is started, the input lock is compared
- `first_files`: a file of every dataset, for the pre-flight and `nanolake doctor`
- `commands`: `nanolake lake`
"""

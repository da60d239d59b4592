"""What the cells of a notebook do, as a program: for the submit host of a pool, or a login node.

kernel.py ENGINE FILE ANALYSIS...

FILE is JSON: `config`, keys of the configuration; `cluster`, options of the cluster. The working
folder is that of the runs. Prints a line of JSON for each analysis: its name, and the names of all
workers that there were.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nanolake


def main() -> None:
    engine, file, *names = sys.argv[1:]
    given = json.loads(Path(file).read_text())
    analyses = [nanolake.analysis(name, folder=".", **given["config"]) for name in names]
    with (
        analyses[0].cluster(engine, **given["cluster"]) as cluster,
        cluster.get_client() as client,
    ):
        for analysis in analyses:
            analysis.run(client, progress=False)
            workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
            print(json.dumps({"name": analysis.name, "workers": workers}), flush=True)


if __name__ == "__main__":
    main()

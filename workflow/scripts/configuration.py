"""Keep the resolved configuration beside the results."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.config import dump

    dump(snakemake.params.config, snakemake.output[0])

"""Build the engine of one analysis, or take it from the cache."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.engine import install

    install(
        snakemake.wildcards.analysis,
        snakemake.params.selection,
        snakemake.output[0],
        mode=snakemake.params.mode,
    )

"""Look into every input of one analysis."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.catalogue import run

    run(
        snakemake.input.engine,
        snakemake.output[0],
        analysis=snakemake.wildcards.analysis,
        entries=snakemake.params.entries,
        streams=snakemake.params.streams,
    )

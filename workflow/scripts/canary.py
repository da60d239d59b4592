"""See what a job of the pool finds."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.batch.canary import look

    look(
        snakemake.input.engine,
        snakemake.input.datasets,
        snakemake.output[0],
        lake=snakemake.params.lake,
        version=snakemake.params.version,
    )

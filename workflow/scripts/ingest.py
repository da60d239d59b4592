"""Upload and register the inputs of one analysis."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.lake.ingest import run

    run(
        snakemake.input.engine,
        snakemake.output[0],
        analysis=snakemake.wildcards.analysis,
        entries=snakemake.params.entries,
        streams=snakemake.params.streams,
        client=snakemake.params.client,
        targets=snakemake.params.targets,
        embargoed=snakemake.params.embargoed,
        schemes=snakemake.params.schemes,
    )

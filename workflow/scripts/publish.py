"""Publish the results of one analysis, and read them back."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.lake.publish import run
    from nanolake.provenance import of_analysis

    run(
        snakemake.input.files,
        snakemake.output[0],
        results=snakemake.params.results,
        part=snakemake.wildcards.analysis,
        campaign=snakemake.params.campaign,
        client=snakemake.params.client,
        target=snakemake.params.target,
        metadata=of_analysis(
            snakemake.input.catalogue,
            snakemake.input.lock,
            snakemake.input.books,
            config=snakemake.params.config,
            repository=snakemake.params.repository,
        ),
    )

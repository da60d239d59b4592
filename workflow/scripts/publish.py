"""Publish the results of one analysis, and read them back."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.lake.publish import describe, run

    run(
        snakemake.input.files,
        snakemake.output[0],
        part=snakemake.wildcards.analysis,
        metadata=describe(
            snakemake.input.catalogue,
            snakemake.input.lock,
            snakemake.input.books,
            config=snakemake.params.config,
            repository=snakemake.params.repository,
            private=snakemake.params.private,
        ),
        **snakemake.params.into,
    )

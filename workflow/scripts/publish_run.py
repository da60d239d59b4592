"""Publish what belongs to the run as a whole, and read it back."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.lake.publish import provenance, run

    run(
        snakemake.input,
        snakemake.output[0],
        part="run",
        metadata=provenance(
            snakemake.params.config,
            snakemake.params.repository,
            private=snakemake.params.private,
        ),
        **snakemake.params.into,
    )

"""Run the units of a pack."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.pack import run

    run(
        snakemake.input.engine,
        snakemake.input.plan,
        snakemake.input.replicas,
        snakemake.output[0],
        name=snakemake.wildcards.pack,
        folder=snakemake.params.units,
        logs=f"logs/skim/{snakemake.wildcards.analysis}",
        cores=snakemake.threads,
        fingerprint=snakemake.params.graph,
        verify=snakemake.params.verify,
        scratch=snakemake.resources.tmpdir,
        accelerator=snakemake.params.accelerator,
    )

"""Run one unit."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.skim import run

    run(
        snakemake.input.engine,
        snakemake.input.plan,
        snakemake.input.replicas,
        snakemake.output.events,
        snakemake.output.ledger,
        sample=snakemake.wildcards.sample,
        unit=snakemake.wildcards.unit,
        verify=snakemake.params.verify,
        scratch=snakemake.resources.tmpdir,
        accelerator=snakemake.params.accelerator,
        fingerprint=snakemake.params.graph,
    )

"""Merge the units of one sample and close its books."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.merge import run

    run(
        snakemake.input.engine,
        snakemake.input.plan,
        snakemake.params.units,
        snakemake.output.ntuple,
        snakemake.output.books,
        sample=snakemake.wildcards.sample,
        accelerator=snakemake.params.accelerator,
    )

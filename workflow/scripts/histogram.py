"""Fill the histograms of one analysis."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.histogram import run

    run(
        snakemake.input.engine,
        snakemake.input.plan,
        snakemake.input.ntuples,
        snakemake.input.books,
        snakemake.output.histograms,
        snakemake.output.cutflow,
        processes=snakemake.params.processes,
        selection=snakemake.params.selection,
        accelerator=snakemake.params.accelerator,
    )

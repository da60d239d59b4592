"""Draw all plots of one analysis."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.draw import run

    run(
        snakemake.params.analysis,
        snakemake.input.histograms,
        snakemake.input.catalogue,
        [*snakemake.output.png, *snakemake.output.pdf],
        options=snakemake.params.options,
        label=snakemake.params.label,
    )

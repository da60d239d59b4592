"""Write the report of the run."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.report import run

    run(
        snakemake.input.template,
        snakemake.input.ledger,
        snakemake.input.catalogues,
        snakemake.input.cutflows,
        snakemake.input.plots,
        snakemake.output[0],
        titles=snakemake.params.titles,
        receipts=snakemake.input.receipts,
    )

"""Write the cut flow of one analysis."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.ledger import write_cutflow

    write_cutflow(snakemake.input.books, snakemake.input.histograms, snakemake.output[0])

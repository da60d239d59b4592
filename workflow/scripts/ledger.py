"""Put the closed books of all samples together."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.ledger import run

    run(snakemake.input.books, snakemake.output[0], monitoring=snakemake.params.monitoring)

"""See that storage opens every dataset of one analysis to the credential at hand."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.preflight import run

    run(
        snakemake.input.catalogue,
        snakemake.input.replicas,
        snakemake.output[0],
        lake=snakemake.params.lake,
        embargoed=snakemake.params.embargoed,
    )

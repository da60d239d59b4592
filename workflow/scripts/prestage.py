"""Copy the inputs of an analysis to where all nodes see them."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.prestage import run

    run(
        snakemake.input.catalogue,
        snakemake.input.replicas,
        snakemake.output[0],
        folder=snakemake.params.folder,
    )

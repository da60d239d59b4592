"""Cut the inputs of one analysis into units."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.plan import run

    run(
        snakemake.input.catalogue,
        snakemake.output[0],
        events_per_unit=snakemake.params.events_per_unit,
        access=snakemake.params.access,
    )

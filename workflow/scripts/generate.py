"""Make one synthetic input."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.generate import generate_file

    generate_file(
        snakemake.wildcards.sample,
        snakemake.output.root,
        events=snakemake.params.events,
        seed=snakemake.params.seed,
    )

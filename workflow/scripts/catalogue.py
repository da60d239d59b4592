"""Find every input of one analysis: in the lake, or where the configuration says."""

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake import catalogue
    from nanolake.lake import catalogue as lake

    rucio = snakemake.params.rucio
    make = lake.run if rucio else catalogue.run
    make(
        snakemake.input.engine,
        snakemake.output.catalogue,
        snakemake.output.lock,
        snakemake.output.replicas,
        analysis=snakemake.wildcards.analysis,
        entries=snakemake.params.entries,
        streams=snakemake.params.streams,
        lake=snakemake.params.lake,
        caches=snakemake.params.caches,
        **({"receipts": snakemake.input.made} | rucio if rucio else {}),
    )

"""Write the RO-Crate of the run."""

from pathlib import Path

from nanolake.logs import logged

with logged(snakemake.log[0]):
    from nanolake.provenance import of_run

    of_run(
        snakemake.output[0],
        snakefile=snakemake.params.snakefile,
        config_file=snakemake.input.config,
        ledger_file=snakemake.input.ledger,
        locks=dict(zip(snakemake.params.analyses, snakemake.input.locks, strict=True)),
        receipts={Path(path).parent.name: path for path in snakemake.input.receipts},
        outputs=snakemake.input.outputs,
        licence=snakemake.params.licence,
    )

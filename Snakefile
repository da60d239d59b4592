from snakemake.utils import min_version

from nanolake import config as settings
from nanolake import config_lake as lakes

min_version("9.27.0")


configfile: "config/config.yaml"


config = settings.resolve(config)


pathvars:
    results=config["results"],
    inputs=config["synthetic"]["folder"],


include: "workflow/rules/common.smk"
include: "workflow/rules/units.smk"
include: "workflow/rules/pool.smk"
include: "workflow/rules/generate.smk"
include: "workflow/rules/ingest.smk"
include: "workflow/rules/catalogue.smk"
include: "workflow/rules/skim.smk"
include: "workflow/rules/merge.smk"
include: "workflow/rules/histogram.smk"
include: "workflow/rules/plot.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/canary.smk"
include: "workflow/rules/watch.smk"


rule all:
    default_target: True
    input:
        [targets(analysis) for analysis in config["analyses"]],
        "<results>/ledger.json",
        "<results>/config.yaml",
        "<results>/report.html",
        "<results>/provenance/ro-crate-metadata.json",
        receipts(),
        run_receipt(),


# Before the first job, never for a dry-run. An embedded lake stops when this process ends.
onstart:
    begin_run()
    begin_watch(log)


onsuccess:
    end_watch(True)


onerror:
    end_watch(False)


# `snakemake dimuon`, `snakemake higgs4l`, `snakemake htautau`: one analysis alone.
for analysis in config["analyses"]:

    rule:
        name:
            analysis
        input:
            targets(analysis),

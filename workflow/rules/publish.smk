"""Publish: results back into the lake. Needs what was made, makes receipts with the DIDs."""

if receipts():

    rule upload_results:
        input:
            files=lambda wildcards: targets(wildcards.analysis),
            books=of_samples("<results>/{analysis}/books/{sample}.json"),
            catalogue="<results>/{analysis}/catalogue.json",
            lock="<results>/{analysis}/inputs.lock.json",
            # Behind the checkpoint: else old results are published while new ones are made.
            plan=ancient("<results>/{analysis}/plan.json"),
        output:
            "<results>/{analysis}/published.json",
        log:
            "logs/publish/{analysis}.log",
        localrule: True
        conda:
            "../../envs/conda.yaml"
        params:
            into=lambda wildcards: lakes.publishing(config, wildcards.analysis),
            private=lambda wildcards: lakes.is_private(config, wildcards.analysis),
            config=config,
            repository=workflow.basedir,
        script:
            "../scripts/publish.py"

    rule upload_run:
        input:
            "<results>/ledger.json",
            "<results>/config.yaml",
            "<results>/report.html",
            "<results>/provenance/ro-crate-metadata.json",
        output:
            "<results>/published.json",
        log:
            "logs/publish/run.log",
        localrule: True
        conda:
            "../../envs/conda.yaml"
        params:
            into=lakes.publishing(config, "run"),
            private=lakes.is_private(config),
            config=config,
            repository=workflow.basedir,
        script:
            "../scripts/publish_run.py"

    rule publish:
        input:
            receipts(),
            run_receipt(),

else:

    rule publish:
        input:
            refuse("publish"),

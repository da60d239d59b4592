"""The run as a whole: its ledger, its configuration, its provenance, its report."""


rule ledger:
    input:
        books=books,
        plans=ancient(expand("<results>/{analysis}/plan.json", analysis=SAMPLES)),
    output:
        "<results>/ledger.json",
    log:
        "logs/ledger.log",
    localrule: True
    conda:
        "../../envs/conda.yaml"
    params:
        monitoring=config["lake"]["read"]["monitoring"],
    script:
        "../scripts/ledger.py"


rule configuration:
    output:
        "<results>/config.yaml",
    log:
        "logs/configuration.log",
    localrule: True
    conda:
        "../../envs/conda.yaml"
    params:
        config=config,
    script:
        "../scripts/configuration.py"


rule provenance:
    input:
        ledger="<results>/ledger.json",
        config="<results>/config.yaml",
        locks=expand("<results>/{analysis}/inputs.lock.json", analysis=SAMPLES),
        receipts=receipts(),
        outputs=[targets(analysis) for analysis in SAMPLES],
        plans=ancient(expand("<results>/{analysis}/plan.json", analysis=SAMPLES)),
    output:
        "<results>/provenance/ro-crate-metadata.json",
    log:
        "logs/provenance.log",
    localrule: True
    conda:
        "../../envs/conda.yaml"
    params:
        snakefile=workflow.main_snakefile,
        analyses=list(SAMPLES),
        licence=lakes.licence(config),
    script:
        "../scripts/provenance.py"


rule report:
    input:
        ledger="<results>/ledger.json",
        catalogues=expand("<results>/{analysis}/catalogue.json", analysis=SAMPLES),
        plans=ancient(expand("<results>/{analysis}/plan.json", analysis=SAMPLES)),
        receipts=receipts(),
        cutflows=expand("<results>/{analysis}/cutflow.csv", analysis=SAMPLES),
        plots=[
            f"<results>/{analysis}/plots/{plot}.png"
            for analysis in SAMPLES
            for plot in analyses.load(analysis).figure_names()
        ],
        template=workflow.source_path("../report/report.html"),
    output:
        "<results>/report.html",
    log:
        "logs/report.log",
    localrule: True
    conda:
        "../../envs/conda.yaml"
    params:
        titles={name: config["datasets"]["analyses"][name]["title"] for name in SAMPLES},
    script:
        "../scripts/report.py"

"""Histograms and cut flow of an analysis. Needs the reduced ntuples of all its samples."""


rule histogram:
    input:
        engine=ancient("<results>/{analysis}/engine"),
        plan=ancient("<results>/{analysis}/plan.json"),
        ntuples=of_samples("<results>/{analysis}/ntuples/{sample}.root"),
        books=of_samples("<results>/{analysis}/books/{sample}.json"),
    output:
        histograms="<results>/{analysis}/histograms.root",
        cutflow="<results>/{analysis}/histograms.json",
    log:
        "logs/histogram/{analysis}.log",
    localrule: APART
    conda:
        "../../envs/conda.yaml"
    resources:
        **needs(mem_mb=1000),
    params:
        graph=graph("histogram"),
        processes=lambda wildcards: {
            sample: settings.dataset(config, sample)["processes"]
            for sample in SAMPLES[wildcards.analysis]
        },
        selection=selection,
        accelerator=config["accelerator"],
    script:
        "../scripts/histogram.py"


rule cutflow:
    input:
        books=of_samples("<results>/{analysis}/books/{sample}.json"),
        histograms="<results>/{analysis}/histograms.json",
        plan=ancient("<results>/{analysis}/plan.json"),
    output:
        report(
            "<results>/{analysis}/cutflow.csv",
            caption="../report/cutflow.rst",
            category="{analysis}",
            labels={"what": "cut flow"},
        ),
    log:
        "logs/cutflow/{analysis}.log",
    localrule: True
    conda:
        "../../envs/conda.yaml"
    script:
        "../scripts/cutflow.py"

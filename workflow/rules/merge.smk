"""Merge: the units of a sample, in order. Makes its reduced ntuple and closes its books."""


rule merge:
    input:
        engine=ancient("<results>/{analysis}/engine"),
        plan=ancient("<results>/{analysis}/plan.json"),
        events=units("root"),
        ledgers=units("json"),
    output:
        ntuple="<results>/{analysis}/ntuples/{sample}.root",
        books="<results>/{analysis}/books/{sample}.json",
    log:
        "logs/merge/{analysis}/{sample}.log",
    conda:
        "../../envs/conda.yaml"
    resources:
        **needs(mem_mb=1000),
    params:
        weights=lambda wildcards: plan(wildcards.analysis)["samples"][
            wildcards.sample
        ]["weights"],
        accelerator=config["accelerator"],
    script:
        "../scripts/merge.py"

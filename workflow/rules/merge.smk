"""Merge: the units of a sample, in order. Makes its reduced ntuple and closes its books."""


rule merge:
    input:
        engine=ancient("<results>/{analysis}/engine"),
        plan=ancient("<results>/{analysis}/plan.json"),
        units=made_units,
    output:
        ntuple="<results>/{analysis}/ntuples/{sample}.root",
        books="<results>/{analysis}/books/{sample}.json",
    log:
        "logs/merge/{analysis}/{sample}.log",
    localrule: APART
    conda:
        "../../envs/conda.yaml"
    resources:
        **needs(mem_mb=1000),
    params:
        units=units_folder,
        weights=lambda wildcards: plan(wildcards.analysis)["samples"][
            wildcards.sample
        ]["weights"],
        accelerator=config["accelerator"],
    script:
        "../scripts/merge.py"

"""Synthetic inputs, where the configuration wants them. Needs nothing, makes <inputs>/*.root."""

from nanolake.generate import default_events


rule generate:
    output:
        root="<inputs>/{sample}.root",
        side="<inputs>/{sample}.json",
    log:
        "logs/generate/{sample}.log",
    localrule: APART
    conda:
        "../../envs/conda.yaml"
    params:
        events=lambda wildcards: default_events(
            wildcards.sample, config["synthetic"]["scale"]
        ),
        seed=config["synthetic"]["seed"],
    script:
        "../scripts/generate.py"

"""The canary: `nanolake doctor --profile condor` asks for it. It goes the way of units and reads nothing."""

from nanolake.root import installation


rule canary:
    input:
        engine=ancient(f"<results>/{config['analyses'][0]}/engine"),
        datasets="logs/canary/datasets.json",
    output:
        "logs/canary/findings.json",
    log:
        "logs/canary/canary.log",
    conda:
        "../../envs/conda.yaml"
    resources:
        **needs(mem_mb=1000),
        **travels("logs/canary/canary.log"),
    params:
        lake=config["lake"],
        version=lambda wildcards: installation().version,
    script:
        "../scripts/canary.py"

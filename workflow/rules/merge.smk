"""Merge: the units of a sample, in order. Makes its reduced ntuple and closes its books."""

from nanolake import pack

# Of an analysis, where units are packed.
MOST_JOBS = 16


def pack_size(analysis):
    """How many units a job has; 1: units are jobs themselves.

    On Slurm, which is to be asked rarely, an analysis has MOST_JOBS jobs at the most.
    """
    if config["pack"]:
        return config["pack"]
    executor = workflow.executor_plugin
    if executor is None or executor.name != "slurm":
        return 1
    return -(-len(pack.members(plan(analysis))) // MOST_JOBS)


def made_units(wildcards):
    """Input function: what stands for the units of a sample, in the order of the plan."""
    made, size = plan(wildcards.analysis), pack_size(wildcards.analysis)
    folder = f"<results>/{wildcards.analysis}"
    if size == 1:
        names = [unit["name"] for unit in made["samples"][wildcards.sample]["units"]]
        unit = f"{folder}/units/{wildcards.sample}"
        return [
            f"{unit}/{name}.{suffix}" for name in names for suffix in ("root", "json")
        ]
    samples = [sample for sample, _ in pack.members(made)]
    return [
        f"{folder}/packs/{name}.json"
        for number, name in enumerate(pack.names(len(samples), size))
        if wildcards.sample in samples[number * size : (number + 1) * size]
    ]


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

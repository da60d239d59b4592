"""The engine, the catalogue, the pre-flight and the plan of an analysis.

Needs the inputs or the lake that holds them; makes the program that reads them, the list of what they hold, and the units.
Where storage asks for a credential, the pre-flight opens a file of each dataset before the first unit.
"""


# A checkpoint, as nothing reads its content but jobs take it as ancient(): only a new look at the
# whole DAG compares the graph's fingerprint in their params once a new engine is there.
checkpoint engine:
    output:
        "<results>/{analysis}/engine",
    log:
        "logs/engine/{analysis}.log",
    localrule: APART
    conda:
        "../../envs/conda.yaml"
    params:
        selection=selection,
        mode=config["engine"],
        fingerprint=lambda wildcards: engine.fingerprint(
            wildcards.analysis, selection(wildcards)
        ),
    script:
        "../scripts/engine.py"


rule catalogue:
    input:
        engine=ancient("<results>/{analysis}/engine"),
        made=catalogued,
    output:
        catalogue="<results>/{analysis}/catalogue.json",
        replicas="<results>/{analysis}/replicas.json",
        # Stays while the job runs: the lake's content is compared with it.
        lock=update("<results>/{analysis}/inputs.lock.json"),
    log:
        "logs/catalogue/{analysis}.log",
    localrule: True  # as all that talks to the lake's catalogue: here are its credentials
    conda:
        "../../envs/conda.yaml"
    params:
        entries=entries,
        streams=streams,
        lake=config["lake"]["name"],
        rucio=lambda wildcards: lakes.reading(config, wildcards.analysis),
        caches=lambda wildcards: lakes.caches(config, wildcards.analysis),
    script:
        "../scripts/catalogue.py"


rule preflight:
    input:
        catalogue="<results>/{analysis}/catalogue.json",
        # Looked up anew by every run, which opens them before its first job.
        replicas=ancient("<results>/{analysis}/replicas.json"),
    output:
        "<results>/{analysis}/preflight.json",
    log:
        "logs/preflight/{analysis}.log",
    localrule: True
    conda:
        "../../envs/conda.yaml"
    params:
        lake=config["lake"],
        embargoed=lambda wildcards: [
            sample
            for sample in SAMPLES[wildcards.analysis]
            if lakes.embargoed(config, sample)
        ],
    script:
        "../scripts/preflight.py"


# By the machine of Snakemake, for nodes without a way to the storage.
rule prestage:
    input:
        catalogue="<results>/{analysis}/catalogue.json",
        replicas="<results>/{analysis}/replicas.json",
        preflight="<results>/{analysis}/preflight.json" if CLOSED else [],
    output:
        "<results>/{analysis}/prestaged.json",
    log:
        "logs/prestage/{analysis}.log",
    localrule: True
    conda:
        "../../envs/conda.yaml"
    params:
        folder=config["lake"]["read"]["prestage"],
    script:
        "../scripts/prestage.py"


# Waits for all that units take as ancient(): where such an input is to be made anew, Snakemake 9.27 forgets the jobs behind it
# whose outputs are missing, until a checkpoint makes it look again.
checkpoint plan:
    input:
        catalogue="<results>/{analysis}/catalogue.json",
        preflight="<results>/{analysis}/preflight.json" if CLOSED else [],
        prestaged=(
            "<results>/{analysis}/prestaged.json"
            if config["lake"]["read"]["prestage"]
            else []
        ),
    output:
        "<results>/{analysis}/plan.json",
    log:
        "logs/plan/{analysis}.log",
    localrule: True
    conda:
        "../../envs/conda.yaml"
    params:
        events_per_unit=lambda wildcards: config["units"][wildcards.analysis],
        access=lambda wildcards: {
            sample: lakes.access(config, sample)
            for sample in SAMPLES[wildcards.analysis]
        },
    script:
        "../scripts/plan.py"

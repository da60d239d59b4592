"""Skim: units of work. Needs the engine and the plan, makes selected events and ledgers.

A job is one unit, or, where `pack` of the configuration says so, a pack of units side by side.
"""

from functools import lru_cache

from nanolake import estimate, pack

# Where jobs read their inputs: at the storage, or where they were brought before.
REPLICAS = (
    "<results>/{analysis}/prestaged.json"
    if config["lake"]["read"]["prestage"]
    else "<results>/{analysis}/replicas.json"
)


def of_job(wildcards):
    """The units of a job, which is one unit or a pack: (sample, entry of the plan)."""
    samples = plan(wildcards.analysis)["samples"]
    if "unit" in wildcards.keys():
        chosen = [(wildcards.sample, wildcards.unit)]
    else:
        chosen = pack.chosen(plan(wildcards.analysis), wildcards.pack)
    return [(sample, samples[sample]["units"][int(unit)]) for sample, unit in chosen]


def job_keys(wildcards):
    """The hashes of what a job of units reads: it runs again when this changes."""
    return " ".join(unit["key"] for _, unit in of_job(wildcards))


def scratch_mb(wildcards):
    """Scratch space of a job of units in MB: the files that it copies there, if it does."""
    samples = plan(wildcards.analysis)["samples"]
    files = {
        (sample, number)
        for sample, unit in of_job(wildcards)
        if samples[sample]["access"] == "stage"
        for number in range(unit["first"], unit["last"])
    }
    size = sum(samples[sample]["files"][number]["bytes"] for sample, number in files)
    return 100 + size // 10**6


@lru_cache
def _costs(folder):
    """What the units of an analysis took that were there when this run began to ask."""
    return estimate.costs(folder)


def pack_minutes(wildcards, threads, attempt):
    """Wall-clock minutes of a pack, by the units that were made before."""
    events = [unit["range"][1] - unit["range"][0] for _, unit in of_job(wildcards)]
    known = _costs(units_folder(wildcards))
    return estimate.minutes(events, known, cores=threads, attempt=attempt)


def pack_memory(wildcards, threads, attempt):
    """Memory in MB of the units of a pack that run side by side."""
    known = _costs(units_folder(wildcards))
    return estimate.memory_mb(known, cores=threads, attempt=attempt)


def pack_files(wildcards):
    """The files of the units of a pack, which come back with it from hosts that share none."""
    units = [(sample, unit["name"]) for sample, unit in of_job(wildcards)]
    logs = f"logs/skim/{wildcards.analysis}"
    places = pack.places(units, units_folder(wildcards), logs)
    return [path for one in places for path in (one.events, one.ledger, one.log)]


def pack_job_memory(wildcards, threads, attempt):
    """The same with Snakemake, as `needs` has it."""
    return pack_memory(wildcards, threads, attempt) + 300


rule skim:
    input:
        engine=ancient("<results>/{analysis}/engine"),
        plan=ancient("<results>/{analysis}/plan.json"),
        # Where the files are may change at any time, and changes no number.
        replicas=ancient(REPLICAS),
    output:
        events="<results>/{analysis}/units/{sample}/{unit}.root",
        ledger="<results>/{analysis}/units/{sample}/{unit}.json",
    log:
        "logs/skim/{analysis}/{sample}/{unit}.log",
    conda:
        "../../envs/conda.yaml"
    threads: 1
    resources:
        **({"tmpdir": config["scratch"]} if config["scratch"] else {}),
        # Not among the params: another scratch folder changes no number and re-runs nothing.
        **needs(mem_mb=1000, disk_mb=scratch_mb),
        **travels("logs/skim/{analysis}/{sample}/{unit}.log"),
    params:
        key=job_keys,
        graph=graph("skim"),
        verify=config["verify"],
        accelerator=config["accelerator"],
    script:
        "../scripts/skim.py"


# Its units are not outputs: those that are made stay when another one fails.
rule skim_pack:
    input:
        engine=ancient("<results>/{analysis}/engine"),
        plan=ancient("<results>/{analysis}/plan.json"),
        replicas=ancient(REPLICAS),
    output:
        "<results>/{analysis}/packs/{pack}.json",
    log:
        "logs/skim/{analysis}/pack-{pack}.log",
    conda:
        "../../envs/conda.yaml"
    # More by the profile (set-threads): so many units run side by side.
    threads: 1
    resources:
        **({"tmpdir": config["scratch"]} if config["scratch"] else {}),
        **travels("logs/skim/{analysis}/pack-{pack}.log", also=pack_files),
        mem_mb=pack_memory,
        disk_mb=scratch_mb,
        htcondor_request_mem_mb=pack_job_memory,
        htcondor_request_disk_mb=scratch_mb,
        runtime=pack_minutes,
    params:
        key=job_keys,
        units=units_folder,
        graph=graph("skim"),
        verify=config["verify"],
        accelerator=config["accelerator"],
    script:
        "../scripts/skim_pack.py"

"""Units and packs as jobs: which there are, what they read and what they ask for."""

from functools import lru_cache

from nanolake import estimate, pack

# Where jobs read their inputs: at the storage, or where they were brought before.
REPLICAS = (
    "<results>/{analysis}/prestaged.json"
    if config["lake"]["read"]["prestage"]
    else "<results>/{analysis}/replicas.json"
)

# Of an analysis, where units are packed.
MOST_JOBS = 16


def on_slurm():
    """Whether this process gives jobs to Slurm, which asks how long they will take."""
    plugin = workflow.executor_plugin
    return workflow.is_main_process and plugin is not None and plugin.name == "slurm"


def pack_size(analysis):
    """How many units a job has; 1: units are jobs themselves.

    On Slurm, which is to be asked rarely, an analysis has MOST_JOBS jobs at the most.
    """
    if config["pack"]:
        return config["pack"]
    if not on_slurm():
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


def job_minutes(wildcards, threads, attempt):
    """Wall-clock minutes that a job of units asks for, by the units that were made before.

    Raises:
        WorkflowError: The credential with which it reads ends before: it is not submitted.
    """
    if not on_slurm():
        return 60
    events = [unit["range"][1] - unit["range"][0] for _, unit in of_job(wildcards)]
    known = _costs(units_folder(wildcards))
    minutes = estimate.minutes(events, known, cores=threads, attempt=attempt)
    require_lifetime(minutes)
    return minutes


def require_lifetime(minutes):
    """A credential with which a job reads must be good for the time that the job asks for."""
    need = config["lake"]["credential"]
    if not need or config["lake"]["read"]["prestage"]:
        return
    from nanolake import preflight

    least = need | {"minutes": max(minutes, need["minutes"])}
    try:
        preflight.check_lake(config["lake"] | {"credential": least})
    except NanolakeError as error:
        raise WorkflowError(str(error)) from error


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


def pack_core_memory(wildcards, threads, attempt):
    """The same of each core, as Slurm's plugin reads it."""
    return -(-(pack_memory(wildcards, threads, attempt) + 500) // threads)

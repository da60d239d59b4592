"""Input functions and the wildcards they answer for. Nothing here reads anything but the plans."""

import atexit
from functools import lru_cache
from os.path import exists, getmtime, join, lexists
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from nanolake import alone, analyses, credentials, embargo, engine, staging
from nanolake.batch import condor, condor_events, event_log, slurm_queue
from nanolake.catalogue import read
from nanolake.errors import NanolakeError
from nanolake.lake import session

if lakes.is_private(config):
    embargo.begin(workflow.workflow_settings.cache)

# What is said of jobs of a pool.
logger.addFilter(condor.Watch())

SAMPLES = {name: settings.samples(config, name) for name in config["analyses"]}

# Whether a credential is asked for, or must be: then one file of each dataset is opened first.
CLOSED = lakes.closed(config)
# Every process of the run shows storage the kind of credential that the lake asks for.
credentials.show(config["lake"]["credential"])


wildcard_constraints:
    analysis="|".join(SAMPLES),
    sample="|".join(sample for samples in SAMPLES.values() for sample in samples),
    unit=r"\d+",
    pack=r"\d+-\d+",


def selection(wildcards):
    """The selection chosen for an analysis: the configured one, or its only one."""
    chosen = config["selections"].get(wildcards.analysis)
    return chosen or analyses.load(wildcards.analysis).SELECTIONS[0]


def given(sample):
    """The user's own file of a sample, if the folder `inputs` has one."""
    path = join(config["inputs"] or "", f"{sample}.root")
    return path if config["inputs"] and lexists(path) else None


def local_files(wildcards):
    """Local inputs of an analysis, with the side files of the synthetic ones."""
    files = []
    for sample in SAMPLES[wildcards.analysis]:
        if given(sample):
            side = join(config["inputs"], f"{sample}.json")
            files += [given(sample), *([side] if exists(side) else [])]
        elif config["lake"]["kind"] != "urls":
            folder = config["synthetic"]["folder"]
            files += [join(folder, f"{sample}.root"), join(folder, f"{sample}.json")]
    return files


def catalogued(wildcards):
    """What the catalogue waits for: receipts of what was uploaded, or the files themselves."""
    if not lakes.has_rucio(config):
        return local_files(wildcards)
    if config["lake"]["inputs"] == "ingested":
        return ["<results>/{analysis}/ingested.json"]
    return []


def refuse(what):
    """Input function of a target that the lake does not offer."""

    def fail(wildcards):
        name = config["lake"]["name"]
        raise WorkflowError(
            f"the lake {name!r} has no `{what}` in its file: choose another one "
            f"(--config lake=NAME), or say there where to {what}"
        )

    return fail


def declared(sample):
    """The files of a sample and what is known of them before they are opened."""
    if given(sample):
        return [{"path": given(sample)}]
    if config["lake"]["kind"] != "urls":
        return [{"path": join(config["synthetic"]["folder"], f"{sample}.root")}]
    return [
        {
            "path": file["uri"],
            **{key: file.get(key) for key in ("bytes", "adler32", "events")},
        }
        for file in settings.place(config, sample)["files"]
    ]


def entries(wildcards):
    """What the catalogue is made from, sample by sample."""
    result = {}
    for sample in SAMPLES[wildcards.analysis]:
        entry = settings.dataset(config, sample)
        place = settings.place(config, sample)
        del entry["places"]
        result[sample] = entry | {
            "channels": settings.channels(config, sample),
            "files": declared(sample),
            "full_events": place["events"],
            "published": place["files"],
        }
    return result


def streams(wildcards):
    """Channel to the stream of data that feeds it."""
    return config["datasets"]["analyses"][wildcards.analysis]["channels"]


@lru_cache
def _plan(path, mtime):
    return read(path)


def plan(analysis):
    """The plan of an analysis; Snakemake comes back once it is made."""
    path = checkpoints.plan.get(analysis=analysis).output[0]
    return _plan(path, getmtime(path))


def needs(*, mem_mb, disk_mb=100):
    """Memory and scratch space of a job, a number and one or a function of wildcards.

    HTCondor's plugin reads them under names of its own only, and Slurm's reads memory by core first.
    There a job is Snakemake, and on Slurm twice, as well as the step itself. Where Snakemake runs a
    job again, it asks for twice as much; HTCondor does that itself.
    """
    return {
        "mem_mb": mem_mb,
        "disk_mb": disk_mb,
        "htcondor_request_mem_mb": mem_mb + 300,
        "htcondor_request_disk_mb": disk_mb,
        "mem_mb_per_cpu": lambda wildcards, attempt: (mem_mb + 500)
        * 2 ** (attempt - 1),
    }


def units_folder(wildcards):
    """Folder of the units of an analysis."""
    return join(config["results"], wildcards.analysis, "units")


def graph(part):
    """Params function: the hash of the graph of `skim` or `histogram`."""

    def fingerprint(wildcards):
        return engine.graph_fingerprint(wildcards.analysis, selection(wildcards), part)

    return fingerprint


def of_samples(pattern):
    """Input function: a file for every sample of an analysis."""

    def files(wildcards):
        return expand(
            pattern, analysis=wildcards.analysis, sample=SAMPLES[wildcards.analysis]
        )

    return files


def targets(analysis):
    """What one analysis makes for its user."""
    folder = f"<results>/{analysis}"
    plots = analyses.load(analysis).figure_names()
    return [
        f"{folder}/cutflow.csv",
        f"{folder}/histograms.root",
        *(f"{folder}/ntuples/{sample}.root" for sample in SAMPLES[analysis]),
        *(
            f"{folder}/plots/{plot}.{suffix}"
            for plot in plots
            for suffix in ("png", "pdf")
        ),
    ]


def books(wildcards):
    """The closed books of every sample of every analysis."""
    return [
        f"<results>/{analysis}/books/{sample}.json"
        for analysis, samples in SAMPLES.items()
        for sample in samples
    ]


def receipts():
    """The receipts of what the analyses publish; none if the lake takes nothing."""
    wanted = [name for name in SAMPLES if lakes.publish_target(config, name)]
    return expand("<results>/{analysis}/published.json", analysis=wanted)


def run_receipt():
    """The receipt of what belongs to the run as a whole, if the lake takes it."""
    wanted = lakes.publish_target(config, "run")
    return ["<results>/published.json"] if wanted else []


def begin_run():
    """Hold the folder, end what a dead run has left in the queue of a pool, begin the lake."""
    try:
        alone.hold()
        if workflow.executor_plugin.name == "htcondor":
            jobs = Path(workflow.executor_settings.jobdir)
            if count := condor_events.remove(jobs / event_log.NAME, seconds=600):
                logger.info(f"removed {count} jobs of an earlier run in this folder")
            event_log.start_over_without_reader(jobs)
        if workflow.executor_plugin.name == "slurm":
            slurm_queue.require_secrecy()
            if count := slurm_queue.remove(Path()):
                logger.info(f"cancelled {count} jobs of an earlier run in this folder")
    except NanolakeError as error:
        raise WorkflowError(str(error)) from error
    begin_lake()


def begin_lake():
    """Look at the credentials, start the lake if it is embedded, compare it with earlier runs."""
    # Slow to load, and not for the processes of the jobs.
    from nanolake import preflight
    from nanolake.lake import first_files

    if lakes.is_private(config):
        private = [config["results"], "logs", ".snakemake"]
        embargo.keep_private(private)
        # Snakemake gives modes of its own to its records.
        atexit.register(embargo.keep_private, private)
    atexit.register(staging.clean, config["scratch"])
    try:
        preflight.check_lake(config["lake"])
        if workflow.executor_plugin.name == "htcondor":
            begin_pool()
        if lakes.has_rucio(config):
            session.begin(
                config["lake"],
                client=lakes.client_settings(config["lake"]),
                locks={
                    join(config["results"], name, "inputs.lock.json"): lakes.caches(
                        config, name
                    )
                    for name in SAMPLES
                },
                relock=config["relock"],
            )
        if CLOSED:
            preflight.require(first_files.datasets(config), config["lake"])
    except NanolakeError as error:
        raise WorkflowError(str(error)) from error

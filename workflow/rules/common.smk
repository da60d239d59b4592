"""Input functions and the wildcards they answer for. Nothing here reads anything but the plans."""

from functools import lru_cache
from os.path import exists, getmtime, join, lexists

from nanolake import analyses, engine
from nanolake.catalogue import read

SAMPLES = {name: settings.samples(config, name) for name in config["analyses"]}


wildcard_constraints:
    analysis="|".join(SAMPLES),
    sample="|".join(sample for samples in SAMPLES.values() for sample in samples),
    unit=r"\d+",


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
        elif config["source"] == "synthetic":
            folder = config["synthetic"]["folder"]
            files += [join(folder, f"{sample}.root"), join(folder, f"{sample}.json")]
    return files


def declared(sample):
    """The files of a sample and what is known of them before they are opened."""
    if given(sample):
        return [{"path": given(sample)}]
    if config["source"] == "synthetic":
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


@lru_cache
def _plan(path, mtime):
    return read(path)


def plan(analysis):
    """The plan of an analysis; Snakemake comes back once it is made."""
    path = checkpoints.plan.get(analysis=analysis).output[0]
    return _plan(path, getmtime(path))


def unit_key(wildcards):
    """The hash of what a unit reads: it runs again when this changes."""
    units = plan(wildcards.analysis)["samples"][wildcards.sample]["units"]
    return units[int(wildcards.unit)]["key"]


def units(suffix):
    """Input function: a file of every unit of a sample, in the order of the plan."""

    def files(wildcards):
        sample = plan(wildcards.analysis)["samples"][wildcards.sample]
        folder = f"<results>/{wildcards.analysis}/units/{wildcards.sample}"
        return [f"{folder}/{unit['name']}.{suffix}" for unit in sample["units"]]

    return files


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

"""What the schemas cannot say of config.yaml and datasets.yaml: keys that must fit each other."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from nanolake.validation import nearest


def cross_checks(
    config: Mapping[str, Any], analyses: Mapping[str, Any], schema: Mapping[str, Any], name: str
) -> Iterator[str]:
    """What is wrong between keys that are each right.

    Args:
        config: The accepted keys of config.yaml only.
        analyses: Those of datasets.yaml.
        schema: That of config.yaml.
        name: Name of datasets.yaml, for messages.
    """
    options = schema["properties"]["selections"]["properties"]
    selections = {analysis: option["enum"] for analysis, option in options.items()}
    for analysis in config.get("analyses", []):
        if analysis not in analyses:
            hint = nearest(analysis, analyses)
            yield f"config.yaml: analyses: {analysis!r} is not in {name}{hint}"
    known_units = dict.fromkeys([*analyses, *schema["properties"]["units"]["properties"]])
    for analysis in config.get("units", {}):
        if analysis not in known_units:
            yield f"config.yaml: units.{analysis}: unknown key{nearest(analysis, known_units)}"
    if config.get("inputs") and not os.path.isdir(config["inputs"]):
        yield f"config.yaml: inputs: {config['inputs']!r} is not a folder that exists"

    owner: dict[str, str] = {}
    for key, analysis in analyses.items():
        for problem in _analysis_checks(analysis, selections.get(key, [])):
            yield f"{name}: analyses.{key}.{problem}"
        for sample in analysis["datasets"]:
            if owner.setdefault(sample, key) != key:
                where = f"analyses.{key}.datasets.{sample}"
                yield f"{name}: {where}: this sample is also in {owner[sample]}"


def _analysis_checks(analysis: Mapping[str, Any], selections: Sequence[str]) -> Iterator[str]:
    """What is wrong within one analysis of datasets.yaml."""
    fed = {
        (channel, entry["stream"])
        for entry in analysis["datasets"].values()
        if entry["kind"] == "data"
        for channel in entry["channels"]
    }
    for channel, stream in analysis["channels"].items():
        if (channel, stream) not in fed:
            yield f"channels.{channel}: no data of stream {stream!r} feed this channel"
    for sample, entry in analysis["datasets"].items():
        for problem in _dataset_checks(entry, analysis["channels"], selections):
            yield f"datasets.{sample}.{problem}"


def _dataset_checks(
    entry: Mapping[str, Any], streams: Mapping[str, str], selections: Sequence[str]
) -> Iterator[str]:
    """What is wrong within one dataset; `streams` are those of the analysis's channels."""
    extra = entry.get("extra_channels", {})
    if entry["kind"] == "data" and entry["stream"] not in streams.values():
        hint = nearest(entry["stream"], dict.fromkeys(streams.values()))
        yield f"stream: {entry['stream']!r} is the stream of no channel{hint}"
    for selection in extra:
        if selection not in selections:
            hint = nearest(selection, selections)
            yield f"extra_channels.{selection}: not a selection of this analysis{hint}"
    for channel in chain(entry["channels"], *extra.values()):
        if channel not in streams:
            hint = nearest(channel, streams)
            yield f"channels: {channel!r} is not a channel of this analysis{hint}"
    for name, where in entry["places"].items():
        total = sum(file["events"] for file in where["files"])
        if total != where["events"]:
            yield f"places.{name}.events: {where['events']}, but its files have {total}"


def embargo_checks(config: Mapping[str, Any], analyses: Mapping[str, Any]) -> Iterator[str]:
    """What would let embargoed data, or what is made from them, be seen without a token.

    Args:
        config: config.yaml, completed, with the contents of the lake's file in `lake`.
        analyses: Those of datasets.yaml.
    """
    private = [
        sample
        for analysis in config["analyses"]
        for sample, entry in analyses[analysis]["datasets"].items()
        if entry.get("embargoed")
    ]
    if not private:
        return
    lake, what = config["lake"], f"embargoed data ({', '.join(private)})"
    if lake["kind"] not in ("rucio", "urls") or lake["embargo"] is None:
        yield (
            f"config.yaml: lake: {lake['name']!r} takes no {what}: choose one of kind rucio or urls"
            " whose file has `embargo`"
        )
        return
    if (lake["credential"] or {}).get("kind") != "token":
        yield f"lake: credential.kind must be token: {what} are read with tokens only"
    if "file" in lake["read"]["schemes"]:
        yield f"lake: read.schemes: a file system asks for no token; {what} need root or https"
    for key in ("ingest", "publish"):
        ours, public = lake["embargo"][key], lake[key]
        if ours and public and ours["scope"] == public["scope"]:
            yield f"lake: embargo.{key}.scope is {ours['scope']!r}, the scope of public data too"
    if lake["inputs"] == "ingested" and not lake["embargo"]["ingest"]:
        yield f"lake: embargo.ingest is missing: it says where {what} are uploaded"


def apart_checks(
    config: Mapping[str, Any], snakefile: str, configfiles: Sequence[str]
) -> Iterator[str]:
    """What units cannot be given on hosts that share no files with this one.

    Args:
        config: A resolved configuration.
        snakefile: The main Snakefile.
        configfiles: Those that Snakemake was given.
    """
    lake, remedy = config["lake"], "choose a lake that is read over the network (root, https)"
    if lake["kind"] in ("files", "embedded") or set(lake["read"]["schemes"]) == {"file"}:
        yield f"the files of the lake {lake['name']!r} are on this one alone; {remedy}"
    elif lake["read"]["prestage"]:
        yield f"read.prestage of the lake {lake['name']!r} is for hosts that share a folder"
    elif lake["kind"] == "urls" and config["inputs"]:
        yield f"inputs: {config['inputs']!r} is on this one alone; {remedy} and ingest them into it"
    if os.path.isabs(config["results"]) or config["results"].startswith(".."):
        yield f"results: {config['results']!r} must be a folder below the one where you are"
    top = config["results"].split("/")[0]
    for folder in ("src", "workflow", "envs", "config", "profiles", top):
        if os.path.islink(folder):
            yield f"{folder}: HTCondor sends nothing from behind a link; make it a folder"
    root = os.path.dirname(os.path.abspath(snakefile))
    if root != os.getcwd():
        yield f"run Snakemake in the folder of the Snakefile, {root}: its code travels"
    for path in configfiles:
        if os.path.relpath(path).startswith(".."):
            yield f"{path} is outside of the folder where you are; copy it there"

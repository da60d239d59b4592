"""The configuration: read, completed, checked as a whole, and asked for what the rules need.

The only module, with `config_lake` and `config_checks`, that knows the shape of
config/config.yaml, config/datasets.yaml and config/lakes/*.yaml. They are checked against the JSON
Schemas of workflow/schemas, then against each other; every problem is reported in one error.
"""

import os
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from nanolake.config_checks import apart_checks, cross_checks, embargo_checks
from nanolake.errors import NanolakeError
from nanolake.validation import complete, nearest, plain, problems

SCHEMAS = Path(__file__).resolve().parents[2] / "workflow" / "schemas"
# Those of the working folder go before those of the repository.
LAKES = (Path("config/lakes"), Path(__file__).resolve().parents[2] / "config" / "lakes")

# libyaml is ten times faster than PyYAML's own parser; not every build of PyYAML has it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ConfigError(NanolakeError, ValueError):
    """The configuration cannot be used.

    Args:
        problems: Everything that is wrong with it; the message has one line for each.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


class _StrictLoader(_Loader):
    """Loader that refuses what YAML silently loses: a key given twice, a key that is not text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        """Builds one mapping, all of it at once, after a look at its keys."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node)
            if not isinstance(key, str):
                problem = f"key {key!r} is not text; put it in quotes"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if key in seen:
                problem = f"key {key!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping.

    Args:
        path: The file.

    Returns:
        Its contents; an empty file gives an empty mapping.

    Raises:
        ConfigError: The file is missing, is not YAML, holds no mapping, or has a key twice.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            contents = yaml.load(stream, Loader=_StrictLoader)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not valid YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(contents or {}, dict):
        raise ConfigError([f"{path}: holds no mapping of keys to values"])
    return contents or {}


def resolve(
    config: Mapping[str, Any],
    *,
    datasets: Mapping[str, Any] | None = None,
    schemas: str | os.PathLike[str] = SCHEMAS,
) -> dict[str, Any]:
    """Completes and checks a configuration.

    Text from the command line is read as the type that the schema wants; an empty key means its
    default. Touches the disk for the schemas, the lake's file, the file of datasets where
    `datasets` is not given, and for one test that the folder `inputs` exists.

    Args:
        config: Contents of config.yaml, with the command line's keys merged in; may be empty.
        datasets: Contents of datasets.yaml; by default those of the file that `config` names, or
            those it holds.
        schemas: Folder of config.schema.yaml and datasets.schema.yaml.

    Returns:
        A new mapping with every key. Its `datasets` holds the contents of datasets.yaml and its
        `lake` those of the lake's file, so that written to a file it is a complete configuration:
        resolving it again gives the same.

    Raises:
        ConfigError: With everything that is wrong, one line each.
    """
    schema = load_yaml(Path(schemas) / "config.schema.yaml")
    given = plain(config)
    if isinstance(given.get("datasets"), dict):  # a resolved configuration, used again
        datasets = given.pop("datasets") if datasets is None else datasets
        given.pop("datasets", None)
    lake = given.pop("lake") if isinstance(given.get("lake"), dict) else None
    resolved = complete(given, schema)
    if isinstance(resolved["inputs"], str):  # a shell does not expand the ~ of inputs=~/nano
        resolved["inputs"] = os.path.expanduser(resolved["inputs"])

    wrong, wrong_keys = problems(resolved, schema, "config.yaml")
    good = {key: value for key, value in resolved.items() if key not in wrong_keys}
    source = str(resolved["datasets"])
    catalogue, more = _catalogue(source if datasets is None else datasets, schemas)
    wrong += more or cross_checks(good, catalogue["analyses"], schema, Path(source).name)
    lake, more = _lake(lake or str(resolved["lake"]), schemas)
    wrong += more
    if not wrong:
        wrong += embargo_checks({**good, "lake": lake}, catalogue["analyses"])
    if wrong:
        raise ConfigError(wrong)

    (any_unit,) = schema["properties"]["units"]["patternProperties"].values()
    units = dict.fromkeys(catalogue["analyses"], any_unit["default"]) | resolved["units"]
    return {**resolved, "datasets": catalogue, "lake": lake, "units": units}


def samples(config: Mapping[str, Any], analysis: str) -> list[str]:
    """The samples of an analysis, in the order of datasets.yaml.

    Raises:
        ConfigError: No analysis has this name.
    """
    analyses = config["datasets"]["analyses"]
    if analysis not in analyses:
        raise ConfigError([f"{analysis!r} is not an analysis{nearest(analysis, analyses)}"])
    return list(analyses[analysis]["datasets"])


def analysis_of(config: Mapping[str, Any], sample: str) -> str:
    """The analysis that a sample belongs to.

    Raises:
        ConfigError: No sample has this name.
    """
    analyses = config["datasets"]["analyses"]
    for name, analysis in analyses.items():
        if sample in analysis["datasets"]:
            return str(name)
    known = chain.from_iterable(analysis["datasets"] for analysis in analyses.values())
    raise ConfigError([f"{sample!r} is not a sample{nearest(sample, known)}"])


def dataset(config: Mapping[str, Any], sample: str) -> dict[str, Any]:
    """The entry of a sample in datasets.yaml.

    Raises:
        ConfigError: No sample has this name.
    """
    analysis = config["datasets"]["analyses"][analysis_of(config, sample)]
    return dict(analysis["datasets"][sample])


def channels(config: Mapping[str, Any], sample: str) -> list[str]:
    """The channels that a sample feeds under the selection chosen for its analysis.

    Raises:
        ConfigError: No sample has this name.
    """
    entry = dataset(config, sample)
    selection = config["selections"].get(analysis_of(config, sample))
    return [*entry["channels"], *entry.get("extra_channels", {}).get(selection, [])]


def place(config: Mapping[str, Any], sample: str) -> dict[str, Any]:
    """The place (`events` and `files`) that a sample is read from: the one chosen, or the portal.

    Raises:
        ConfigError: No sample has this name.
    """
    places = dataset(config, sample)["places"]
    return dict(places.get(config["place"], places["portal"]))


def _catalogue(
    source: str | Mapping[str, Any], schemas: str | os.PathLike[str]
) -> tuple[dict[str, Any], list[str]]:
    """The contents of datasets.yaml, from the file or as given, and what its schema refuses."""
    try:
        datasets = plain(load_yaml(source) if isinstance(source, str) else source)
    except ConfigError as error:
        return {}, error.problems
    schema = load_yaml(Path(schemas) / "datasets.schema.yaml")
    name = Path(source).name if isinstance(source, str) else "datasets.yaml"
    return datasets, problems(datasets, schema, name)[0]


def read_lake(name: str, *, schemas: str | os.PathLike[str] = SCHEMAS) -> dict[str, Any]:
    """The contents of a lake's file, completed.

    Args:
        name: Name of a file of config/lakes, or the path of another one.
        schemas: Folder of lake.schema.yaml.

    Raises:
        ConfigError: With everything that is wrong with it, one line each.
    """
    lake, wrong = _lake(name, schemas)
    if wrong:
        raise ConfigError(wrong)
    return lake


def _lake(
    source: str | Mapping[str, Any], schemas: str | os.PathLike[str]
) -> tuple[dict[str, Any], list[str]]:
    """A lake's file, from its name or path or as given, and what its schema refuses."""
    schema = load_yaml(Path(schemas) / "lake.schema.yaml")
    if not isinstance(source, str):
        lake = complete(source, schema)
        return lake, problems(lake, schema, "lake")[0]
    named = [folder / f"{source}.yaml" for folder in LAKES]
    files = [Path(source)] if source.endswith((".yaml", ".yml")) else named
    path = next((file for file in files if file.exists()), None)
    if path is None:
        known = sorted({file.stem for folder in LAKES for file in folder.glob("*.yaml")})
        return {}, [f"config.yaml: lake: {source!r} is not a lake{nearest(source, known)}"]
    try:
        lake = complete(plain(load_yaml(path)), schema)
    except ConfigError as error:
        return {}, error.problems
    lake["name"] = lake["name"] or path.stem
    return lake, problems(lake, schema, path.name)[0]


def require_apart(
    config: Mapping[str, Any], *, snakefile: str, configfiles: Iterable[str | os.PathLike[str]]
) -> None:
    """What units need can travel to hosts that share no files with this one.

    Args:
        config: A resolved configuration.
        snakefile: The main Snakefile.
        configfiles: Those that Snakemake was given.

    Raises:
        ConfigError: With everything that cannot, one line each.
    """
    paths = [*map(str, configfiles)]
    if wrong := list(apart_checks(config, snakefile, paths)):
        raise ConfigError(
            [f"hosts share no files (--shared-fs-usage none): {one}" for one in wrong]
        )


def dump(config: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes a resolved configuration, complete enough to be given back to Snakemake."""
    with open(path, "w", encoding="utf-8") as stream:
        yaml.safe_dump(plain(config), stream, sort_keys=False, allow_unicode=True)

"""The configuration: numbers of datasets.yaml, defaults, one clear line for every mistake."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nanolake.config import (
    ConfigError,
    analysis_of,
    channels,
    dataset,
    load_yaml,
    place,
    resolve,
    samples,
)

ROOT = Path(__file__).resolve().parents[2]
DATASETS = load_yaml(ROOT / "config" / "datasets.yaml")
SCHEMA_FILES = ("config.schema.yaml", "datasets.schema.yaml", "lake.schema.yaml")
PUBLISHED_INPUTS = ROOT.parent / "shared" / "inputs.json"
EOS = "root://eospublic.cern.ch//eos"
ALL_SAMPLES = [
    (analysis, sample)
    for analysis, entry in DATASETS["analyses"].items()
    for sample in entry["datasets"]
]


def resolved(**config: Any) -> dict[str, Any]:
    return resolve(config, datasets=DATASETS)


def problems_of(config: Any = None, datasets: Any = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve(config or {}, datasets=DATASETS if datasets is None else datasets)
    assert str(caught.value).splitlines() == caught.value.problems
    return caught.value.problems


# The numbers of datasets.yaml


@pytest.mark.parametrize(
    ("analysis", "count", "events", "gigabytes"),
    [
        ("dimuon", 1, 61_540_413, 2.24),
        ("higgs4l", 8, 120_347_816, 12.79),
        ("htautau", 9, 200_521_069, 69.45),
    ],
)
def test_totals_are_the_published_ones(
    analysis: str, count: int, events: int, gigabytes: float
) -> None:
    config = resolved()
    places = [place(config, sample) for sample in samples(config, analysis)]
    assert len(places) == count
    assert sum(where["events"] for where in places) == events
    size = sum(file["bytes"] for where in places for file in where["files"])
    assert size / 1e9 == pytest.approx(gigabytes, abs=0.005)


def test_grand_total() -> None:
    places = [place(resolved(), sample) for _, sample in ALL_SAMPLES]
    assert len(places) == 18
    assert sum(where["events"] for where in places) == 382_409_298
    assert sum(where["files"][0]["bytes"] for where in places) / 1e9 == pytest.approx(
        84.48, abs=0.005
    )


@pytest.mark.parametrize(
    ("sample", "weight"),
    [  # of the codes of records 12360 and 12350, to the digits printed there
        ("SMHiggsToZZTo4L", 2.509226e-4),
        ("ZZTo4mu", 8.244083e-4),
        ("ZZTo4e", 8.243923e-4),
        ("ZZTo2e2mu", 1.929272e-3),
        ("GluGluToHToTauTau", 0.4712173),
        ("VBF_HToTauTau", 0.0361512),
        ("DYJetsToLL", 1.3190551),
        ("TTbar", 0.4020436),
        ("W1JetsToLNu", 2.4567303),
        ("W2JetsToLNu", 0.7620544),
        ("W3JetsToLNu", 0.4608274),
    ],
)
def test_weights_are_the_published_ones(sample: str, weight: float) -> None:
    config = resolved()
    analysis = DATASETS["analyses"][analysis_of(config, sample)]
    mc = dataset(config, sample)
    data = [entry for entry in analysis["datasets"].values() if entry["kind"] == "data"]
    for channel in mc["channels"]:
        stream = analysis["channels"][channel]
        luminosity = sum(entry["luminosity"] for entry in data if entry["stream"] == stream)
        found = mc["cross_section"] * mc["k_factor"] * luminosity / mc["generated"]
        assert found == pytest.approx(weight, rel=1e-6)


def test_luminosity_of_each_channel() -> None:
    for name, total in (("dimuon", 11_580), ("higgs4l", 11_580), ("htautau", 11_467)):
        analysis = DATASETS["analyses"][name]
        for stream in analysis["channels"].values():
            parts = [
                entry["luminosity"]
                for entry in analysis["datasets"].values()
                if entry.get("stream") == stream
            ]
            assert sum(parts) == pytest.approx(total, rel=1e-12)


def test_higgs4l_is_at_two_places_that_differ_in_data() -> None:
    config = resolved(place="root-eos")
    folder = f"{EOS}/root-eos/cms_opendata_2012_nanoaod"
    differing = {}
    for sample in samples(config, "higgs4l"):
        eos, portal = place(config, sample), dataset(config, sample)["places"]["portal"]
        assert [file["uri"] for file in eos["files"]] == [f"{folder}/{sample}.root"]
        if eos["events"] != portal["events"]:
            differing[sample] = eos["events"]
    assert differing == {
        "Run2012B_DoubleMuParked": 29_308_627,
        "Run2012C_DoubleMuParked": 36_820_243,
        "Run2012B_DoubleElectron": 23_571_931,
        "Run2012C_DoubleElectron": 33_843_769,
    }
    assert place(config, "TTbar") == place(resolved(), "TTbar"), "falls back to the portal"


def test_processes_are_the_official_ones() -> None:
    def processes(analysis: str) -> dict[str, str]:
        entries = DATASETS["analyses"][analysis]["datasets"].values()
        return {process: part for entry in entries for process, part in entry["processes"].items()}

    names = ["ggH", "qqH", "W1J", "W2J", "W3J", "TT", "dataRunB", "dataRunC"]
    assert processes("htautau") == dict.fromkeys(names, "all") | {"ZTT": "tautau", "ZLL": "ll"}
    assert processes("dimuon") == {"dimuon": "all"}
    assert processes("higgs4l") == dict.fromkeys(samples(resolved(), "higgs4l"), "all")


@pytest.mark.skipif(
    not PUBLISHED_INPUTS.exists(), reason=f"no {PUBLISHED_INPUTS.name} beside the repository"
)
def test_equals_the_published_list() -> None:
    names = {"dimuon": "dimuon", "h4l": "higgs4l", "htt": "htautau"}
    published = json.loads(PUBLISHED_INPUTS.read_text())
    assert [(names[item["analysis"]], item["name"]) for item in published] == ALL_SAMPLES
    for item in published:
        entry = dataset(resolved(), item["name"])
        (file,) = entry["places"]["portal"]["files"]
        assert (entry["record"], entry["doi"]) == (item["recid"], item["doi"])
        assert (file["events"], file["bytes"]) == (item["events"], item["bytes"])
        assert (file["uri"], f"adler32:{file['adler32']}") == (item["uri"], item["checksum"])
        assert entry.get("generated", item["events"]) == item["events"]


# Defaults and the command line


def test_config_yaml_is_the_default() -> None:
    config = load_yaml(ROOT / "config" / "config.yaml")
    assert resolve(config, datasets=DATASETS) == resolve({}, datasets=DATASETS)


def test_config_yaml_names_every_key() -> None:
    schema = load_yaml(ROOT / "workflow" / "schemas" / "config.schema.yaml")
    config = load_yaml(ROOT / "config" / "config.yaml")
    assert set(config) == set(schema["properties"])


def test_datasets_file_is_read_where_it_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert resolve({}) == resolve({}, datasets=DATASETS)


def test_resolved_configuration_resolves_to_itself(tmp_path: Path) -> None:
    config = resolved(synthetic={"scale": 2}, inputs=str(tmp_path))
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    assert resolve(load_yaml(file)) == config


def test_arguments_are_left_alone() -> None:
    config, datasets = {"synthetic": {"seed": "1"}}, copy.deepcopy(DATASETS)
    resolve(config, datasets=datasets)
    assert (config, datasets) == ({"synthetic": {"seed": "1"}}, DATASETS)


@pytest.mark.parametrize(
    ("given", "key", "expected"),
    [
        ({"synthetic": {"seed": "7"}}, "synthetic", {"seed": 7, "scale": 1.0}),
        ({"synthetic": {"scale": "25"}}, "synthetic", {"seed": 2012, "scale": 25.0}),
        ({"synthetic": None}, "synthetic", {"seed": 2012, "scale": 1.0}),
        ({"units": {"dimuon": "1e6"}}, "units", {"dimuon": 1_000_000, "higgs4l": 3_000_000}),
        ({"htautau": {"qcd_factor": "1"}}, "htautau", {"qcd_factor": 1.0}),
    ],
)
def test_partial_sections_are_completed(given: Any, key: str, expected: dict[str, Any]) -> None:
    section = resolved(**given)[key]
    found = {name: section[name] for name in expected}
    assert found == expected
    assert [type(value) for value in found.values()] == [type(v) for v in expected.values()]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"analyses": "dimuon"}, {"analyses": ["dimuon"]}),
        ({"analyses": "dimuon, htautau"}, {"analyses": ["dimuon", "htautau"]}),
        ({"inputs": "null"}, {"inputs": None}),
        ({"inputs": ""}, {"inputs": None}),
        ({"accelerator": False}, {"accelerator": "off"}),  # YAML 1.1 reads a bare `off` so
        ({"results": 2012}, {"results": "2012"}),
        ({"results": None}, {"results": "results"}),
    ],
)
def test_command_line_spellings(given: Any, expected: dict[str, Any]) -> None:
    assert resolved(**given) == resolved() | expected


def test_inputs_is_a_folder_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolved(inputs=str(tmp_path))["inputs"] == str(tmp_path)
    (tmp_path / "2012").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolved(inputs=2012)["inputs"] == "2012"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolved(inputs="~/2012")["inputs"] == str(tmp_path / "2012")


def test_a_new_analysis_gets_a_size_of_units() -> None:
    datasets = copy.deepcopy(DATASETS)
    datasets["analyses"]["zprime"] = datasets["analyses"].pop("dimuon")
    config = resolve({"analyses": ["zprime"]}, datasets=datasets)
    assert config["units"]["zprime"] == 2_000_000


# Helpers of the rules


def test_helpers() -> None:
    config = resolved()
    assert samples(config, "dimuon") == ["Run2012BC_DoubleMuParked_Muons"]
    assert analysis_of(config, "TTbar") == "htautau"
    assert dataset(config, "TTbar")["record"] == 12354


def test_portal_selection_takes_2e2mu_from_electrons_too() -> None:
    sample = "Run2012B_DoubleElectron"
    assert channels(resolved(), sample) == ["4e"]
    assert channels(resolved(selections={"higgs4l": "portal"}), sample) == ["4e", "2e2mu"]
    assert channels(resolved(), "Run2012B_DoubleMuParked") == ["4mu", "2e2mu"]


@pytest.mark.parametrize(
    ("helper", "name", "message"),
    [
        (samples, "higgs4", "'higgs4' is not an analysis; did you mean 'higgs4l'?"),
        (samples, "?", "'?' is not an analysis; known: dimuon, higgs4l, htautau"),
        (dataset, "TTBar", "'TTBar' is not a sample; did you mean 'TTbar'?"),
        (channels, "ZZTo4m", "'ZZTo4m' is not a sample; did you mean 'ZZTo4mu'?"),
        (place, "ZZTo4m", "'ZZTo4m' is not a sample; did you mean 'ZZTo4mu'?"),
    ],
)
def test_helpers_name_the_nearest(
    helper: Callable[[Any, str], Any], name: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        helper(resolved(), name)
    assert str(caught.value) == message


# Mistakes in config.yaml


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"synthetic": {"sed": 1}}, "synthetic.sed: unknown key; did you mean 'seed'?"),
        ({"analysis": []}, "analysis: unknown key; did you mean 'analyses'?"),
        ({"scale": 2}, "scale: unknown key; did you mean synthetic.scale?"),
        ({"htautau": {"x": 2}}, "htautau.x: unknown key; known: qcd_factor"),
        (
            {"lake": "opendat"},
            "lake: 'opendat' is not a lake; did you mean 'opendata'?",
        ),
        ({"place": "x"}, "place: 'x' is not allowed; use one of portal, root-eos"),
        ({"accelerator": True}, "accelerator: 'on' is not allowed; use one of auto, off"),
        (
            {"selections": {"higgs4l": "df104"}},
            "selections.higgs4l: 'df104' is not allowed; use one of df103, portal; "
            "did you mean 'df103'?",
        ),
        ({"synthetic": {"seed": "one"}}, "synthetic.seed: 'one' is not a whole number"),
        ({"synthetic": {"seed": 1.5}}, "synthetic.seed: 1.5 is not a whole number"),
        ({"synthetic": {"seed": -1}}, "synthetic.seed: -1 is too small; it must be >= 0"),
        ({"synthetic": {"scale": 0}}, "synthetic.scale: 0.0 is too small; it must be > 0"),
        ({"synthetic": {"scale": float("nan")}}, "synthetic.scale: 'nan' is not a number"),
        ({"synthetic": {"scale": "inf"}}, "synthetic.scale: 'inf' is not a number"),
        ({"synthetic": 3}, "synthetic: 3 is not a mapping"),
        ({"results": ["a"]}, "results: ['a'] is not text"),
        ({"inputs": ["a"]}, "inputs: ['a'] is not null or text"),
        ({"results": ""}, "results: empty; give at least one"),
        ({"analyses": []}, "analyses: empty; give at least one"),
        ({"analyses": "dimuon,dimuon"}, "analyses: ['dimuon', 'dimuon'] names something twice"),
        (
            {"analyses": ["higs4l"]},
            "analyses: 'higs4l' is not in datasets.yaml; did you mean 'higgs4l'?",
        ),
        ({"units": {"dimun": 5}}, "units.dimun: unknown key; did you mean 'dimuon'?"),
        ({"units": {"dimuon": 0}}, "units.dimuon: 0 is too small; it must be >= 1"),
        (
            {"units": {"Dimuon": 5}},
            "units.Dimuon: not a valid name; it must match ^[a-z][a-z0-9]*$",
        ),
        ({"inputs": "no/such"}, "inputs: 'no/such' is not a folder that exists"),
    ],
)
def test_mistakes_in_config(config: dict[str, Any], problem: str) -> None:
    assert problems_of(config) == [f"config.yaml: {problem}"]


def test_all_problems_are_reported_at_once() -> None:
    datasets = copy.deepcopy(DATASETS)
    datasets["analyses"]["dimuon"]["datasets"]["Run2012BC_DoubleMuParked_Muons"]["stream"] = "X"
    config = {"engin": 1, "verify": "no", "analyses": ["x"], "inputs": "no/such"}
    found = problems_of(config, datasets)
    for part in (
        "engin:",
        "verify:",
        "analyses: 'x'",
        "inputs:",
        "channels.dimuon:",
        "stream: 'X'",
    ):
        assert sum(part in line for line in found) == 1, part
    assert len(found) == 6


# Mistakes in datasets.yaml

HIGGS = "analyses.higgs4l.datasets.SMHiggsToZZTo4L"
DATA = "analyses.higgs4l.datasets.Run2012B_DoubleElectron"
FILE = f"{HIGGS}.places.portal.files.0"
OF_MC = "not allowed here: A key of mc; data have stream and luminosity"
OF_DATA = "not allowed here: A key of data; mc has cross_section, k_factor and generated"
REMOVE = object()


def with_change(path: str, value: Any) -> dict[str, Any]:
    """datasets.yaml with one value set or removed."""
    datasets = copy.deepcopy(DATASETS)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    node: Any = datasets
    for key in parents:
        node = node[key]
    if value is REMOVE:
        del node[last]
    else:
        node[last] = value
    return datasets


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("analyses", REMOVE, "analyses: missing"),
        (
            f"{HIGGS}.crosssection",
            1,
            f"{HIGGS}.crosssection: unknown key; did you mean 'cross_section'?",
        ),
        (f"{HIGGS}.generated", REMOVE, f"{HIGGS}.generated: missing"),
        (f"{HIGGS}.kind", REMOVE, f"{HIGGS}.kind: missing"),
        (f"{HIGGS}.luminosity", 1, f"{HIGGS}.luminosity: {OF_DATA}"),
        (f"{DATA}.luminosity", REMOVE, f"{DATA}.luminosity: missing"),
        (f"{DATA}.generated", 1, f"{DATA}.generated: {OF_MC}"),
        (f"{DATA}.luminosity", "4412", f"{DATA}.luminosity: '4412' is not a number"),
        (
            f"{HIGGS}.processes",
            {"ggH": "tautaus"},
            f"{HIGGS}.processes.ggH: 'tautaus' is not allowed; use one of all, tautau, ll; "
            "did you mean 'tautau'?",
        ),
        (f"{HIGGS}.places.portal", REMOVE, f"{HIGGS}.places.portal: missing"),
        (
            f"{HIGGS}.places.rooteos",
            {},
            f"{HIGGS}.places.rooteos: unknown key; did you mean 'root-eos'?",
        ),
        (
            f"{HIGGS}.channels",
            ["4m"],
            f"{HIGGS}.channels: '4m' is not a channel of this analysis; did you mean '4mu'?",
        ),
        (
            f"{DATA}.extra_channels",
            {"portl": ["2e2mu"]},
            f"{DATA}.extra_channels.portl: not a selection of this analysis; "
            "did you mean 'portal'?",
        ),
        (
            f"{HIGGS}.places.portal.events",
            299_972,
            f"{HIGGS}.places.portal.events: 299972, but its files have 299973",
        ),
        (
            "analyses.higgs4l.channels.4e",
            "DoubleElectrons",
            "analyses.higgs4l.channels.4e: no data of stream 'DoubleElectrons' feed this channel",
        ),
        (
            "analyses.htautau.schema",
            "htautaus",
            "analyses.htautau.schema: 'htautaus' is not allowed; "
            "use one of dimuon, higgs4l, htautau; did you mean 'htautau'?",
        ),
        (
            "analyses.dimuon.datasets.TTbar",
            DATASETS["analyses"]["htautau"]["datasets"]["TTbar"] | {"channels": ["dimuon"]},
            "analyses.htautau.datasets.TTbar: this sample is also in dimuon",
        ),
        (
            "analyses.dimuon.datasets.a-b",
            {},
            "analyses.dimuon.datasets.a-b: not a valid name; it must match ^[A-Za-z][A-Za-z0-9_]*$",
        ),
    ],
)
def test_mistakes_in_datasets(path: str, value: Any, problem: str) -> None:
    assert f"datasets.yaml: {problem}" in problems_of(datasets=with_change(path, value))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("uri", "/data/file.root", "'/data/file.root' does not match ^root://"),
        ("uri", "root://host/file.root", "does not match ^root://"),
        ("adler32", "1DAFC1D7", "8 hexadecimal digits"),
        ("adler32", "dafc1d7", "8 hexadecimal digits"),
        ("adler32", 12345678, "12345678 is not text"),
        ("bytes", 0, "0 is too small; it must be >= 1"),
        ("size", 1, "unknown key"),
    ],
)
def test_mistakes_in_files(key: str, value: Any, reason: str) -> None:
    (problem,) = problems_of(datasets=with_change(f"{FILE}.{key}", value))
    assert problem.startswith(f"datasets.yaml: {HIGGS}.places.portal.files[0].{key}: ")
    assert reason in problem


def test_stream_of_no_channel() -> None:
    found = problems_of(datasets=with_change(f"{DATA}.stream", "DoubleElectro"))
    assert any(
        "'DoubleElectro' is the stream of no channel; did you mean 'DoubleElectron'?" in line
        for line in found
    )


# Files


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "holds no mapping"),
        ("a: 1\nb: 2\na: 3", "key 'a' is given twice"),
        ("x: {4: 1}", "key 4 is not text; put it in quotes"),
    ],
)
def test_yaml_that_cannot_be_used(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="some.yaml") as caught:
        load_yaml(file)
    assert reason in str(caught.value)


def test_yaml_anchors_and_merges_work(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert load_yaml(file) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}


def test_missing_files_are_named(tmp_path: Path) -> None:
    (problem,) = problems_of_file({"datasets": str(tmp_path / "none.yaml")})
    assert problem.endswith("none.yaml: cannot be read: No such file or directory")
    with pytest.raises(ConfigError, match="config.schema.yaml: cannot be read"):
        resolve({}, schemas=tmp_path)


def problems_of_file(config: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve(config)
    return caught.value.problems


def test_problems_name_the_users_own_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(with_change(f"{FILE}.bytes", 0)))
    (problem,) = problems_of_file({"datasets": str(file)})
    assert problem.startswith("mine.yaml: analyses.higgs4l.")


# The schemas themselves


def subschemas(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for group in ("properties", "patternProperties"):
        for key, sub in schema.get(group, {}).items():
            yield from subschemas(sub, f"{path}.{key}")
    if "items" in schema:
        yield from subschemas(schema["items"], f"{path}[]")


@pytest.mark.parametrize("file", SCHEMA_FILES)
def test_schemas_are_valid_strict_and_described(file: str) -> None:
    from jsonschema import Draft202012Validator

    schema = load_yaml(ROOT / "workflow" / "schemas" / file)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    for path, sub in subschemas(schema):
        assert sub.get("description"), f"{path} has no description"
        assert "type" in sub, f"{path} has no type"
        if sub["type"] == "object":
            assert sub.get("additionalProperties") is False, f"{path} takes unknown keys"


def test_a_check_compiles_no_grammars_of_iris() -> None:
    """They take a second, and no schema of ours has such a format."""
    lines = """if True:
        import sys
        from nanolake import validation
        refused, _ = validation.problems("two", {"type": "integer"}, "file")
        print(len(refused), "jsonschema" in sys.modules, "rfc3987_syntax" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert done.stdout == "1 True False\n", done.stderr
    assert '"format"' not in "".join(
        json.dumps(load_yaml(ROOT / "workflow/schemas" / file)) for file in SCHEMA_FILES
    )


def test_every_key_of_the_configuration_has_a_default() -> None:
    schema = load_yaml(ROOT / "workflow" / "schemas" / "config.schema.yaml")
    for path, sub in subschemas(schema):
        assert path in ("", ".analyses[]") or "default" in sub, path


def test_readme_explains_every_key() -> None:
    text = (ROOT / "config" / "README.md").read_text()
    schema = load_yaml(ROOT / "workflow" / "schemas" / "config.schema.yaml")
    for key, sub in schema["properties"].items():
        for name in [f"{key}.{inner}" for inner in sub.get("properties", {})] or [key]:
            assert f"`{name}`" in text, name

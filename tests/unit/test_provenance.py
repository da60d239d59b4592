"""The crate of a run: valid, complete, the same every time, and without secrets."""

import hashlib
import json
import os
import subprocess
import zlib
from io import BytesIO
from pathlib import Path

import pytest
import yaml

from nanolake import evidence, provenance, redact
from nanolake.errors import InputError, NanolakeError

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
# Those words of RO-Crate 1.1's context that a crate of ours may use, as they are defined there:
# the test has no network. A word that is missing here makes the validator refuse the crate.
# (The context within the package rocrate is that of 1.3, whose bioschemas words differ.)
SCHEMA_WORDS = """
    CreateAction CreativeWork DataCatalog DataDownload Dataset Organization Person PropertyValue
    SoftwareApplication SoftwareSourceCode about actionStatus additionalType affiliation agent
    alternateName author contentSize contentUrl creativeWorkStatus datePublished description
    distribution encodingFormat endTime exampleOfWork expires hasPart identifier
    includedInDataCatalog instrument license mainEntity mentions name object programmingLanguage
    result sdDatePublished softwareRequirements softwareVersion startTime url value version
    workExample
"""
OTHER_WORDS = {
    "File": "http://schema.org/MediaObject",
    "ComputerLanguage": "http://schema.org/ComputerLanguage",
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
    "input": "https://bioschemas.org/ComputationalWorkflow#input",
    "output": "https://bioschemas.org/ComputationalWorkflow#output",
    "conformsTo": "http://purl.org/dc/terms/conformsTo",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
}
SECRETS = ("hunter2", "s3cr3t", "eyJ", "alice", "/home", "/scratch")
STARTED = 1_700_000_000


def _file(did: str, size: int, adler32: str, events: int) -> dict:
    return {"did": did, "bytes": size, "adler32": adler32, "events": events}


DATA = _file("cms:Run2012B.root", 1000, "0a0b0c0d", 500)
SIGNAL = [_file(f"cms:Higgs_{i}.root", 2000 + i, f"0000000{i}", 300 + i) for i in range(2)]
REPLICAS = {
    "cms:Run2012B.root": (
        "FAST",
        "root://alice:hunter2@eos.example.org//cms/Run2012B.root?authz=s3cr3t",
    ),
    "cms:Higgs_0.root": ("CHEAP", "file://localhost/home/alice/lake/rse/CHEAP/cms/Higgs_0.root"),
    "cms:Higgs_1.root": ("FAST", "davs://eos.example.org:1094/cms/Higgs_1.root#s3cr3t"),
}


def _unit(sample: str, file: dict, number: int) -> dict:
    rse, replica = REPLICAS[file["did"]]
    return {
        "analysis": "higgs4l",
        "sample": sample,
        "unit": f"{number:04d}",
        "files": [{**file, "rse": rse, "replica": replica}],
        "started": STARTED + 10 * number,
        "wall_seconds": 5.25,
        "software": {"nanolake": "0.1.0", "ROOT": "6.40.00", "python": "3.11.7"},
    }


class Run:
    """Files that a run leaves behind, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "results"
        self.lock = {
            "lake": "embedded",
            "host": "http://127.0.0.1:8080",
            "datasets": {
                "Run2012B": {"did": "cms:Run2012B", "luminosity": 4412.0, "files": [DATA]},
                "Higgs": {"did": "cms:Higgs", "generated": 603, "files": SIGNAL},
            },
        }
        units = [
            _unit("Run2012B", DATA, 0),
            *(_unit("Higgs", f, i) for i, f in enumerate(SIGNAL, 1)),
        ]
        self.ledger = {"totals": {}, "samples": [], "units": units}
        self.outputs = [
            self.make("higgs4l/ntuples/Higgs.root", b"an ntuple"),
            self.make("higgs4l/histograms.root", b"histograms"),
            self.make("higgs4l/plots/mass 4l.png", b"a plot"),
            self.make("report.html", b"<p>"),
        ]
        ntuple = b"an ntuple"
        self.receipt = {
            "dataset": "user.analyst:higgs4l.v1.abc",
            "rule": "0123abcd",
            "rse_expression": "QOS=CHEAP-ANALYSIS",
            "expires_at": "2027-01-01T00:00:00+00:00",
            "files": [
                {
                    "path": "higgs4l/ntuples/Higgs.root",
                    "did": "user.analyst:higgs4l.v1.Higgs.root",
                    "bytes": len(ntuple),
                    "adler32": f"{zlib.adler32(ntuple):08x}",
                    "rse": "CHEAP",
                    "action": "uploaded",
                    "read_back": True,
                }
            ],
        }
        config = {"inputs": "/home/alice/my data", "lake": {"password": "hunter2"}, "seed": 1}
        self.make("config.yaml", yaml.safe_dump(config).encode())
        (folder / "workflow" / "rules").mkdir(parents=True)
        (folder / "workflow" / "rules" / "skim.smk").write_text("rule skim:\n")
        (folder / "Snakefile").write_text('include: "workflow/rules/skim.smk"\n')

    def make(self, name: str, content: bytes) -> str:
        path = self.results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    def write(self, **changes) -> Path:
        """The crate's folder, written with what is now in the attributes."""
        documents = {"inputs.lock": self.lock, "published": self.receipt, "ledger": self.ledger}
        names = {
            name: self.make(f"higgs4l/{name}.json", json.dumps(content).encode())
            for name, content in documents.items()
        }
        settings = {
            "workflow_file": self.folder / "Snakefile",
            "includes": [self.folder / "workflow" / "rules" / "skim.smk"],
            "config_file": self.results / "config.yaml",
            "ledger_file": names["ledger"],
            "locks": {"higgs4l": names["inputs.lock"]},
            "receipts": {"higgs4l": names["published"]},
            "outputs": self.outputs,
            "results": str(self.results),
            "command": ["snakemake", "-c1", "--config", "inputs=/home/alice/data", "token=s3cr3t"],
            "software": {"snakemake": "9.27.1"},
            "git": {"commit": "a" * 40, "dirty": True},
            "parameters": {"analyses": ["higgs4l"], "seed": 1, "scale": 0.5, "stage": True},
            "repository": "https://alice:hunter2@example.org/nanolake",
            "agent": {"name": "A. Physicist", "affiliation": "An Institute"},
        } | changes
        folder = self.results / "provenance"
        provenance.run(folder, **settings)
        return folder


@pytest.fixture
def finished(tmp_path) -> Run:
    """A run that is over."""
    return Run(tmp_path / "run")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """A cache of the validator that knows the context of RO-Crate 1.1, and nothing else."""
    from requests.adapters import HTTPAdapter
    from requests_cache import CachedSession
    from urllib3 import HTTPResponse

    words = {word: f"http://schema.org/{word}" for word in SCHEMA_WORDS.split()} | OTHER_WORDS

    class Shelf(HTTPAdapter):
        def send(self, request, **_):
            body = BytesIO(json.dumps({"@id": CONTEXT, "@context": words}).encode())
            headers = {"Content-Type": "application/ld+json"}
            answer = HTTPResponse(body, headers=headers, status=200, preload_content=False)
            return self.build_response(request, answer)

    path = tmp_path_factory.mktemp("validator") / "cache"
    with CachedSession(cache_name=str(path), backend="sqlite", expire_after=-1) as session:
        session.mount(CONTEXT, Shelf())
        session.get(CONTEXT)
    return path


def _issues(folder: Path, profile: str, cache: Path, severity: str = "REQUIRED") -> set[str]:
    from rocrate_validator import services

    settings = services.ValidationSettings(
        rocrate_uri=str(folder),
        profile_identifier=profile,
        requirement_severity=severity,
        offline=True,
        cache_path=cache,
        skip_availability_check=True,
    )
    result = services.validate(settings)
    assert len(result.executed_checks) > 30
    return {f"{issue.check.identifier}: {issue.message}" for issue in result.get_issues()}


@pytest.mark.parametrize("profile", ["ro-crate-1.1", "workflow-run-crate-0.5"])
def test_crate_is_valid(finished, cache, profile):
    assert _issues(finished.write(), profile, cache) == set()


def test_recommendations(finished, cache):
    """What a crate should have, it has, but for what only the user could say."""
    found = _issues(finished.write(), "workflow-run-crate-0.5", cache, "RECOMMENDED")
    allowed = (
        "SoftwareApplication id",  # the check asks it of the word, not of the program
        "uses scheme 'rucio'",  # no validator can open it
        "`publisher`",
        "organization SHOULD have a URL",
    )
    assert {issue for issue in found if not any(text in issue for text in allowed)} == set()


@pytest.mark.parametrize("profile", ["ro-crate-1.1", "workflow-run-crate-0.5"])
def test_crate_without_lake_is_valid(finished, cache, profile):
    """Local files and no lake: nothing has a DID, nothing is published."""
    for unit in finished.ledger["units"]:
        for file in unit["files"]:
            del file["did"], file["rse"]
            file["replica"] = "inputs/" + Path(file["replica"]).name
    folder = finished.write(locks=None, receipts=None, agent=None, repository="", git={})
    assert _issues(folder, profile, cache) == set()


def test_validator_notices(finished, cache):
    """The validator, its context cut down as above, still finds faults."""
    path = finished.write() / provenance.METADATA
    content = json.loads(path.read_text())
    root, run = (next(e for e in content["@graph"] if e["@id"] == name) for name in ("./", "#run"))
    del run["instrument"]
    root["inventedWord"] = "x"
    path.write_text(json.dumps(content))
    found = "\n".join(_issues(path.parent, "workflow-run-crate-0.5", cache))
    assert "instrument" in found and "inventedWord" in found


def _read(folder: Path):
    from rocrate.rocrate import ROCrate

    return ROCrate(folder)


def test_inputs_read_back(finished):
    crate = _read(finished.write())
    for file in [DATA, *SIGNAL]:
        scope, name = file["did"].split(":")
        entity = crate.get(f"rucio://{scope}/{name}")
        assert entity["identifier"] == file["did"]
        assert int(entity["contentSize"]) == file["bytes"]
        assert (entity["adler32"], entity["events"]) == (file["adler32"], file["events"])
        assert entity["distribution"]["rse"] == REPLICAS[file["did"]][0]
        assert entity["license"]["identifier"] == "CC0-1.0"
    data, signal = crate.get("rucio://cms/Run2012B"), crate.get("rucio://cms/Higgs")
    assert data["luminosity"] == 4412.0 and signal["generated"] == 603
    assert [file["identifier"] for file in signal["hasPart"]] == [f["did"] for f in SIGNAL]
    assert data["includedInDataCatalog"]["name"] == "embedded"
    replica = crate.get("rucio://cms/Run2012B.root")["distribution"]
    assert replica["contentUrl"] == "root://eos.example.org//cms/Run2012B.root"
    assert "contentUrl" not in crate.get("rucio://cms/Higgs_0.root")["distribution"]


def test_outputs_read_back(finished):
    crate = _read(finished.write())
    ntuple = crate.get("rucio://user.analyst/higgs4l.v1.Higgs.root")
    assert ntuple["alternateName"] == "higgs4l/ntuples/Higgs.root"
    assert ntuple["sha256"] == hashlib.sha256(b"an ntuple").hexdigest()
    assert ntuple["distribution"]["rse"] == "CHEAP"
    dataset = crate.get("rucio://user.analyst/higgs4l.v1.abc")
    assert dataset["hasPart"] == ntuple and dataset["rule"] == "0123abcd"
    plot = crate.get("#higgs4l/plots/mass%204l.png")
    assert plot["sha256"] == hashlib.sha256(b"a plot").hexdigest()
    assert plot["encodingFormat"] == "image/png" and plot["contentSize"] == "6"
    kinds = {entity["name"] for entity in crate.mainEntity["output"]}
    assert {"ntuples", "histograms", "plots", "report"} <= kinds


def test_action_and_workflow(finished):
    folder = finished.write()
    crate = _read(folder)
    run, workflow = crate.get("#run"), crate.mainEntity
    assert run["instrument"] is workflow and run["agent"]["name"] == "A. Physicist"
    assert run["startTime"] == "2023-11-14T22:13:20+00:00"
    assert run["endTime"] == crate.root_dataset["datePublished"] == "2023-11-14T22:13:45+00:00"
    assert run["description"].startswith("snakemake -c1 --config")
    assert workflow["version"] == f"0.1.0+g{'a' * 40}.dirty"
    assert workflow["license"]["identifier"] == "MIT"
    assert workflow["programmingLanguage"]["version"] == "9.27.1"
    needs = {(e["name"], e["softwareVersion"]) for e in workflow["softwareRequirements"]}
    assert needs == {("ROOT", "6.40.00"), ("python", "3.11.7")}
    values = {e["name"]: e["value"] for e in run["object"] if e.type == "PropertyValue"}
    assert values == {"analyses": '["higgs4l"]', "seed": "1", "scale": "0.5", "stage": "true"}
    for name in ("Snakefile", "workflow/rules/skim.smk"):
        assert (folder / name).read_bytes() == (finished.folder / name).read_bytes()
    lock = json.loads((folder / "inputs.lock" / "higgs4l.json").read_text())
    assert lock["datasets"] == finished.lock["datasets"]


def test_same_run_gives_same_bytes(tmp_path):
    """Wherever it lies, and in whatever order things are named."""
    first, second = Run(tmp_path / "a"), Run(tmp_path / "somewhere" / "else")
    second.outputs.reverse()
    second.ledger["units"].reverse()
    one, two = (run.write() / provenance.METADATA for run in (first, second))
    left, right = (json.loads(path.read_text())["@graph"] for path in (one, two))
    # The ledger is copied as it is: in another order it is another file.
    ledgers = [next(e for e in graph if e["@id"] == "ledger.json") for graph in (left, right)]
    assert ledgers[0].pop("sha256") != ledgers[1].pop("sha256")
    assert left == right
    before = one.read_bytes()
    assert (first.write() / provenance.METADATA).read_bytes() == before
    assert not list(first.results.glob(".provenance*"))


def test_nothing_secret_leaves(finished):
    folder = finished.write()
    for path in filter(Path.is_file, folder.rglob("*")):
        text = path.read_text()
        assert [word for word in SECRETS if word in text] == [], path
        assert str(finished.folder) not in text
    assert "127.0.0.1" not in (folder / provenance.METADATA).read_text()


def test_ledger_of_another_run(finished):
    finished.ledger["units"][0]["files"][0]["adler32"] = "ffffffff"
    with pytest.raises(InputError, match="adler32 is ffffffff, elsewhere in this run 0a0b0c0d"):
        finished.write()
    assert not (finished.results / "provenance").exists()


def test_files_of_one_name_in_two_folders():
    unit = {"analysis": "a", "sample": "s", "unit": "0000"}
    files = [
        {"replica": f"/{folder}/x.root", "bytes": 1, "adler32": adler32, "events": 1}
        for folder, adler32 in (("home/alice", "00000001"), ("scratch", "00000002"))
    ]
    found = evidence.inputs({}, [{**unit, "files": files}])
    assert found.datasets["s"]["files"] == ["00000001/x.root", "00000002/x.root"]


def test_locks_that_differ(finished):
    other = json.loads(json.dumps(finished.lock))
    other["datasets"]["Higgs"]["files"].pop()
    with pytest.raises(InputError, match="cms:Higgs: the input lock of b differs"):
        evidence.inputs({"a": finished.lock, "b": other}, [])


def test_output_changed_after_publication(finished):
    finished.make("higgs4l/ntuples/Higgs.root", b"AN NTUPLE")
    with pytest.raises(InputError, match="publish it again"):
        finished.write()


def test_folder_of_something_else_is_kept(finished):
    mine = finished.make("provenance/thesis.tex", b"years of work")
    with pytest.raises(NanolakeError, match="holds files, but no crate"):
        finished.write()
    assert Path(mine).exists()


def test_end_is_time_of_ledger_if_units_do_not_say(tmp_path):
    ledger = tmp_path / "ledger.json"
    ledger.touch()
    os.utime(ledger, (STARTED, STARTED))
    assert evidence.times([{"wall_seconds": 1}], ledger) == ("", "2023-11-14T22:13:20+00:00")


def test_git_state(tmp_path):
    nothing = {"commit": "", "dirty": False}
    assert provenance.git_state(tmp_path) == nothing

    def git(*arguments):
        names = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        done = subprocess.run(
            ["git", *names, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init")
    (tmp_path / "Snakefile").write_text("1")
    git("add", "Snakefile")
    git("commit", "-m", "x")
    commit = git("rev-parse", "HEAD")
    assert provenance.git_state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "Snakefile").write_text("2")
    assert provenance.git_state(tmp_path) == {"commit": commit, "dirty": True}
    (tmp_path / "copy").mkdir()  # a folder that git knows nothing of
    assert provenance.git_state(tmp_path / "copy") == nothing


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://u:p@example.org/a?X-Amz-Signature=1#b", "https://example.org/a"),
        ("https://u:p?x#y@example.org:443/a", "https://example.org:443/a"),
        ("https://u:p/x@example.org/a", "https://(removed)"),
        ("root://eos.example.org//eos/a.root?authz=x", "root://eos.example.org//eos/a.root"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("file:///home/alice/a.root", "file:…/a.root"),
    ],
)
def test_url(given, expected):
    assert redact.url(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("root://a//x?s=1,root://u:p@b//y", "root://a//x,root://b//y"),
        ("read 'https://a/x?token=1' twice", "read 'https://a/x' twice"),
        ("/home/alice/my data", "…/my data"),
        ("~alice/x/y", "…/y"),
        ("inputs=/home/alice/data", "inputs=…/data"),
        ("PATH=/a/b:/c/d", "PATH=…/b:…/d"),
        ('{"folder": "/x/y"}', '{"folder": "…/y"}'),
        ("password=hunter2 seed=1", "password=(removed) seed=1"),
        ("Bearer eyJhbGciOi.eyJzdWIi.c2ln", "Bearer (removed)"),
        # None of these is a path of a machine.
        ("cms:/DoubleMu/Run2012B/AOD", "cms:/DoubleMu/Run2012B/AOD"),
        ("results/dimuon/x.root", "results/dimuon/x.root"),
        ("../shared/data", "../shared/data"),
        ("p_T / GeV", "p_T / GeV"),
        ("application/json", "application/json"),
    ],
)
def test_text(given, expected):
    assert redact.text(given) == expected


def test_command_and_document():
    command = ["x", "--token", "s3cr3t", "--seed", "1", "--password=hunter2"]
    assert redact.command(command) == "x --token '(removed)' --seed 1 '--password=(removed)'"
    document = {"lake": {"password": "x", "hosts": ["https://u:p@a/"]}, "verify": True, "n": None}
    expected = {
        "lake": {"password": "(removed)", "hosts": ["https://a/"]},
        "verify": True,
        "n": None,
    }
    assert redact.document(document) == expected

"""Embargo: what the configuration refuses, and files that are for their owner alone."""

from __future__ import annotations

import copy
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanolake import config_lake, embargo
from nanolake.config import ConfigError, load_yaml, resolve
from nanolake.errors import EmbargoError
from nanolake.lake import publish

DATASETS = load_yaml(Path(__file__).resolve().parents[2] / "config" / "datasets.yaml")
SAMPLE = "SMHiggsToZZTo4L"  # of higgs4l
LAKE: dict[str, Any] = {
    "kind": "rucio",
    "name": "site",
    "inputs": "ingested",
    "read": {"schemes": ["root", "https"]},
    "credential": {"kind": "token"},
    "ingest": {"scope": "cms", "rse": "QOS=FAST"},
    "publish": {"scope": "user.jdoe", "rse": "QOS=CHEAP-ANALYSIS"},
    "embargo": {
        "ingest": {"scope": "embargo", "rse": "QOS=FAST"},
        "publish": {"scope": "embargo", "rse": "SAFE"},
        "dataset": "embargo:{sample}",
    },
}


def resolved(change: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    datasets = copy.deepcopy(DATASETS)
    datasets["analyses"]["higgs4l"]["datasets"][SAMPLE]["embargoed"] = True
    lake = {**copy.deepcopy(LAKE), **(change or {})}
    return resolve({"lake": lake, **config}, datasets=datasets)


def test_embargo_spreads_to_what_is_made_with_it():
    config = resolved()
    assert [config_lake.embargoed(config, name) for name in (SAMPLE, "ZZTo4mu")] == [True, False]
    assert config_lake.is_private(config, "higgs4l")
    assert not config_lake.is_private(config, "dimuon")
    assert config_lake.is_private(config)  # report, ledger and provenance of the run
    assert not config_lake.is_private(resolved(analyses=["dimuon"]))
    targets = [config_lake.publish_target(config, part) for part in ("dimuon", "higgs4l", "run")]
    assert [target["scope"] for target in targets if target] == ["user.jdoe", "embargo", "embargo"]
    scopes = [config_lake.ingest_target(config, name) for name in (SAMPLE, "ZZTo4mu")]
    assert [scope["scope"] for scope in scopes if scope] == ["embargo", "cms"]
    assert config_lake.dataset_did(config, SAMPLE) == f"embargo:{SAMPLE}"
    assert config_lake.dataset_did(config, "ZZTo4mu") == "cms:ZZTo4mu"
    assert config_lake.licence(config) == "LicenseRef-embargoed"


def test_without_an_embargoed_place_nothing_is_published():
    lake = {"embargo": {**LAKE["embargo"], "publish": None}}
    config = resolved(lake)
    assert config_lake.publish_target(config, "higgs4l") is None
    assert config_lake.publish_target(config, "run") is None
    assert config_lake.publish_target(config, "dimuon") == LAKE["publish"] | {"lifetime": None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "files"}, "takes no embargoed data"),
        ({"kind": "embedded"}, "takes no embargoed data"),
        ({"embargo": None}, "takes no embargoed data"),
        ({"credential": None}, "credential.kind must be token"),
        ({"credential": {"kind": "any"}}, "credential.kind must be token"),
        ({"credential": {"kind": "x509"}}, "credential.kind must be token"),
        ({"read": {"schemes": ["file", "root"]}}, "a file system asks for no token"),
        ({"publish": {"scope": "embargo", "rse": "A"}}, "the scope of public data too"),
        ({"ingest": {"scope": "embargo", "rse": "A"}}, "the scope of public data too"),
        ({"embargo": {**LAKE["embargo"], "ingest": None}}, "embargo.ingest is missing"),
    ],
)
def test_configurations_that_would_leak_are_refused(change: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words) as caught:
        resolved(change)
    assert SAMPLE in str(caught.value) or "scope" in str(caught.value)
    resolved(change, analyses=["dimuon"])  # which has nothing to hide


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_for_their_owner_alone(tmp_path: Path, umask: None):
    old = tmp_path / "results" / "higgs4l"
    old.mkdir(parents=True)
    (old / "plot.png").write_text("made before the embargo")
    (old / "engine").write_text("a program")
    (old / "engine").chmod(0o755)
    (old / "away").symlink_to("/etc/passwd")
    passwd = _mode(Path("/etc/passwd"))
    embargo.begin(None)
    embargo.keep_private([tmp_path / "results", tmp_path / "missing"])
    (old / "new").mkdir()
    (old / "new" / "plot.png").write_text("made after it")
    assert _mode(Path("/etc/passwd")) == passwd
    for path in (tmp_path / "results").rglob("*"):
        if not path.is_symlink():
            executable = path.is_dir() or path.name == "engine"
            assert _mode(path) == (0o700 if executable else 0o600), path


def test_a_cache_between_workflows_is_refused(umask: None):
    with pytest.raises(EmbargoError, match="between-workflow cache"):
        embargo.begin([])


def test_local_files_that_others_may_read_are_refused(tmp_path: Path):
    path = tmp_path / "x.root"
    embargo.check_private([path])  # the upload will say that it is missing
    path.touch(0o640)
    with pytest.raises(EmbargoError, match="chmod go-rwx"):
        embargo.check_private([path])
    path.chmod(0o600)
    embargo.check_private([path])


def test_metadata_of_embargoed_results_hold_no_number_of_theirs(tmp_path: Path):
    public = publish.provenance({}, str(tmp_path))
    private = publish.provenance({}, str(tmp_path), private=True)
    assert private == public | {"embargoed": True}

"""The pre-flight: what is opened first, as whom, what stops a run; on real storage in services/."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nanolake import preflight
from nanolake.errors import CredentialError, EmbargoError, InputError
from nanolake.preflight import Attempt, Dataset

OPEN: dict[str, Any] = {"credential": None, "read": {"schemes": ["file"]}}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credential of this machine's user is found through the environment."""
    for name in ("BEARER_TOKEN", "BEARER_TOKEN_FILE", "XrdSecPROTOCOL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "none"))


def replica(folder: Path, name: str, mode: int = 0o644) -> str:
    path = folder / name
    path.write_bytes(os.urandom(100))
    path.chmod(mode)
    return f"file://localhost{path}"


def states(attempts: Sequence[Attempt]) -> list[tuple[str, str, str]]:
    return [(one.dataset, one.credential, one.state) for one in attempts]


def test_the_first_replica_that_can_be_read_is_enough(tmp_path: Path) -> None:
    good, gone = replica(tmp_path, "a.root"), f"file://localhost{tmp_path}/gone.root"
    datasets = [Dataset("a", (good, gone)), Dataset("b", (gone, good)), Dataset("c", (gone,))]
    attempts = preflight.probe(datasets, None)
    assert sorted(states(attempts)) == [
        ("a", "any", "open"), ("b", "any", "failed"), ("b", "any", "open"), ("c", "any", "failed"),
    ]  # fmt: skip
    preflight.judge(datasets[:2], attempts)
    with pytest.raises(InputError, match="none of its replicas can be opened") as caught:
        preflight.judge(datasets, attempts)
    assert f"{gone} (No such file or directory)" in str(caught.value)


def test_embargoed_files_are_tried_as_nobody_and_must_be_refused(tmp_path: Path) -> None:
    private = replica(tmp_path, "private.root", 0o600)
    public = replica(tmp_path, "public.root")
    closed = Dataset("closed", (private,), embargoed=True)
    attempts = preflight.probe([closed], None)
    assert states(attempts) == [("closed", "any", "open"), ("closed", "none", "refused")]
    preflight.judge([closed], attempts)
    # One replica that anybody may read is one too many, wherever it stands.
    leaking = Dataset("leaking", (private, public), embargoed=True)
    with pytest.raises(EmbargoError, match="serves it to anybody") as caught:
        preflight.judge([leaking], preflight.probe([leaking], None))
    assert public in str(caught.value)
    assert private not in str(caught.value)


def test_what_was_not_refused_to_nobody_is_not_read() -> None:
    closed, down = "root://a.test//f.root", "root://b.test//f.root"
    datasets = [Dataset("a", (closed, down), embargoed=True)]
    attempts = [
        Attempt("a", closed, "token", "open", 0.1, ""),
        Attempt("a", closed, "none", "refused", 0.1, ""),
        Attempt("a", down, "none", "failed", 0.1, ""),
    ]
    preflight.judge(datasets, attempts)
    attempts[1] = attempts[1]._replace(state="failed")
    with pytest.raises(EmbargoError, match=f"whether {closed} refuses it to others is not known"):
        preflight.judge(datasets, attempts)


def test_a_refusal_says_what_was_shown_and_what_is_needed() -> None:
    url = "root://storage.test:1094//store/cms/a.root"
    refused = Attempt("a", url, "any", "refused", 0.1, "permission denied")
    with pytest.raises(CredentialError) as caught:
        preflight.judge([Dataset("a", (url,))], [refused])
    assert f"{url} refuses it (permission denied)" in str(caught.value)
    assert "shown was: nothing; ask for one that may read /store/cms/a.root" in str(caught.value)


def test_a_process_that_dies_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    dataset = Dataset("a", (replica(tmp_path, "a.root"),), embargoed=True)
    attempts = preflight.probe([dataset], None)
    assert states(attempts) == [("a", "any", "failed"), ("a", "none", "failed")]
    with pytest.raises(InputError):
        preflight.judge([dataset], attempts)


def test_its_file_is_the_same_in_every_run_and_names_no_replica(tmp_path: Path) -> None:
    url = replica(tmp_path, "a.root", 0o600)
    samples = {name: {"files": [{"path": "cms:a"}, {"path": "cms:b"}]} for name in ("X", "Y")}
    (tmp_path / "catalogue.json").write_text(json.dumps({"samples": samples}))
    places = {"cms:a": [{"rse": "FAST", "pfn": url}], "cms:b": []}
    (tmp_path / "replicas.json").write_text(json.dumps(places))
    files = [str(tmp_path / f"{name}.json") for name in ("catalogue", "replicas", "preflight")]
    content = set()
    for _ in range(2):
        preflight.run(*files, lake=OPEN, embargoed=["X"])
        content.add(Path(files[2]).read_text())
    (same,) = content
    assert json.loads(same) == {
        "credential": None, "datasets": {"X": {"embargoed": True}, "Y": {"embargoed": False}},
    }  # fmt: skip
    assert str(tmp_path) not in same

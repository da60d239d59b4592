"""What travels with a job, how the job finds it, and what must not, or cannot, travel."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from joserfc import jwt
from joserfc.jwk import ECKey

from nanolake import config
from nanolake.batch import event_log, luggage
from nanolake.config_checks import apart_checks
from nanolake.errors import CredentialError

TOKEN, PROXY = {"kind": "token"}, {"kind": "x509"}
RUCIO = {"kind": "rucio", "name": "mine"}
COMMAND = ["python", "-m", "snakemake", "--config", "lake=/far/lake.yaml", "a b", "--cores", "1"]


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working folder of somebody who has no credential."""
    for name in ("BEARER_TOKEN", "BEARER_TOKEN_FILE", "X509_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def token(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's token, good for an hour."""
    path = place / "mine"
    path.touch(0o600)
    claims = {"iss": "https://issuer.test", "exp": int(time.time()) + 3600}
    path.write_text(jwt.encode({"alg": "ES256"}, claims, ECKey.generate_key("P-256")))
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(path))
    return path


def chosen(
    need: dict[str, str] | None = TOKEN, *, service: str | None = None, apart: bool = True
) -> luggage.Luggage:
    return luggage.choose({"results": "results"}, need, service=service, apart=apart)


def test_code_configuration_and_token_travel_where_nothing_is_shared(token: Path) -> None:
    packed = chosen()
    luggage.pack(packed, {"results": "results"})
    assert [
        *luggage.CODE,
        f"{packed.folder}/config.yaml",
        f"{packed.folder}/token",
    ] == packed.files()
    assert (packed.folder / "token").read_text() == token.read_text()
    token.write_text("renewed")  # jobs that begin later get what is there then
    assert (packed.folder / "token").read_text() == "renewed"
    assert yaml.safe_load((packed.folder / "config.yaml").read_text()) == {"results": "results"}
    assert stat.S_IMODE(packed.folder.stat().st_mode) == 0o700
    luggage.pack(packed, {"results": "results"})


def test_only_the_configuration_is_packed_where_files_are_shared(token: Path) -> None:
    packed = chosen(apart=False)
    luggage.pack(packed, {})
    assert packed.files() == [] and os.listdir(packed.folder) == ["config.yaml"]


def test_authorities_travel_unless_they_are_where_the_grid_has_them(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(PROXY).authorities is None
    (place / "own").mkdir()
    (place / "own/ca.pem").write_text("x")
    monkeypatch.setenv("X509_CERT_DIR", str(place / "own"))
    assert chosen(PROXY, apart=False).authorities is None
    packed = chosen(PROXY)
    luggage.pack(packed, {})
    assert (packed.folder / "certificates/ca.pem").read_text() == "x"
    monkeypatch.setattr("nanolake.credentials.AUTHORITIES", str(place / "own"))
    assert chosen(PROXY).authorities is None


@pytest.mark.parametrize(
    ("need", "service", "kind", "named"),
    [
        (None, "scitokens", "", ""),
        (PROXY, "scitokens", "x509", ""),
        (TOKEN, "scitokens", "token", "scitokens"),
        (TOKEN, None, "token", ""),
        ({"kind": "any"}, "scitokens", "token", "scitokens"),
        ({"kind": "any"}, None, "x509", ""),
    ],
)
def test_the_kind_of_credential(need: Any, service: str | None, kind: str, named: str) -> None:
    found = chosen(need, service=service)
    assert (found.kind, found.service, found.token) == (kind, named, None)


def test_a_token_of_any_kind_of_credential_is_copied(token: Path) -> None:
    found = chosen({"kind": "any"})
    assert (found.kind, found.token) == ("token", str(token))


def test_another_configuration_or_token_has_another_folder(token: Path, place: Path) -> None:
    first = chosen()
    assert first == chosen()
    os.environ["BEARER_TOKEN_FILE"] = str(token.rename(place / "other"))
    assert chosen().folder != first.folder
    other = luggage.choose({"results": "else"}, TOKEN, service=None, apart=True)
    assert other.folder != first.folder


def test_a_copied_token_must_live_as_long_as_a_job(token: Path) -> None:
    luggage.check(chosen(), minutes=50)
    with pytest.raises(CredentialError, match="may run 90 min") as caught:
        luggage.check(chosen(), minutes=90)
    assert "pool.minutes" in str(caught.value) and token.read_text() not in str(caught.value)
    luggage.check(chosen(service="scitokens"), minutes=90)
    luggage.check(chosen(apart=False), minutes=90)


def test_a_token_in_the_environment_alone_is_refused(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEARER_TOKEN", token.read_text())
    monkeypatch.delenv("BEARER_TOKEN_FILE")
    with pytest.raises(CredentialError, match="put it into BEARER_TOKEN_FILE"):
        luggage.check(chosen(apart=False), minutes=1)


def unpacked(packed: luggage.Luggage, **more: str) -> tuple[list[str], dict[str, str]]:
    environment = {**packed.environment(), "_CONDOR_CREDS": "/creds", **more}
    return luggage.unpack(COMMAND, environment), environment


def test_a_job_uses_the_configuration_that_came_with_it(place: Path, token: Path) -> None:
    packed = chosen()
    luggage.pack(packed, {})
    command, environment = unpacked(packed, BEARER_TOKEN_FILE="/far/token", X509_CERT_DIR="/far")
    here = place / packed.folder
    assert command == [*COMMAND[:3], "--cores", "1", "--configfiles", f"{here}/config.yaml"]
    assert environment["BEARER_TOKEN_FILE"] == f"{here}/token"
    assert "X509_CERT_DIR" not in environment


def test_a_job_finds_the_pools_token_and_the_hosts_own_authorities(place: Path) -> None:
    _, environment = unpacked(chosen(service="scitokens"), X509_CERT_DIR=str(place))
    assert environment["BEARER_TOKEN_FILE"] == "/creds/scitokens.use"
    assert environment["X509_CERT_DIR"] == str(place)


def test_without_luggage_a_command_stays_as_it_is() -> None:
    environment: dict[str, str] = {}
    assert luggage.unpack(COMMAND, environment) == COMMAND and environment == {}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"lake": "embedded"}, "the lake 'embedded' are on this one alone"),
        ({"lake": "local"}, "the lake 'local' are on this one alone"),
        ({"lake": {**RUCIO, "read": {"prestage": "/mnt"}}}, "is for hosts that share a folder"),
        ({"lake": {**RUCIO, "read": {"schemes": ["file"]}}}, "are on this one alone"),
        ({"lake": "opendata", "inputs": "."}, "inputs: '.' is on this one alone"),
        ({"lake": "opendata", "results": "/tmp/x"}, "results: '/tmp/x' must be"),
        ({"lake": "opendata", "results": "../x"}, "results: '../x' must be"),
        ({"lake": "opendata", "results": "linked"}, "linked: HTCondor sends nothing"),
        ({"lake": "opendata"}, None),
        ({"lake": "rucio"}, None),
    ],
)
def test_what_cannot_travel_is_refused(place: Path, change: Any, problem: str | None) -> None:
    (place / "linked").symlink_to(place)
    repository = Path(__file__).parents[2] / "config/datasets.yaml"
    resolved = config.resolve({"datasets": str(repository), **change})
    wrong = list(apart_checks(resolved, "Snakefile", ["config/config.yaml"]))
    assert len(wrong) == bool(problem)
    assert not problem or problem in wrong[0]


def test_files_elsewhere_are_refused(place: Path) -> None:
    repository = Path(__file__).parents[2] / "config/datasets.yaml"
    resolved = config.resolve({"datasets": str(repository), "lake": "opendata"})
    with pytest.raises(config.ConfigError) as caught:
        config.require_apart(resolved, snakefile="/far/Snakefile", configfiles=["/far/mine.yaml"])
    assert len(caught.value.problems) == 2
    assert "/far: its code travels" in str(caught.value) and "/far/mine.yaml" in str(caught.value)


def test_the_log_of_an_earlier_run_is_put_away(place: Path) -> None:
    log = place / event_log.NAME
    log.write_text("one")
    event_log.put_away(place)
    event_log.put_away(place)
    (kept,) = place.glob("*.log")
    assert kept != log and kept.read_text() == "one"

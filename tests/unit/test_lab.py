"""The configuration of a lab: what Rucio's extension of JupyterLab is told, and what it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from nanolake.errors import LakeError
from nanolake.interactive import lab

RUCIO = """[client]
rucio_host = https://rucio.site
auth_host = https://auth.site
auth_type = {kind}
account = jdoe
username = jdoe
password = hush%100
"""


def lake(path: Path, kind: str = "userpass") -> dict[str, Any]:
    path.write_text(RUCIO.format(kind=kind))
    return {"name": "mine", "kind": "rucio", "rucio_config": str(path), "account": None}


def test_an_instance_is_as_the_extension_wants_it(tmp_path: Path) -> None:
    schema = pytest.importorskip("rucio_jupyterlab.config.schema")
    found = lab.settings(lake(tmp_path / "rucio.cfg"))
    validate(found["RucioConfig"]["instances"], schema.root)
    (one,) = found["RucioConfig"]["instances"]
    assert (one["rucio_base_url"], one["rucio_auth_url"]) == (
        "https://rucio.site", "https://auth.site",
    )  # fmt: skip
    assert found["RucioConfig"]["default_auth_type"] == "userpass"
    assert "hush" not in str(found)


def test_a_token_is_named_and_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "token"))
    (one,) = lab.settings(lake(tmp_path / "rucio.cfg", "oidc"))["RucioConfig"]["instances"]
    assert (one["oidc_auth"], one["oidc_file_name"]) == ("file", str(tmp_path / "token"))


def test_a_user_has_a_client_of_his_own(tmp_path: Path) -> None:
    lake(tmp_path / "rucio.cfg", "x509_proxy")
    own = lab.own_client(
        str(tmp_path / "rucio.cfg"), tmp_path / "own/rucio.cfg", token="/t", account="analyst"
    )
    assert own.stat().st_mode & 0o777 == 0o600
    client = lab.client_section({"kind": "rucio", "rucio_config": str(own), "account": None})
    assert (client["auth_type"], client["account"]) == ("oidc", "analyst")
    assert client["auth_token_file_path"] == "/t" and client["rucio_host"] == "https://rucio.site"


def test_a_lake_without_rucio_has_no_instance() -> None:
    assert lab.settings({"name": "local", "kind": "local"}) == {}


@pytest.mark.parametrize("content", ["", "[client]\nrucio_host = x\n"])
def test_a_rucio_cfg_that_says_too_little_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "rucio.cfg").write_text(content)
    with pytest.raises(LakeError, match="auth_host, auth_type"):
        lab.settings(
            {"name": "x", "kind": "rucio", "rucio_config": str(tmp_path / "rucio.cfg"),
             "account": None}
        )  # fmt: skip


def test_a_rucio_cfg_that_is_missing_is_named(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.cfg")
    with pytest.raises(LakeError, match="gone.cfg"):
        lab.settings({"name": "x", "kind": "rucio", "rucio_config": gone, "account": None})

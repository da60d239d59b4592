"""What goes wrong with a real lake: said clearly, and mended by running again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lakes import (
    FAST,
    ROOT,
    Script,
    account_of,
    actions,
    assert_whole,
    bytes_of,
    client_of,
    config_file,
    dataset_of,
    kill,
    make_files,
    no_secrets,  # noqa: F401  (a fixture)
    plain,
    publisher,
    refused,
    states,
    storage_element,
)
from testbed import lake as launcher
from testbed.lake import Lake

from nanolake.lake import client as client_module
from nanolake.lake import upload
from nanolake.lake.client import Did, connect


@pytest.fixture
def client(lake: Lake) -> Any:
    return client_of(lake)


def put(client: Any, files: list[dict[str, Any]], rse: str = FAST) -> dict[str, Any]:
    return upload.put(client, files, dataset=dataset_of(files), rse=rse)


def nothing_is_there(lake: Lake, files: list[dict[str, Any]]) -> bool:
    root = client_of(lake, "root")
    dids = [plain(file["did"]) for file in files]
    known = list(root.get_metadata_bulk(dids, plugin="DID_COLUMN"))
    return not known and not any(bytes_of(lake, file["did"]) for file in files)


# --- accounts ---------------------------------------------------------------------------------


def test_scope_of_another(lake: Lake, tmp_path: Path) -> None:
    stranger = account_of(lake, tmp_path / "etc", quota={FAST: 10**9})
    files = make_files(tmp_path, 2)
    with refused(dataset_of(files), "the account may not do this", "choose a scope"):
        put(stranger, files)
    assert nothing_is_there(lake, files)


def test_scope_that_does_not_exist(lake: Lake, client: Any, tmp_path: Path) -> None:
    files = make_files(tmp_path, 2, scope="user.nobody")
    with refused(dataset_of(files), "the scope user.nobody does not exist", "rucio scope list"):
        put(client, files)
    assert nothing_is_there(lake, files)


def test_no_quota(lake: Lake, tmp_path: Path) -> None:
    files = make_files(tmp_path, 2, scope="user.guest")
    guest = client_of(lake, "guest")
    with refused(f"the account guest has no quota on {FAST}", "ask for quota"):
        put(guest, files)
    assert nothing_is_there(lake, files)


def test_quota_exceeded_then_raised(lake: Lake, tmp_path: Path) -> None:
    poor = account_of(lake, tmp_path / "etc", quota={FAST: 50_000})
    files = make_files(tmp_path / "more", 3, scope=f"user.{poor.account}")
    with refused(f"quota on {FAST}: 60000 bytes needed, 50000 left", "ask for quota"):
        put(poor, files)
    assert nothing_is_there(lake, files)
    client_of(lake, "root").set_local_account_limit(poor.account, FAST, 60_001)
    assert actions(put(poor, files)) == ["uploaded"] * 3
    assert_whole(lake, poor, dataset_of(files), files)


def test_wrong_password(lake: Lake, tmp_path: Path) -> None:
    config = config_file(lake, tmp_path, "analyst", "wrong-password-of-mine")
    with refused("the lake", "the server refuses the credentials", "check account") as caught:
        connect(rucio_config=str(config))
    assert "wrong-password-of-mine" not in str(caught.value)


def test_account_that_is_not_ones_own(lake: Lake) -> None:
    client_of(lake, "guest")
    with refused("its token is that of the account guest, not of root", "auth_token_file_path"):
        connect(rucio_config=str(lake.config("guest")), account="root")


def test_password_is_in_no_log(lake: Lake) -> None:
    known = client_of(lake)  # its password is one that must not be said
    lake.config("analyst").with_name("token").unlink()
    code = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
from nanolake.lake.client import connect
print("account", connect(rucio_config=sys.stdin.readline().strip()).account)
"""
    with Script(code) as script:
        script.tell(str(lake.config("analyst")))
        code, said = script.rest()
    assert code == 0 and f"account {known.account}" in said and "DEBUG" in said


# --- configuration ----------------------------------------------------------------------------


def test_missing_configuration(tmp_path: Path) -> None:
    with refused(f"{tmp_path}/rucio.cfg", "no such file", "start the embedded lake"):
        connect(rucio_config=str(tmp_path / "rucio.cfg"))


def test_no_configuration_at_all(tmp_path: Path) -> None:
    code = "from nanolake.lake.client import connect; connect()"
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "PYTHONPATH": f"{ROOT}/src"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, text=True, capture_output=True, cwd=tmp_path
    )
    assert "LakeError: the lake: there is no configuration of a Rucio client" in ended.stderr
    assert "set RUCIO_CONFIG to a rucio.cfg" in ended.stderr


# --- storage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("expression", ["QOS=NOWHERE", "NO-SUCH-RSE", "((QOS"])
def test_unknown_rse_expression(lake: Lake, client: Any, tmp_path: Path, expression: str) -> None:
    files = make_files(tmp_path, 1)
    with refused(f"RSEs {expression}", "no RSE matches the expression", "rucio rse list"):
        put(client, files, expression)
    assert nothing_is_there(lake, files)


def test_rse_blocked_for_writing(lake: Lake, client: Any, tmp_path: Path) -> None:
    root, files = client_of(lake, "root"), make_files(tmp_path, 2)
    with storage_element(lake, tmp_path / "rse") as rse:
        root.update_rse(rse, {"availability_write": False})
        with refused(f"{rse} is blocked for writing", "wait until an RSE may be written to"):
            put(client, files, rse)
        assert nothing_is_there(lake, files)
        root.update_rse(rse, {"availability_write": True})
        assert actions(put(client, files, rse)) == ["uploaded"] * 2
        assert_whole(lake, client, dataset_of(files), files, rse)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_rse_full_then_extended(lake: Lake, client: Any, tmp_path: Path, small_disk: Path) -> None:
    files = make_files(tmp_path, 10)
    with storage_element(lake, small_disk) as rse:
        with refused(f"on {rse}", "the storage is full", "free space on the RSE"):
            put(client, files, rse)
        names = [path.name for path in small_disk.rglob("*") if path.is_file()]
        assert 0 < len(names) < 6
        assert not [name for name in names if name.endswith("upload")]
        subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
        assert sorted(set(actions(put(client, files, rse)))) == ["present", "repaired"]
        assert_whole(lake, client, dataset_of(files), files, rse)


def test_storage_that_is_gone(lake: Lake, client: Any, tmp_path: Path) -> None:
    """A mount that is lost: a file where the folder of the RSE was."""
    files, folder = make_files(tmp_path, 2), tmp_path / "rse"
    folder.write_text("no folder")
    with storage_element(lake, folder) as rse:
        with refused(f"on {rse}", "the storage refuses", "check that the RSE is up"):
            put(client, files, rse)
        folder.unlink()
        put(client, files, rse)
        assert_whole(lake, client, dataset_of(files), files, rse)
        shutil.rmtree(folder)


# --- the server -------------------------------------------------------------------------------


def test_no_server(lake: Lake, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = config_file(lake, tmp_path, "analyst", "x", f"http://127.0.0.1:{port}")
    start = time.monotonic()
    with refused("the lake", "the server does not answer", "check rucio_host"):
        connect(rucio_config=str(config))
    assert time.monotonic() - start < 10


def test_silent_server(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_FIRST", (1, 1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        start = time.monotonic()
        with refused("the lake", "the server does not answer in time", "run again later"):
            connect(rucio_config=str(config_file(lake, tmp_path, "analyst", "x", url)))
    assert time.monotonic() - start < 10


def test_server_that_is_no_rucio(lake: Lake, tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
    ) as server:
        assert server.stdout
        port = server.stdout.readline().split("port ")[1].split()[0]
        config = config_file(lake, tmp_path / "etc", "analyst", "x", f"http://127.0.0.1:{port}")
        try:
            with refused("the lake", "rucio_host"):
                connect(rucio_config=str(config))
        finally:
            server.kill()


@pytest.fixture(scope="module")
def mortal(services_folder: Path) -> Iterator[Lake]:
    """A lake that tests may kill."""
    yield launcher.up(services_folder / "killed")
    launcher.down(services_folder / "killed", delete=True)


def test_lake_killed_in_the_middle_of_50_uploads(mortal: Lake, tmp_path: Path) -> None:
    files = make_files(tmp_path, 50, size=1_000_000)
    job = {"files": files, "dataset": dataset_of(files), "rse": "QOS=FAST"}
    with publisher(mortal, **job) as victim:
        victim.hear("ready")
        victim.tell()
        victim.hear("uploaded")
        kill(mortal)
        code, said = victim.rest()
    assert code != 0
    assert "LakeError: " in said and "the server does not answer" in said
    assert "run again when it is back" in said

    lake = launcher.up(mortal.folder)
    client = client_of(lake)
    halfway = {file["did"]: states(client, file["did"]) for file in files}
    done = [did for did, there in halfway.items() if there.get(FAST) == "AVAILABLE"]
    assert 0 < len(done) < 50
    again = upload.put(client, files, dataset=dataset_of(files), rse="QOS=FAST")
    assert actions(again).count("present") >= len(done)
    assert_whole(lake, client, dataset_of(files), files)
    assert len(list(client.list_dids(Did.parse(files[0]["did"]).scope, {}, did_type="file"))) == 50

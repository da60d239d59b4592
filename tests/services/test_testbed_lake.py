"""The embedded lake: its life and death, its secrets, and that it keeps what it is given."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from lake_clients import result_of, start_client
from testbed import definition, processes
from testbed.errors import TestbedError
from testbed.lake import Lake, down, find, programs, up

ROOT = Path(__file__).parents[2]

UPLOAD = """
path, name, rse = sys.argv[1:]
UploadClient(client).upload([dict(path=path, rse=rse, did_scope="cms", did_name=name,
                                  register_after_upload=True)])
"""


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def of_lake(folder: Path) -> list[psutil.Process]:
    known = definition.load(folder)
    assert known is not None
    return processes.of_service(folder, known)


def files(lake: Lake, rse: str) -> list[Path]:
    return [path for path in (lake.folder / "rse" / rse).rglob("*") if path.is_file()]


# --- life and death ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mortal(services_folder: Path, as_client: Callable[..., Any]) -> Iterator[Path]:
    """The folder of a lake that tests may kill; it holds one dataset that must survive."""
    folder = services_folder / "mortal"
    as_client(up(folder), "analyst", 'client.add_dataset("cms", "survivor"); give(None)')
    yield folder
    down(folder, delete=True)


def survives(lake: Lake, as_client: Callable[..., Any]) -> bool:
    script = 'give(client.get_did("cms", "survivor")["type"])'
    return bool(as_client(lake, "analyst", script) == "DATASET")


def test_running_lake_is_found_and_reused(lake: Lake) -> None:
    start = time.monotonic()
    again = up(lake.folder)
    assert time.monotonic() - start < 2
    assert again == lake._replace(started=False)
    assert find(lake.folder) == again
    assert {name for name, _, _ in programs(lake.folder)} == {"server", "daemons"}


def test_killed_server_is_restarted(mortal: Path, as_client: Callable[..., Any]) -> None:
    lake = up(mortal)
    pids = {name: pid for name, _, pid in programs(mortal)}
    os.kill(pids["server"], 9)
    os.kill(pids["daemons"], 9)
    wait_until(lambda: not psutil.pid_exists(pids["server"]))
    wait_until(lambda: find(mortal))
    wait_until(lambda: {state for _, state, _ in programs(mortal)} == {"RUNNING"})
    assert up(mortal).pid == lake.pid
    assert survives(lake, as_client)


def test_killed_supervisor_leaves_orphans_that_up_replaces(
    mortal: Path, as_client: Callable[..., Any]
) -> None:
    lake = up(mortal)
    orphans = [process for process in of_lake(mortal) if process.pid != lake.pid]
    os.kill(lake.pid, 9)
    wait_until(lambda: not psutil.pid_exists(lake.pid))
    assert orphans and all(process.is_running() for process in orphans)
    assert find(mortal) is None
    again = up(mortal)
    assert again.started and again.url == lake.url
    assert not processes.outlive(orphans, 0)
    assert survives(again, as_client)


def test_note_of_another_boot_is_not_believed(mortal: Path, as_client: Callable[..., Any]) -> None:
    lake = up(mortal)
    for process in of_lake(mortal):
        process.kill()
    wait_until(lambda: not of_lake(mortal))
    bystander = subprocess.Popen(["sleep", "60"])
    # As after a reboot: everything is as the lake left it, and its pid is somebody else's.
    (mortal / "run/supervisor.json").write_text(
        json.dumps({"pid": bystander.pid, "created": time.time()})
    )
    again = up(mortal)
    assert again.started and again.pid not in (lake.pid, bystander.pid)
    assert survives(again, as_client)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_two_ups_at_once_make_one_lake_and_a_taken_port_is_left(
    mortal: Path, as_client: Callable[..., Any]
) -> None:
    port = int(up(mortal).url.rsplit(":", 1)[1])
    assert down(mortal)
    script = "import sys; from pathlib import Path; from testbed.lake import up; lake = up("
    script += "Path(sys.argv[1])); print(lake.started, lake.pid, lake.url)"
    with socket.create_server(("127.0.0.1", port)):
        ups = [
            subprocess.Popen([sys.executable, "-c", script, mortal], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE)
            for _ in range(2)
        ]  # fmt: skip
        answers = sorted(one.communicate()[0].split() for one in ups)
    assert [answer[0] for answer in answers] == ["False", "True"]
    assert answers[0][1:] == answers[1][1:]
    assert not answers[0][2].endswith(f":{port}")
    assert survives(up(mortal), as_client)


def test_down_leaves_data_and_nothing_else(mortal: Path) -> None:
    lake = up(mortal)
    assert down(mortal)
    assert of_lake(mortal) == []
    assert sorted(path.name for path in mortal.iterdir()) == ["clients", "db", "etc", "log", "rse"]
    assert not any(stat.S_ISSOCK(path.stat().st_mode) for path in mortal.rglob("*"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(lake.url.rsplit(":", 1)[1])))
    assert find(mortal) is None
    assert not down(mortal)


def test_folder_that_is_no_lake_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(TestbedError, match="not a lake"):
        up(tmp_path)
    with pytest.raises(TestbedError, match="not a lake"):
        down(tmp_path, delete=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_lake_keeps_its_database(lake: Lake) -> None:
    with pytest.raises(TestbedError, match="has the database sqlite"):
        up(lake.folder, database="postgresql")


def test_command_line(lake: Lake) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "testbed.cli", *arguments, "--folder", str(lake.folder)]
        return subprocess.run(command, cwd=ROOT, text=True, capture_output=True)

    assert f"export RUCIO_CONFIG={lake.config('analyst')}" in run("up", "lake").stdout
    assert lake.url in run("status").stdout
    wrong = run("up", "lake", "--database", "postgresql")
    assert wrong.returncode == 1 and "remedy" in wrong.stderr and "Traceback" not in wrong.stderr


# --- secrets and doors ------------------------------------------------------------------------


def test_secrets_are_private(lake: Lake, as_client: Callable[..., Any]) -> None:
    for account in ("root", "analyst", "guest"):
        as_client(lake, account, "give(client.whoami()['account'])")
        token = lake.config(account).with_name("token")
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
    for name in ("etc", "clients", "db", "log"):
        assert stat.S_IMODE((lake.folder / name).stat().st_mode) == 0o700
    for path in [*lake.folder.glob("etc/*"), *lake.folder.glob("clients/*/rucio.cfg")]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    known = definition.load(lake.folder)
    assert known is not None
    secrets = [known.secret, *(one["password"] for one in known.accounts.values())]
    assert len(set(secrets)) == 4
    lines = [
        " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    ]
    logs = [path.read_text() for path in lake.folder.glob("log/*")]
    environments = ["\n".join(process.environ().values()) for process in of_lake(lake.folder)]
    for text in [*lines, *logs, *environments]:
        assert not any(secret in text for secret in secrets)


@pytest.mark.parametrize("which", ["lake", "postgresql_lake"])
def test_only_the_port_on_loopback_is_open(which: str, request: pytest.FixtureRequest) -> None:
    lake: Lake = request.getfixturevalue(which)
    family = [*of_lake(lake.folder)]
    family += [child for process in family for child in process.children(recursive=True)]
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", int(lake.url.rsplit(":", 1)[1]))}


# --- what it is for ---------------------------------------------------------------------------


def test_storage_elements_have_qualities(lake: Lake, as_client: Callable[..., Any]) -> None:
    script = """
    give({qos: [one["rse"] for one in client.list_rses(f"QOS={qos}")]
          for qos in ("FAST", "CHEAP-ANALYSIS")})
    """
    assert as_client(lake, "guest", script.strip()) == {
        "FAST": ["LAPTOP-FAST"],
        "CHEAP-ANALYSIS": ["LAPTOP-CHEAP"],
    }


@pytest.mark.parametrize("which", ["lake", "postgresql_lake"])
def test_rules_move_bytes_and_expiry_deletes_them(
    which: str, request: pytest.FixtureRequest, tmp_path: Path, as_client: Callable[..., Any]
) -> None:
    lake: Lake = request.getfixturevalue(which)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_000))
    script = (
        UPLOAD
        + """
rule, = client.add_replication_rule([{"scope": "cms", "name": name}], 1, "QOS=CHEAP-ANALYSIS")
until(lambda: client.get_replication_rule(rule)["state"] == "OK")
give(list(client.list_replicas([{"scope": "cms", "name": name}]))[0]["states"])
"""
    )
    states = as_client(lake, "analyst", script, str(source), "moved", "LAPTOP-FAST")
    assert states == {"LAPTOP-FAST": "AVAILABLE", "LAPTOP-CHEAP": "AVAILABLE"}
    (copy,) = [path for path in files(lake, "LAPTOP-CHEAP") if path.name == "moved"]
    assert copy.read_bytes() == source.read_bytes()
    expire = """
for rule in list(client.list_did_rules("cms", "moved")):
    client.update_replication_rule(rule["id"], {"lifetime": 0})
until(lambda: not list(client.list_replicas([{"scope": "cms", "name": "moved"}])))
give(None)
"""
    as_client(lake, "analyst", expire)
    left = [*files(lake, "LAPTOP-FAST"), *files(lake, "LAPTOP-CHEAP")]
    assert "moved" not in [path.name for path in left]


def test_corrupt_bytes_do_not_travel(
    lake: Lake, tmp_path: Path, as_client: Callable[..., Any]
) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(10_000))
    script = UPLOAD + "give(None)"
    as_client(lake, "analyst", script, str(source), "corrupt", "LAPTOP-FAST")
    (stored,) = [path for path in files(lake, "LAPTOP-FAST") if path.name == "corrupt"]
    stored.write_bytes(stored.read_bytes()[:-1] + b"?")
    script = """
rule, = client.add_replication_rule([{"scope": "cms", "name": "corrupt"}], 1, "LAPTOP-CHEAP")
until(lambda: client.get_replication_rule(rule)["error"])
give(client.get_replication_rule(rule)["error"])
client.delete_replication_rule(rule)
"""
    assert "the catalogue says" in as_client(lake, "analyst", script)
    assert "corrupt" not in [path.name.strip(".").split(".")[0] for path in
                             files(lake, "LAPTOP-CHEAP")]  # fmt: skip


def test_accounts_may_do_what_is_theirs(lake: Lake, as_client: Callable[..., Any]) -> None:
    script = """
def refused(action):
    try: action()
    except (exception.AccessDenied, exception.InsufficientAccountLimit) as error:
        return type(error).__name__
    return "allowed"
scope, other = sys.argv[1:]
replica = lambda scope: client.add_replicas("LAPTOP-FAST", [
    {"scope": scope, "name": "mine", "bytes": 1, "adler32": "00000001"}])
give([refused(lambda: client.add_dataset(scope, "d")), refused(lambda: replica(scope)),
      refused(lambda: client.add_dataset(other, "d")), refused(lambda: replica(other)),
      refused(lambda: client.add_rse("MINE")),
      refused(lambda: client.add_replication_rule([{"scope": scope, "name": "d"}], 1,
                                                  "LAPTOP-CHEAP", account="root"))])
"""
    no = "AccessDenied"
    assert as_client(lake, "analyst", script, "user.analyst", "user.guest") == [
        "allowed", "allowed", no, no, no, no,
    ]  # fmt: skip
    assert as_client(lake, "guest", script, "user.guest", "cms") == [
        "allowed", no, no, no, no, no,
    ]  # fmt: skip


def test_metadata_can_be_kept_and_searched(lake: Lake, as_client: Callable[..., Any]) -> None:
    script = """
client.add_replicas("LAPTOP-FAST", [{"scope": "cms", "name": "counted", "bytes": 1,
                                     "adler32": "00000001"}])
client.set_metadata("cms", "counted", "events", 42)
client.add_dataset("cms", "described")
client.set_metadata_bulk("cms", "described", {"luminosity": 11.5, "era": "2012", "open": True})
found = lambda **wanted: list(client.list_dids("cms", [wanted], did_type="dataset"))
give([client.get_metadata("cms", "counted")["events"],
      client.get_metadata("cms", "described", plugin="JSON"),
      found(era="2012"), found(**{"luminosity.gt": 11}), found(era="2011"), found(open="true")])
"""
    events, metadata, *found = as_client(lake, "analyst", script)
    assert events == 42
    assert metadata == {"luminosity": 11.5, "era": "2012", "open": True}
    assert found == [["described"], ["described"], [], ["described"]]


@pytest.mark.parametrize("which", ["lake", "postgresql_lake"])
def test_concurrent_writers_lose_nothing(
    which: str, request: pytest.FixtureRequest, as_client: Callable[..., Any]
) -> None:
    lake: Lake = request.getfixturevalue(which)
    as_client(lake, "analyst", 'client.add_dataset("cms", "crowd"); give(None)')
    script = """
for number in range(20):
    did = {"scope": "cms", "name": f"crowd-{sys.argv[1]}-{number}"}
    client.add_replicas("LAPTOP-FAST", [{**did, "bytes": number, "adler32": "00000001"}])
    client.attach_dids("cms", "crowd", [did])
give(None)
"""
    writers = [start_client(lake, "analyst", script, str(number)) for number in range(8)]
    for writer in writers:
        result_of(writer)
    script = """
content = [one["name"] for one in client.list_content("cms", "crowd")]
replicas = [one["name"] for one in client.list_replicas([{"scope": "cms", "name": "crowd"}])]
give([sorted(content), sorted(replicas)])
"""
    everything = sorted(f"crowd-{one}-{number}" for one in range(8) for number in range(20))
    assert as_client(lake, "analyst", script) == [everything, everything]

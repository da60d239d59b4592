"""What the tests of the lake's client share: clients, files, and looks into the real lake."""

from __future__ import annotations

import functools
import json
import os
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from testbed import definition, processes
from testbed.lake import Lake

from nanolake import analyses, engine, skim, sources
from nanolake import catalogue as local
from nanolake import plan as planning
from nanolake.errors import LakeError
from nanolake.generate import generate_file
from nanolake.lake import catalogue
from nanolake.lake.client import Did, connect

ROOT = Path(__file__).parents[2]
FAST, CHEAP = "LAPTOP-FAST", "LAPTOP-CHEAP"

# What was said during the session; no password may be in it.
SAID: list[str] = []
SECRETS: set[str] = set()


@pytest.fixture(autouse=True)
def no_secrets(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[None]:
    """Nothing that a test prints or writes, and no error that it provokes, holds a password."""
    yield
    SAID.extend(capfd.readouterr())
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".cfg"]
    SAID.extend(path.read_text(errors="replace") for path in written if path.stat().st_size < 10**7)
    told = [secret for secret in SECRETS if any(secret in text for text in SAID)]
    SAID.clear()
    assert not told, "a password was printed"


def client_of(lake: Lake, account: str = "analyst") -> Any:
    """A client of ours, made as the workflow makes it."""
    known = definition.load(lake.folder)
    assert known is not None
    SECRETS.update(one["password"] for one in known.accounts.values())
    return connect(rucio_config=str(lake.config(account)))


def account_of(lake: Lake, folder: Path, *, quota: dict[str, int] | None = None) -> Any:
    """A client of a new account, which owns the scope user.<account> and has some quota."""
    root, name = client_of(lake, "root"), f"u{uuid.uuid4().hex[:8]}"
    password = secrets.token_hex(20)
    SECRETS.add(password)
    root.add_account(name, "USER", f"{name}@localhost")
    root.add_identity(name, name, "USERPASS", f"{name}@localhost", password=password)
    root.add_scope(name, f"user.{name}")
    for rse, size in (quota or {}).items():
        root.set_local_account_limit(name, rse, size)
    return connect(rucio_config=str(config_file(lake, folder, name, password)))


def config_file(
    lake: Lake, folder: Path, account: str, password: str, url: str | None = None
) -> Path:
    """A rucio.cfg of an account in a folder of its own, token included."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{account}.cfg"
    lines = {
        "rucio_host": url or lake.url,
        "auth_host": url or lake.url,
        "auth_type": "userpass",
        "account": account,
        "username": account,
        "password": password,
        "auth_token_file_path": folder / f"{account}.token",
    }
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
        stream.write("[client]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()))
    return path


@contextmanager
def storage_element(lake: Lake, folder: Path) -> Iterator[str]:
    """An RSE of its own, in a folder, on which the analyst has quota; its name."""
    root, rse = client_of(lake, "root"), f"TEST-{uuid.uuid4().hex[:8].upper()}"
    every_way = {
        "wan": {"read": 1, "write": 1, "delete": 1},
        "lan": {"read": 1, "write": 1, "delete": 1},
    }
    root.add_rse(rse)
    protocol = {"scheme": "file", "hostname": "localhost", "port": 0, "prefix": f"{folder}/",
                "impl": "rucio.rse.protocols.posix.Default", "domains": every_way}  # fmt: skip
    root.add_protocol(rse, protocol)
    root.set_local_account_limit("analyst", rse, 10**9)
    yield rse
    # It stays in the lake, which is thrown away: Rucio deletes none that was not emptied before.
    root.update_rse(rse, {"availability_write": False})


def make_files(
    folder: Path, count: int, *, scope: str = "user.analyst", size: int = 20_000, name: str = ""
) -> list[dict[str, Any]]:
    """Files of random bytes with names that nobody has used: [{path, did, events}]."""
    name = name or uuid.uuid4().hex[:8]
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        path = folder / f"{name}.{number}"
        path.write_bytes(os.urandom(size))
        rows.append({"path": str(path), "did": f"{scope}:{path.name}", "events": number})
    return rows


def dataset_of(files: Sequence[dict[str, Any]]) -> str:
    """The DID of a dataset for these files."""
    return files[0]["did"].rsplit(".", 1)[0] + ".dataset"


def plain(did: str) -> dict[str, str]:
    """A DID as Rucio's client takes it."""
    return Did.parse(did).plain()


def states(client: Any, did: str) -> dict[str, str]:
    """RSE to state of the replicas of one file."""
    rows = list(client.list_replicas([plain(did)], all_states=True))
    return dict(rows[0]["states"]) if rows else {}


def place(client: Any, did: str, rse: str = FAST) -> Path:
    """Where an RSE keeps, or would keep, a file."""
    (pfn,) = client.lfns2pfns(rse, [did]).values()
    return Path(sources.local_path(pfn))


def bytes_of(lake: Lake, did: str) -> list[Path]:
    """Every file on the storage of a lake that has to do with a file or the files of a name."""
    name = did.partition(":")[2]
    found = (lake.folder / "rse").rglob(f"*{name}*")
    return sorted(path for path in found if path.is_file())


def assert_whole(
    lake: Lake, client: Any, dataset: str, files: Sequence[dict[str, Any]], rse: str = FAST
) -> None:
    """A dataset holds these files, once each: attached, registered, on storage; with one rule."""
    content = list(client.list_content(*Did.parse(dataset)))
    rows = list(client.list_replicas([plain(dataset)], all_states=True))
    expected = {file["did"]: sources.stamp(file["path"]) for file in files}
    for found in (content, rows):
        assert len(found) == len(expected)
        told = {
            f"{row['scope']}:{row['name']}": {key: row[key] for key in ("bytes", "adler32")}
            for row in found
        }
        assert told == expected
    for row in rows:
        assert row["states"][rse] == "AVAILABLE"
        path = Path(sources.local_path(row["rses"][rse][0]))
        assert sources.stamp(path) == expected[f"{row['scope']}:{row['name']}"]
    assert not [
        path for file in files for path in bytes_of(lake, file["did"]) if "upload" in path.name
    ]
    assert len(list(client.list_did_rules(*Did.parse(dataset)))) == 1


def actions(receipt: dict[str, Any]) -> list[str]:
    """What was done with each file."""
    return [file["action"] for file in receipt["files"]]


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait for a condition; its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)
    return value


@contextmanager
def refused(*words: str, kind: type[Exception] = LakeError) -> Iterator[Any]:
    """The block must end with an error of ours that says these words, and what to do."""
    with pytest.raises(kind) as caught:
        yield caught
    message = str(caught.value)
    SAID.append(message)
    assert "\n  remedy:  " in message
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


class Meanwhile:
    """A client before one of whose calls something else happens, once.

    Args:
        client: The real one, which does everything.
        call: Name of the call.
        action: What happens before it.
    """

    def __init__(self, client: Any, call: str, action: Callable[[], Any]) -> None:
        self._client, self._call, self._action = client, call, action

    def __getattr__(self, name: str) -> Any:
        if name == self._call:
            self._call = ""
            self._action()
        return getattr(self._client, name)


# --- an analysis ------------------------------------------------------------------------------

SAMPLE = "Run2012BC_DoubleMuParked_Muons"
ENTRY: dict[str, Any] = {
    "kind": "data",
    "stream": "DoubleMuParked",
    "luminosity": 11580,
    "channels": ["dimuon"],
    "processes": {"dimuon": "all"},
    "full_events": 61540413,
    "published": [],
    "files": [],
}
STREAMS = {"dimuon": "DoubleMuParked"}


@functools.cache
def program() -> str:
    """The engine of the dimuon analysis."""
    return str(engine.obtain("dimuon", analyses.load("dimuon").SELECTIONS[0]))


def events_files(folder: Path, *events: int, scope: str = "cms") -> list[dict[str, Any]]:
    """Real ROOT files with so many events each: [{path, did}]; nobody says how many they hold."""
    name = uuid.uuid4().hex[:8]
    rows = []
    for number, count in enumerate(events):
        path = folder / f"{name}.{number}.root"
        generate_file(SAMPLE, path, events=count, seed=uuid.uuid4().int % 2**32)
        rows.append({"path": str(path), "did": f"{scope}:{path.name}"})
    return rows


class Books:
    """The files that a catalogue is written to, and the catalogue's function with its defaults."""

    def __init__(self, lake: Lake, folder: Path, dataset: str = "", account: str = "analyst"):
        self.folder, self.dataset = folder, dataset
        self.client = {"rucio_config": str(lake.config(account)), "account": None}

    def make(self, **options: Any) -> dict[str, Any]:
        """Make the catalogue; the lock."""
        names = ("catalogue.json", "inputs.lock.json", "replicas.json")
        defaults: dict[str, Any] = {
            "analysis": "dimuon",
            "entries": {SAMPLE: ENTRY},
            "streams": STREAMS,
            "lake": "embedded",
            "receipts": [],
            "datasets": {SAMPLE: self.dataset} if self.dataset else {},
            "client": self.client,
            "rse": FAST,
            "schemes": ["file"],
            "caches": {},
        }
        paths = [str(self.folder / name) for name in names]
        catalogue.run(program(), *paths, **defaults | options)
        return self.read("inputs.lock")

    def read(self, name: str) -> dict[str, Any]:
        """One of the files."""
        return dict(local.read(self.folder / f"{name}.json"))

    def skim(self, access: str) -> dict[str, Any]:
        """Run the catalogue's one unit; its ledger entry."""
        plan = planning.build(
            self.read("catalogue"), events_per_unit=10**6, access={SAMPLE: access}
        )
        local.write(self.folder / "plan.json", plan)
        (unit,) = plan["samples"][SAMPLE]["units"]
        ledger: dict[str, Any] = skim.run(
            program(),
            str(self.folder / "plan.json"),
            str(self.folder / "replicas.json"),
            str(self.folder / "events.root"),
            str(self.folder / "ledger.json"),
            sample=SAMPLE,
            unit=unit["name"],
            scratch=str(self.folder / "scratch"),
        )
        return ledger


# --- processes --------------------------------------------------------------------------------

_PUBLISHER = """
import json, sys
from nanolake.lake import upload
from nanolake.lake.client import connect
orders = sys.stdin
job = json.loads(orders.readline())
client = connect(rucio_config=job.pop("rucio_config"))
print("ready", flush=True)
orders.readline()
print(json.dumps(upload.put(client, **job)), flush=True)
"""


class Script:
    """A Python process of ours, which gets lines and says lines; ended with the block."""

    def __init__(self, code: str) -> None:
        environment = {"PATH": os.defpath, "PYTHONPATH": f"{ROOT}/src:{ROOT}", "TZ": "UTC"}
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", code], env=environment, text=True, cwd="/",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def tell(self, line: str = "") -> None:
        """Send a line."""
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self, begin: str = "") -> str:
        """The next line that begins so."""
        assert self.process.stdout
        heard = []
        for line in self.process.stdout:
            SAID.append(line)
            if line.startswith(begin):
                return line.rstrip("\n")
            heard.append(line)
        raise AssertionError(f"it ended without {begin!r}: {''.join(heard)[-3000:]}")

    def rest(self) -> tuple[int, str]:
        """Its exit code and everything else it says."""
        text, _ = self.process.communicate(timeout=60)
        SAID.append(text)
        return self.process.returncode, text


def publisher(lake: Lake, **job: Any) -> Script:
    """A process that has connected and will call `upload.put` when told."""
    script = Script(_PUBLISHER)
    script.tell(json.dumps({"rucio_config": str(lake.config("analyst")), **job}))
    return script


def kill(lake: Lake) -> None:
    """Kill everything of a lake at once, its supervisor first."""
    known = definition.load(lake.folder)
    assert known is not None
    family = processes.of_service(lake.folder, known)
    for process in sorted(family, key=lambda process: process.pid != lake.pid):
        process.kill()
    psutil.wait_procs(family, timeout=10)

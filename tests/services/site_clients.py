"""Clients of a site's servers: each a process of its own, as credentials are a process's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import requests
from testbed.xrootd import Site

from nanolake.sources import FAIL_FAST

IMPATIENT = {"XRD_CONNECTIONWINDOW": "1", "XRD_CONNECTIONRETRY": "1"}  # where nobody will answer
_BINDINGS = """
import json, sys
from XRootD.client import File
answers = []
for url in sys.argv[1:]:
    file, data = File(), b""
    status, _ = file.open(url)
    if status.ok:
        status, data = file.read()
        file.close()
    answers.append([bool(status.ok), status.message, (data or b"").hex()])
print("\\n" + json.dumps(answers))
"""
# ROOT's own client, through TFile; the files are not of ROOT's format, so all that counts is bytes.
_ROOT = """
import json, numpy, sys, ROOT
ROOT.gEnv.SetValue("Path.ForceRemote", 1)
ROOT.gInterpreter.Declare('''
std::vector<unsigned char> whole(const std::string &url) {
   std::unique_ptr<TFile> file{TFile::Open((url + "?filetype=raw").c_str())};
   if (!file || file->IsZombie()) return {};
   std::vector<unsigned char> data(file->GetSize());
   if (file->ReadBuffer(reinterpret_cast<char *>(data.data()), data.size())) return {};
   return data;
}''')
answers = []
for url in sys.argv[1:]:
    found = ROOT.whole(url)
    data = numpy.asarray(found).tobytes()
    answers.append([bool(data), "", data.hex()])
print("\\n" + json.dumps(answers))
"""


class Answer(NamedTuple):
    """What a client got: whether it could read, what it was told, the bytes."""

    ok: bool
    said: str
    data: bytes


def read(environment: dict[str, str], *urls: str, script: str = _BINDINGS) -> list[Answer]:
    """Read whole files over root:// with XRootD's own client."""
    command = [sys.executable, "-c", script, *urls]
    ended = subprocess.run(
        command, env=FAIL_FAST | environment, capture_output=True, text=True, timeout=120
    )
    lines = ended.stdout.splitlines()
    assert ended.returncode == 0 and lines, ended.stdout + ended.stderr
    return [Answer(ok, said, bytes.fromhex(data)) for ok, said, data in json.loads(lines[-1])]


def read_with_root(environment: dict[str, str], *urls: str) -> list[Answer]:
    """Read whole files over root:// with the client inside ROOT."""
    return read(environment, *urls, script=_ROOT)


def session(site: Site, *, token: str = "", proxy: Path | None = None) -> requests.Session:
    """A client of https:// with a token, a proxy, or nothing."""
    made = requests.Session()
    made.trust_env = False
    made.verify = str(site.authorities)
    if token:
        made.headers["Authorization"] = f"Bearer {token}"
    if proxy:
        made.cert = str(proxy)
    return made


def get(client: requests.Session, url: str) -> Answer:
    """Read a whole file over https://."""
    try:
        answer = client.get(url, timeout=30)
    except requests.RequestException as error:
        return Answer(False, str(error), b"")
    return Answer(answer.ok, answer.text if not answer.ok else "", answer.content)


def with_token(site: Site, folder: Path, token: str, mode: int = 0o600) -> dict[str, str]:
    """The environment of somebody who has this token and nothing else."""
    path = folder / "token"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
        stream.write(token)
    path.chmod(mode)
    return site.environment() | {"BEARER_TOKEN_FILE": str(path)}


def with_proxy(site: Site, path: Path) -> dict[str, str]:
    """The environment of somebody who has this proxy and nothing else."""
    return site.environment() | {"X509_USER_PROXY": str(path)}


def store(site: Site, origins: Sequence[str], path: str, data: bytes) -> None:
    """Put a file into the storage of origins."""
    for origin in origins:
        place = site.storage(origin) / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def accesses(site: Site, cache: str, path: str) -> list[dict[str, Any]]:
    """What a cache has said of a file, in the order in which it was closed."""
    lines = site.monitoring.read_text().splitlines() if site.monitoring.exists() else []
    found = [json.loads(line) for line in lines]
    return [one for one in found if one["cache"] == cache and one.get("lfn") == path]


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait until something is true, and give it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)
    return found

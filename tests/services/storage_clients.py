"""Clients of a site's lake, each a process of its own: XRootD's library is not loaded beside ROOT.

A client is a process that gets its orders as one line of JSON; what it gives is the last line that
it says. An error of ours is given as {"error": its class, "said": its message}.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from testbed.xrootd import Site, lake

ROOT = Path(__file__).parents[2]
# RSE to its origin.
ORIGINS = {name: origin for name, (origin, _) in lake.RSES.items()}

_FRAME = """
import json, sys
from pathlib import Path
from nanolake import sources, staging
from nanolake.errors import NanolakeError
from nanolake.lake import content, rules, storage, upload
from nanolake.lake.client import connect
job = json.loads(sys.stdin.readline())
def client(): return connect(rucio_config=job["rucio_config"])
def give(value): print(json.dumps(value), flush=True)
print("ready", flush=True)
sys.stdin.readline()
try:
{code}
except NanolakeError as error:
    give({{"error": type(error).__name__, "said": str(error)}})
"""


class Client:
    """A process of ours in the environment of a user; ended with the block.

    Args:
        site: The site, whose lake runs.
        code: What it does, with `job`, `client()` and `give`.
        user: Of the site and of its lake.
        kind: Credential that it has: token, x509 or any.
        job: What it is told.
    """

    def __init__(
        self, site: Site, code: str, *, user: str = "analyst", kind: str = "token", **job: Any
    ) -> None:
        environment = site.environment(user, kind=kind) | {"PYTHONPATH": f"{ROOT}/src:{ROOT}"}
        text = _FRAME.format(code=textwrap.indent(textwrap.dedent(code), "    "))
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", text], env=environment, text=True, cwd="/",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        config = str(lake.folder(site) / "clients" / user / "rucio.cfg")
        self._tell(json.dumps({"rucio_config": config, **job}))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def _tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def start(self) -> None:
        """Let it begin."""
        self._tell("")

    def hear(self, begin: str) -> str:
        """The next line that begins so."""
        assert self.process.stdout
        heard = []
        for line in self.process.stdout:
            heard.append(line)
            if line.startswith(begin):
                return line
        raise AssertionError(f"it ended without {begin!r}: {''.join(heard)[-3000:]}")

    def given(self) -> Any:
        """What it gives, once it has ended."""
        said, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, said[-3000:]
        return json.loads(said.splitlines()[-1])


def run(site: Site, code: str, **options: Any) -> Any:
    """Run a client to its end: what it gives."""
    with Client(site, code, **options) as client:
        client.start()
        return client.given()


def on_storage(site: Site, rse: str, name: str) -> list[Path]:
    """Every file on the storage of an RSE that has to do with a file or the files of a name."""
    found = (site.storage(ORIGINS[rse]) / "lake").rglob(f"*{name}*")
    return sorted(path for path in found if path.is_file())

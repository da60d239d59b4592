"""The credential monitor of the pool: gives jobs tokens of the site's issuer, always fresh ones.

python -m testbed.condor.credmon FILE

It keeps HTCondor's contract, as condor_credmon_oauth and condor_credmon_vault do: for every
<user>/<service>.top in SEC_CREDENTIAL_DIRECTORY_OAUTH it writes <user>/<service>.use, the token of
the user's jobs; `pid` says who it is, CREDMON_COMPLETE that it has looked through the folder once.
The packaged ones write no WLCG tokens, look once a minute, and need libraries that Debian lacks.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from testbed.definition import write_private
from testbed.xrootd import credentials

_PAUSE = 1.0  # seconds between two looks


def renew(known: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Give every user that asked for a token a new one where half of the old one's life is over.

    Args:
        known: folder of the credentials; issuer and port of the issuer.
        wanted: scope and lifetime of the tokens, which are also in them in clear.
    """
    for asked in Path(known["folder"]).glob("*/*.top"):
        token, note = asked.with_suffix(".use"), asked.with_suffix(".note")
        said = json.dumps(wanted)
        fresh = note.exists() and note.read_text() == said
        if fresh and time.time() - note.stat().st_mtime < wanted["lifetime"] / 2:
            continue
        made = credentials.token(Path(known["issuer"]).parent, known["port"], **wanted)
        write_private(token, made + "\n")
        write_private(note, said)
        print(time.strftime("%F %T"), f"renewed {token.parent.name}/{token.name}", flush=True)


def _serve(path: Path) -> None:
    known = json.loads(path.read_text())
    folder = Path(known["folder"])
    write_private(folder / "pid", str(os.getpid()))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # "look now": the pause is short
    while True:
        renew(known, json.loads(path.with_name("tokens.json").read_text()))
        (folder / "CREDMON_COMPLETE").touch()
        time.sleep(_PAUSE)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))

"""Opens files on storage and says how that went, in a process of its own.

`python -m nanolake.opening [all]` takes [[URL, ...], ...] as JSON on its standard input: the
replicas of one file of each dataset. It tries them one by one until one is open or refuses the
credential (`all`: until one is open), and prints a line of JSON for each: {dataset (its number),
replica, state, seconds, said}. What is shown to storage is what its environment says: see
`credentials`.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from nanolake import credentials, protocols, redact, sources
from nanolake.errors import CredentialError


def try_to_open(url: str) -> tuple[str, str]:
    """Read the first bytes of a file.

    Returns:
        `open`, `refused` for want of the right credential, `untrusted` if no CA that is known here
        vouches for the server, or `failed`; and what the storage said.
    """
    try:
        protocols.protocol(url).peek(url)
    except protocols.StorageError as error:
        return error.kind if error.kind in ("refused", "untrusted") else "failed", error.problem
    except CredentialError as error:
        return "refused", error.problem
    path = sources.local_path(url)
    # Storage that is mounted here asks for no credential: its files' modes say who may read.
    if (
        credentials.is_nobody()
        and not sources.is_remote(path)
        and not os.stat(path).st_mode & stat.S_IROTH
    ):
        return "refused", "it is private"
    return "open", ""


def _try(numbered: tuple[int, Sequence[str]], until: Collection[str]) -> None:
    number, urls = numbered
    for url in urls:
        started = time.monotonic()
        state, said = try_to_open(url)
        seconds = round(time.monotonic() - started, 2)
        row = {"dataset": number, "replica": url, "state": state, "seconds": seconds,
               "said": redact.secrets(" ".join(said.split()))}  # fmt: skip
        # In one piece: others print, too.
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
        if state in until:
            break


def main() -> None:
    """Read the datasets, try all of them at the same time, print what happens."""
    until = {"open"} if sys.argv[1:] == ["all"] else {"open", "refused"}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(_try, until=until), enumerate(json.load(sys.stdin))))
    # Without the end of the interpreter: XRootD's threads may wait for a server that hangs.
    os._exit(0)


if __name__ == "__main__":
    main()

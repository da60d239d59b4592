"""Opens files on storage and says how that went, in a process of its own.

`python -m nanolake.opening [all]` takes [[URL, ...], ...], the replicas of one file of each dataset,
as JSON on its standard input. It tries them one by one until one is open or refuses the credential
(`all`: until one is open), and prints a line of JSON for each: {dataset (its number), replica,
state, seconds, said}. What is shown to storage is what its environment says: see `credentials`.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from nanolake import credentials, redact, sources

_BYTES = 64
_SECONDS = 20
# Numbers of XRootD's client (XrdClStatus.hh) and protocol (XProtocol.hh).
_TLS_ERROR, _LOGIN_FAILED, _NOT_AUTHORISED = 110, 204, 3010


def try_to_open(url: str) -> tuple[str, str]:
    """Read the first bytes of a file.

    Returns:
        `open`, `refused` for want of the right credential, `untrusted` if no CA that is known here
        vouches for the server, or `failed`; and what the storage said.
    """
    scheme = url.partition("://")[0]
    if scheme in ("root", "roots", "xroot", "xroots"):
        return _by_xrootd(url)
    if scheme in ("https", "davs"):
        return _by_https(url.replace("davs://", "https://", 1))
    return _of_file(sources.local_path(url))


def _by_xrootd(url: str) -> tuple[str, str]:
    from XRootD import client
    from XRootD.client.flags import OpenFlags

    file = client.File()
    status, _ = file.open(url, OpenFlags.READ, timeout=_SECONDS)
    if status.ok:
        status, _ = file.read(0, _BYTES, timeout=_SECONDS)
        file.close()
    if status.ok:
        return "open", ""
    if status.code == _TLS_ERROR:
        return "untrusted", status.message
    refused = status.code == _LOGIN_FAILED or status.errno == _NOT_AUTHORISED
    return "refused" if refused else "failed", status.message


def _by_https(url: str) -> tuple[str, str]:
    import requests

    def authorise(request: requests.PreparedRequest) -> requests.PreparedRequest:
        # As `auth` and not as a header: a password in ~/.netrc would replace a header.
        if token := credentials.bearer():
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    options: dict[str, Any] = {
        "headers": {"Range": f"bytes=0-{_BYTES - 1}"},
        "auth": authorise,
        "cert": None if credentials.bearer() else credentials.client_certificate(),
        "verify": credentials.authorities() or True,
        "timeout": (5, _SECONDS),
        "stream": True,
    }
    try:
        with requests.get(url, **options) as answer:
            said = f"{answer.status_code} {answer.reason}"
            if answer.ok:
                next(answer.iter_content(_BYTES), None)
                return "open", ""
            return "refused" if answer.status_code in (401, 403) else "failed", said
    except requests.exceptions.SSLError as error:
        known = "CERTIFICATE_VERIFY_FAILED" in str(error)
        return "untrusted" if known else "refused", "no connection by TLS"
    except requests.RequestException as error:
        return "failed", type(error).__name__  # its text holds the URL that it was redirected to


def _of_file(path: str) -> tuple[str, str]:
    """A file that is mounted here is open to nobody in particular if others may read it."""
    nobody = os.environ.get("XrdSecPROTOCOL") == credentials.NOBODY["XrdSecPROTOCOL"]
    try:
        with open(path, "rb") as stream:
            stream.read(_BYTES)
            mode = os.fstat(stream.fileno()).st_mode
    except PermissionError as error:
        return "refused", str(error.strerror)
    except OSError as error:
        return "failed", str(error.strerror)
    return ("refused", "it is private") if nobody and not mode & stat.S_IROTH else ("open", "")


def _try(numbered: tuple[int, Sequence[str]], until: Sequence[str]) -> None:
    number, urls = numbered
    for url in urls:
        started = time.monotonic()
        state, said = try_to_open(url)
        row = {"dataset": number, "replica": url, "state": state,
               "seconds": round(time.monotonic() - started, 2),
               "said": redact.secrets(" ".join(said.split()))}  # fmt: skip
        print(json.dumps(row), flush=True)
        if state in until:
            break


def main() -> None:
    """Read the datasets, try all of them at the same time, print what happens."""
    until = ("open",) if sys.argv[1:] == ["all"] else ("open", "refused")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(_try, until=until), enumerate(json.load(sys.stdin))))
    sys.stdout.flush()
    # Without the end of the interpreter: XRootD's threads may wait for a server that hangs.
    os._exit(0)


if __name__ == "__main__":
    main()

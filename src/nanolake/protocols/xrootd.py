"""root:// and roots:// through the client library of XRootD (the `xrootd` wheel).

It finds the credentials itself, anew at each login: BEARER_TOKEN_FILE and its kin, X509_USER_PROXY,
and the CAs of X509_CERT_DIR. A renewed token is shown at a login of its own, as a server goes on to
judge a connection by the token that it has begun with. The library must not be in one process with
ROOT, which brings another copy of it. The verbs are those of `protocols.Storage`.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import tenacity

from nanolake import credentials, sources
from nanolake.protocols import StorageError

# What servers answer (XProtocol.hh).
_NOT_FOUND, _UNSUPPORTED = 3011, 3013
_FULL = (3009, 3021)  # no space, over quota
_REFUSED = (3010, 3030)  # not authorised, authentication failed
# Of a server that is asked for a checksum: seconds in which it answers, and in which it answers at
# last, beside those that it takes for the file at this rate (bytes a second).
_ANSWER, _PATIENCE, _SLOWEST = 8, 45, 20e6


@functools.cache
def _library() -> Any:
    os.environ.update(sources.environment())  # read once, when the library is loaded
    from XRootD import client

    return client


def _at(url: str) -> tuple[Any, str]:
    """The server of a URL, and the path there."""
    parsed = _library().URL(url)
    return _library().FileSystem(_now(f"{parsed.protocol}://{parsed.hostid}//")), parsed.path


def _now(url: str) -> str:
    """A URL whose connection has begun with the token of now; servers do not see what is added."""
    file = credentials.token_file()
    changed = os.stat(file).st_mtime_ns if file else 0
    return f"{url}{'&' if '?' in url else '?'}xrdcl.intent={changed}"


def _check(status: Any) -> None:
    if status.ok:
        return
    words = status.message.partition("] ")[2] or status.message
    words = words.removeprefix("Server responded with an error: ").strip()
    kind = "other"
    if status.errno in _FULL:
        kind = "full"
    elif status.errno in _REFUSED or status.code in (status.errLoginFailed, status.errAuthFailed):
        kind = "refused"
    elif status.code == status.errOperationExpired:
        kind = "busy"
    elif status.code == status.errTlsError:
        kind = "untrusted"
    raise StorageError(words, kind)


def stat(url: str) -> dict[str, Any] | None:
    """See `protocols.Storage`; the server computes the checksum."""
    server, path = _at(url)
    status, found = server.stat(path)
    if status.errno == _NOT_FOUND:
        return None
    _check(status)
    return {"bytes": found.size, "adler32": _checksum(server, path, found.size)}


def _checksum(server: Any, path: str, size: int) -> str | None:
    """The server's checksum, which is waited for as long as it takes to read so many bytes."""
    seconds = size / _SLOWEST
    # A server computes few checksums at a time and tells others to come again later, so late that
    # our client gives up at once. Of some of those that it lets wait it forgets to answer, but not
    # what it has computed.
    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: getattr(error, "kind", "") == "busy"),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
        stop=tenacity.stop_after_delay(_PATIENCE + seconds),
        reraise=True,
    )
    return again(_asked_for_checksum, server, path, int(_ANSWER + seconds))


def _asked_for_checksum(server: Any, path: str, seconds: int) -> str | None:
    from XRootD.client.flags import QueryCode

    status, answer = server.query(QueryCode.CHECKSUM, f"{path}?cks.type=adler32", timeout=seconds)
    if status.errno == _UNSUPPORTED:
        return None
    _check(status)
    return str(answer.decode().strip("\0\n ").split()[1].zfill(8))


def peek(url: str) -> None:
    """See `protocols.Storage`."""
    file = _library().File()
    status, _ = file.open(_now(url), timeout=15)
    _check(status)
    status, _ = file.read(0, 64, timeout=15)
    _check(status)
    file.close()


def _copy(source: str, target: str) -> None:
    process = _library().CopyProcess()
    # What a client that is killed has begun the server removes after a while (posc).
    process.add_job(source, target, force=True, mkdir=True, posc=True)
    process.prepare()
    # The process as a whole succeeds where a job could not even begin: only the job's word counts.
    _, (job,) = process.run()
    _check(job["status"])


def put(path: str, url: str) -> None:
    """See `protocols.Storage`."""
    _copy(os.path.abspath(path), _now(url))


def get(url: str, path: str | os.PathLike[str]) -> None:
    """See `protocols.Storage`."""
    _copy(_now(url), str(Path(path).absolute()))


def rename(url: str, new: str) -> None:
    """See `protocols.Storage`."""
    server, path = _at(url)
    status, _ = server.mv(path, _at(new)[1])
    _check(status)


def delete(url: str) -> None:
    """See `protocols.Storage`."""
    server, path = _at(url)
    status, _ = server.rm(path)
    if status.errno != _NOT_FOUND:
        _check(status)

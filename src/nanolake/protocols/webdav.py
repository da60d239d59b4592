"""https:// and davs://: HTTP with the methods of WebDAV and the checksums of RFC 3230.

Each request takes the credentials as they are on disk at that time: the bearer token, or, where
there is none, the proxy certificate. The server's certificate is verified against the CAs of the
grid. `requests` gives no token to another host that a storage redirects to.
The verbs are those of `protocols.Storage`.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import requests

from nanolake import credentials
from nanolake.protocols import StorageError

# Seconds for a connection and between two blocks that are sent; until the next bytes come, which a
# server that computes a checksum may need.
_TIMEOUT = (20, 60)
_BLOCK = 1 << 20
_REFUSED, _FULL = (401, 403), (507,)
_REDIRECTED = ("GET", "HEAD", "PUT")  # others would be repeated as GET


@functools.cache
def _session() -> requests.Session:
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"
    return session


def _bearer(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # As `auth` and not as a header: a password for this host in ~/.netrc would replace a header.
    if token := credentials.bearer():
        request.headers["Authorization"] = f"Bearer {token}"
    return request


def _request(
    method: str, url: str, *, timeout: tuple[float, float] = _TIMEOUT, **options: Any
) -> requests.Response:
    """The answer to a request, whatever it says."""
    certificate = None if credentials.bearer() else credentials.client_certificate()
    try:
        return _session().request(
            method, _https(url), auth=_bearer, cert=certificate, verify=credentials.authorities(),
            timeout=timeout, allow_redirects=method in _REDIRECTED, **options,
        )  # fmt: skip
    except requests.RequestException as error:
        words = _words(error)  # its text as a whole holds URLs with their queries
        kind = "untrusted" if "CERTIFICATE_VERIFY_FAILED" in words else "other"
        raise StorageError(words, kind) from None


def _https(url: str) -> str:
    return url.replace("davs://", "https://", 1)


def _words(error: Exception) -> str:
    """The innermost reason of an error: what is around it repeats the URL."""
    while isinstance(inner := getattr(error, "reason", None) or next(iter(error.args), None),
                     Exception):  # fmt: skip
        error = inner
    return " ".join(str(error).split())[-200:]


def _check(answer: requests.Response) -> requests.Response:
    if 200 <= answer.status_code < 300:
        return answer
    status, words = answer.status_code, " ".join(answer.text.split())[:200]
    kind = "other"
    if status in _REFUSED:
        kind = "refused"
    elif status in _FULL or "no space left" in words:  # XRootD says 500
        kind = "full"
    raise StorageError(f"{status} {answer.reason or ''} {words}".strip(), kind)


def stat(url: str) -> dict[str, Any] | None:
    """See `protocols.Storage`; the server computes the checksum."""
    answer = _request("HEAD", url, headers={"Want-Digest": "adler32"})
    if answer.status_code == 404:
        return None
    _check(answer)
    pairs = (one.strip().partition("=") for one in answer.headers.get("Digest", "").split(","))
    digests = {name.lower(): value for name, _, value in pairs}
    checksum = digests.get("adler32", "").lower()
    return {
        "bytes": int(answer.headers["Content-Length"]),
        "adler32": checksum.zfill(8) if checksum else None,
    }


def peek(url: str) -> None:
    """See `protocols.Storage`."""
    some = {"Range": "bytes=0-63"}
    with _request("GET", url, headers=some, stream=True, timeout=(5, 25)) as answer:
        next(_check(answer).iter_content(64), None)


def put(path: str, url: str) -> None:
    """See `protocols.Storage`."""
    answer = _send(path, url)
    if answer.status_code in (404, 409):  # a storage that does not make the folders by itself
        _make_folder(url.rpartition("/")[0])
        answer = _send(path, url)
    _check(answer)


def _send(path: str, url: str) -> requests.Response:
    try:
        with open(path, "rb") as source:
            return _request("PUT", url, data=source)
    except StorageError:
        # Who refuses a file may hang up while it is sent. Without a file he can be heard.
        answer = _request("PUT", url, data=b"")
        if answer.ok:
            raise
        return answer


def _make_folder(url: str) -> None:
    """Make a folder and what is missing above; the file in it will say if that did not help."""
    if _request("MKCOL", url).status_code in (404, 409) and url.count("/") > 3:
        _make_folder(url.rpartition("/")[0])
        _request("MKCOL", url)


def get(url: str, path: str | os.PathLike[str]) -> None:
    """See `protocols.Storage`."""
    with _request("GET", url, stream=True) as answer, open(path, "wb") as target:
        try:
            for block in _check(answer).iter_content(_BLOCK):
                target.write(block)
        except requests.RequestException as error:
            raise StorageError(_words(error)) from None


def rename(url: str, new: str) -> None:
    """See `protocols.Storage`."""
    _check(_request("MOVE", url, headers={"Destination": _https(new), "Overwrite": "T"}))


def delete(url: str) -> None:
    """See `protocols.Storage`."""
    if (answer := _request("DELETE", url)).status_code != 404:
        _check(answer)

"""Storage over https for the lake's daemons, with their service token and verified authorities.

BEARER_TOKEN_FILE is read at each request, X509_CERT_DIR names the authorities. Rucio's own class
verifies no certificate and cannot renew a token: `install` puts this one in its place.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests
from rucio.common import exception
from rucio.rse.protocols import webdav
from rucio.rse.protocols.protocol import RSEProtocol

_TIMEOUT = (20, 60)  # seconds for a connection, and until the next bytes come
_CHUNK = 1024 * 1024
_NO_THIRD_PARTY = (400, 405, 501)  # XRootD says 400 "Request unknown"


def _authorization() -> str:
    return f"Bearer {Path(os.environ['BEARER_TOKEN_FILE']).read_text().strip()}"


def _request(method: str, url: str, **options: Any) -> requests.Response:
    url, headers = url.replace("davs://", "https://", 1), options.pop("headers", {})
    if url.startswith("https://"):
        headers["Authorization"] = _authorization()
    return requests.request(
        method, url, headers=headers, timeout=_TIMEOUT,
        verify=os.environ["X509_CERT_DIR"], allow_redirects=False, **options,
    )  # fmt: skip


def copy_verified(source: str, target: str, size: int | None, adler32: str | None) -> str:
    """Copy a file and give it its name once its bytes there are what the catalogue says.

    Returns:
        How: `third-party copy`, or `relay` through this host if the storage cannot.

    Raises:
        OSError: A storage refuses, or cannot be reached.
        ValueError: Size or checksum of what arrived differ from the catalogue's.
    """
    part = f"{target}.{uuid.uuid4().hex}.part"
    try:
        how = "third-party copy"
        if not _third_party_copy(source, part):
            how = "relay"
            _relay(source, part)
        _compare(part, size, adler32)
        name = {"Destination": target.replace("davs://", "https://", 1), "Overwrite": "T"}
        _request("MOVE", part, headers=name).raise_for_status()
        return how
    except Exception:
        with suppress(OSError):
            _request("DELETE", part)  # whatever has arrived of it
        raise


def _third_party_copy(source: str, target: str) -> bool:
    """Let the target pull from the source; False if it does not know how.

    The answer begins with 201 before a byte has moved. What became of it is in its last line.
    """
    headers = {
        "Source": source.replace("davs://", "https://", 1),
        "TransferHeaderAuthorization": _authorization(),
        "Credential": "none",
        "Overwrite": "T",
    }
    with _request("COPY", target, headers=headers, stream=True) as answer:
        if answer.status_code in _NO_THIRD_PARTY:
            return False
        answer.raise_for_status()
        last = ""
        for line in answer.iter_lines(decode_unicode=True):
            last = line.strip() or last
    if not last.startswith("success"):
        raise OSError(f"the storage could not pull the file ({last[:300]})")
    return True


def _relay(source: str, target: str) -> None:
    with tempfile.TemporaryFile() as copy:
        with _request("GET", source, stream=True) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_content(_CHUNK):
                copy.write(chunk)
        copy.seek(0)
        _request("PUT", target, data=copy).raise_for_status()


def _compare(url: str, size: int | None, adler32: str | None) -> None:
    answer = _request("HEAD", url, headers={"Want-Digest": "adler32"})
    answer.raise_for_status()
    found = int(answer.headers["Content-Length"])
    if size is not None and found != size:
        raise ValueError(f"source has {found} bytes, the catalogue says {size}")
    checksum = answer.headers.get("Digest", "").lower().removeprefix("adler32=").zfill(8)
    if adler32 and checksum != adler32.rjust(8, "0").lower():
        raise ValueError(f"source has adler32 {checksum}, the catalogue says {adler32}")


class Default(RSEProtocol):
    """What the reaper needs of a protocol: to delete."""

    def connect(self) -> None:
        """Nothing stays connected."""

    def close(self) -> None:
        """Nothing stays connected."""

    def delete(self, path: str) -> None:
        """Delete a file."""
        try:
            answer = _request("DELETE", path)
            if answer.status_code == 404:
                raise exception.SourceNotFound(path)
            if answer.status_code in (401, 403):
                raise exception.RSEAccessDenied(path)
            answer.raise_for_status()
        except OSError as error:
            raise exception.ServiceUnavailable(str(error)) from error

    def get(self, path: str, dest: str, transfer_timeout: int | None = None) -> None:
        """Nobody asks for it."""
        raise NotImplementedError

    def put(
        self,
        source: str,
        target: str,
        source_dir: str | None = None,
        transfer_timeout: int | None = None,
    ) -> None:
        """Nobody asks for it."""
        raise NotImplementedError

    def rename(self, path: str, new_path: str) -> None:
        """Nobody asks for it."""
        raise NotImplementedError


def install() -> None:
    """Make Rucio use it wherever an RSE names Rucio's own class."""
    webdav.Default = Default

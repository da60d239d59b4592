"""Credentials: the one module that knows where lies what is shown to storage.

A bearer token is looked for as WLCG's Bearer Token Discovery says, an x509 proxy where Globus and
VOMS put it, the authorities that vouch for servers where the grid has them; so do XrdCl and the
programs that use it. What credentials say of themselves is the matter of `credential_claims`, what
a lake asks of them that of `credential_checks`.

Secrets are read from disk at each call: a renewed credential is used at once. A token in
BEARER_TOKEN alone is that of the process's start and cannot be renewed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

from nanolake.errors import CredentialError

AUTHORITIES, TEMPORARY = "/etc/grid-security/certificates", "/tmp"
# RFC 6750, section 2.1.
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*")
# XRootD's own variable for the protocols that its clients may log in with, and those that show a
# credential of a kind.
_PROTOCOL, _PROTOCOLS = "XrdSecPROTOCOL", {"token": "ztn", "x509": "gsi"}
# Of a process that shows nothing, whatever lies on this machine: these carry no secret.
_NOBODY = "unix,host"


def _token_files() -> list[str]:
    """The files that may hold a token, in WLCG's order."""
    name = f"bt_u{os.geteuid()}"
    given, runtime = (os.environ.get(key) for key in ("BEARER_TOKEN_FILE", "XDG_RUNTIME_DIR"))
    files = [given, runtime and os.path.join(runtime, name), os.path.join(TEMPORARY, name)]
    return [file for file in files if file]


def _proxy_file(given: str | None) -> str:
    return given or f"{TEMPORARY}/x509up_u{os.geteuid()}"


def places(kind: str) -> list[str]:
    """Where a credential of a kind (`token`, `x509`, `any`) is looked for now, in this order."""
    tokens = ["BEARER_TOKEN", "BEARER_TOKEN_FILE", *_token_files()]
    proxies = ["X509_USER_PROXY", proxy_file()]
    return {"token": tokens, "x509": proxies}.get(kind, [*tokens, *proxies])


def _read(path: str, what: str) -> str:
    """The content of a file of secrets, without blanks around it; empty if there is none.

    Raises:
        CredentialError: It cannot be read, or others may read it.
    """
    try:
        with open(path, "rb") as stream:
            content, mode = stream.read().strip(), os.fstat(stream.fileno()).st_mode
    except FileNotFoundError:
        return ""
    except OSError as error:
        problem = f"the file cannot be read ({error.strerror})"
        raise CredentialError(f"{what} in {path}", problem, "make it your own, mode 600") from None
    if content and mode & 0o077:
        problem = f"others may read or change the file (mode {mode & 0o777:o}): it may be stolen"
        raise CredentialError(f"{what} in {path}", problem, f"chmod 600 {path}")
    return content.decode(errors="replace")


def find_token() -> tuple[str, str] | None:
    """The token and the variable or file that it is in, None if there is none.

    Raises:
        CredentialError: It is malformed, its file cannot be read, or others may read it.
    """
    places = [(os.environ.get("BEARER_TOKEN", "").strip(), "BEARER_TOKEN")]
    for text, place in chain(places, ((_read(file, "token"), file) for file in _token_files())):
        if text and not _BEARER.fullmatch(text):
            remedy = "get a new one; a file must hold the token and nothing else"
            raise CredentialError(f"token in {place}", "it is no bearer token", remedy)
        if text:
            return text, place
    return None


def find_proxy(environment: Mapping[str, str] = os.environ) -> tuple[str, str] | None:
    """The proxy (certificate, key and chain, PEM) and the file it is in, None if there is none.

    Raises:
        CredentialError: It cannot be read, or others may read it.
    """
    path = _proxy_file(environment.get("X509_USER_PROXY"))
    text = _read(path, "proxy")
    return (text, path) if text else None


def token_file() -> str | None:
    """The file in which a token is looked for first of all, None if there is no such file."""
    return next((file for file in _token_files() if os.path.exists(file)), None)


def proxy_file() -> str:
    """The file in which a proxy is looked for."""
    return _proxy_file(os.environ.get("X509_USER_PROXY"))


def bearer() -> str | None:
    """The token, for the header `Authorization: Bearer` of a request over TLS.

    None if there is none, or if this process shows none (see `environment`).

    Raises:
        CredentialError: See `find_token`.
    """
    found = find_token() if _shown("token") else None
    return found[0] if found else None


def client_certificate() -> str | None:
    """Path of the proxy, for a request over TLS.

    None if there is none, or if this process shows none (see `environment`).

    Raises:
        CredentialError: See `find_proxy`.
    """
    found = find_proxy() if _shown("x509") else None
    return found[1] if found else None


def _shown(kind: str) -> bool:
    """Whether XRootD's clients show credentials of a kind in this process; so do others then."""
    protocols = os.environ.get(_PROTOCOL)
    return not protocols or _PROTOCOLS[kind] in protocols.split(",")


def authorities() -> str | None:
    """Folder (or file) of the CA certificates that storage is verified with; None if unknown."""
    given = os.environ.get("X509_CERT_DIR") or os.environ.get("X509_CERT_FILE") or AUTHORITIES
    return given if os.path.exists(given) else None


def environment(need: Mapping[str, Any] | None) -> dict[str, str]:
    """The environment of a process that shows storage the credential that it asks for.

    Args:
        need: `credential` of a lake's file; None for the environment of this process.
    """
    known = dict(os.environ)
    if need:
        trusted, wanted = authorities(), _PROTOCOLS.get(need["kind"])
        if trusted and os.path.isdir(trusted):
            known["X509_CERT_DIR"] = trusted
        if wanted:  # else XRootD shows, of two credentials, the one that the server names first
            known[_PROTOCOL] = wanted
        # XrdCl uses its file for TLS as well. If it is not there there is no TLS, and no token.
        if need["kind"] != "x509" and not os.path.exists(known.get("X509_USER_PROXY", "")):
            known.pop("X509_USER_PROXY", None)
    return known


def show(need: Mapping[str, Any] | None) -> None:
    """Make this process, and those that it starts, show that credential; see `environment`."""
    wanted = environment(need)
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)


def of_nobody() -> dict[str, str]:
    """The environment of a process that shows no credential."""
    return {**os.environ, _PROTOCOL: _NOBODY}


def is_nobody() -> bool:
    """Whether this process shows no credential."""
    return os.environ.get(_PROTOCOL) == _NOBODY

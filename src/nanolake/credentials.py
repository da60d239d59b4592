"""Credentials: the one module that knows what is shown to storage, and where it lies.

A bearer token is looked for as WLCG's Bearer Token Discovery says, an x509 proxy where Globus and
VOMS put it, the authorities that vouch for servers where the grid has them; so do XrdCl and the
programs that use it. What a credential says of itself is read without a look at its signature,
which storage verifies. The secret itself leaves this module through `bearer` and
`client_certificate` alone, read from disk at each call: a renewed credential is used at once.
A token in BEARER_TOKEN alone is that of the process's start and cannot be renewed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from asn1crypto import cms, core
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jws

from nanolake.errors import CredentialError

AUTHORITIES, TEMPORARY = "/etc/grid-security/certificates", "/tmp"
# Protocols of XRootD that show a credential of a kind.
_PROTOCOLS = {"token": "ztn", "x509": "gsi"}
_VOMS, _FQANS = "1.3.6.1.4.1.8005.100.100.5", "1.3.6.1.4.1.8005.100.100.4"
_PROXY = "1.3.6.1.5.5.7.1.14"


class Credential(NamedTuple):
    """What a credential says of itself; never the secret.

    Attributes:
        kind: `token` or `x509`.
        place: The file or environment variable that holds it.
        not_before: Seconds since the epoch.
        expires: Seconds since the epoch.
        issuer: Of the token, or of the user's certificate.
        subject: Of the token, or of the user's certificate.
        audience: Of the token.
        scopes: Of the token.
        attributes: Groups of the token, FQANs of the proxy (`/cms/higgs`, `/cms/Role=pilot`).
    """

    kind: str
    place: str
    not_before: float
    expires: float
    issuer: str
    subject: str
    audience: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What a user needs to know of it, on one line."""
        name = "token" if self.kind == "token" else "proxy"
        said = {
            "audience": self.audience,
            "scopes": self.scopes,
            "groups" if self.kind == "token" else "VOMS attributes": self.attributes,
        }
        parts = [f"{what} {' '.join(values)}" for what, values in said.items() if values]
        return ", ".join([f"{name} in {self.place}", *parts, left(self)])


def left(credential: Credential, *, now: float | None = None) -> str:
    """For how long a credential is still good, in words."""
    minutes = (credential.expires - (time.time() if now is None else now)) / 60
    if minutes <= 0:
        return "expired"
    return f"good for {minutes:.0f} min" if minutes < 120 else f"good for {minutes / 60:.0f} h"


# --- where they are ---------------------------------------------------------------------------


def _token_files() -> list[str]:
    """The files that may hold a token, in WLCG's order."""
    name = f"bt_u{os.geteuid()}"
    given, runtime = (os.environ.get(key) for key in ("BEARER_TOKEN_FILE", "XDG_RUNTIME_DIR"))
    files = [given, runtime and os.path.join(runtime, name), os.path.join(TEMPORARY, name)]
    return [file for file in files if file]


def _proxy_file() -> str:
    return os.environ.get("X509_USER_PROXY") or f"{TEMPORARY}/x509up_u{os.geteuid()}"


def places(kind: str) -> list[str]:
    """Where a credential of a kind (`token`, `x509`, `any`) is looked for now, in this order."""
    tokens = ["BEARER_TOKEN", "BEARER_TOKEN_FILE", *_token_files()]
    proxies = ["X509_USER_PROXY", _proxy_file()]
    return {"token": tokens, "x509": proxies}.get(kind, [*tokens, *proxies])


def _read(path: str, what: str) -> bytes:
    """The content of a file of secrets, without blanks around it; empty if there is none.

    Raises:
        CredentialError: It cannot be read, or others may read it.
    """
    try:
        with open(path, "rb") as stream:
            content, mode = stream.read().strip(), os.fstat(stream.fileno()).st_mode
    except FileNotFoundError:
        return b""
    except OSError as error:
        problem = f"the file cannot be read ({error.strerror})"
        raise CredentialError(f"{what} in {path}", problem, "make it your own, mode 600") from None
    if content and mode & 0o077:
        problem = f"others may read or change the file (mode {mode & 0o777:o}): it may be stolen"
        raise CredentialError(f"{what} in {path}", problem, f"chmod 600 {path}")
    return content


def _token() -> tuple[str, str] | None:
    """The token and where it is."""
    if token := os.environ.get("BEARER_TOKEN", "").strip():
        return token, "BEARER_TOKEN"
    for path in _token_files():
        if content := _read(path, "token"):
            return content.decode(errors="replace"), path
    return None


def bearer() -> str | None:
    """The token, for the header `Authorization: Bearer` of a request over TLS.

    None if there is none, or if this process shows none (see `environment`).

    Raises:
        CredentialError: Its file cannot be read, or others may read it.
    """
    found = _token() if _shown("token") else None
    return found[0] if found else None


def client_certificate() -> str | None:
    """Path of the proxy: certificate, key and chain in one file.

    None if there is none, or if this process shows none (see `environment`).

    Raises:
        CredentialError: It cannot be read, or others may read it.
    """
    return _proxy_file() if _shown("x509") and _read(_proxy_file(), "proxy") else None


def _shown(kind: str) -> bool:
    """Whether XRootD's clients show credentials of a kind in this process; so do others then."""
    protocols = os.environ.get("XrdSecPROTOCOL")
    return not protocols or _PROTOCOLS[kind] in protocols.split(",")


def authorities() -> str | None:
    """Folder (or file) of the CA certificates that storage is verified with; None if unknown."""
    given = os.environ.get("X509_CERT_DIR") or os.environ.get("X509_CERT_FILE") or AUTHORITIES
    return given if os.path.exists(given) else None


def environment(need: Mapping[str, Any] | None) -> dict[str, str]:
    """What a process needs in its environment to show storage the right credential.

    Args:
        need: `credential` of a lake's file; None for nothing.
    """
    if not need:
        return {}
    trusted = authorities()
    known = {"X509_CERT_DIR": trusted} if trusted and os.path.isdir(trusted) else {}
    # Without it XRootD shows, of two credentials, the one that the server names first.
    wanted = _PROTOCOLS.get(need["kind"])
    return known | ({"XrdSecPROTOCOL": wanted} if wanted else {})


# The environment of a process that shows nothing, whatever lies on this machine: neither of these
# protocols carries a secret.
NOBODY = {"XrdSecPROTOCOL": "unix,host"}


# --- what they say ----------------------------------------------------------------------------


def examine(kind: str) -> Credential | None:
    """What the credential of a kind (`token`, `x509`, `any`) says of itself; None if none is there.

    Raises:
        CredentialError: It cannot be read, is malformed, or others may read it.
    """
    found = None
    if kind in ("token", "any") and (token := _token()):
        found = _examine_token(*token)
    elif kind in ("x509", "any") and (content := _read(_proxy_file(), "proxy")):
        found = _examine_proxy(content, _proxy_file())
    return found


def _examine_token(token: str, place: str) -> Credential:
    what, remedy = f"token in {place}", "get a new one; a file must hold the token and nothing else"
    # What is raised in these blocks may have pieces of the token in its text.
    try:
        claims = json.loads(jws.extract_compact(token.encode()).payload)
    except Exception:
        raise CredentialError(what, "it is no JSON web token", remedy) from None
    try:
        return Credential(
            "token",
            place,
            float(claims.get("nbf", 0)),
            float(claims["exp"]),
            str(claims["iss"]),
            str(claims.get("sub", "")),
            _texts(claims.get("aud")),
            _texts(claims.get("scope")),
            _texts(claims.get("wlcg.groups")),
        )
    except Exception:
        problem = "its claims are not those of a WLCG token (exp, iss, aud, scope)"
        raise CredentialError(what, problem, remedy) from None


def _texts(claim: Any) -> tuple[str, ...]:
    """A claim that is a list, or a text with blanks between its items."""
    return tuple(claim.split() if isinstance(claim, str) else map(str, claim or ()))


def _examine_proxy(content: bytes, place: str) -> Credential:
    what, remedy = f"proxy in {place}", "make a new one: voms-proxy-init -voms VO"
    try:
        chain = x509.load_pem_x509_certificates(content)
        attributes = [found for certificate in chain for found in _attributes(certificate)]
        user = next((one for one in chain if not _extension(one, _PROXY)), chain[0])
        begins = [one.not_valid_before_utc.timestamp() for one in chain]
        ends = [one.not_valid_after_utc.timestamp() for one in chain]
    except Exception:
        raise CredentialError(what, "it is no proxy certificate", remedy) from None
    try:
        key = load_pem_private_key(content, None)
    except Exception:
        raise CredentialError(what, "it has no private key that can be used", remedy) from None
    if key.public_key() != chain[0].public_key():
        raise CredentialError(what, "its private key is not that of its certificate", remedy)
    return Credential(
        "x509",
        place,
        max([*begins, *(begin for begin, _, _ in attributes)]),
        min([*ends, *(end for _, end, _ in attributes)]),
        _name(user.issuer),
        _name(user.subject),
        attributes=tuple(fqan for _, _, fqan in attributes),
    )


def _name(name: x509.Name) -> str:
    """A distinguished name as the grid writes it: /DC=org/CN=Alice."""
    return "".join(f"/{part.rfc4514_attribute_name}={part.value!s}" for part in name)


def _extension(certificate: x509.Certificate, identifier: str) -> bytes | None:
    for extension in certificate.extensions:
        if extension.oid.dotted_string == identifier:
            return bytes(extension.value.public_bytes())
    return None


class _Certificates(core.SequenceOf):
    _child_spec = cms.AttributeCertificateV2


class _VomsExtension(core.SequenceOf):
    _child_spec = _Certificates


def _attributes(certificate: x509.Certificate) -> Iterator[tuple[float, float, str]]:
    """The VOMS attributes of a certificate, each with begin and end of its validity."""
    for certificates in _VomsExtension.load(_extension(certificate, _VOMS) or b"\x30\x00"):
        for attribute_certificate in certificates:
            info = attribute_certificate["ac_info"]
            times = [time.timestamp() for time in info["att_cert_validity_period"].native.values()]
            for attribute in info["attributes"]:
                if attribute["type"].dotted != _FQANS:
                    continue
                for value in attribute["values"]:
                    for fqan in cms.IetfAttrSyntax.load(value.dump()).native["values"]:
                        yield times[0], times[1], _plain(fqan.decode())


def _plain(fqan: str) -> str:
    """An FQAN without what it leaves open."""
    return fqan.replace("/Role=NULL", "").replace("/Capability=NULL", "")

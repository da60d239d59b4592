"""What a credential says of itself; its signature is verified by storage, not here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from asn1crypto import cms, core
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jws

from nanolake import credentials
from nanolake.errors import CredentialError

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


def examine(kind: str) -> Credential | None:
    """What the credential of a kind (`token`, `x509`, `any`) says of itself; None if none is there.

    Raises:
        CredentialError: It cannot be read, is malformed, or others may read it.
    """
    if kind in ("token", "any") and (token := credentials.find_token()):
        return _examine_token(*token)
    if kind in ("x509", "any") and (proxy := credentials.find_proxy()):
        return examine_proxy(*proxy)
    return None


def _examine_token(token: str, place: str) -> Credential:
    what, remedy = f"token in {place}", "get a new one from the issuer of your tokens"
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


def examine_proxy(text: str, place: str) -> Credential:
    """What a proxy says of itself, from its text (PEM) and its place; see `examine`."""
    what, remedy = f"proxy in {place}", "make a new one: voms-proxy-init -voms VO"
    content = text.encode()
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

"""A certificate authority of the site's own, laid out as grids have it.

authority/ca.pem, ca.key             the authority
authority/certificates/<hash>.0 ...  what X509_CERT_DIR names, with revocation list and policy
authority/vomsdir/<vo>/<host>.lsc    what X509_VOMS_DIR names
authority/<name>.pem, <name>.key     hosts, services, people
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import subprocess
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID

from testbed.definition import private_folder, write_private
from testbed.xrootd import install

VOS = ("escape", "other")  # the second is trusted to say who it is, and may do nothing
_DAYS = 3650
_SIGNS = {"key_cert_sign": True, "crl_sign": True}
_PROVES = {"digital_signature": True, "key_encipherment": True}
_AUTHORITY = "Testbed CA"
# Subjects below DC=org, DC=testbed: what a certificate is of, and whether it serves.
_CERTIFICATES: dict[str, tuple[tuple[str, ...], bool]] = {
    "host": (("localhost",), True),
    "voms": (("voms.testbed",), True),
    "xcache": (("OU=Services", "xcache"), False),
    "analyst": (("OU=People", "analyst"), False),
    "guest": (("OU=People", "guest"), False),
    "stranger": (("OU=People", "stranger"), False),
}


def create(folder: Path) -> None:
    """Make the authority and every certificate; does nothing if they are there.

    Args:
        folder: authority/ of the site.
    """
    private_folder(folder)
    if (folder / "ca.pem").exists():
        return
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = _name(_AUTHORITY)
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    ca = _builder(subject, subject, key, constraints, _SIGNS).sign(key, hashes.SHA256())
    for name, (parts, serves) in _CERTIFICATES.items():
        _issue(folder, name, _name(*parts), serves, ca=ca, key=key)
    _trust(folder, ca, key)
    _save(folder, "ca", ca, key)  # last: it says that all of it is there


def subject(name: str) -> str:
    """Give the subject of a certificate as grid-mapfiles write it."""
    parts = _CERTIFICATES[name][0]
    return "/DC=org/DC=testbed" + "".join(f"/{p}" if "=" in p else f"/CN={p}" for p in parts)


def _name(*parts: str) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.DOMAIN_COMPONENT, dc) for dc in ("org", "testbed")]
    for part in parts:
        unit = part.startswith("OU=")
        oid = NameOID.ORGANIZATIONAL_UNIT_NAME if unit else NameOID.COMMON_NAME
        attributes.append(x509.NameAttribute(oid, part.removeprefix("OU=")))
    return x509.Name(attributes)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Any, constraints: Any, usage: dict[str, bool]
) -> x509.CertificateBuilder:
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    nothing = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
         "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=_DAYS))
        .add_extension(constraints, critical=True)
        .add_extension(x509.KeyUsage(**{**nothing, **usage}), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _issue(
    folder: Path, name: str, subject: x509.Name, serves: bool, *, ca: x509.Certificate, key: Any
) -> None:
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    constraints = x509.BasicConstraints(ca=False, path_length=None)
    usages = [Usage.CLIENT_AUTH, *([Usage.SERVER_AUTH] if serves else [])]
    builder = _builder(subject, ca.subject, own, constraints, _PROVES)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = builder.add_extension(authority, critical=False)
    if serves:
        names = [x509.DNSName("localhost"), x509.DNSName("voms.testbed"),
                 x509.DNSName("submit.pool.test"),  # of testbed.condor
                 x509.DNSName("login.m100.test"),  # of testbed.slurm
                 x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]  # fmt: skip
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    _save(folder, name, builder.sign(key, hashes.SHA256()), own)


def _save(folder: Path, name: str, certificate: x509.Certificate, key: Any) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    write_private(folder / f"{name}.key", private.decode())
    public = certificate.public_bytes(serialization.Encoding.PEM).decode()
    write_private(folder / f"{name}.pem", public)


def _trust(folder: Path, ca: x509.Certificate, key: Any) -> None:
    """Make the folders that X509_CERT_DIR and X509_VOMS_DIR name."""
    trusted = private_folder(folder / "certificates")
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    revoked = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.subject)
        .last_update(start)
        .next_update(start + datetime.timedelta(days=_DAYS))
        .sign(key, hashes.SHA256())
    )
    pem = ca.public_bytes(serialization.Encoding.PEM).decode()
    own = f"/DC=org/DC=testbed/CN={_AUTHORITY}"
    policy = (
        f"access_id_CA X509 '{own}'\npos_rights globus CA:sign\n"
        "cond_subjects globus '\"/DC=org/DC=testbed/*\"'\n"
    )
    write_private(trusted / "ca.pem", pem)
    for stem in _hashes(trusted / "ca.pem"):
        write_private(trusted / f"{stem}.0", pem)
        crl = revoked.public_bytes(serialization.Encoding.PEM).decode()
        write_private(trusted / f"{stem}.r0", crl)
        write_private(trusted / f"{stem}.signing_policy", policy)
    for vo in VOS:
        place = private_folder(folder / "vomsdir" / vo)
        write_private(place / "voms.testbed.lsc", f"{subject('voms')}\n{own}\n")


def _hashes(certificate: Path) -> list[str]:
    """Compute the names by which OpenSSL looks for an authority: the new and the old."""
    command = [str(install.program("openssl")), "x509", "-noout", "-hash", "-subject_hash_old"]
    found = subprocess.run(
        [*command, "-in", str(certificate)], check=True, capture_output=True, text=True,
        env={"PATH": os.defpath, "OPENSSL_CONF": os.devnull},
    )  # fmt: skip
    return found.stdout.split()

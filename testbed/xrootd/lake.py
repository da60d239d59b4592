"""The Rucio lake of a site: its RSEs are the origins. With lake files, as nanolake reads them.

lake/                 the lake
lakes/<name>.yaml     ways to use it: snakemake --config lake=<folder>/lakes/<name>.yaml
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

import yaml

from testbed import lake
from testbed.definition import private_folder, write_private
from testbed.lake import Lake
from testbed.xrootd import issuer
from testbed.xrootd.configuration import AUDIENCE, EMBARGOED, PREFIX, PUBLIC
from testbed.xrootd.site import Site

# RSE to its origin and its attributes.
RSES = {
    "FAST": ("fast", {"QOS": "FAST", "site": "SITE-A"}),
    "CHEAP-ANALYSIS": ("cheap", {"QOS": "CHEAP-ANALYSIS", "site": "SITE-B"}),
}
_CLIENT = Template("""\
# How to use the lake with a token of the site's issuer.
[client]
rucio_host = $url
auth_host = $url
auth_type = oidc
request_retries = 3
[policy]
permission = generic
schema = generic
lfn2pfn_algorithm_default = hash
""")
_MONTH = 30 * 24 * 3600.0
_SERVICE = " ".join(f"storage.{verb}:/" for verb in ("read", "create", "modify"))


def folder(site: Site) -> Path:
    """Give the folder of a site's lake."""
    return site.folder / "lake"


def up(site: Site) -> Lake:
    """Bring the lake of a site up, or find it running; its daemons get a new token each time."""
    token = site.folder / "credentials/lake.token"
    write_private(token, site.token(scope=_SERVICE, lifetime=_MONTH, subject="lake"))
    environment = {
        "BEARER_TOKEN_FILE": str(token),
        "X509_CERT_DIR": str(site.folder / "authority/certificates"),
        "REQUESTS_CA_BUNDLE": str(site.folder / "authority/ca.pem"),  # of the issuer's server
    }
    rses = {
        name: {"attributes": attributes, "protocols": _protocols(site.port(origin))}
        for name, (origin, attributes) in RSES.items()
    }
    storage = {"rses": rses, "environment": environment, "issuer": site.issuer}
    found = lake.up(folder(site), storage=storage)
    write_lakes(site, found.config("analyst"))
    write_private(client_file(site), _CLIENT.substitute(url=found.url))
    return found


def client_file(site: Site) -> Path:
    """Give the rucio.cfg of whoever has a token; it lacks the account and the token's file."""
    return site.folder / "lakes/rucio.cfg"


def ports(site: Site) -> list[int]:
    """Give the ports of a site's servers, and of its lake if it has one."""
    found = lake.find(folder(site))
    return [*site.known.ports.values(), *([int(found.url.rsplit(":", 1)[1])] if found else [])]


def _protocols(port: int) -> list[dict[str, Any]]:
    """Clients read and write by root:// or https://; storage copies and the reaper by https://."""
    protocols = []
    for scheme, slash, impl, priority, daemons in (
        ("root", "/", "xrootd", 1, None),
        ("https", "", "webdav", 2, 1),
    ):
        lan = {"read": priority, "write": priority, "delete": daemons}
        third = dict.fromkeys(("third_party_copy_read", "third_party_copy_write"), daemons)
        protocols.append({
            "scheme": scheme, "hostname": "localhost", "port": port, "prefix": f"{slash}{PREFIX}/",
            "impl": f"rucio.rse.protocols.{impl}.Default",
            "domains": {"lan": lan, "wan": lan | third},
        })  # fmt: skip
    return protocols


def write_lakes(site: Site, rucio_config: Path) -> None:
    """Write a lake file for every way to use the lake."""
    place = private_folder(site.folder / "lakes")
    read: dict[str, Any] = {"rse": "QOS=FAST", "schemes": ["root"], "access": "stream"}
    common: dict[str, Any] = {
        "kind": "rucio",
        "rucio_config": str(rucio_config),
        "inputs": "ingested",
        "read": read,
        "credential": {
            "kind": "token",
            "audience": AUDIENCE,
            "issuer": issuer.address(site.port("issuer"), "wlcg"),
        },
        "ingest": _ingest(PUBLIC),
        "publish": {"scope": "user.analyst", "rse": "QOS=CHEAP-ANALYSIS"},
    }
    cache = {"cache": site.url("gcache").rstrip("/"), "monitoring": str(site.monitoring)}
    embargo = {
        "cache": site.url("tcache").rstrip("/"),
        "ingest": _ingest(EMBARGOED),
        "publish": {"scope": EMBARGOED, "rse": "QOS=CHEAP-ANALYSIS"},
    }
    ways: dict[str, dict[str, Any]] = {
        "stream": {},
        "stage": {"read": read | {"access": "stage"}},
        "https": {"read": read | {"schemes": ["https"], "access": "stage"}},
        "cache": {"read": read | cache},
        "x509": {"credential": {"kind": "x509", "vo": "escape"}},
        "embargo": {"embargo": embargo},
        "token": {"rucio_config": None},  # that of RUCIO_CONFIG: see client_file
    }
    for name, other in ways.items():
        write_private(place / f"{name}.yaml", yaml.safe_dump(common | other, sort_keys=False))


def _ingest(scope: str) -> dict[str, str]:
    return {"scope": scope, "dataset": "{sample}.{key}", "rse": "QOS=FAST"}

"""The caches of a site at the edge of a cluster: what its gateway offers to compute nodes.

lakes/edge.yaml    the lake of the site, read through its cache that asks for tokens, at the gateway
"""

from __future__ import annotations

from pathlib import Path

import yaml

from testbed.definition import private_folder, write_private
from testbed.xrootd import Site
from testbed.xrootd.configuration import SERVERS

_CACHE = "tcache"


def offered(site: Site) -> list[int]:
    """Give the ports of a site's caches."""
    return [site.port(name) for name, server in SERVERS.items() if server.origin]


def write_lake(folder: Path, site: Site, gateway: str) -> None:
    """Write the lake file with which jobs read through the edge, if the site has a lake."""
    source = site.folder / "lakes/cache.yaml"
    if not source.exists():
        return
    content = yaml.safe_load(source.read_text())
    content["read"]["cache"] = f"root://{gateway}:{site.port(_CACHE)}"
    write_private(private_folder(folder / "lakes") / "edge.yaml", yaml.safe_dump(content))

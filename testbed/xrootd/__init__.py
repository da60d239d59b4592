"""Real XRootD on this machine: origins, caches, a WAN, tokens and certificates.

site = up(Path("resources/xrootd"))
site.url("fast", path="/lake/cms/...")
"""

from testbed.xrootd import lake
from testbed.xrootd.site import Site, down, find, programs, running, up

__all__ = ["Site", "down", "find", "lake", "programs", "running", "up"]

"""The configuration files of the servers, written anew at every start.

Every server is XRootD 5.8.1, serves root:// and http(s):// on one port, and lets only clients of
its own network in. What is below /lake is Rucio's: /lake/<scope>/<hash>/<hash>/<name>.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import NamedTuple

from testbed.definition import private_folder, write_private
from testbed.xrootd import authority, install, issuer

PREFIX = "/lake"
AUDIENCE = "https://lake.testbed"  # of tokens that origins and the token-enforcing cache take
PUBLIC, EMBARGOED = "cms", "embargo"
# Addresses, not patterns: those are compared with the names that the DNS gives to an address.
LOOPBACK, ONE_ADDRESS = ("127.0.0.1", "127.0.0.2"), ("127.0.0.1",)


class Server(NamedTuple):
    """A server of the site.

    Args:
        secure: Whether it speaks TLS and asks for a credential.
        origin: The server whose files a cache serves; empty for an origin.
        scheme: How a cache reads its origin: root or https.
        export: Paths below PREFIX that it serves; empty for all.
        clients: Addresses that it serves.
        tokens: Whether a cache asks for tokens.
        tls: Whether a cache that asks for nothing speaks TLS.
    """

    secure: bool = False
    origin: str = ""
    scheme: str = "root"
    export: tuple[str, ...] = ()
    clients: tuple[str, ...] = LOOPBACK
    tokens: bool = False
    tls: bool = False


SERVERS = {
    "open": Server(),
    "fast": Server(secure=True),
    "cheap": Server(secure=True),
    "ocache": Server(origin="open"),
    "gcache": Server(origin="fast", export=(PUBLIC,), clients=ONE_ADDRESS),
    "hcache": Server(origin="fast", scheme="https", export=(PUBLIC,), clients=ONE_ADDRESS),
    "scache": Server(origin="fast", export=(PUBLIC,), clients=ONE_ADDRESS, tls=True),
    "tcache": Server(origin="fast", secure=True, tokens=True),
}
WANS = {"wan": "open", "wan-fast": "fast", "wan-ocache": "ocache"}
WAN_DELAY = 10  # milliseconds one way

_COMMON = Template("""\
xrd.port $port
xrd.protocol XrdHttp:$port libXrdHttp.so
$clients
$exports
all.adminpath $sockets
all.pidpath $sockets
http.header2cgi Authorization authz
http.listingdeny no
""")

# For https. Not `xrootd.tls capable` where nothing is asked for: a client of root:// without our CA
# then stays on plain TCP and hangs at its first read on a second stream.
_TLS = Template("""\
xrd.tls $authority/host.pem $authority/host.key
xrd.tlsca certdir $authority/certificates
xrd.tlsca certfile $authority/ca.pem
""")

_ORIGIN = Template("""\
oss.localroot $folder/storage/$name
xrootd.chksum max 2 adler32 crc32c md5
ofs.tpc ttl 8 8 xfr 9 pgm $xrdcp --server
http.exthandler xrdtpc libXrdHttpTPC.so
""")

# Tokens first; who has none may prove to be somebody by a certificate, whose rights authdb names.
_CREDENTIALS = Template("""\
xrootd.tls capable login
xrootd.seclib libXrdSec.so
sec.protocol gsi -certdir:$authority/certificates -cert:$authority/host.pem \
-key:$authority/host.key -crl:1 -gridmap:$folder/etc/grid-mapfile -gmapopt:11 -vomsat:1 \
-vomsfun:default -d:0
sec.protocol ztn
sec.protbind * ztn gsi
ofs.authorize 1
ofs.authlib ++ libXrdAccSciTokens.so config=$folder/etc/origin.scitokens.cfg
acc.authdb $folder/etc/authdb
acc.authrefresh 60
acc.audit deny
http.secxtractor libXrdHttpVOMS.so
http.gridmap $folder/etc/grid-mapfile
""")

_TOKENS = Template("""\
xrootd.tls capable login
xrootd.seclib libXrdSec.so
sec.protocol ztn
sec.protbind * ztn
ofs.authorize 1
ofs.authlib libXrdAccSciTokens.so config=$folder/etc/cache.scitokens.cfg
""")

_CACHE = Template("""\
ofs.osslib libXrdPss.so
ofs.ckslib * libXrdPss.so
xrootd.chksum adler32
pss.cachelib libXrdPfc.so
pss.origin $origin
pss.setopt ConnectTimeout 5
pss.setopt RequestTimeout 20
oss.localroot $folder/caches/$name/names
oss.space data $folder/caches/$name/data/
oss.space meta $folder/caches/$name/meta/
pfc.spaces data meta
pfc.ram 1g
pfc.blocksize 128k
pfc.prefetch 0
pfc.diskusage 0.98 0.99
xrootd.mongstream pfc use flush 1s send json insthdr 127.0.0.1:$monitoring
""")

_SCITOKENS = Template("""\
[Global]
audience = $audience, https://wlcg.cern.ch/jwt/v1/any
onmissing = $onmissing

[Issuer wlcg]
issuer = $issuer
base_path = $prefix
authorization_strategy = capability
""")

# Whoever has the attribute of the VO may do anything; others with a certificate only look.
_AUTHDB = f"""\
o escape {PREFIX} a
u gm_guest {PREFIX}/{PUBLIC} rl
u gm_xcache {PREFIX} rl
"""


def write(folder: Path, sockets: Path, ports: dict[str, int]) -> None:
    """Write the configuration of every server.

    Args:
        folder: The site.
        sockets: Where servers put sockets, whose paths must be short.
        ports: Of every server, of the issuer and of the monitoring, by name.
    """
    etc = private_folder(folder / "etc")
    for kind, onmissing in (("origin", "passthrough"), ("cache", "deny")):
        trusted = issuer.address(ports["issuer"], "wlcg")
        text = _SCITOKENS.substitute(
            audience=AUDIENCE, onmissing=onmissing, issuer=trusted, prefix=PREFIX
        )
        write_private(etc / f"{kind}.scitokens.cfg", text)
    write_private(etc / "authdb", _AUTHDB)
    mapped = (f'"{authority.subject(name)}" gm_{name}\n' for name in ("guest", "xcache"))
    write_private(etc / "grid-mapfile", "".join(mapped))
    for name in SERVERS:
        write_private(etc / f"{name}.cfg", _server(folder, sockets, name, ports))
        extra = etc / f"{name}.extra.cfg"
        if not extra.exists():
            write_private(extra, "")


def _server(folder: Path, sockets: Path, name: str, ports: dict[str, int]) -> str:
    server = SERVERS[name]
    parts = [_COMMON]
    if server.secure or server.tls:
        parts.append(_TLS)
    if server.secure:
        parts.append(_TOKENS if server.tokens else _CREDENTIALS)
    parts.append(_CACHE if server.origin else _ORIGIN)
    origin = f"localhost:{ports[server.origin]}" if server.origin else ""
    text = "".join(part.template for part in parts)
    exports = [f"{PREFIX}/{path}" for path in server.export] or [PREFIX]
    return Template(text + "continue $folder/etc/$name.extra.cfg\n").substitute(
        name=name,
        folder=folder,
        sockets=sockets,
        port=ports[name],
        clients="\n".join(f"xrd.allow host {one}" for one in server.clients),
        exports="\n".join(f"all.export {path}" for path in exports),
        authority=folder / "authority",
        xrdcp=install.program("xrdcp"),
        origin=f"https://{origin}" if server.scheme == "https" else origin,
        monitoring=ports["monitoring"],
    )


def environment(folder: Path, name: str) -> dict[str, str]:
    """Give the environment of a server: where it finds its authorities and its credential."""
    server = SERVERS[name]
    found = {
        "X509_CERT_DIR": str(folder / "authority/certificates"),
        "X509_VOMS_DIR": str(folder / "authority/vomsdir"),
        "XDG_CACHE_HOME": str(folder / "run" / name / "keys"),  # of the token issuers
        "XRD_PLUGINCONFDIR": str(install.plugins()),
    }
    if server.origin:
        found["X509_USER_PROXY"] = str(folder / "credentials/xcache.proxy")
    return found

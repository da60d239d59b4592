"""Issuers of WLCG tokens: one that the servers trust, and one that they do not.

    issuer/<name>.key                                    its key, for minting
    issuer/public/<name>/.well-known/openid-configuration, jwks   what its server shows

Run as a program it serves the folder issuer/public over https:
    python issuer.py PORT FOLDER CERTIFICATE KEY
"""

from __future__ import annotations

import http.server
import json
import ssl
import sys
import time
import uuid
from functools import partial
from pathlib import Path

ISSUERS = ("wlcg", "evil")


def create(folder: Path, port: int) -> None:
    """Make the keys that are missing, and write what the issuers show.

    Args:
        folder: issuer/ of the site.
        port: Where its server listens.
    """
    from joserfc.jwk import ECKey, KeySet

    from testbed.definition import private_folder, write_private

    private_folder(folder)
    for name in ISSUERS:
        path = folder / f"{name}.key"
        if not path.exists():
            key = ECKey.generate_key("P-256")
            write_private(path, key.as_pem(private=True).decode())
        key = ECKey.import_key(path.read_text(), {"kid": _kid(name), "use": "sig", "alg": "ES256"})
        place = private_folder(folder / "public" / name / ".well-known")
        url = address(port, name)
        about = {"issuer": url, "jwks_uri": f"{url}/jwks", "token_endpoint": f"{url}/token"}
        write_private(place / "openid-configuration", json.dumps(about))
        keys = KeySet([key]).as_dict(private=False)
        write_private(place.with_name("jwks"), json.dumps(keys))


def address(port: int, name: str) -> str:
    """Give the URL of an issuer, which its tokens have as `iss`."""
    return f"https://localhost:{port}/{name}"


def mint(
    folder: Path,
    port: int,
    *,
    scope: str,
    audience: str,
    lifetime: float = 3600,
    not_before: float = 0,
    issuer: str = "wlcg",
    key: str = "",
    subject: str = "analyst",
) -> str:
    """Make a WLCG token.

    Args:
        folder: issuer/ of the site.
        port: Where its server listens.
        scope: e.g. ``storage.read:/cms storage.modify:/user/analyst``.
        audience: Who may take it.
        lifetime: Seconds from now until it expires; negative for one that has expired.
        not_before: Seconds from now until it is valid.
        issuer: Who says to have issued it.
        key: Whose key signs it: another issuer's for a forgery; the issuer's own by default.
        subject: Whom it is about.
    """
    from joserfc import jwt
    from joserfc.jwk import ECKey

    now = int(time.time())
    claims = {
        "wlcg.ver": "1.0",
        "iss": address(port, issuer),
        "sub": subject,
        "aud": audience,
        "iat": now + min(0, int(lifetime) - 60),
        "nbf": now + min(int(not_before), int(lifetime) - 60),
        "exp": now + int(lifetime),
        "jti": str(uuid.uuid4()),
        "scope": scope,
    }
    signer = ECKey.import_key((folder / f"{key or issuer}.key").read_text())
    return jwt.encode({"alg": "ES256", "kid": _kid(issuer)}, claims, signer)


def _kid(issuer: str) -> str:
    return f"{issuer}-1"


class _Documents(http.server.SimpleHTTPRequestHandler):
    extensions_map = {"": "application/json"}  # noqa: RUF012  (as the base class has it)

    def list_directory(self, path: object) -> None:
        """Show no folder."""
        self.send_error(404)


def _serve(port: int, folder: Path, certificate: Path, key: Path) -> None:
    handler = partial(_Documents, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    # The handshake is each connection's own thread's: a silent client must not stop the others.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    server.serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), *map(Path, sys.argv[2:5]))

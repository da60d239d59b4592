"""Issuers of WLCG tokens: one that the servers trust, and one that they do not.

    issuer/<name>.key                                    its key, for minting
    issuer/public/<name>/.well-known/openid-configuration, jwks   what its server shows

:mod:`testbed.xrootd.portal` is their server, where users of the first one log in.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

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
        write_private(place / "openid-configuration", json.dumps(_about(url)))
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
    return sign(folder, claims, issuer=issuer, key=key)


def sign(folder: Path, claims: dict[str, Any], *, issuer: str = "wlcg", key: str = "") -> str:
    """Sign claims as an issuer does: see :func:`mint`."""
    from joserfc import jwt
    from joserfc.jwk import ECKey

    signer = ECKey.import_key((folder / f"{key or issuer}.key").read_text())
    return jwt.encode({"alg": "ES256", "kid": _kid(issuer)}, claims, signer)


def _about(url: str) -> dict[str, Any]:
    """Give the discovery document of an issuer; its endpoints are where INDIGO IAM has them."""
    return {
        "issuer": url,
        "jwks_uri": f"{url}/jwks",
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/token",
        "userinfo_endpoint": f"{url}/userinfo",
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
    }


def _kid(issuer: str) -> str:
    return f"{issuer}-1"

"""Who gets a token from the issuer `wlcg`, and which: OpenID Connect by oauthlib.

The authorization-code flow with PKCE (S256) and refresh tokens, as INDIGO IAM has it: scopes that a
user may not have are left out; an `audience` is asked for with the authorization. Codes and refresh
tokens are in memory: a restart of the issuer logs everybody out.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from oauthlib.oauth2.rfc6749 import errors
from oauthlib.oauth2.rfc6749.utils import scope_to_list
from oauthlib.openid import RequestValidator, Server

from testbed.xrootd import issuer, members
from testbed.xrootd.members import Client

ISSUER = "wlcg"
ANYBODY = "https://wlcg.cern.ch/jwt/v1/any"  # the audience of who asks for none
_CODE_SECONDS = 60
_ID_SECONDS = 600


class Grant(NamedTuple):
    """What a user has granted to a client: kept for a code, then for a refresh token."""

    client: str
    user: str
    scopes: list[str]
    audience: str
    redirect_uri: str
    challenge: str
    nonce: str | None
    end: float


class Validator(RequestValidator):
    """What oauthlib asks of us: who is registered, what is granted, what is still good."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__()
        self._folder, self._port = folder, port
        self._codes: dict[str, Grant] = {}
        self._refresh: dict[str, Grant] = {}

    # --- users and clients --------------------------------------------------------------------

    def logs_in(self, user: str, secret: str) -> bool:
        """Say whether this is a user's password."""
        known = members.users(self._folder).get(user)
        expected = known["password"] if known else secrets.token_hex(12)
        return hmac.compare_digest(expected.encode(), secret.encode()) and bool(known)

    def granted(self, user: str, scopes: list[str]) -> list[str]:
        """Leave out the scopes that a user may not have."""
        allowed = members.users(self._folder)[user]["scopes"]
        return [scope for scope in scopes if scope in allowed]

    def client(self, name: str | None) -> Client | None:
        """Give a client that is registered."""
        return members.clients(self._folder).get(name or "")

    def authenticate_client(self, request: Any, *args: Any, **kwargs: Any) -> bool:
        """Take a client's secret from the body, or from HTTP Basic."""
        name, secret = request.client_id, request.client_secret
        if (header := request.headers.get("Authorization", "")).startswith("Basic "):
            name, secret = _basic(header)
        client = self.client(name)
        if not (client and secret and hmac.compare_digest(client.secret, secret)):
            return False
        request.client, request.client_id = client, client.client_id
        return True

    def authenticate_client_id(
        self, client_id: str, request: Any, *args: Any, **kwargs: Any
    ) -> bool:
        """Know no client without a secret."""
        return False

    def validate_client_id(self, client_id: str, request: Any, *args: Any, **kwargs: Any) -> bool:
        """Say whether a client is registered."""
        request.client = self.client(client_id)
        return request.client is not None

    def validate_redirect_uri(
        self, client_id: str, uri: str, request: Any, *args: Any, **kwargs: Any
    ) -> bool:
        """Say whether users may be sent there."""
        client = self.client(client_id)
        return client is not None and uri in client.redirect_uris

    def get_default_redirect_uri(
        self, client_id: str, request: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Send nobody anywhere that was not asked for."""

    def validate_response_type(self, client_id: str, kind: str, *args: Any, **kwargs: Any) -> bool:
        """Give codes, and nothing else, to browsers."""
        return kind == "code"

    def validate_grant_type(self, client_id: str, kind: str, *args: Any, **kwargs: Any) -> bool:
        """Give tokens for codes and refresh tokens."""
        return kind in ("authorization_code", "refresh_token")

    def validate_scopes(self, *args: Any, **kwargs: Any) -> bool:
        """Take any: those that the user may not have are left out, see `granted`."""
        return True

    def get_default_scopes(self, *args: Any, **kwargs: Any) -> list[str]:
        """Tell who asks for nothing who the user is."""
        return ["openid"]

    def validate_user_match(self, *args: Any, **kwargs: Any) -> bool:
        """Take any user: nobody is logged in before the password."""
        return True

    # --- codes --------------------------------------------------------------------------------

    def is_pkce_required(self, client_id: str, request: Any) -> bool:
        """Ask for PKCE, and for S256, where a code is asked for."""
        if request.response_type and request.code_challenge_method not in (None, "S256"):
            raise errors.UnsupportedCodeChallengeMethodError(request=request)
        return True

    def save_authorization_code(
        self, client_id: str, code: Any, request: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Keep what a user has granted until the client fetches it."""
        self._codes[code["code"]] = Grant(
            client=client_id,
            user=request.user,
            scopes=request.scopes,
            audience=getattr(request, "audience", None) or ANYBODY,
            redirect_uri=request.redirect_uri,
            challenge=request.code_challenge,
            nonce=request.nonce,
            end=time.time() + _CODE_SECONDS,
        )

    def validate_code(
        self, client_id: str, code: str, client: Client, request: Any, *args: Any, **kwargs: Any
    ) -> bool:
        """Say whether a code is this client's, and of now."""
        grant = self._codes.get(code)
        if not grant or grant.client != client_id or grant.end < time.time():
            return False
        _grants(request, grant)
        return True

    def confirm_redirect_uri(
        self, client_id: str, code: str, uri: str, *args: Any, **kwargs: Any
    ) -> bool:
        """Say whether the code was sent there."""
        return self._codes[code].redirect_uri == uri

    def get_code_challenge(self, code: str, request: Any) -> str:
        """Give the challenge that came with the request for a code."""
        return self._codes[code].challenge

    def get_code_challenge_method(self, code: str, request: Any) -> str:
        """Give the only method that we take."""
        return "S256"

    def get_authorization_code_scopes(self, client_id: str, code: str, *args: Any) -> list[str]:
        """Give what was granted; this is asked before the code is looked at."""
        return self._codes[code].scopes if code in self._codes else []

    def get_authorization_code_nonce(self, client_id: str, code: str, *args: Any) -> str | None:
        """Give the nonce that came with the request for a code."""
        return self._codes[code].nonce

    def invalidate_authorization_code(
        self, client_id: str, code: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take no code twice."""
        del self._codes[code]

    # --- tokens -------------------------------------------------------------------------------

    def access_token(self, request: Any) -> str:
        """Make the WLCG token that was granted."""
        return issuer.mint(
            self._folder,
            self._port,
            scope=" ".join(request.scopes),
            audience=request.grant.audience,
            lifetime=request.client.lifetime,
            subject=request.user,
        )

    def finalize_id_token(
        self, claims: dict[str, Any], token: Any, handler: Any, request: Any
    ) -> str:
        """Say who the user is, signed."""
        return issuer.sign(
            self._folder,
            {
                **claims,
                **_about(request.user),
                "iss": issuer.address(self._port, ISSUER),
                "exp": int(time.time()) + _ID_SECONDS,
            },
        )

    def save_bearer_token(
        self, token: dict[str, Any], request: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Keep what a refresh token stands for; access tokens speak for themselves."""
        if (name := token.get("refresh_token")) and name not in self._refresh:
            self._refresh.pop(request.refresh_token, None)  # it is taken once
            self._refresh[name] = request.grant

    def validate_refresh_token(
        self, name: str, client: Client, request: Any, *args: Any, **kwargs: Any
    ) -> bool:
        """Say whether a refresh token is this client's."""
        grant = self._refresh.get(name)
        if not grant or grant.client != client.client_id:
            return False
        _grants(request, grant)
        return True

    def get_original_scopes(self, name: str, request: Any, *args: Any, **kwargs: Any) -> list[str]:
        """Give what was granted."""
        return self._refresh[name].scopes

    def validate_bearer_token(self, token: str, scopes: list[str], request: Any) -> bool:
        """Say whether a token is ours, of now, and has these scopes."""
        key = ECKey.import_key((self._folder / f"{ISSUER}.key").read_text())
        try:
            claims = jwt.decode(token or "", key, algorithms=["ES256"]).claims
        except (JoseError, ValueError):
            return False
        request.user = claims.get("sub")
        ours = claims.get("iss") == issuer.address(self._port, ISSUER)
        good = claims.get("nbf", 0) <= time.time() < claims.get("exp", 0)
        return ours and good and set(scopes) <= set(scope_to_list(claims.get("scope", "")))

    def get_userinfo_claims(self, request: Any) -> dict[str, str]:
        """Say who the user is."""
        return _about(request.user)


def server(validator: Validator) -> Server:
    """Make the endpoints of the issuer."""
    made = Server(
        validator,
        token_generator=validator.access_token,
        token_expires_in=lambda request: int(request.client.lifetime),
        refresh_token_generator=lambda request: secrets.token_urlsafe(32),
    )
    for grant in (made.auth_grant, made.openid_connect_auth):
        grant.register_token_modifier(_offline_only)
    return made


def _offline_only(token: dict[str, Any], handler: Any, request: Any) -> dict[str, Any]:
    """Give a refresh token to who may act when the user is away, as IAM does."""
    if "offline_access" not in request.scopes:
        token.pop("refresh_token", None)
    return token


def _grants(request: Any, grant: Grant) -> None:
    """Tell oauthlib, and ourselves later, what a code or refresh token stands for."""
    request.grant, request.user, request.scopes = grant, grant.user, grant.scopes


def _about(user: str) -> dict[str, str]:
    return {"sub": user, "preferred_username": user, "name": user.title()}


def _basic(header: str) -> tuple[str, str]:
    """Read HTTP Basic; nobody if it cannot be read."""
    try:
        text = base64.b64decode(header.removeprefix("Basic "), validate=True).decode()
    except ValueError:
        return "", ""
    name, _, secret = text.partition(":")
    return unquote_plus(name), unquote_plus(secret)

"""The issuer's log-in: the authorization-code flow as client and browser do it, and forgeries."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet
from site_clients import session
from testbed import xrootd
from testbed.xrootd import Site

BACK = "http://127.0.0.1:8000/hub/oauth_callback"
AUDIENCE = "https://lake.testbed"
SCOPE = "openid profile offline_access storage.read:/cms storage.modify:/embargo"


class Client:
    """A client of the issuer whose user is at a browser."""

    def __init__(self, site: Site, name: str, lifetime: float = 3600) -> None:
        self.site, self.name = site, name
        self.secret = site.register(name, BACK, lifetime=lifetime)
        self.http = session(site)
        about = self.http.get(f"{site.issuer}/.well-known/openid-configuration").json()
        self.where: dict[str, str] = about
        self.verifier, self.state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)

    def log_in(self, user: str = "analyst", password: str = "", **change: Any) -> requests.Response:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        asked = {
            "client_id": self.name, "redirect_uri": BACK, "response_type": "code",
            "scope": SCOPE, "state": self.state, "nonce": "once", "audience": AUDIENCE,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256", **change,
        }  # fmt: skip
        asked = {name: value for name, value in asked.items() if value is not None}
        form = {"username": user, "password": password or self.site.password("analyst")}
        url = self.where["authorization_endpoint"]
        self.page = self.http.get(url, params=asked, allow_redirects=False)
        return self.http.post(url, params=asked, data=form, allow_redirects=False)

    def code(self, **change: Any) -> str:
        sent = parse_qs(urlsplit(self.log_in(**change).headers["Location"]).query)
        assert sent["state"] == [self.state]
        return sent["code"][0]

    def ask(self, **given: Any) -> requests.Response:
        """Ask for a token: with the client's secret, unless another is given."""
        mine = {"client_id": self.name, "client_secret": self.secret, "redirect_uri": BACK}
        return self.http.post(self.where["token_endpoint"], data=mine | given)

    def redeem(self, code: str, **given: Any) -> requests.Response:
        mine = {"grant_type": "authorization_code", "code_verifier": self.verifier}
        return self.ask(**(mine | {"code": code} | given))

    def renew(self, token: str, **given: Any) -> requests.Response:
        return self.ask(grant_type="refresh_token", refresh_token=token, **given)

    def claims(self, token: str) -> dict[str, Any]:
        keys = KeySet.import_key_set(self.http.get(self.where["jwks_uri"]).json())
        return dict(jwt.decode(token, keys, algorithms=["ES256"]).claims)


@pytest.fixture
def client(site: Site) -> Client:
    return Client(site, "app")


def test_a_user_logs_in_and_is_known(client: Client, site: Site) -> None:
    answer = client.redeem(client.code())
    given = answer.json()
    assert answer.ok and given["token_type"] == "Bearer" and given["expires_in"] == 3600
    assert "<form" in client.page.text and site.password("analyst") not in client.page.text
    access, about = client.claims(given["access_token"]), client.claims(given["id_token"])
    assert (access["sub"], access["aud"], access["iss"]) == ("analyst", AUDIENCE, site.issuer)
    assert access["scope"] == given["scope"] == SCOPE
    assert (about["sub"], about["aud"], about["nonce"]) == ("analyst", "app", "once")
    header = {"Authorization": f"Bearer {given['access_token']}"}
    who = client.http.get(client.where["userinfo_endpoint"], headers=header).json()
    assert who["preferred_username"] == "analyst"


def test_a_refresh_token_is_good_once(client: Client) -> None:
    first = client.redeem(client.code()).json()
    second = client.renew(first["refresh_token"]).json()
    assert client.claims(second["access_token"])["scope"] == SCOPE
    assert second["access_token"] != first["access_token"]
    assert client.renew(first["refresh_token"]).json()["error"] == "invalid_grant"
    assert client.renew(second["refresh_token"]).ok
    other = Client(client.site, "other")
    third = client.redeem(client.code()).json()["refresh_token"]
    assert other.renew(third).json()["error"] == "invalid_grant"
    assert "refresh_token" not in client.redeem(client.code(scope="openid")).json()


def test_nobody_gets_more_than_he_may_have(client: Client) -> None:
    own = client.site.password("guest")
    given = client.redeem(client.code(user="guest", password=own)).json()
    assert given["scope"] == "openid profile offline_access storage.read:/cms"
    assert client.claims(given["access_token"])["scope"] == given["scope"]


def test_a_wrong_password_gives_no_code(client: Client) -> None:
    for user, word in (("analyst", "wrong"), ("nobody", "wrong"), ("guest", "")):
        answer = client.log_in(user=user, password=word)
        assert answer.status_code == 401 and "Location" not in answer.headers
        assert re.search("User or password is wrong", answer.text)


def test_a_code_is_the_clients_alone(client: Client, site: Site) -> None:
    code = client.code()
    assert client.redeem(code, code_verifier="x" * 60).json()["error"] == "invalid_grant"
    assert client.redeem(code, code_verifier=None).json()["error"]
    assert client.redeem(code, client_secret="wrong").json()["error"] == "invalid_client"
    assert client.redeem(code, redirect_uri=BACK + "2").json()["error"]
    assert Client(site, "thief").redeem(code).json()["error"] == "invalid_grant"
    assert client.redeem(code).ok
    assert client.redeem(code).json()["error"] == "invalid_grant"


def test_nobody_is_sent_elsewhere(client: Client) -> None:
    for change in ({"redirect_uri": "http://127.0.0.1:9/x"}, {"client_id": "unknown"}):
        answer = client.log_in(**change)
        assert answer.status_code == 400 and "Location" not in answer.headers
    for change in ({"code_challenge": None}, {"code_challenge_method": "plain"},
                   {"response_type": "token"}):  # fmt: skip
        answer = client.log_in(**change)
        assert "error=" in answer.headers["Location"] and "code=" not in answer.headers["Location"]


def test_a_token_ends(client: Client, site: Site) -> None:
    short = Client(site, "short", lifetime=2)
    token = short.redeem(short.code()).json()["access_token"]
    header = {"Authorization": f"Bearer {token}"}
    assert short.http.get(short.where["userinfo_endpoint"], headers=header).ok
    time.sleep(3)
    assert short.http.get(short.where["userinfo_endpoint"], headers=header).status_code == 401
    for wrong in ("x", site.token(scope="openid", issuer="evil")):
        header = {"Authorization": f"Bearer {wrong}"}
        assert short.http.get(short.where["userinfo_endpoint"], headers=header).status_code == 401


def test_its_log_and_files_keep_secrets(client: Client, site: Site) -> None:
    given = client.redeem(code := client.code()).json()
    log = (site.folder / "log/issuer.log").read_text()
    assert "/wlcg/token" in log
    for secret in (code, client.secret, client.state, site.password("analyst"), *given.values()):
        assert str(secret) not in log or not isinstance(secret, str) or len(secret) < 10
    for name in ("users.json", "clients.json", "wlcg.key"):
        assert Path(site.folder, "issuer", name).stat().st_mode & 0o777 == 0o600


def test_the_lake_knows_its_users_by_their_tokens(client: Client, site: Site) -> None:
    url = xrootd.lake.up(site).url
    given = client.redeem(client.code()).json()["access_token"]

    def ask(token: str) -> tuple[int, str]:
        who = requests.get(f"{url}/accounts/whoami", headers={"X-Rucio-Auth-Token": token})
        return who.status_code, who.json().get("account", "")

    assert ask(given) == (200, "analyst")
    assert ask(site.token(scope="openid", subject="guest")) == (200, "guest")
    for wrong in (
        {"scope": "storage.read:/cms"},
        {"audience": "https://elsewhere"},
        {"issuer": "evil"},
        {"key": "evil"},
        {"lifetime": -10},
        {"subject": "stranger"},
    ):
        assert ask(site.token(**{"scope": "openid", **wrong})) == (401, "")

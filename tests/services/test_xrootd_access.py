"""Who may read what: every answer is a real server's, over root:// and https://."""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from site_clients import (
    IMPATIENT,
    Answer,
    accesses,
    get,
    read,
    read_with_root,
    session,
    store,
    until,
    with_proxy,
    with_token,
)
from testbed.xrootd import Site

PUBLIC, EMBARGOED = "/lake/cms/0a/1b/public", "/lake/embargo/2c/3d/secret"
ORIGINS = ("fast", "cheap")
ENFORCING = (*ORIGINS, "tcache")  # the servers that ask for a credential
CONTENT = {path: os.urandom(300_000) for path in (PUBLIC, EMBARGOED)}
EVERYTHING = "storage.read:/cms storage.read:/embargo"

Mint = Callable[[Site], str]
# Tokens that open nothing embargoed, whatever is asked.
BAD_TOKENS: dict[str, Mint] = {
    "expired": lambda site: site.token(scope=EVERYTHING, lifetime=-60),
    "not yet valid": lambda site: site.token(scope=EVERYTHING, not_before=600),
    "wrong audience": lambda site: site.token(scope=EVERYTHING, audience="https://another.lake"),
    "wrong issuer": lambda site: site.token(scope=EVERYTHING, issuer="evil"),
    "forged signature": lambda site: site.token(scope=EVERYTHING, key="evil"),
    "wrong scope": lambda site: site.token(scope="storage.read:/cms"),
    "scope to write": lambda site: site.token(scope="storage.create:/embargo"),
    "scope that is a string prefix": lambda site: site.token(scope="storage.read:/emb"),
    "scope that is a longer path": lambda site: site.token(scope="storage.read:/embargo/2c/3d/se"),
    "changed": lambda site: _changed(site.token(scope="storage.read:/cms")),
    "no token at all": lambda site: "nonsense",
}


def _changed(token: str) -> str:
    """Give a token whose claims were replaced by another's, without a new signature."""
    header, claims, signature = token.split(".")
    return ".".join([header, claims[:-8] + claims[-8:].swapcase(), signature])


@pytest.fixture(scope="module", autouse=True)
def files(site: Site) -> None:
    for path, data in CONTENT.items():
        store(site, ("open", *ORIGINS), path, data)


def denied(answers: list[Answer] | Answer, *, told: bool = True) -> bool:
    """Nothing was read, and the servers said why: not that they were not there."""
    answers = [answers] if isinstance(answers, Answer) else answers
    for one in answers:
        assert not one.ok and CONTENT[EMBARGOED] not in one.data, one.said
        words = ("denied", "Auth failed", "disallowed", "SSLError")  # the last: at the handshake
        assert not told or any(word in one.said for word in words), one.said
    return bool(answers)


def urls(site: Site, path: str, servers: tuple[str, ...] = ENFORCING) -> list[str]:
    return [site.url(server, path=path) for server in servers]


# --- tokens -----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", BAD_TOKENS)
def test_bad_token_is_denied(site: Site, tmp_path: Path, what: str) -> None:
    token = BAD_TOKENS[what](site)
    assert denied(read(with_token(site, tmp_path, token), *urls(site, EMBARGOED)))
    client = session(site, token=token)
    for server in ENFORCING:
        assert denied(get(client, site.url(server, scheme="https", path=EMBARGOED)))


@pytest.mark.parametrize("what", ["expired", "forged signature", "scope that is a string prefix"])
def test_bad_token_is_denied_in_root(site: Site, tmp_path: Path, what: str) -> None:
    environment = with_token(site, tmp_path, BAD_TOKENS[what](site))
    assert denied(read_with_root(environment, *urls(site, EMBARGOED)), told=False)


def test_nobody_is_denied(site: Site) -> None:
    both = [*urls(site, EMBARGOED), *urls(site, PUBLIC)]
    assert denied(read(site.environment(), *both))
    assert denied(read_with_root(site.environment(), *both), told=False)
    for server, path in itertools.product(ENFORCING, CONTENT):
        assert denied(get(session(site), site.url(server, scheme="https", path=path)))


def test_token_that_others_can_read_is_not_sent(site: Site, tmp_path: Path) -> None:
    token = site.token(scope=EVERYTHING)
    environment = with_token(site, tmp_path, token, mode=0o644)
    assert denied(read(environment, *urls(site, EMBARGOED)))
    assert denied(read_with_root(environment, *urls(site, EMBARGOED)), told=False)
    assert all(one.ok for one in read(with_token(site, tmp_path, token), *urls(site, EMBARGOED)))


@pytest.mark.parametrize("reader", [read, read_with_root])
def test_good_token_is_allowed(
    site: Site, tmp_path: Path, reader: Callable[..., list[Answer]]
) -> None:
    environment = with_token(site, tmp_path, site.token(scope=EVERYTHING))
    for path, data in CONTENT.items():  # twice: the cache misses, then hits
        answers = reader(environment, *urls(site, path), *urls(site, path, ("tcache",)))
        assert [one.data == data for one in answers] == [True] * 4, answers
    guest = site.environment("guest", kind="token")
    assert [one.data for one in reader(guest, *urls(site, PUBLIC))] == [CONTENT[PUBLIC]] * 3
    assert denied(reader(guest, *urls(site, EMBARGOED)), told=False)


def test_good_token_is_allowed_over_https(site: Site) -> None:
    client = session(site, token=site.token(scope=EVERYTHING))
    for server, (path, data) in itertools.product(ENFORCING, CONTENT.items()):
        assert get(client, site.url(server, scheme="https", path=path)).data == data


# --- certificates -----------------------------------------------------------------------------


def test_proxies(site: Site) -> None:
    """The VO reads all, a known person the public part, another VO nothing."""
    allowed = {"analyst": {PUBLIC, EMBARGOED}, "guest": {PUBLIC}, "stranger": set()}
    for user, paths in allowed.items():
        client = session(site, proxy=site.folder / "credentials" / f"{user}.proxy")
        for path, server in itertools.product(CONTENT, ORIGINS):
            (one,) = read(site.environment(user, kind="x509"), site.url(server, path=path))
            two = get(client, site.url(server, scheme="https", path=path))
            if path in paths:
                assert one.data == two.data == CONTENT[path]
            else:
                assert denied([one, two])


def test_proxies_in_root(site: Site) -> None:
    pair = [site.url("fast", path=PUBLIC), site.url("cheap", path=EMBARGOED)]
    seen = {
        user: [one.ok for one in read_with_root(site.environment(user, kind="x509"), *pair)]
        for user in ("analyst", "guest", "stranger")
    }
    assert seen == {"analyst": [True, True], "guest": [True, False], "stranger": [False, False]}


@pytest.mark.parametrize("what", ["expired", "attributes of a host that is not trusted"])
def test_bad_proxy_is_denied(site: Site, what: str) -> None:
    if what == "expired":
        proxy = site.proxy("analyst", vo="escape", hours=1, past=3)
    else:
        proxy = site.proxy("analyst", vo="unknown")
    assert denied(read(with_proxy(site, proxy), *urls(site, EMBARGOED, ORIGINS)))
    for server in ORIGINS:
        url = site.url(server, scheme="https", path=EMBARGOED)
        assert denied(get(session(site, proxy=proxy), url))


def test_proxy_is_not_enough_for_the_enforcing_cache(site: Site) -> None:
    analyst = site.environment("analyst", kind="x509")
    assert denied(read(analyst, site.url("tcache", path=EMBARGOED)))


# --- networks ---------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(site: Site) -> Iterator[Callable[[str, str], Answer]]:
    """Reads the public file from a server as a client with another address."""

    def fetch(server: str, address: str) -> Answer:
        with site.wan(server, delay=0, source=address) as place:
            return read(site.environment() | IMPATIENT, f"root://{place}/{PUBLIC}")[0]

    return fetch


@pytest.mark.parametrize("cache", ["gcache", "hcache", "scache"])
def test_open_caches_serve_their_network_alone(
    site: Site, elsewhere: Callable[[str, str], Answer], cache: str
) -> None:
    assert elsewhere(cache, "127.0.0.1").data == CONTENT[PUBLIC]
    assert not elsewhere(cache, "127.0.0.2").ok
    assert elsewhere("open", "127.0.0.2").data == CONTENT[PUBLIC]  # it is the cache that refuses


@pytest.mark.parametrize("server", ["open", "fast", "ocache", "gcache", "tcache"])
def test_servers_refuse_who_is_not_on_this_machine(
    site: Site, elsewhere: Callable[[str, str], Answer], server: str
) -> None:
    assert not elsewhere(server, "127.0.0.3").ok
    interfaces = itertools.chain(*psutil.net_if_addrs().values())
    others = {one.address for one in interfaces if one.family.name == "AF_INET"}
    for address in others - {"127.0.0.1"}:
        url = site.url(server, path=PUBLIC).replace("localhost", address)
        client = session(site, token=site.token(scope=EVERYTHING))
        assert not read(site.environment("analyst") | IMPATIENT, url)[0].ok
        assert not get(client, url.replace("root:", "http:")).ok


# --- caches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", ["ocache", "gcache", "hcache", "scache"])
def test_open_cache_gives_what_it_may(site: Site, cache: str) -> None:
    """Cold, then warm; without a credential, as the cache has its own."""
    path = f"/lake/cms/{cache}.file"
    data = os.urandom(200_000)
    store(site, ("open", "fast"), path, data)
    for reader in (read, read_with_root):
        assert reader(site.environment(), site.url(cache, path=path))[0].data == data
    first, second = until(lambda: (found := accesses(site, cache, path))[1:] and found)
    assert first["b_miss"] > 0 and first["b_bypass"] == 0
    assert (second["b_hit"], second["b_miss"]) == (len(data), 0)
    scheme = "https" if cache == "scache" else "http"
    assert get(session(site), site.url(cache, scheme=scheme, path=path)).data == data


@pytest.mark.parametrize("cache", ["gcache", "hcache", "scache"])
def test_open_cache_of_the_lake_has_no_embargoed_file(site: Site, cache: str) -> None:
    assert denied(read(site.environment("analyst"), site.url(cache, path=EMBARGOED)))
    scheme = "https" if cache == "scache" else "http"
    client = session(site, token=site.token(scope=EVERYTHING))
    assert denied(get(client, site.url(cache, scheme=scheme, path=EMBARGOED)))


def test_embargoed_file_in_the_cache_needs_a_token_too(site: Site, tmp_path: Path) -> None:
    path = "/lake/embargo/cached"
    store(site, ("fast",), path, CONTENT[EMBARGOED])
    url, https = site.url("tcache", path=path), site.url("tcache", scheme="https", path=path)
    good = with_token(site, tmp_path, site.token(scope=EVERYTHING))
    assert read(good, url)[0].ok
    site.stop("fast")
    try:
        assert read(good, url)[0].data == CONTENT[EMBARGOED]  # so the cache has all of it
        assert denied(read(site.environment(), url))
        assert denied(read(site.environment("guest", kind="token"), url))
        assert denied(get(session(site), https))
        assert denied(get(session(site, token=site.token(scope="storage.read:/emb")), https))
        assert get(session(site, token=site.token(scope=EVERYTHING)), https).ok
    finally:
        site.start("fast")


# --- writing ----------------------------------------------------------------------------------


def test_only_who_may_write_writes(site: Site) -> None:
    analyst = session(
        site, token=site.token(scope="storage.read:/user/analyst storage.modify:/user/analyst")
    )
    guest, url = (
        session(site, token=site.token()),
        site.url("fast", scheme="https", path="/lake/user/analyst/4e/5f/result"),
    )
    assert guest.put(url, data=b"x").status_code == 403
    assert analyst.put(url, data=b"result").status_code == 201
    assert analyst.put(url.replace("/user/analyst", "/cms"), data=b"x").status_code == 403
    digest = analyst.head(url, headers={"Want-Digest": "adler32"}).headers["Digest"]
    assert digest == f"adler32={zlib.adler32(b'result'):08x}"
    assert guest.delete(url).status_code == 403
    assert analyst.request("MOVE", url, headers={"Destination": url + ".2"}).status_code == 201
    assert analyst.get(url + ".2").content == b"result"
    assert analyst.delete(url + ".2").ok and analyst.get(url + ".2").status_code == 404


@pytest.mark.parametrize("target", ORIGINS)
def test_third_party_copy(site: Site, target: str) -> None:
    (source,) = set(ORIGINS) - {target}
    token = site.token(scope="storage.read:/cms storage.modify:/user/analyst")
    url = site.url(target, scheme="https", path=f"/lake/user/analyst/{target}.copy")
    headers = {
        "Source": site.url(source, scheme="https", path=PUBLIC),
        "TransferHeaderAuthorization": f"Bearer {token}",
    }
    answer = session(site, token=token).request("COPY", url, headers=headers)
    assert answer.status_code == 201 and "success" in answer.text
    copy = site.storage(target) / f"lake/user/analyst/{target}.copy"
    assert copy.read_bytes() == CONTENT[PUBLIC]
    # The source decides for itself: without the right token for it nothing is copied.
    headers["TransferHeaderAuthorization"] = "Bearer " + site.token(scope="storage.read:/emb")
    refused = session(site, token=token).request("COPY", url + "2", headers=headers)
    assert "failure" in refused.text and "success" not in refused.text

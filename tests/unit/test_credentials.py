"""Credentials: where they are found, what they say, and every one that is not good enough."""

from __future__ import annotations

import datetime
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey
from testbed.errors import TestbedError
from testbed.xrootd import install

from nanolake import credentials, redact
from nanolake.credential_checks import check, covers
from nanolake.credential_claims import Credential, examine
from nanolake.errors import CredentialError, InputError

KEY = ECKey.generate_key("P-256")
ISSUER, AUDIENCE = "https://issuer.test/cms", "https://storage.test"
TOKEN = {"kind": "token", "audience": AUDIENCE, "issuer": ISSUER, "vo": None, "minutes": 10}
PROXY = TOKEN | {"kind": "x509", "vo": "cms"}
READ = "storage.read"
FILE = "/store/embargo/a.root"


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token; a change to None takes one out."""
    now = int(time.time())
    good = {
        "iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "nbf": now - 60, "exp": now + 3600,
        "scope": "storage.read:/embargo", "wlcg.ver": "1.0",
    }  # fmt: skip
    return {key: value for key, value in (good | changes).items() if value is not None}


def minted(**changes: Any) -> str:
    return jwt.encode({"alg": "ES256", "kid": "1"}, claims(**changes), KEY)


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credential of this machine's user is found; authorities are there."""
    for name in ("BEARER_TOKEN", "BEARER_TOKEN_FILE", "X509_USER_PROXY", "X509_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("run", "certificates"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("X509_CERT_DIR", str(tmp_path / "certificates"))
    monkeypatch.delenv("XrdSecPROTOCOL", raising=False)
    # The folder of last resort, /tmp, belongs to everybody.
    monkeypatch.setattr(credentials, "TEMPORARY", str(tmp_path))


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Function (claims) -> file that BEARER_TOKEN_FILE names, with a token of these claims."""

    def write(**changes: Any) -> Path:
        path = secret(tmp_path / "token", minted(**changes) + "\n")
        monkeypatch.setenv("BEARER_TOKEN_FILE", str(path))
        return path

    return write


def secret(path: Path, content: str) -> Path:
    path.touch(0o600)
    path.write_text(content)
    return path


# --- discovery --------------------------------------------------------------------------------


def test_tokens_are_found_in_the_order_of_wlcg(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = f"bt_u{os.geteuid()}"
    last = secret(tmp_path / name, minted(sub="last"))
    assert found().place == str(last)
    runtime = secret(tmp_path / "run" / name, minted(sub="runtime"))
    assert found().place == str(runtime)
    named = secret(tmp_path / "named", f"  {minted(sub='named')}\n")
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(named))
    assert found().place == str(named)
    monkeypatch.setenv("BEARER_TOKEN", minted(sub="variable"))
    assert (found().place, found().subject) == ("BEARER_TOKEN", "variable")
    # What is empty or not there is passed over, as the specification and XRootD do.
    monkeypatch.setenv("BEARER_TOKEN", "  ")
    secret(named, "\n")
    assert found().subject == "runtime"
    named.unlink()
    runtime.unlink()
    assert found().subject == "last"


def found(kind: str = "token") -> Credential:
    credential = examine(kind)
    assert credential
    return credential


def test_a_token_says_what_it_is(token: Callable[..., Path]) -> None:
    path = token(aud=[AUDIENCE, "b"], scope="storage.read:/a openid", **{"wlcg.groups": ["/cms"]})
    assert found() == Credential(
        kind="token",
        place=str(path),
        not_before=found().not_before,
        expires=found().expires,
        issuer=ISSUER,
        subject="alice",
        audience=(AUDIENCE, "b"),
        scopes=("storage.read:/a", "openid"),
        attributes=("/cms",),
    )
    assert 3500 < found().expires - time.time() <= 3600
    assert "good for 60 min" in str(found())


def test_a_renewed_token_is_used_at_once(token: Callable[..., Path]) -> None:
    path = token()
    assert credentials.bearer() == path.read_text().strip()
    first = path.read_text()
    path.write_text(minted(sub="bob"))
    assert credentials.bearer() == path.read_text() != first
    assert found().subject == "bob"


def test_any_takes_a_token_where_there_is_one_else_a_proxy(
    token: Callable[..., Path], proxy: Callable[..., Path]
) -> None:
    proxy()
    assert check(TOKEN | {"kind": "any"}).kind == "x509"
    token()
    assert check(TOKEN | {"kind": "any"}).kind == "token"


# --- tokens that are refused ------------------------------------------------------------------

NOW = int(time.time())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"exp": NOW - 600}, "it has expired 10 min ago"),
        ({"nbf": NOW + 7200}, "it is not valid yet"),
        ({"exp": NOW + 300}, "only, a run needs 10 min"),
        ({"aud": "https://other.test"}, f"audience is https://other.test, not {AUDIENCE}"),
        ({"aud": None}, f"its audience is empty, not {AUDIENCE}"),
        ({"iss": "https://evil.test"}, f"its issuer is https://evil.test, not {ISSUER}"),
        ({"scope": "storage.read:/public"}, f"do not cover storage.read:{FILE}"),
        ({"scope": "storage.read:/emb"}, f"do not cover storage.read:{FILE}"),
        ({"scope": "storage.read:/store/embargo/b.root"}, f"do not cover storage.read:{FILE}"),
        ({"scope": "storage.create:/embargo"}, f"do not cover storage.read:{FILE}"),
        ({"scope": "storage.read"}, f"do not cover storage.read:{FILE}"),
        ({"scope": "openid"}, f"do not cover storage.read:{FILE}"),
        ({"scope": None}, "it has: none"),
        ({"exp": None}, "its claims are not those of a WLCG token"),
        ({"exp": "soon"}, "its claims are not those of a WLCG token"),
        ({"iss": None}, "its claims are not those of a WLCG token"),
    ],
)
def test_a_token_that_is_not_good_enough_is_refused(
    token: Callable[..., Path], changes: dict[str, Any], problem: str
) -> None:
    path = token(**changes)
    refuse(TOKEN, f"token in {path}: ", problem, f"get a {'new one' if 'WLCG' in problem else ''}")


def refuse(need: dict[str, Any], *words: str) -> None:
    """The credential at hand is refused in these words, and nothing of it is in them."""
    with pytest.raises(CredentialError) as caught:
        check(need, [(READ, FILE)])
    said = f"{caught.value} {caught.value!r}"
    assert "\n  remedy:  " in said
    missing = [word for word in words if word not in said]
    assert not missing, f"{missing} not in {said}"
    tell_nothing(said)


def tell_nothing(said: str) -> None:
    """No part of a credential at hand is in a text."""
    names = ("BEARER_TOKEN_FILE", "X509_USER_PROXY")
    files = [Path(os.environ[name]) for name in names if name in os.environ]
    texts = [path.read_text(errors="replace") for path in files if path.is_file()]
    secrets = " ".join([*texts, os.environ.get("BEARER_TOKEN", "")]).replace(".", " ").split()
    assert not [secret for secret in secrets if len(secret) > 20 and secret in said]


@pytest.mark.parametrize(
    "content",
    ["opaque", "a.b.c", "eyJhbGciOiJFUzI1NiJ9.e30.", "x" * 3000, "\x00\xff", minted()[:-90]],
)
def test_a_malformed_token_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    path = secret(tmp_path / "token", content)
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(path))
    refuse(TOKEN, f"token in {path}: it", "get a new one")


def test_no_credential_is_refused_and_the_places_are_named(tmp_path: Path) -> None:
    places = ["BEARER_TOKEN_FILE", f"{tmp_path}/run/bt_u{os.geteuid()}"]
    refuse(TOKEN, "token: there is none; looked for in BEARER_TOKEN,", *places, ISSUER, AUDIENCE)
    refuse(PROXY, "proxy: there is none", "X509_USER_PROXY", "voms-proxy-init -voms cms")
    refuse(TOKEN | {"kind": "any"}, "credential: there is none", "get a token", "voms-proxy-init")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o644, 0o701])
def test_a_file_that_others_may_open_is_refused(
    token: Callable[..., Path], proxy: Callable[..., Path], mode: int
) -> None:
    for path, need in ((proxy(), PROXY | {"vo": None}), (token(), TOKEN)):
        path.chmod(mode)
        refuse(need, f"in {path}: others may", f"(mode {mode:o})", f"chmod 600 {path}")
        with pytest.raises(CredentialError):
            credentials.bearer() if need is TOKEN else credentials.client_certificate()
        path.chmod(0o600)
        check(need)


def test_a_folder_in_place_of_a_token_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path))
    refuse(TOKEN, f"token in {tmp_path}: the file cannot be read")


def test_a_token_in_the_environment_is_refused_with_its_own_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BEARER_TOKEN", minted(exp=NOW - 1))
    refuse(TOKEN, "token in BEARER_TOKEN: it has expired", "only that can be renewed")


# --- tokens that are taken --------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aud": ["a", AUDIENCE]},
        {"aud": "https://wlcg.cern.ch/jwt/v1/any"},
        {"aud": "ANY"},
        {"iss": f"{ISSUER}/"},
        {"scope": "storage.read:/"},
        {"scope": "storage.read:/store"},
        {"scope": "storage.read:/embargo/"},
        {"scope": "storage.read:/%65mbargo"},
        {"scope": "storage.read:/embargo/a.root"},
        {"scope": "storage.stage:/embargo"},
        {"scope": "read:/embargo"},
        {"scope": "read"},
        {"scope": "storage.read:/public storage.read:/embargo openid"},
        {"scope": ["storage.read:/embargo"]},
        # Storage judges by the groups.
        {"scope": "openid", "wlcg.groups": ["/cms"]},
    ],
)
def test_a_good_token_is_taken(token: Callable[..., Path], changes: dict[str, Any]) -> None:
    token(**changes)
    assert check(TOKEN, [(READ, FILE)]).kind == "token"


@pytest.mark.parametrize(
    ("scope", "activity", "path", "allowed"),
    [
        ("storage.create:/user", "storage.create", "/lake/user/x", True),
        ("storage.create:/user", "storage.modify", "/lake/user/x", False),
        ("storage.modify:/user", "storage.create", "/lake/user/x", True),
        ("storage.modify:/user", READ, "/lake/user/x", False),
        ("write:/user", "storage.modify", "/lake/user/x", True),
        ("storage.read:/user", "storage.stage", "/lake/user/x", False),
        ("storage.create:/user", "storage.create", "", True),
        ("storage.read:/user", "storage.create", "", False),
        ("storage.read:/a/../b", READ, "/a/x", False),
        ("storage.read:/a/../b", READ, "/b/x", True),
        ("storage.read:/user/x/y", READ, "/user/x", False),
        ("storage.readx:/", READ, "/user/x", False),
    ],
)
def test_scopes_cover_folders_and_activities(
    token: Callable[..., Path], scope: str, activity: str, path: str, allowed: bool
) -> None:
    token(scope=scope)
    assert covers(found(), activity, path) is allowed


# --- proxies ----------------------------------------------------------------------------------


def certificate(
    subject: str, key: Any, issuer: str, signer: Any, *, minutes: float, proxy: bool = False
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name.from_rfc4514_string(",".join([*reversed(text.split("/")), "DC=org"]))

    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(minutes=minutes))
    )
    if proxy:
        # ProxyCertInfo of RFC 3820: any policy, inherit all.
        info = bytes.fromhex("300c300a06082b06010505071501")
        oid = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, info), critical=True)
    return builder.sign(signer, hashes.SHA256())


def pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Function -> file that X509_USER_PROXY names, without attributes of a VO."""

    def write(
        minutes: float = 60, *, fqans: tuple[str, ...] = (), key: bytes | None = None
    ) -> Path:
        authority, user, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        person = certificate("CN=Alice", user, "CN=CA", authority, minutes=9999)
        name = "CN=Alice/CN=123"
        leaf = certificate(name, own, "CN=Alice", user, minutes=minutes, proxy=True)
        chain = [one.public_bytes(serialization.Encoding.PEM) for one in (leaf, person)]
        path = tmp_path / "proxy"
        path.unlink(missing_ok=True)
        content = chain[0] + (pem(own) if key is None else key) + chain[1]
        secret(path, content.decode())
        monkeypatch.setenv("X509_USER_PROXY", str(path))
        return path

    return write


def test_a_proxy_says_what_it_is(proxy: Callable[..., Path]) -> None:
    path = proxy()
    said = found("x509")
    assert (said.kind, said.place, said.attributes) == ("x509", str(path), ())
    assert (said.subject, said.issuer) == ("/DC=org/CN=Alice", "/DC=org/CN=CA")
    assert 3500 < said.expires - time.time() <= 3600
    assert credentials.client_certificate() == str(path)


@pytest.mark.parametrize(
    ("minutes", "problem"), [(-5, "it has expired 5 min ago"), (3, "only, a run needs 10 min")]
)
def test_an_old_proxy_is_refused(proxy: Callable[..., Path], minutes: float, problem: str) -> None:
    path = proxy(minutes)
    refuse(PROXY, f"proxy in {path}: ", problem, f"voms-proxy-init -voms cms -out {path}")


def test_a_proxy_that_cannot_be_used_is_refused(proxy: Callable[..., Path], tmp_path: Path) -> None:
    proxy(key=b"")
    refuse(PROXY, "it has no private key")
    proxy(key=pem(ec.generate_private_key(ec.SECP256R1())))
    refuse(PROXY, "its private key is not that of its certificate")
    proxy().write_text("something else")
    refuse(PROXY, "it is no proxy certificate")


def test_a_proxy_without_the_vo_is_refused(proxy: Callable[..., Path]) -> None:
    proxy()
    refuse(PROXY, "it has no VOMS attribute of cms (it has: none)")
    assert check(PROXY | {"vo": None}).kind == "x509"


# --- VOMS -------------------------------------------------------------------------------------


@pytest.fixture
def voms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Function (FQANs, options) -> proxy with these attributes, made by VOMS's own program."""
    try:
        program = str(install.program("voms-proxy-fake"))
    except TestbedError:
        if not (program := shutil.which("voms-proxy-fake") or ""):
            pytest.skip("voms-proxy-fake is missing: run envs/setup xrootd")

    def make(*fqans: str, past: int = 0) -> Path:
        from testbed.xrootd import authority

        authority.create(tmp_path / "authority")
        place = tmp_path / "authority"
        command = [program, "-quiet", "-rfc", "-newformat", "-hours", "24", "-out", "made"]
        command += ["-cert", f"{place}/analyst.pem", "-key", f"{place}/analyst.key"]
        command += ["-hostcert", f"{place}/voms.pem", "-hostkey", f"{place}/voms.key"]
        command += ["-certdir", f"{place}/certificates", "-uri", "voms.testbed:15000"]
        command += ["-voms", fqans[0].split("/")[1], "-vomslife", "1", "-pastac", str(past)]
        command += [option for fqan in fqans for option in ("-fqan", fqan)]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "made"))
        return tmp_path / "made"

    return make


def test_the_attributes_of_a_vo_are_read(voms: Callable[..., Path]) -> None:
    voms("/cms/Role=NULL/Capability=NULL", "/cms/higgs/Role=pilot/Capability=NULL")
    said = check(PROXY, [(READ, FILE)])
    assert said.attributes == ("/cms", "/cms/higgs/Role=pilot")
    assert said.subject == "/DC=org/DC=testbed/OU=People/CN=analyst"
    # The attributes end before the proxy does.
    assert said.expires - time.time() <= 3600
    assert "VOMS attributes /cms /cms/higgs/Role=pilot" in str(said)


def test_another_vo_is_refused(voms: Callable[..., Path]) -> None:
    voms("/cms2/Role=NULL/Capability=NULL")
    refuse(PROXY, "it has no VOMS attribute of cms (it has: /cms2)")


def test_attributes_that_have_expired_are_refused(voms: Callable[..., Path]) -> None:
    voms("/cms/Role=NULL/Capability=NULL", past=7200)
    refuse(PROXY, "it has expired")


# --- authorities and the environment ----------------------------------------------------------


def test_without_authorities_no_server_can_be_trusted(
    monkeypatch: pytest.MonkeyPatch, token: Callable[..., Path], tmp_path: Path
) -> None:
    token()
    monkeypatch.setenv("X509_CERT_DIR", str(tmp_path / "nowhere"))
    refuse(TOKEN, "folder of CA certificates: there is none", "set X509_CERT_DIR")
    assert check(TOKEN, own_authorities=False).kind == "token"
    monkeypatch.delenv("X509_CERT_DIR")
    monkeypatch.setattr(credentials, "AUTHORITIES", str(tmp_path / "certificates"))
    assert check(TOKEN).kind == "token"
    assert credentials.environment(TOKEN)["X509_CERT_DIR"] == str(tmp_path / "certificates")


def test_a_process_shows_the_kind_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, proxy: Callable[..., Path]
) -> None:
    names = ("XrdSecPROTOCOL", "X509_CERT_DIR", "X509_USER_PROXY")
    folder, path = str(tmp_path / "certificates"), str(proxy())

    def known(need: dict[str, Any] | None) -> list[str | None]:
        return [credentials.environment(need).get(name) for name in names]

    either = TOKEN | {"kind": "any"}
    assert known(None) == [None, folder, path]
    assert known(TOKEN) == ["ztn", folder, path]
    assert known(PROXY) == ["gsi", folder, path]
    assert known(either) == [None, folder, path]
    os.remove(path)  # XrdCl would speak no TLS
    assert known(TOKEN) == ["ztn", folder, None]
    assert known(PROXY) == ["gsi", folder, path]
    assert known(either) == [None, folder, None]
    monkeypatch.setenv("X509_USER_PROXY", "")
    assert known(TOKEN) == ["ztn", folder, None]


def test_a_proxy_that_ends_tls_is_refused_where_a_token_is_asked_for(
    token: Callable[..., Path], proxy: Callable[..., Path]
) -> None:
    token()
    path = proxy(-5)  # expired: no harm to TLS
    assert check(TOKEN).kind == "token"
    path.chmod(0o644)
    refuse(TOKEN, f"proxy in {path}: others may", "shows no token either", "or remove it")
    path.chmod(0o600)
    path.write_text("junk")
    refuse(TOKEN, f"proxy in {path}: it is no proxy", "shows no token either")
    path.unlink()
    assert check(TOKEN).kind == "token"


def test_no_other_credential_is_shown(
    monkeypatch: pytest.MonkeyPatch, token: Callable[..., Path], proxy: Callable[..., Path]
) -> None:
    text, path = token().read_text().strip(), str(proxy())
    shown = {None: (text, path), "ztn": (text, None), "gsi": (None, path), "unix": (None, None)}
    for protocol, expected in shown.items():
        if protocol:
            monkeypatch.setenv("XrdSecPROTOCOL", protocol)
        assert (credentials.bearer(), credentials.client_certificate()) == expected
        # What there is can be looked at all the same.
        assert found().kind == "token"
        assert found("x509").kind == "x509"


# --- nothing is told --------------------------------------------------------------------------


def test_no_description_holds_the_secret(
    token: Callable[..., Path], proxy: Callable[..., Path]
) -> None:
    for kind, path in (("token", token()), ("x509", proxy())):
        said = f"{found(kind)} {found(kind)!r} {found(kind)._asdict()}"
        assert str(path) in said
        tell_nothing(said)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_errors_and_texts_lose_what_looks_like_a_secret() -> None:
    token, key = minted(), pem(ec.generate_private_key(ec.SECP256R1())).decode()
    said = str(InputError("cms:a", f"root://a//b?authz=Bearer%20{token}", key, "mend it"))
    assert "cms:a" in said
    assert redact.REMOVED in said
    for part in [*token.split("."), *key.splitlines()[1:]]:
        assert part not in said
    assert redact.text(f"a {key} b") == f"a {redact.REMOVED}\n b"
    assert redact.secrets(key[:80]) == redact.REMOVED  # cut short
    assert redact.secrets("/a/path root://host//f") == "/a/path root://host//f"

"""What storage protocols send to whom, and the URLs of replicas behind a cache."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nanolake import protocols
from nanolake.protocols import StorageError, webdav
from nanolake.replicas import through

TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"


def certificate(folder: Path) -> Path:
    """A certificate for both names of this machine, which vouches for itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "host.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


class Redirecting(http.server.BaseHTTPRequestHandler):
    """Sends who asks for /<host> to that host, and remembers what each was shown."""

    shown: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        host = self.headers["Host"].partition(":")[0]
        self.shown.append((host, self.headers["Authorization"]))
        target = self.path.partition("?")[0].strip("/")
        self.send_response(307 if target else 200)
        self.send_header("Content-Length", "0")
        if target:
            self.send_header("Location", f"https://{target}:{self.server.server_port}/?secret=x")  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server over TLS that is trusted; its URL. This process has a token."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    Redirecting.shown = []
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    served.socket = context.wrap_socket(served.socket, server_side=True)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    monkeypatch.setenv("X509_CERT_FILE", str(tmp_path / "host.pem"))
    monkeypatch.delenv("X509_CERT_DIR", raising=False)
    monkeypatch.setenv("BEARER_TOKEN", TOKEN)
    yield f"https://localhost:{served.server_port}"
    served.shutdown()
    served.server_close()


def test_token_goes_to_the_storage_and_to_no_other_host(server: str, tmp_path: Path) -> None:
    webdav.get(f"{server}/localhost", tmp_path / "file")
    assert Redirecting.shown == [("localhost", f"Bearer {TOKEN}")] * 2
    Redirecting.shown = []
    webdav.get(f"{server}/127.0.0.1", tmp_path / "file")
    assert Redirecting.shown == [("localhost", f"Bearer {TOKEN}"), ("127.0.0.1", None)]


def test_token_is_not_replaced_by_a_password_in_netrc(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine localhost login me password mine\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    webdav.get(f"{server}/", tmp_path / "file")
    assert Redirecting.shown == [("localhost", f"Bearer {TOKEN}")]


def test_errors_hold_no_query_and_no_token(server: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        webdav.get(f"{server}/no.such.host.invalid", tmp_path / "file")
    assert "secret" not in str(caught.value) and TOKEN not in str(caught.value)


def test_unknown_scheme() -> None:
    with pytest.raises(StorageError, match="srm:// is none of davs, file, https, root, roots"):
        protocols.protocol("srm://host/path")


# --- caches -----------------------------------------------------------------------------------

ROOT = {"rse": "A", "pfn": "root://origin:1094//lake/x"}
HTTPS = {"rse": "A", "pfn": "https://origin:8443/lake/x"}
FILE = {"rse": "B", "pfn": "file://localhost/lake/x"}


def test_replicas_through_a_cache_come_first_and_direct_ones_stay() -> None:
    cache = "root://cache:1094"
    other = {"rse": "C", "pfn": "roots://other//else/x"}
    assert through(cache, [FILE, ROOT, HTTPS, other]) == [
        {"rse": "A", "pfn": "root://cache:1094//lake/x", "cache": cache},
        {"rse": "C", "pfn": "root://cache:1094//else/x", "cache": cache},
        *(FILE, ROOT, HTTPS, other),
    ]


def test_same_path_of_two_storages_is_read_once_through_a_cache() -> None:
    twin = {"rse": "B", "pfn": "root://twin:1094//lake/x"}
    found = through("root://cache:1094/", [ROOT, twin])
    assert [row["pfn"] for row in found] == ["root://cache:1094//lake/x", ROOT["pfn"], twin["pfn"]]


def test_forwarding_cache() -> None:
    cache = "root://cache:1094//{url}"
    first = through(cache, [ROOT, HTTPS])[0]
    assert first == {"rse": "A", "pfn": "root://cache:1094//root://origin:1094//lake/x",
                     "cache": cache}  # fmt: skip


def test_https_cache() -> None:
    cache = "https://cache:8443"
    assert through(cache, [ROOT, HTTPS]) == [
        {"rse": "A", "pfn": "https://cache:8443/lake/x", "cache": cache}, ROOT, HTTPS,
    ]  # fmt: skip


def test_no_cache() -> None:
    assert through(None, [ROOT]) == [ROOT]

"""Credentials against real storage: what is not good enough stops a run before its first job."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from lakes import program
from site_clients import until
from testbed.configuration import free_port
from testbed.xrootd import Site, wan
from testbed.xrootd.configuration import AUDIENCE

from nanolake import credentials, preflight
from nanolake.errors import EmbargoError, InputError
from nanolake.generate import generate_file
from nanolake.preflight import Dataset

ROOT = Path(__file__).parents[2]
SAMPLE = "Run2012BC_DoubleMuParked_Muons"
UNIT = f"results/dimuon/units/{SAMPLE}/0000.root"
EVENTS = 3000
_VARIABLES = re.compile("BEARER_|X509_|XDG_RUNTIME_DIR|XrdSec|XRD_")


@pytest.fixture(scope="module", autouse=True)
def _stored(site: Site) -> None:
    """A file that is embargoed, though one origin gives it to anybody; and an engine to read it."""
    program()
    for origin in ("fast", "open"):
        path = site.storage(origin) / f"lake/embargo/{SAMPLE}.root"
        path.parent.mkdir(parents=True, exist_ok=True)
        generate_file(SAMPLE, path, events=EVENTS, seed=1)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, site: Site, tmp_path: Path) -> None:
    """A process that knows the site's authorities and has no credential."""
    for name in filter(_VARIABLES.match, list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("X509_CERT_DIR", str(site.folder / "authority/certificates"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    # A proxy or token in /tmp is another user's matter.
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "none"))


class Bearer:
    """The tokens of a test: each is put into the file that BEARER_TOKEN_FILE names."""

    def __init__(self, site: Site, path: Path) -> None:
        self.site, self.path, self.all = site, path, [""]
        self.path.touch(0o600)

    def __call__(self, scope: str = "storage.read:/embargo", **options: Any) -> Path:
        self.all.append(self.site.token(scope=scope, **options))
        # As programs that renew tokens do: nobody ever reads half of one.
        part = self.path.with_suffix(".part")
        part.touch(0o600)
        part.write_text(self.all[-1] + "\n")
        return part.replace(self.path)


@pytest.fixture
def bearer(alone: None, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bearer:
    """A token for the embargoed file, if the test calls it; see `Bearer`."""
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "token"))
    return Bearer(site, tmp_path / "token")


@pytest.fixture
def proxy(alone: None, site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Function (user, options) -> file that X509_USER_PROXY names."""

    def make(user: str = "analyst", *, vo: str = "escape", **options: Any) -> Path:
        path = site.proxy(user, vo=vo, **options)
        monkeypatch.setenv("X509_USER_PROXY", str(path))
        return path

    return make


class Workspace:
    """A working folder whose configuration has one dataset, at one URL."""

    def __init__(
        self, folder: Path, url: str, lake: Mapping[str, Any], *, events: int = EVENTS
    ) -> None:
        self.folder = folder
        (folder / "config").mkdir(parents=True)
        datasets = yaml.safe_load((ROOT / "config/datasets.yaml").read_text())
        dimuon = datasets["analyses"]["dimuon"]
        entry = dimuon["datasets"][SAMPLE]
        entry["places"] = {"portal": {"events": events, "files": [{"uri": url, "events": events}]}}
        dump(folder / "config/datasets.yaml", {"analyses": {"dimuon": dimuon}})
        dump(folder / "lake.yaml", {"kind": "urls", "read": {"schemes": ["root"]}, **lake})
        dump(folder / "config/config.yaml", {"analyses": ["dimuon"], "lake": "lake.yaml"})

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command of ours in the folder."""
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def snakemake(self, *arguments: str) -> subprocess.Popen[str]:
        """Start Snakemake."""
        options = ["--snakefile", str(ROOT / "Snakefile"), "--cores", "1", "--nocolor"]
        return self.start("snakemake", *options, *arguments)

    def stopped(self, target: str = UNIT) -> str:
        """What Snakemake says that ends before its first job."""
        process = self.snakemake(target)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 1, said
        assert not (self.folder / "results").exists(), said
        assert not (self.folder / "logs").exists(), said
        return said

    def run(self, target: str = UNIT) -> str:
        """What Snakemake says that makes the target."""
        process = self.snakemake(target)
        said, _ = process.communicate(timeout=300)
        logs = "".join(path.read_text() for path in self.folder.glob("logs/**/*.log"))
        assert process.returncode == 0, said + logs
        return said


def dump(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(content)))


def credential(kind: str = "token", **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        **({"audience": AUDIENCE} if kind == "token" else {"vo": "escape"}),
        **more,
    }


def embargoed(site: Site, server: str = "fast") -> str:
    return site.url(server, path=f"/lake/embargo/{SAMPLE}.root")


# --- what storage says ------------------------------------------------------------------------

TOKENS: dict[str, dict[str, Any]] = {
    "expired": {"lifetime": -60},
    "not yet valid": {"not_before": 3600, "lifetime": 7200},
    "wrong audience": {"audience": "https://elsewhere.test"},
    "wrong issuer": {"issuer": "evil"},
    "forged": {"key": "evil"},
    "wrong scope": {"scope": "storage.read:/cms"},
    "prefix of the path": {"scope": "storage.read:/emb"},
    "writes only": {"scope": "storage.create:/embargo"},
}
PROXIES: dict[str, dict[str, Any]] = {
    "wrong VO": {"user": "stranger", "vo": "other"},
    "no VO": {"user": "guest", "vo": ""},
    "expired": {"hours": 1, "past": 3},
}


def attempt(site: Site, kind: str, server: str, scheme: str = "root") -> preflight.Attempt:
    """What storage itself says to what is there, whatever that says of itself."""
    url = site.url(server, scheme=scheme, path=f"/lake/embargo/{SAMPLE}.root")
    (found,) = preflight.probe([Dataset(SAMPLE, (url,))], {"kind": kind})
    return found


@pytest.mark.parametrize("server", ["fast", "tcache"])
@pytest.mark.parametrize("scheme", ["root", "https"])
def test_storage_takes_a_good_token_and_refuses_others(
    site: Site, bearer: Bearer, scheme: str, server: str
) -> None:
    bearer()
    found = attempt(site, "token", server, scheme)
    assert found.state == "open", found.said
    for what, options in TOKENS.items():
        bearer(**options)
        assert attempt(site, "token", server, scheme).state == "refused", what
    bearer.path.unlink()
    assert attempt(site, "token", server, scheme).state == "refused"
    bearer().chmod(0o644)
    assert attempt(site, "token", server, scheme).state == "refused"


@pytest.mark.parametrize("scheme", ["root", "https"])
def test_storage_takes_a_good_proxy_and_refuses_others(
    site: Site, proxy: Callable[..., Path], scheme: str
) -> None:
    proxy()
    assert attempt(site, "x509", "fast", scheme).state == "open"
    for what, options in PROXIES.items():
        proxy(**options)
        assert attempt(site, "x509", "fast", scheme).state in ("refused", "failed"), what
    proxy().unlink()
    assert attempt(site, "x509", "fast", scheme).state == "refused"


def test_one_kind_of_credential_is_shown(
    site: Site, bearer: Bearer, proxy: Callable[..., Path]
) -> None:
    bearer(lifetime=-60)
    proxy()
    for scheme in ("root", "https"):
        assert attempt(site, "token", "fast", scheme).state == "refused"
        assert attempt(site, "x509", "fast", scheme).state == "open"
    bearer()
    proxy("stranger", vo="other")
    for scheme in ("root", "https"):
        assert attempt(site, "token", "fast", scheme).state == "open"
        assert attempt(site, "x509", "fast", scheme).state == "refused"


def test_a_server_that_nobody_vouches_for_is_not_trusted(
    site: Site, bearer: Bearer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bearer()
    monkeypatch.setenv("X509_CERT_DIR", str(tmp_path))
    for scheme in ("root", "https"):
        found = attempt(site, "token", "fast", scheme)
        assert found.state == "untrusted"
        with pytest.raises(InputError, match="X509_CERT_DIR must name a folder"):
            preflight.judge([Dataset(SAMPLE, (found.replica,))], [found])


def test_a_replica_that_is_down_is_passed_over(site: Site, bearer: Bearer) -> None:
    bearer()
    down, gone = f"root://localhost:1//lake/embargo/{SAMPLE}.root", embargoed(site) + "x"
    datasets = [Dataset(SAMPLE, (down, gone, embargoed(site)))]
    found = preflight.probe(datasets, {"kind": "token"})
    assert [one.state for one in found] == ["failed", "failed", "open"]
    preflight.judge(datasets, found)
    with pytest.raises(InputError, match="none of its replicas can be opened") as caught:
        preflight.judge([Dataset(SAMPLE, (down, gone))], found[:2])
    assert down in str(caught.value)
    assert "no such file" in str(caught.value)


def test_a_server_that_hangs_is_given_up(site: Site, bearer: Bearer) -> None:
    bearer()
    site.pause("cheap")
    try:
        urls = (embargoed(site, "cheap"), embargoed(site))
        started = time.monotonic()
        found = preflight.probe([Dataset(SAMPLE, urls)], {"kind": "token"})
        assert [one.state for one in found] == ["failed", "open"]
        assert time.monotonic() - started < 60
    finally:
        site.resume("cheap")


def test_embargoed_data_must_be_refused_to_nobody(site: Site, bearer: Bearer) -> None:
    bearer()
    closed = [Dataset(SAMPLE, (embargoed(site), embargoed(site, "tcache")), True)]
    found = preflight.probe(closed, {"kind": "token"})
    states = [(one.credential, one.state) for one in found]
    assert states == [("token", "open"), ("none", "refused"), ("none", "refused")]
    preflight.judge(closed, found)
    for scheme in ("root", "http"):
        leak = site.url("open", scheme=scheme, path=f"/lake/embargo/{SAMPLE}.root")
        if scheme == "root":
            open_too = [Dataset(SAMPLE, (embargoed(site), leak), True)]
            with pytest.raises(EmbargoError, match="serves it to anybody") as caught:
                preflight.judge(open_too, preflight.probe(open_too, {"kind": "token"}))
            assert leak in str(caught.value)


# --- whole runs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "words"),
    {
        "expired": ("it has expired", "get a token"),
        "not yet valid": ("it is not valid yet", "get a token"),
        "wrong audience": (f"not {AUDIENCE}", f"audience {AUDIENCE}"),
        "wrong issuer": ("refuses it", "shown was: token in"),
        "forged": ("refuses it", "shown was: token in"),
        "wrong scope": ("do not cover storage.read:/lake/embargo", "get a token"),
        "prefix of the path": ("do not cover storage.read:/lake/embargo", "storage.read:/emb)"),
        "writes only": ("do not cover storage.read:/lake/embargo", "get a token"),
    }.items(),
)  # fmt: skip
def test_a_bad_token_stops_the_run_before_any_job(
    site: Site, bearer: Bearer, tmp_path: Path, what: str, words: tuple[str, ...]
) -> None:
    bearer(**TOKENS[what])
    work = Workspace(tmp_path / "work", embargoed(site), {"credential": credential()})
    says(work.stopped(), *words)
    tells_nothing(work, bearer.all)


def says(said: str, *words: str) -> None:
    missing = [word for word in ("remedy:  ", *words) if word not in said]
    assert not missing, f"{missing} not in:\n{said}"
    assert "Traceback" not in said


def test_other_tokens_stop_the_run_before_any_job(
    site: Site, bearer: Bearer, tmp_path: Path
) -> None:
    work = Workspace(tmp_path / "work", embargoed(site), {"credential": credential()})
    says(work.stopped(), "there is none", str(bearer.path), "get a token")
    bearer(lifetime=300)
    says(work.stopped(), "good for 5 min only, a run needs 10 min", "get a token")
    bearer().chmod(0o640)
    says(work.stopped(), "others may read", f"chmod 600 {bearer.path}")
    bearer.path.write_text("eyJ" + "x" * 50)
    bearer.path.chmod(0o600)
    says(work.stopped(), "it is no JSON web token")
    tells_nothing(work, [*bearer.all, "x" * 50])


@pytest.mark.parametrize("what", PROXIES)
def test_a_bad_proxy_stops_the_run_before_any_job(
    site: Site, proxy: Callable[..., Path], tmp_path: Path, what: str
) -> None:
    path = proxy(**PROXIES[what])
    lake = {"credential": credential("x509")}
    work = Workspace(tmp_path / "work", embargoed(site), lake)
    words = {"wrong VO": "(it has: /other)", "no VO": "(it has: none)", "expired": "has expired"}
    says(work.stopped(), words[what], f"voms-proxy-init -voms escape -out {path}")


def test_other_proxies_stop_the_run_before_any_job(
    site: Site, proxy: Callable[..., Path], tmp_path: Path
) -> None:
    lake = {"credential": credential("x509")}
    work = Workspace(tmp_path / "work", embargoed(site), lake)
    path = proxy()
    path.chmod(0o644)
    says(work.stopped(), "others may read", f"chmod 600 {path}")
    path.unlink()
    says(work.stopped(), "there is none", str(path), "voms-proxy-init -voms escape")


def test_a_cached_embargoed_file_is_not_read_without_a_token(
    site: Site, bearer: Bearer, tmp_path: Path
) -> None:
    bearer()
    lake = {"credential": credential(minutes=0)}
    work = Workspace(tmp_path / "work", embargoed(site, "tcache"), lake)
    work.run()
    site.stop("fast")
    try:
        assert attempt(site, "token", "tcache").state == "open"  # from the cache alone
        (work.folder / UNIT).unlink()
        bearer(key="evil")
        process = work.snakemake(UNIT)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 1
        says(said, "refuses it", "shown was: token in")
        assert not (work.folder / UNIT).exists()
    finally:
        site.start("fast")


@pytest.fixture(scope="module")
def public_unit(site: Site, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The events of the file, read from storage that asks for nothing."""
    folder = tmp_path_factory.mktemp("public") / "work"
    work = Workspace(folder, embargoed(site, "open"), {})
    work.run()
    assert not (folder / "results/dimuon/preflight.json").exists()
    return (folder / UNIT).read_bytes()


@pytest.mark.parametrize("kind", ["token", "x509"])
def test_the_right_credential_gives_the_right_events(
    site: Site,
    bearer: Bearer,
    proxy: Callable[..., Path],
    tmp_path: Path,
    kind: str,
    public_unit: bytes,
) -> None:
    bearer() if kind == "token" else proxy()
    lake = {"credential": credential(kind)}
    closed = Workspace(tmp_path / "closed", embargoed(site), lake)
    closed.run()
    assert (closed.folder / UNIT).read_bytes() == public_unit
    assert json.loads((closed.folder / "results/dimuon/preflight.json").read_text()) == {
        "credential": kind, "datasets": {SAMPLE: {"embargoed": False}},
    }  # fmt: skip


def test_the_doctor_says_what_a_lake_needs_and_what_there_is(
    site: Site, bearer: Bearer, tmp_path: Path
) -> None:
    work = Workspace(tmp_path / "work", embargoed(site), {"credential": credential()})

    def doctor() -> tuple[int, str]:
        process = work.start("nanolake", "doctor", "--lake", "lake.yaml")
        said, _ = process.communicate(timeout=120)
        tells_nothing(work, bearer.all, said)
        # As a narrow terminal shows it: lines are folded, nothing is cut.
        return process.returncode, re.sub(r"\s+", "", said)

    def says_too(said: str, *words: str) -> None:
        missing = [word for word in words if word.replace(" ", "") not in said]
        assert not missing, f"{missing} not in {said}"

    bearer("storage.read:/embargo", lifetime=1800)
    status, said = doctor()
    assert status == 0
    asked = f"asks for a token, audience {AUDIENCE}, good for 10 min at least"
    says_too(said, asked, f"token in {bearer.path}, of analyst by", "lifetime good for 30 min")
    says_too(said, f"audience {AUDIENCE}", "scopes storage.read:/embargo")
    says_too(said, SAMPLE, "open to token", embargoed(site))
    for options, words in (
        ({"lifetime": -60}, "it has expired"),
        ({"scope": "storage.read:/emb"}, "do not cover"),
        ({"key": "evil"}, "refused to token"),
    ):
        bearer(**options)
        status, said = doctor()
        assert status == 1
        says_too(said, "missing", words)


def tells_nothing(work: Workspace, secrets: list[str], *said: str) -> None:
    """No file in a working folder, and no text, holds a secret or a part of one."""
    parts = {part for secret in secrets for part in re.split(r"[.\s]", secret) if len(part) > 20}
    assert parts
    found: list[Path] = []
    for path in work.folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        found += [path for part in parts if part.encode() in content or part in str(path)]
    assert not found
    assert not [text for text in said if any(part in text for part in parts)]


# --- long processes ---------------------------------------------------------------------------

# Shows a token that has no right to the file, then each of the verbs one that has.
_VERBS = """
import json, os, sys
from pathlib import Path
from nanolake.protocols import StorageError, xrootd
poor, good, url, folder = sys.argv[1:]
token, copy = Path(os.environ["BEARER_TOKEN_FILE"]), f"{folder}/copy"
verbs = {
    "peek": lambda: xrootd.peek(url),
    "get": lambda: xrootd.get(url, copy),
    "put": lambda: xrootd.put(copy, url + ".new"),
    "stat": lambda: xrootd.stat(url + ".new"),
    "rename": lambda: xrootd.rename(url + ".new", url + ".named"),
    "delete": lambda: xrootd.delete(url + ".named"),
}
said = {}
for name, verb in verbs.items():
    for shown in (poor, good):
        os.replace(shown, token)
        try:
            said[name, shown] = verb() or "done"
        except StorageError as error:
            said[name, shown] = error.kind
        Path(shown).write_bytes(token.read_bytes())
        Path(shown).chmod(0o600)
print(json.dumps([[name, shown == good, what] for (name, shown), what in said.items()]))
"""


# Reads by a token that has no right to the file, then by one that has, as a chain of files does.
_CHAIN = """
import json, os, sys
from nanolake import root
poor, good, url, folder = sys.argv[1:]
ROOT, read = root.load(), []
for shown in (poor, good):
    os.replace(shown, os.environ["BEARER_TOKEN_FILE"])
    try:
        frame = ROOT.RDataFrame("Events", [str(ROOT.nanolake.ApartByName(url))])
        read.append(int(frame.Count().GetValue()))
    except Exception:
        read.append("refused")
print(json.dumps(read))
"""


def by_a_poor_and_a_good_token(site: Site, bearer: Bearer, folder: Path, code: str) -> Any:
    """What a process gives that is shown the one, and then, having logged in, the other."""
    rights = ("read", "create", "modify", "stage")
    shown = []
    for place in ("/cms", "/embargo"):
        token = bearer(scope=" ".join(f"storage.{right}:{place}" for right in rights))
        shown.append(token.rename(folder / place.strip("/")))
    ended = subprocess.run(
        [sys.executable, "-c", code, *shown, embargoed(site), folder],
        env=credentials.environment({"kind": "token"}), capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_a_renewed_token_counts_in_a_process_that_has_logged_in(
    site: Site, bearer: Bearer, tmp_path: Path
) -> None:
    """A server would go on to judge a connection by the token that it has begun with."""
    for verb, good, what in by_a_poor_and_a_good_token(site, bearer, tmp_path, _VERBS):
        assert (what == "refused") != good, (verb, good, what)
    read = by_a_poor_and_a_good_token(site, bearer, tmp_path, _CHAIN)
    assert read == ["refused", EVENTS]


RATE, MANY = 400_000, 200_000  # bytes a second, and events: a unit takes a quarter of a minute


class Slowly:
    """A slow way to the origin that can be cut."""

    def __init__(self, site: Site) -> None:
        self.port = free_port(0)
        pair = ["--delay", "0", str(self.port), str(site.port("fast"))]
        self.command = [sys.executable, wan.__file__, "--rate", str(RATE), *pair]
        self.process = subprocess.Popen(self.command)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def cut(self) -> None:
        """Break all connections; who was in the middle of something must log in anew."""
        self.end()
        self.process = subprocess.Popen(self.command)


@pytest.fixture
def slowly(site: Site) -> Iterator[Slowly]:
    way = Slowly(site)
    yield way
    way.end()


class Renewal(threading.Thread):
    """Makes a new credential of 15 s every few seconds; looks at all command lines meanwhile."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self.make, self.lines, self.ended = make, set[str](), threading.Event()
        self.make()

    def run(self) -> None:
        for number in itertools.count(1):
            for process in psutil.process_iter(["cmdline"]):
                self.lines.add(" ".join(process.info["cmdline"] or []))
            if number % 20 == 0:
                self.make()
            if self.ended.wait(0.2):
                return


@pytest.mark.parametrize("kind", ["token", "x509"])
def test_a_credential_that_is_renewed_on_disk_is_used(
    site: Site,
    bearer: Bearer,
    proxy: Callable[..., Path],
    tmp_path: Path,
    kind: str,
    slowly: Slowly,
) -> None:
    """The connection breaks while a unit reads, long after the credential of its first login has
    expired, and the client logs in anew. Nothing of any credential is left behind.
    """
    place, secrets = proxy() if kind == "x509" else bearer.path, list[str]()

    def make() -> None:
        if kind == "token":
            bearer(lifetime=15)
        else:  # VOMS's program counts in hours: one that began almost an hour ago
            site.proxy("analyst", vo="escape", hours=1, past=1 - 15 / 3600).replace(place)
        secrets.append(place.read_text())

    large = site.storage("fast") / "lake/embargo/large.root"
    if not large.exists():
        generate_file(SAMPLE, large, events=MANY, seed=1, cluster_events=10_000)
    url = f"root://localhost:{slowly.port}//lake/embargo/{large.name}"
    lake = {"credential": credential(kind, minutes=0)}
    work = Workspace(tmp_path / "work", url, lake, events=MANY)
    renewal = Renewal(make)
    renewal.start()
    try:
        run = work.snakemake(*([] if kind == "token" else [UNIT]))  # once, everything that there is
        log = work.folder / f"logs/skim/dimuon/{SAMPLE}/0000.log"
        until(lambda: log.exists() or run.poll() is not None, 60)
        time.sleep(10)
        assert run.poll() is None, "the unit has ended too early"
        slowly.cut()
        said, _ = run.communicate(timeout=200)
    finally:
        renewal.ended.set()
        renewal.join()
    assert run.returncode == 0, said + log.read_text()
    ledger = json.loads((work.folder / UNIT).with_suffix(".json").read_text())
    assert (ledger["read"], ledger["files"][0]["failed"]) == (MANY, [])
    tells_nothing(work, secrets, said, *renewal.lines)

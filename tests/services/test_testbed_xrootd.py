"""The site of XRootD servers: its life and death, its secrets, its networks, its faults."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from site_clients import IMPATIENT, accesses, read, session, store, until
from testbed import processes
from testbed.errors import TestbedError
from testbed.xrootd import Site, down, find, install, launch, programs, up

ROOT = Path(__file__).parents[2]
PATH, DATA = "/lake/cms/6a/7b/file", os.urandom(100_000)


def of_site(folder: Path) -> list[psutil.Process]:
    known = launch.load(folder)
    assert known is not None
    return processes.of_service(folder, known)


def works(site: Site) -> bool:
    """Every server, the issuer included, does what it is there for."""
    analyst = site.environment("analyst", kind="token")
    names = (*launch.SERVERS, *launch.WANS)
    return [one.data for one in read(analyst, *(site.url(n, path=PATH) for n in names))] == [
        DATA
    ] * len(names)


@pytest.fixture(scope="module")
def mortal(services_folder: Path, installed: None) -> Iterator[Path]:
    """The folder of a site that tests may kill; it has one file."""
    folder = services_folder / "mortal-site"
    begun = time.monotonic()
    site = up(folder)
    print(f"a new site is up in {time.monotonic() - begun:.1f} s")
    assert time.monotonic() - begun < 20
    store(site, ("open", "fast", "cheap"), PATH, DATA)
    yield folder
    down(folder, delete=True)


def test_running_site_is_found(mortal: Path) -> None:
    site = up(mortal)
    assert works(site)
    begun = time.monotonic()
    again = up(mortal)
    assert time.monotonic() - begun < 2
    assert not again.started and again.pid == site.pid and find(mortal) == again
    assert {name for name, _, _ in programs(mortal)} == set(launch.PROGRAMS)


def test_half_dead_site_is_mended(mortal: Path) -> None:
    site = up(mortal)
    for name in ("fast", "issuer", "monitoring"):
        site.kill(name)
    site.pause("gcache")
    assert find(mortal) is None
    again = up(mortal)
    assert not again.started and works(again)


def test_killed_supervisor_leaves_orphans_that_up_replaces(mortal: Path) -> None:
    site = up(mortal)
    orphans = [process for process in of_site(mortal) if process.pid != site.pid]
    os.kill(site.pid, 9)
    until(lambda: not psutil.pid_exists(site.pid))
    assert len(orphans) == len(launch.PROGRAMS)
    assert find(mortal) is None
    again = up(mortal)
    assert again.started and again.known.ports == site.known.ports and works(again)
    assert not processes.outlive(orphans, 0)


def test_two_ups_at_once_make_one_site_and_a_taken_port_is_left(mortal: Path) -> None:
    port = up(mortal).port("fast")
    assert down(mortal)
    script = "import sys; from pathlib import Path; from testbed.xrootd import up; site = up("
    script += "Path(sys.argv[1])); print(site.started, site.pid, site.port('fast'))"
    with socket.create_server(("127.0.0.1", port)):
        ups = [
            subprocess.Popen([sys.executable, "-c", script, mortal], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE)
            for _ in range(2)
        ]  # fmt: skip
        answers = sorted(one.communicate()[0].split() for one in ups)
    assert [answer[0] for answer in answers] == ["False", "True"]
    assert answers[0][1:] == answers[1][1:] and answers[0][2] != str(port)
    assert works(up(mortal))


def test_down_leaves_data_and_nothing_else(mortal: Path) -> None:
    site = up(mortal)
    site.pause("cheap")
    assert down(mortal)
    assert of_site(mortal) == []
    assert not any(stat.S_ISSOCK(path.lstat().st_mode) for path in mortal.rglob("*"))
    assert not (mortal / "run").exists()
    for port in site.known.ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert find(mortal) is None and not down(mortal)
    again = up(mortal)
    assert again.known.ports == site.known.ports and works(again)


def test_folder_that_is_no_site_is_left_alone(tmp_path: Path, installed: None) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(TestbedError, match="not a site"):
        up(tmp_path)
    with pytest.raises(TestbedError, match="not a site"):
        down(tmp_path, delete=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_path_that_is_too_long_for_sockets(services_folder: Path, installed: None) -> None:
    folder = services_folder / ("x" * 60) / ("y" * 60)
    folder.mkdir(parents=True)
    site = up(folder)
    elsewhere = processes.socket_folder(folder, site.known)
    assert site.started and elsewhere != folder / "run"
    assert down(folder, delete=True) and not elsewhere.exists()


def test_command_line(site: Site, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "testbed.cli", *arguments, "--folder", str(site.folder)]
        return subprocess.run(command, cwd=ROOT, text=True, capture_output=True)

    assert f". {site.folder}/env/analyst.sh" in run("up", "xrootd").stdout
    assert site.url("fast") in run("status", "xrootd").stdout
    made = run("token", "--scope", "storage.read:/embargo", "-o", str(tmp_path / "token"))
    assert made.returncode == 0 and made.stdout == made.stderr == ""
    made = run("proxy", "analyst", "--vo", "escape", "-o", str(tmp_path / "proxy"))
    assert made.returncode == 0 and made.stdout == made.stderr == ""
    for name in ("token", "proxy"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert run("token", "-o", "-").stdout.count(".") == 2
    script = '. "$1" && test -z "$BEARER_TOKEN" && cat "$BEARER_TOKEN_FILE" "$X509_USER_PROXY"'
    for user in ("analyst", "guest"):
        command = ["sh", "-c", script, "sh", str(site.folder / f"env/{user}.sh")]
        assert "BEGIN CERTIFICATE" in subprocess.check_output(command, text=True)


# --- secrets and doors ------------------------------------------------------------------------


def test_secrets_are_private(site: Site) -> None:
    read(site.environment("analyst"), site.url("fast", path=PATH), site.url("tcache", path=PATH))
    assert stat.S_IMODE(site.folder.stat().st_mode) == 0o700
    private = ("authority", "issuer", "credentials", "etc", "env", "log", "storage", "caches")
    for name in private:
        assert stat.S_IMODE((site.folder / name).stat().st_mode) == 0o700, name
    kept = ("authority", "issuer", "credentials", "etc", "env", "log", "monitoring")
    paths = [path for name in kept for path in (site.folder / name).rglob("*") if path.is_file()]
    assert [path for path in paths if path.stat().st_mode & 0o077] == []
    secrets = [site.known.secret]
    for path in site.folder.glob("credentials/*.token"):
        secrets += [path.read_text(), path.read_text().rsplit(".", 1)[1]]
    for path in [*site.folder.glob("credentials/*.proxy"), *site.folder.glob("*/*.key")]:
        secrets.append(path.read_text().split("PRIVATE KEY-----")[1].split("\n")[1])
    family = of_site(site.folder)
    lines = [" ".join(process.cmdline()) for process in family]
    environments = ["\n".join(process.environ().values()) for process in family]
    logs = [path.read_text(errors="replace") for path in site.folder.glob("log/*")]
    assert len(secrets) > 15 and len(family) == 1 + len(launch.PROGRAMS)
    for text in [*lines, *environments, *logs]:
        assert not any(secret in text for secret in secrets)
    assert site.known.secret not in repr(site)


def test_only_servers_with_a_list_of_clients_listen_beyond_loopback(site: Site) -> None:
    """XRootD cannot be bound to an address; test_xrootd_access shows whom it turns away."""
    pids = {pid: name for name, _, pid in programs(site.folder)}
    for process in of_site(site.folder):
        for one in process.net_connections("inet"):
            if one.status == psutil.CONN_LISTEN and one.laddr.ip != "127.0.0.1":
                name = pids[process.pid]
                assert one.laddr.port == site.port(name)
                text = (site.folder / f"etc/{name}.cfg").read_text()
                allowed = [line.split()[2] for line in text.splitlines() if "xrd.allow" in line]
                assert allowed and all(address.startswith("127.0.0.") for address in allowed)


# --- networks and faults ----------------------------------------------------------------------


def _round_trip(site: Site, host: str) -> float:
    client = session(site)
    client.head(f"http://{host}//lake/cms")
    begun = time.monotonic()
    for _ in range(5):
        client.head(f"http://{host}//lake/cms")
    return (time.monotonic() - begun) / 5


def test_wan_delays(site: Site) -> None:
    near = _round_trip(site, f"localhost:{site.port('open')}")
    far = _round_trip(site, f"localhost:{site.port('wan')}")
    assert far - near > 0.019
    with site.wan("open", delay=40) as place:
        assert _round_trip(site, place) - near > 0.079


def test_wan_limits_the_rate(site: Site) -> None:
    store(site, ("open",), "/lake/cms/megabyte", bytes(1_000_000))
    with site.wan("open", delay=0, rate=2_000_000) as place:
        begun = time.monotonic()
        assert read(site.environment(), f"root://{place}//lake/cms/megabyte")[0].ok
        assert time.monotonic() - begun > 0.5


def test_server_that_is_killed_or_hangs(site: Site) -> None:
    store(site, ("open",), PATH, DATA)
    url = site.url("open", path=PATH)
    site.kill("open")
    assert site.state("open") == "EXITED"
    assert not read(site.environment() | IMPATIENT, url)[0].ok
    site.start("open")
    assert read(site.environment(), url)[0].data == DATA
    site.pause("open")
    with pytest.raises(OSError):
        session(site).get(url.replace("root:", "http:"), timeout=1)
    site.resume("open")
    assert session(site).get(url.replace("root:", "http:"), timeout=5).content == DATA
    site.stop("open")
    assert site.state("open") == "STOPPED"
    site.start("open")


def test_directives_of_a_test_overrule_the_servers(site: Site) -> None:
    def block_size(path: str) -> int:
        store(site, ("open",), path, DATA)
        assert read(site.environment(), site.url("ocache", path=path))[0].data == DATA
        return int(until(lambda: accesses(site, "ocache", path))[0]["blk_size"])

    site.stop("ocache")
    site.start("ocache", extra="pfc.blocksize 64k\n")
    assert block_size("/lake/cms/small-blocks") == 65536
    site.stop("ocache")
    site.start("ocache", extra="")
    assert block_size("/lake/cms/usual-blocks") == 131072


def test_installation_is_its_own(installed: None) -> None:
    for name in ("xrootd", "xrdcp", "xrdfs", "voms-proxy-fake", "openssl"):
        assert install.program(name).exists()
    said = subprocess.run(
        [str(install.program("xrdcp")), "--version"], capture_output=True, text=True
    )
    assert "5.8.1" in said.stdout + said.stderr

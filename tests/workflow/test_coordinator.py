"""submit, status, stop: a run that outlives its terminal, on a real pool and on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from pools import forget, queue, wait_until
from test_condor import NTUPLE, SAMPLE, user  # noqa: F401
from testbed.condor import Pool
from workspace import REPOSITORY, Workspace, flip_bit

OTHER = "ZZTo4mu"
POOL = ("--profile", "condor")


def nanolake(workspace: Workspace, *words: str, env: dict[str, str] | None = None) -> Any:
    """Run a command of ours to its end, as a user does."""
    return subprocess.run(
        [Path(sys.executable).with_name("nanolake"), *words],
        cwd=workspace.folder,
        env=os.environ | {"NANOLAKE_PROGRESS": "1"} | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )


def submit(workspace: Workspace, *words: str, env: dict[str, str] | None = None) -> Any:
    common = ["--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "chosen.json"]
    return nanolake(workspace, "submit", *words, *common, env=env)


def known(workspace: Workspace, name: str) -> dict[str, Any]:
    """What a run has left word of; empty if it has not."""
    path = workspace.folder / ".snakemake/nanolake" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def of_folder(workspace: Workspace) -> list[psutil.Process]:
    """All processes that work in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(workspace.folder):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone, or somebody else's
    return found


def test_submit_returns_and_status_follows_to_the_end(user: Workspace, pool: Pool) -> None:  # noqa: F811
    forget(user, "higgs4l", SAMPLE)
    done = submit(user, *POOL, NTUPLE, env=pool.environment())
    assert done.returncode == 0 and "nanolake status" in done.stdout
    pid = known(user, "coordinator")["process"]["pid"]
    assert os.getsid(pid) == pid != os.getsid(0)
    again = submit(user, *POOL, NTUPLE, env=pool.environment())
    assert again.returncode == 1 and "another run is at work" in again.stdout
    assert nanolake(user, "status").returncode == 0
    followed = nanolake(user, "status", "--follow")
    assert followed.returncode == 0, followed.stdout
    assert "ended well" in followed.stdout and "units 1 of 1" in followed.stdout
    assert nanolake(user, "status").returncode == 3
    assert (user.folder / NTUPLE).exists() and not queue(pool)
    said = (user.folder / "logs/coordinator.log").read_text()
    assert "progress: units 0 of 1; jobs: 1 " in said and "events/s" in said
    assert known(user, "status")["rate"] > 0
    assert (user.folder / "logs/coordinator.log").stat().st_mode & 0o777 == 0o600


def test_status_shows_what_failed_and_what_is_held(user: Workspace, pool: Pool) -> None:  # noqa: F811
    inputs = user.folder / "resources/synthetic"
    for sample in (SAMPLE, OTHER):
        flip_bit(inputs / f"{sample}.root")
    forget(user, "higgs4l", SAMPLE, OTHER)
    submit(user, *POOL, NTUPLE, NTUPLE.replace(SAMPLE, OTHER), env=pool.environment())
    wait_until(lambda: len(queue(pool)) == 2)
    last = max(pool.run("condor_q", "-af", "ClusterId").split(), key=int)
    pool.run("condor_hold", last)
    wait_until(lambda: known(user, "status").get("held"))
    assert f"job {last}: via condor_hold" in known(user, "status")["held"][0]
    assert nanolake(user, "status", "--follow").returncode == 1
    shown = nanolake(user, "status")
    assert shown.returncode == 1 and "failed with status 1" in shown.stdout
    logs = [f"logs/skim/higgs4l/{sample}/0000.log" for sample in (SAMPLE, OTHER)]
    assert set(known(user, "status")["failed"].values()) == set(logs)
    # Either of the two, whichever was not held.
    assert ": error: " in shown.stdout and "cause: input" in shown.stdout
    said = (user.folder / "logs/coordinator.log").read_text()
    assert "2 failed (log: logs/skim/higgs4l/" in said and "1 held" in said
    done = nanolake(user, "stop", env=pool.environment())
    assert done.returncode == 0 and not queue(pool)


def test_stop_empties_the_queue_and_the_next_run_finishes(user: Workspace, pool: Pool) -> None:  # noqa: F811
    forget(user, "higgs4l", SAMPLE)
    submit(user, *POOL, NTUPLE, env=pool.environment())
    wait_until(lambda: "2" in queue(pool))
    done = nanolake(user, "stop", env=pool.environment())
    assert done.returncode == 0, done.stdout
    assert not queue(pool) and not of_folder(user)
    assert "the queue holds none of its jobs" in done.stdout
    assert nanolake(user, "status").returncode == 1
    submit(user, *POOL, NTUPLE, env=pool.environment())
    assert nanolake(user, "status", "--follow").returncode == 0
    assert (user.folder / NTUPLE).exists() and not user.unfinished()


def test_stop_cleans_up_after_a_coordinator_that_was_killed(user: Workspace, pool: Pool) -> None:  # noqa: F811
    forget(user, "higgs4l", SAMPLE)
    submit(user, *POOL, NTUPLE, env=pool.environment())
    wait_until(lambda: "2" in queue(pool))
    run = known(user, "coordinator")
    for who in ("process", "snakemake"):
        psutil.Process(run[who]["pid"]).kill()
    shown = nanolake(user, "status")
    assert shown.returncode == 1 and "was killed" in shown.stdout
    pool.run("condor_hold", "-all")  # it stays until somebody removes it
    done = nanolake(user, "stop", env=pool.environment())
    assert done.returncode == 0 and "removed 1 of its jobs" in done.stdout
    assert not queue(pool)


def test_a_local_run_is_seen_and_stopped(user: Workspace) -> None:  # noqa: F811
    forget(user, "higgs4l", SAMPLE)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    arguments = ["--configfile", "chosen.json", "--cores", "1", "-F", "higgs4l"]
    with (user.folder / "said").open("w") as said:
        run = subprocess.Popen(
            [*command, *arguments], cwd=user.folder, stdout=said, stderr=said
        )  # fmt: skip
    wait_until(lambda: known(user, "status").get("jobs", {}).get("running"))
    shown = nanolake(user, "status")
    assert shown.returncode == 0 and f"process {run.pid}" in shown.stdout
    assert ".snakemake.log" in shown.stdout
    done = nanolake(user, "stop")
    assert done.returncode == 0, done.stdout
    assert run.wait(timeout=5) != 0
    assert not of_folder(user)
    assert nanolake(user, "status").returncode == 1

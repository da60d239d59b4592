"""A canary: one small job that goes the way of units and says what it finds on its host."""

from __future__ import annotations

import json
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanolake import engine, root
from nanolake.catalogue import write
from nanolake.doctor import Finding, examine_storage
from nanolake.errors import NanolakeError
from nanolake.preflight import Dataset

FOLDER = Path("logs/canary")
DATASETS, FINDINGS = FOLDER / "datasets.json", FOLDER / "findings.json"
_SAID = FOLDER / "snakemake.log"
_SUBMITTED = re.compile(r"submitted to\s+HTCondor Cluster ID (\d+)")
_STOPPING = "Terminating processes"
_PATIENCE = 60.0  # seconds in which Snakemake must have taken its job back


def look(
    program: str, datasets_file: str, output_file: str, *, lake: Mapping[str, Any], version: str
) -> None:
    """In the job: say what is there and what is missing.

    Args:
        program: An engine, as units run it.
        datasets_file: The datasets to open, see `send`.
        output_file: Output: the findings.
        lake: Contents of the lake's file.
        version: Of ROOT where Snakemake runs.
    """
    given = Path(datasets_file).read_text()
    datasets = [Dataset(name, tuple(urls), closed) for name, urls, closed in json.loads(given)]
    findings = [
        Finding("host", "ok", platform.node()),
        Finding("Python", "ok", f"{platform.python_version()}, {sys.executable}"),
        _root(version),
        _engine(program),
        *examine_storage(lake, datasets),
    ]
    write(output_file, [finding._asdict() for finding in findings])


def _root(version: str) -> Finding:
    remedy = "make the same environment on all hosts (make setup)"
    try:
        found = root.installation()
    except NanolakeError:
        return Finding("ROOT", "missing", "not installed", remedy)
    same = found.version == version
    said = f"{found.version}, {found.lib}" + ("" if same else f"; Snakemake's host has {version}")
    return Finding("ROOT", "ok" if same else "missing", said, remedy)


def _engine(program: str) -> Finding:
    """Whether an engine starts here, and with it all of its libraries are found."""
    try:
        engine.run(program, "inspect", {"object": "Events", "columns": {}, "paths": []})
    except NanolakeError as error:
        remedy = "install the same system and libraries on all hosts, or set engine: jit"
        return Finding("engine", "missing", str(error), remedy)
    return Finding("engine", "ok", "it starts")


def send(
    profile: str,
    datasets: Sequence[Dataset],
    *,
    lake: str | None = None,
    arguments: Sequence[str] = (),
    seconds: float = 120,
) -> list[Finding]:
    """Submit the job as Snakemake submits units, wait for it, and give its findings.

    No job is left behind: not after `seconds`, and not if this is interrupted.

    Args:
        profile: Of Snakemake.
        datasets: What it tries to open.
        lake: Name or path of the lake; that of config.yaml by default.
        arguments: Further ones of Snakemake.
        seconds: How long the job may wait and run.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    FINDINGS.unlink(missing_ok=True)
    write(DATASETS, [list(dataset) for dataset in datasets])
    command = [sys.executable, "-m", "snakemake", str(FINDINGS), "--profile", profile]
    command += [
        "--nolock",
        "--nocolor",
        *arguments,
        *(["--config", f"lake={lake}"] if lake else []),
    ]
    with _SAID.open("w") as said:
        # A session of its own: an interrupt of the terminal reaches it once, from here. It hears
        # it also where this runs in the background, and shells have interrupts ignored.
        process = subprocess.Popen(
            command, stdout=said, stderr=said, start_new_session=True, preexec_fn=_hear
        )
    try:
        in_time = _wait(process, seconds)
    finally:
        _stop(process)
    if FINDINGS.exists():
        found = [Finding(**row) for row in json.loads(FINDINGS.read_text())]
        return [one._replace(what=f"in a job: {one.what}") for one in found]
    return [_nothing(in_time, seconds)]


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of Snakemake, and say how far it is; False if it takes too long."""
    from rich.console import Console

    started = time.monotonic()
    with Console(stderr=True).status("") as status:
        while process.poll() is None:
            waited = time.monotonic() - started
            job = _SUBMITTED.search(_SAID.read_text())
            phase = f"job {job[1]} is in the queue or runs" if job else "preparing a job"
            status.update(f"canary of the pool: {phase} ({waited:.0f} of {seconds:.0f} s)")
            if waited > seconds:
                return False
            time.sleep(0.5)
    return True


def _hear() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt Snakemake until it hears it, which it does not while it submits, and let it end."""
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None:
        if _STOPPING not in _SAID.read_text():
            process.send_signal(signal.SIGINT)
        if time.monotonic() > deadline:
            process.kill()
            raise NanolakeError(
                f"Snakemake did not take back its job\n  remedy:  see {_SAID}, and condor_rm it"
            )
        time.sleep(1)


def _nothing(in_time: bool, seconds: float) -> Finding:
    """Why there are no findings."""
    said = _SAID.read_text()
    if not in_time and (job := _SUBMITTED.search(said)):
        problem = f"job {job[1]} did not end within {seconds:.0f} s, and was removed"
        remedy = "see what the pool has free (condor_status), or try again with --wait SECONDS"
        return Finding("canary", "missing", problem, remedy)
    texts = [said, *(path.read_text(errors="replace") for path in _errors())]
    lines = [line for text in texts for line in text.strip().splitlines()[-12:]]
    remedy = f"mend what is said here; more is in {_SAID} and logs/condor/canary"
    return Finding("canary", "missing", "\n".join(lines) or "nothing was said", remedy)


def _errors() -> list[Path]:
    """What the last job wrote to its standard error, if there was one."""
    files = sorted(Path("logs/condor/canary").glob("*.err"), key=lambda path: path.stat().st_mtime)
    return files[-1:]

"""Shows a run that works elsewhere, or how the last one ended."""

from __future__ import annotations

import time
from pathlib import Path

import click

from nanolake.batch.coordinator import Run, last_run

NOTHING = 3  # exit status of `nanolake status`: nothing runs, and nothing is wrong
_TAIL = 4096  # bytes
_LINES = 8
_WIDTH = 150
_SHOWN = 10  # failed jobs


def tail(path: Path, lines: int = _LINES) -> list[str]:
    """Read the last lines of a file; none if it is not there."""
    if not path.is_file():
        return []
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL))
        return stream.read().decode(errors="replace").splitlines()[-lines:]


def cause(log: Path) -> str:
    """Say in a line why a job failed, as its log has it: our errors, else its last line."""
    lines = [line.strip() for line in tail(log, 100) if line.strip()]
    ours = [line for line in lines if line.startswith(("error:", "cause:"))]
    return "; ".join(ours or lines[-1:])


def _head(run: Run) -> str:
    if not run.process:
        return f"no run is at work in {Path.cwd()}; the last one {run.outcome()}"
    minutes = (time.time() - run.process.create_time()) / 60
    return f"a run is at work in {Path.cwd()}, process {run.process.pid}, for {minutes:.1f} min"


def _failed(run: Run) -> list[str]:
    """Give a line for every failed job, and one for every held one."""
    if not run.status:
        return []
    found = []
    for name, log in run.status.failed.items():
        why = cause(Path(log)) if log else ""
        found.append(
            f"  failed: {name}{f': {why}' if why else ''}\n    log: {log or 'it has none'}"
        )
    more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    held = [f"  held: {reason}" for reason in run.status.held] if run.process else []
    return found[:_SHOWN] + more + held


def show(run: Run) -> None:
    """Print how far a run is, what failed and why, and the last of what it said."""
    click.echo(_head(run))
    if run.status:
        click.echo(f"  {run.status.line()}")
    for line in _failed(run):
        click.echo(line)
    if run.log and (lines := tail(run.log)):
        click.echo(f"  last lines of {run.log}:")
        for line in lines:
            click.echo(f"    {line[:_WIDTH]}{'…' if len(line) > _WIDTH else ''}")


def status() -> int:
    """Show the run of this folder.

    Returns:
        0 if it works, 3 if it ended well or there was none, 1 if it failed.
    """
    run = last_run()
    if run is None:
        click.echo(f"no run is at work in {Path.cwd()}, and there was none")
        return NOTHING
    show(run)
    if run.process:
        return 0
    return NOTHING if run.well else 1


def follow(*, seconds: float = 2) -> int:
    """Show the run of this folder until it ends: its line whenever it changes, what failed.

    Args:
        seconds: Between two looks.

    Returns:
        0 if it ended well, 1 if it failed, 3 if there was none.
    """
    said: set[str] = set()
    while (run := last_run()) and run.process:
        lines = [run.status.line()] if run.status else ["looking at the inputs"]
        for line in [*lines, *_failed(run)]:
            if line not in said:
                click.echo(line)
        said = {*lines, *_failed(run)}
        time.sleep(seconds)
    code = status()
    return 0 if run and run.well else code

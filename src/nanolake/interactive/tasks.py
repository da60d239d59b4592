"""Gives units to the workers of a Dask cluster, and decides what happens when one fails.

| cause | what happens |
|---|---|
| the worker died (memory, its host, its time) | Dask gives the unit to another one, three times |
| storage, disk | again after 30 s, 60 s, 120 s |
| credential | all stop |
| input, bug | the others go on |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nanolake import causes
from nanolake.batch.condor import REMEDIES
from nanolake.batch.watch import Watch
from nanolake.errors import CredentialError, EngineError, NanolakeError
from nanolake.interactive import units
from nanolake.interactive.units import Task

if TYPE_CHECKING:
    from distributed import Client

BACKOFF, TIMES = 30.0, 4  # seconds, twice as long every time; how often storage is tried
_LATER = ("storage", "disk")
# Of a unit that had ended when its worker died, before anybody asked how: Dask makes it once more.
_AGAIN = ("lost", "pending")
# Where it is not what helps a job of a pool.
MORE = {
    "host": "run again; workers that have died of too little memory need more:"
    " nanolake.cluster(..., memory='4GB')",
    "memory": "give workers more: nanolake.cluster(..., memory='4GB')",
    "disk": "give workers another folder for what they copy (--config scratch=DIR), or read the"
    " inputs from their storage (access: stream)",
}


def make(
    client: Client,
    tasks: Sequence[Task],
    *,
    watch: Watch,
    tell: Callable[[Task], None],
    backoff: float = BACKOFF,
) -> None:
    """Make units on the workers of a client, and wait until all of them have ended.

    Args:
        client: Of the cluster.
        tasks: The units.
        watch: Is told what happens to them.
        tell: Called with each unit that is made.
        backoff: Seconds before storage is tried again.

    Raises:
        CredentialError: Storage refuses the credential; no further unit was begun.
        EngineError: Units failed; the message names their logs. The others are made.
        NanolakeError: The cluster is gone.
    """
    failed: dict[str, str] = {}
    for number, cause in _ended(client, tasks, watch, backoff):
        task = tasks[number]
        if not cause:
            watch.finish(number)
            tell(task)
            continue
        watch.fail(number)
        failed[f"{_name(task)} (cause: {cause}; log: {task['log']})"] = cause
        if cause == "credential":
            problem = "storage refuses it"
            remedy = f"{REMEDIES['credential']} (log: {task['log']})"
            raise CredentialError("the credential of the workers", problem, remedy)
    if failed:
        worst = causes.of_several(failed.values())
        raise EngineError(
            f"{len(failed)} of {len(tasks)} units failed: {', '.join(failed)}\n"
            f"  remedy:  {MORE.get(worst) or REMEDIES[worst]}",
            cause=worst,
        )


def states(client: Client, number: int) -> dict[str, int]:
    """How many of a number of units workers are at, and how many wait: see `Watch`."""
    if client.status != "running":
        return {"submitted": number}
    try:
        busy = sum(map(bool, client.processing().values()))
    except OSError:  # the scheduler is gone: whoever waits for the units says so
        return {"submitted": number}
    running = min(busy, number)
    return {"running": running, "idle": number - running}


def _name(task: Task) -> str:
    return f"{task['analysis']}/{task['sample']}/{task['unit']}"


def _ended(
    client: Client, tasks: Sequence[Task], watch: Watch, backoff: float
) -> Iterator[tuple[int, str]]:
    """The number of each unit when it has ended for good, and the cause if it failed."""
    from distributed import as_completed

    tries = [1] * len(tasks)
    running: dict[Any, int] = {}

    def submit(number: int, wait: float = 0.0) -> Any:
        task = tasks[number]
        watch.begin(
            number, f"skim {_name(task)}", here=False, log=task["log"], ledgers=[task["ledger"]]
        )
        key = f"skim-{_name(task)}-{id(tasks):x}-{tries[number]}"
        future = client.submit(units.run, task, wait, key=key, pure=False)
        running[future] = number
        return future

    ended = as_completed([submit(number) for number in range(len(tasks))])
    try:
        for future in ended:
            if future.status in _AGAIN:
                ended.add(future)
                continue
            number = running.pop(future)
            cause = _cause(future)
            if cause in _LATER and tries[number] < TIMES:
                watch.fail(number)
                wait = backoff * 2 ** (tries[number] - 1)
                tries[number] += 1
                ended.add(submit(number, wait))
                continue
            yield number, cause
    finally:
        client.cancel(list(running))


def _cause(future: Any) -> str:
    """Why a unit failed; empty if it did not.

    Raises:
        NanolakeError: Nobody knows: the scheduler is gone, or somebody has cancelled it.
    """
    if future.status == "finished":
        status = future.result()
        return (causes.of_status(status) or "bug") if status else ""
    if future.status == "error":
        # Its workers died, one after the other: whoever knows why is their batch system.
        return "host"
    problem = f"the Dask scheduler has lost a unit: it is {future.status}"
    remedy = "start another cluster, then run again: what is made stays made"
    raise NanolakeError(f"{problem}\n  remedy:  {remedy}")

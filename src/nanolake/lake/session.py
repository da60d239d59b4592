"""The lake of a run: an embedded one is started and stopped, the input lock is compared."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nanolake.catalogue import read, write
from nanolake.errors import LakeError
from nanolake.lake import content
from nanolake.lake.client import connect


@contextmanager
def running(lake: Mapping[str, Any]) -> Iterator[None]:
    """The lake is up while the block runs; one that ran before is left running.

    Args:
        lake: Contents of the lake's file.

    Raises:
        LakeError: It cannot be started.
    """
    if lake["kind"] != "embedded":
        yield
        return
    from testbed import lake as testbed

    try:
        embedded = testbed.up(Path(lake["folder"]), database=lake["database"])
    except testbed.TestbedError as error:
        raise LakeError("the embedded lake", error.problem, error.remedy) from error
    try:
        yield
    finally:
        if embedded.started:
            testbed.down(Path(lake["folder"]))


def begin(
    lake: Mapping[str, Any],
    *,
    client: Mapping[str, Any],
    locks: Mapping[str, Mapping[str, str | None]],
    relock: bool = False,
) -> None:
    """Start the lake for the life of this process, and compare its content with the input locks.

    The replicas beside the locks are looked up anew: the lake may have moved them since.

    Args:
        lake: Contents of the lake's file.
        client: `rucio_config` and `account`.
        locks: Input locks of earlier runs; those that do not exist are not compared. Each with the
            caches that its samples are read through.
        relock: Do not compare.

    Raises:
        LakeError: The lake does not answer, or its content is not that of the locks.
    """
    context = running(lake)
    context.__enter__()
    atexit.register(context.__exit__, None, None, None)
    rucio = connect(**client)
    if not relock:
        check(rucio, list(locks), missing=lake["inputs"] == "ingested")
    refresh(rucio, locks, rse=lake["read"]["rse"], schemes=lake["read"]["schemes"])


def refresh(
    rucio: Any,
    locks: Mapping[str, Mapping[str, str | None]],
    *,
    rse: str | None,
    schemes: Sequence[str],
) -> None:
    """Write where the files of input locks are now into the replicas.json beside them.

    Args:
        rucio: Client of the lake.
        locks: Paths of input locks, each with the caches of its samples; those without replicas
            beside them are skipped.
        rse: See `content.replicas_of`.
        schemes: See `content.replicas_of`.
    """
    for path, caches in locks.items():
        replicas = Path(path).with_name("replicas.json")
        if not (Path(path).exists() and replicas.exists()):
            continue
        lock = read(path)
        if not lock["host"]:
            continue
        datasets = {sample: dataset["did"] for sample, dataset in lock["datasets"].items()}
        known = read(replicas)
        now = known | content.replicas_of_samples(
            rucio, datasets, rse=rse, schemes=schemes, caches=caches
        )
        if now != known:
            write(replicas, now)


def check(rucio: Any, locks: Sequence[str], *, missing: bool) -> int:
    """Compare the content of the lake with input locks, in one call.

    Args:
        rucio: Client of the lake.
        locks: Paths of input locks; those that do not exist are skipped.
        missing: Datasets may be missing altogether, as the run can put them there again.

    Returns:
        Number of files compared.

    Raises:
        LakeError: It differs.
    """
    known = [read(path) for path in locks if Path(path).exists()]
    known = [lock for lock in known if lock["host"]]
    dids = [dataset["did"] for lock in known for dataset in lock["datasets"].values()]
    if not dids:
        return 0
    found = content.files_if_any(rucio, dids)
    for lock in known:
        there = lock["datasets"].items()
        kept = {k: v for k, v in there if found[v["did"]] or not missing}
        content.compare({**lock, "datasets": kept}, found)
    return sum(map(len, found.values()))

"""Replicas: which copy of an input a unit reads, and what happens when one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from nanolake import sources, staging
from nanolake.errors import InputError

Replica = Mapping[str, Any]


def through(cache: str | None, replicas: Sequence[Replica]) -> list[dict[str, Any]]:
    """Replicas read through a cache, and after them the same ones directly.

    Args:
        cache: URL of a cache, e.g. root://cache.site:1094, which serves the paths of its origin;
            with {url} in it the cache forwards to the storage that this is replaced by. None for
            no cache.
        replicas: [{rse, pfn}], best first. Those whose protocol is not the cache's are only direct.

    Returns:
        [{rse, pfn, cache}] through the cache, then the replicas as they are.
    """
    cached = {
        url: {"rse": replica["rse"], "pfn": url, "cache": cache}
        for replica in replicas
        if cache and (url := _at_cache(cache, replica["pfn"]))
    }
    return [*cached.values(), *map(dict, replicas)]


def _at_cache(cache: str, pfn: str) -> str | None:
    """The URL of a replica at a cache; None if the cache speaks another protocol."""
    scheme, _, rest = pfn.partition("://")
    if _PROTOCOL.get(scheme) != _PROTOCOL.get(cache.partition("://")[0]):
        return None
    if "{url}" in cache:
        return cache.replace("{url}", pfn)
    return f"{cache.rstrip('/')}/{rest.partition('/')[2]}"


_PROTOCOL = {"root": "root", "roots": "root", "xroot": "root", "xroots": "root",
             "https": "https", "davs": "https"}  # fmt: skip


def _server(replica: Replica) -> str:
    return urlsplit(replica["pfn"]).netloc


def _source(replica: Replica) -> dict[str, Any]:
    """A replica in the words of the ledger; of a copy that was made before, also whose (origin)."""
    known = {"replica": replica["pfn"], "rse": replica["rse"], "cache": replica.get("cache")}
    return known | {key: replica[key] for key in ("origin",) if key in replica}


class Reading:
    """The files of one unit, each read from one of its replicas; failed ones are remembered.

    Args:
        files: [{path, bytes, adler32, events, users}]: path is the name in the catalogue, users
            the number of units that read the file.
        replicas: Name to [{rse, pfn, cache?}], best first.
        sample: Of the unit, for messages.
        unit: Name of the unit.
        access: `stream` reads from the storage, `stage` copies to scratch first.
        verify: `size`, `checksum` or `full`: how a local file is compared before it is read.
        scratch: Scratch folder for `stage`.
    """

    def __init__(
        self,
        files: Sequence[Mapping[str, Any]],
        replicas: Mapping[str, Sequence[Replica]],
        *,
        sample: str,
        unit: str,
        access: str = "stream",
        verify: str = "checksum",
        scratch: str | None = None,
    ) -> None:
        self.files, self.replicas, self.sample, self.unit = files, replicas, sample, unit
        self.access, self.how, self.scratch = access, verify, scratch
        self.failed: dict[str, list[tuple[Replica, InputError]]] = {}
        self.down: set[str] = set()

    def run(self, action: Callable[[list[str]], Any]) -> tuple[Any, list[dict[str, Any]]]:
        """Run an action on readable paths of all files, with other replicas where one fails.

        Args:
            action: Function of the paths, in the order of the files. It may run again from the
                start: what it has written is overwritten.

        Returns:
            Its result, and for each file {did, replica, rse, cache, origin?, access, bytes,
            adler32, events, failed: [{replica, rse, cache, problem}]}.

        Raises:
            InputError: A file has no replica (left) that can be read.
        """
        while True:
            chosen = [self._choose(file) for file in self.files]
            try:
                with self._open(chosen) as paths:
                    result = action(paths)
                return result, [self._record(f, r) for f, r in zip(self.files, chosen, strict=True)]
            except InputError as error:
                self._remember(error, chosen)

    def _choose(self, file: Mapping[str, Any]) -> Replica:
        """The best replica of a file that has not failed, if possible on a server that has not."""
        failed = self.failed.get(file["path"], [])
        bad = [replica for replica, _ in failed]
        left = [one for one in self.replicas.get(file["path"], []) if one not in bad]
        if left:
            return min(left, key=lambda replica: _server(replica) in self.down)
        if len(failed) == 1 and not failed[0][0]["rse"]:
            raise failed[0][1]
        tried = "; ".join(f"{replica['pfn']}: {error.problem}" for replica, error in failed)
        problem = "none of its replicas can be read" if tried else "it has no replica"
        if failed and all(error.cause == "storage" for _, error in failed):
            raise InputError(file["path"], tried, problem, failed[0][1].remedy, cause="storage")
        remedy = (
            "`rucio replica state update bad` tells the lake that a replica must be made again;"
            " if no good one is left, ingest it again; then run again to continue"
        )
        raise InputError(file["path"], tried or "(none)", problem, remedy)

    @contextmanager
    def _open(self, chosen: Sequence[Replica]) -> Iterator[list[str]]:
        """Paths of the chosen replicas, verified or staged."""
        with ExitStack() as stack:
            paths = []
            for file, replica in zip(self.files, chosen, strict=True):
                if self.access == "stage":
                    copy = staging.staged(
                        file,
                        replica["pfn"],
                        scratch=self.scratch,
                        unit=f"{self.sample}-{self.unit}",
                        users=file["users"],
                        again=self.how == "full" and file["adler32"] is not None,
                    )
                    paths.append(stack.enter_context(copy))
                else:
                    path = sources.local_path(replica["pfn"])
                    name = file["path"] if replica["rse"] else self.sample
                    touched = {"mtime_ns": replica["mtime_ns"]} if "mtime_ns" in replica else {}
                    sources.verify({**file, "path": path, **touched}, name, how=self.how)
                    paths.append(path)
            yield paths

    def _remember(self, error: InputError, chosen: Sequence[Replica]) -> None:
        """Note that a replica failed; an error about anything else ends the unit."""
        if error.cause == "disk":  # of this host: no other replica would fit
            raise error
        for file, replica in zip(self.files, chosen, strict=True):
            if error.replica in (replica["pfn"], sources.local_path(replica["pfn"])):
                self.failed.setdefault(file["path"], []).append((replica, error))
                if error.cause == "storage":
                    self.down.add(_server(replica))
                if len(self.replicas[file["path"]]) > 1:
                    print(f"replica failed, another is tried: {error}", flush=True)
                return
        raise error

    def _record(self, file: Mapping[str, Any], replica: Replica) -> dict[str, Any]:
        failed = [
            {**_source(bad), "problem": error.problem}
            for bad, error in self.failed.get(file["path"], [])
        ]
        return {
            "did": file["path"] if replica["rse"] else None,
            **_source(replica),
            "access": self.access,
            **{key: file[key] for key in ("bytes", "adler32", "events")},
            "failed": failed,
        }

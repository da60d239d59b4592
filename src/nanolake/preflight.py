"""Pre-flight: the credential that storage asks for is there, and opens a file of every dataset.

Static checks look at what the credential says of itself; opens are made by a process of its own
(`opening`) with the client's short time-outs and one kind of credential in its environment.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from nanolake import credentials
from nanolake.catalogue import read, write
from nanolake.credential_checks import check
from nanolake.credential_claims import Credential, examine
from nanolake.errors import CredentialError, EmbargoError, InputError

_OWN_AUTHORITIES = ("root", "roots", "xroot", "xroots")
_SECONDS = 30  # for one open


class Dataset(NamedTuple):
    """A dataset and where a file of it is.

    Attributes:
        name: Sample or DID.
        urls: Of the replicas of one of its files, best first, those through caches among them.
        embargoed: Whether storage must refuse it to those who show no credential.
    """

    name: str
    urls: tuple[str, ...]
    embargoed: bool = False


class Attempt(NamedTuple):
    """One attempt to read a few bytes of a dataset.

    Attributes:
        dataset: Its name.
        replica: URL.
        credential: What was shown: `token`, `x509`, `any`, or `none`.
        state: `open`, `refused`, `untrusted` or `failed`, see `opening.try_to_open`.
        seconds: How long it took.
        said: What the storage said.
    """

    dataset: str
    replica: str
    credential: str
    state: str
    seconds: float
    said: str


def datasets_of(
    catalogue: str | Path, replicas: str | Path, *, embargoed: Collection[str] = ()
) -> list[Dataset]:
    """The datasets of an analysis, each with the replicas of its first file.

    Args:
        catalogue: Path of the catalogue.
        replicas: Path of its replicas.
        embargoed: The samples that are.
    """
    known, samples = read(replicas), read(catalogue)["samples"]
    return [
        Dataset(name, tuple(row["pfn"] for row in known[files[0]["path"]]), name in embargoed)
        for name, sample in samples.items()
        if (files := sample["files"])
    ]


def check_lake(lake: Mapping[str, Any], datasets: Sequence[Dataset] = ()) -> Credential | None:
    """The credential that a lake asks for, which says nothing against it; None if it asks for none.

    Args:
        lake: Contents of the lake's file.
        datasets: What will be read, as far as that is known.

    Raises:
        CredentialError: There is none, or it is not what is needed.
    """
    if not lake["credential"]:
        return None
    wanted = [
        ("storage.read", _path(url))
        for dataset in datasets
        for url in dataset.urls
        if not url.startswith(("file:", "/"))
    ]
    own = any(scheme in _OWN_AUTHORITIES for scheme in lake["read"]["schemes"])
    return check(lake["credential"], wanted, own_authorities=own)


def probe(datasets: Sequence[Dataset], need: Mapping[str, Any] | None) -> list[Attempt]:
    """Try to read the first bytes of every dataset; of an embargoed one also as nobody.

    Args:
        datasets: What to try.
        need: `credential` of the lake's file; None to show what there is.
    """
    kind = need["kind"] if need else "any"
    closed = [dataset for dataset in datasets if dataset.embargoed]
    return [
        *_attempts(datasets, kind, credentials.environment(need)),
        *_attempts(closed, "none", credentials.of_nobody()),
    ]


def judge(datasets: Sequence[Dataset], attempts: Sequence[Attempt]) -> None:
    """Every dataset must be open to the credential, and an embargoed one to nobody.

    Raises:
        CredentialError: Storage refuses a dataset.
        EmbargoError: Storage gives an embargoed dataset to anybody.
        InputError: No replica of a dataset can be read, for other reasons.
    """
    for dataset in datasets:
        mine = [attempt for attempt in attempts if attempt.dataset == dataset.name]
        shown = [attempt for attempt in mine if attempt.credential != "none"]
        if dataset.embargoed:
            _judge_nobody(dataset, mine)
        for attempt in shown:
            if attempt.state == "refused":
                raise _refused(attempt)
        if not any(attempt.state == "open" for attempt in shown):
            raise _closed(dataset, shown)


def _judge_nobody(dataset: Dataset, attempts: Sequence[Attempt]) -> None:
    """Who shows nothing gets it nowhere, and is refused where who shows something gets it."""
    nobody = {one.replica: one.state for one in attempts if one.credential == "none"}
    for one in attempts:
        if one.state != "open" or nobody.get(one.replica) == "refused":
            continue
        if nobody.get(one.replica) == "open":
            raise EmbargoError(
                dataset.name,
                f"it is embargoed, and {one.replica} serves it to anybody",
                "read it from storage and caches that ask for a token (`embargo` of the lake's"
                " file), and tell the people of this one",
            )
        raise EmbargoError(
            dataset.name,
            f"it is embargoed, and whether {one.replica} refuses it to others is not known",
            "run again; `nanolake doctor --lake NAME` tries it, too",
        )


def run(
    catalogue_file: str,
    replicas_file: str,
    output_file: str,
    *,
    lake: Mapping[str, Any],
    embargoed: Collection[str],
) -> None:
    """See that every dataset of an analysis can be read, and by whom.

    Args:
        catalogue_file: The catalogue of the analysis.
        replicas_file: Where its files are.
        output_file: Output: what was open to which kind of credential; the same in every run.
        lake: Contents of the lake's file.
        embargoed: The samples that are.

    Raises:
        CredentialError: See `check_lake` and `judge`.
        EmbargoError: See `judge`.
        InputError: See `judge`.
    """
    datasets = datasets_of(catalogue_file, replicas_file, embargoed=embargoed)
    require(datasets, lake)
    kind = (lake["credential"] or {}).get("kind")
    opened = {one.name: {"embargoed": one.embargoed} for one in datasets}
    write(output_file, {"credential": kind, "datasets": opened})


def require(datasets: Sequence[Dataset], lake: Mapping[str, Any]) -> None:
    """Check what a lake asks for, and open all datasets; see `run`."""
    print(check_lake(lake, datasets) or "the lake asks for no credential", flush=True)
    attempts = probe(datasets, lake["credential"])
    for one in attempts:
        print(f"{one.dataset}: {one.state} to {one.credential}: {one.replica} {one.said}".rstrip())
    judge(datasets, attempts)


def _refused(attempt: Attempt) -> CredentialError:
    found = examine(attempt.credential)
    path = _path(attempt.replica)
    return CredentialError(
        attempt.dataset,
        f"{attempt.replica} refuses it ({attempt.said})",
        f"shown was: {found or 'nothing'}; ask for one that may read {path} there",
    )


def _path(url: str) -> str:
    """The path on storage that a URL means; root:// has a slash too many."""
    return "/" + urlsplit(url).path.lstrip("/")


def _closed(dataset: Dataset, shown: Sequence[Attempt]) -> InputError:
    tried = "; ".join(f"{attempt.replica} ({attempt.said})" for attempt in shown)
    remedy = "see that one of these is up, or choose others (read.rse of the lake's file)"
    if any(attempt.state == "untrusted" for attempt in shown):
        remedy = "X509_CERT_DIR must name a folder with the CA of this storage; " + remedy
    return InputError(dataset.name, tried or "(none)", "none of its replicas can be opened", remedy)


def _attempts(
    datasets: Sequence[Dataset], kind: str, environment: Mapping[str, str]
) -> list[Attempt]:
    """Have all of them tried by one process, which is ended when it does not end by itself."""
    if not datasets:
        return []
    command = [sys.executable, "-m", "nanolake.opening", *(["all"] if kind == "none" else [])]
    # Eight at a time, each with all of its replicas one after the other.
    limit = _SECONDS * sum(sorted((len(one.urls) for one in datasets), reverse=True)[::8])
    try:
        done = subprocess.run(
            command, input=json.dumps([one.urls for one in datasets]).encode(),
            env=environment, capture_output=True, timeout=limit,
        )  # fmt: skip
        told, end = done.stdout, done.stderr.decode().strip().rpartition("\n")[2]
    except subprocess.TimeoutExpired as error:
        told, end = error.stdout or b"", f"no answer within {limit} s"
    attempts = []
    for row in map(json.loads, told.splitlines()):
        attempts.append(Attempt(datasets[row.pop("dataset")].name, credential=kind, **row))
    tried = {attempt.dataset for attempt in attempts}
    silent = [one for one in datasets if one.urls and one.name not in tried]
    return attempts + [Attempt(one.name, one.urls[0], kind, "failed", limit, end) for one in silent]

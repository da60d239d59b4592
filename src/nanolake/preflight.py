"""Pre-flight: the credential that storage asks for is there, and opens a file of every dataset.

Static checks look at what the credential says of itself; opens are made by a process of its own
(`opening`) with the client's short time-outs and one kind of credential in its environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from nanolake import credentials
from nanolake.catalogue import read, write
from nanolake.credential_checks import check
from nanolake.credentials import Credential
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
        ("storage.read", urlsplit(url).path)
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
        *_attempts(closed, "none", credentials.NOBODY),
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
        for attempt in mine:
            if attempt.credential == "none" and attempt.state == "open":
                raise EmbargoError(
                    dataset.name,
                    f"it is embargoed, and {attempt.replica} serves it to anybody",
                    "read it from storage and caches that ask for a token (`embargo` of the lake's"
                    " file), and tell the people of this one",
                )
        for attempt in shown:
            if attempt.state == "refused":
                raise _refused(attempt)
        if not any(attempt.state == "open" for attempt in shown):
            raise _closed(dataset, shown)


def _refused(attempt: Attempt) -> CredentialError:
    found = credentials.examine(attempt.credential)
    path = urlsplit(attempt.replica).path
    return CredentialError(
        attempt.dataset,
        f"{attempt.replica} refuses it ({attempt.said})",
        f"shown was: {found or 'nothing'}; ask for one that may read {path} there",
    )


def _closed(dataset: Dataset, shown: Sequence[Attempt]) -> InputError:
    tried = "; ".join(f"{attempt.replica} ({attempt.said})" for attempt in shown)
    remedy = "see that one of these is up, or choose others (read.rse of the lake's file)"
    if any(attempt.state == "untrusted" for attempt in shown):
        remedy = "X509_CERT_DIR must name a folder with the CA of this storage; " + remedy
    return InputError(dataset.name, tried or "(none)", "none of its replicas can be opened", remedy)


def _attempts(
    datasets: Sequence[Dataset], kind: str, environment: Mapping[str, str]
) -> Iterator[Attempt]:
    """Have all of them tried by one process, which is ended when it does not end by itself."""
    if not datasets:
        return
    command = [sys.executable, "-m", "nanolake.opening", *(["all"] if kind == "none" else [])]
    # Eight at a time, each with all of its replicas one after the other.
    limit = _SECONDS * sum(sorted((len(one.urls) for one in datasets), reverse=True)[::8])
    try:
        done = subprocess.run(
            command, input=json.dumps([one.urls for one in datasets]).encode(),
            env={**os.environ, **environment}, capture_output=True, timeout=limit,
        )  # fmt: skip
        told = done.stdout
    except subprocess.TimeoutExpired as error:
        told = error.stdout or b""
    rows = [json.loads(line) for line in told.splitlines() if line.endswith(b"}")]
    for number, dataset in enumerate(datasets):
        mine = [row for row in rows if row.pop("dataset", None) == number]
        for row in mine:
            yield Attempt(dataset.name, credential=kind, **row)
        tried = {row["replica"] for row in mine}
        silent = [url for url in dataset.urls if url not in tried]
        if silent and not any(row["state"] in ("open", "refused") for row in mine):
            said = f"no answer within {limit} s"
            yield Attempt(dataset.name, silent[0], kind, "failed", limit, said)

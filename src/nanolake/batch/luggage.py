"""What travels with a job: the run's configuration; where nothing is shared, code and credentials.

Each run has a folder of it, which is packed before the first job and found by all of them through
the environment variable NANOLAKE_LUGGAGE:

config.yaml      the configuration, resolved: no path in it means anything to a job
token            the user's token file (a link, so that every job gets what it holds then), or none
certificates/    the authorities that X509_CERT_DIR names, or none
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, MutableMapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nanolake import credentials
from nanolake.credential_claims import examine, left
from nanolake.errors import CredentialError

# What a host with the same Python environment lacks; the Snakefile itself travels anyway.
CODE = ("src", "workflow", "envs/conda.yaml")
VARIABLE, SERVICE = "NANOLAKE_LUGGAGE", "NANOLAKE_TOKEN_SERVICE"


class Luggage(NamedTuple):
    """What the jobs of a run take along.

    Attributes:
        folder: Where it is, relative to the working folder of the run and of every job.
        kind: The credential that jobs show: `token`, `x509`, or empty for none.
        service: Of the credential monitor that gives tokens to jobs; empty for none.
        token: File of the token that is copied to jobs, None for none.
        authorities: Folder of CA certificates that is copied to jobs, None for none.
        apart: Whether jobs run on hosts that share no files with this one.
    """

    folder: Path
    kind: str
    service: str
    token: str | None
    authorities: str | None
    apart: bool

    def files(self) -> list[str]:
        """What is copied to every job, beside what its rule says."""
        if not self.apart:
            return []
        own = {"token": self.token, "certificates": self.authorities}
        return [
            *CODE,
            *(str(self.folder / name) for name in ("config.yaml", *filter(own.get, own))),
        ]

    def environment(self) -> dict[str, str]:
        """How a job finds it."""
        return {VARIABLE: str(self.folder), SERVICE: self.service}


def choose(
    config: Mapping[str, Any], need: Mapping[str, Any] | None, *, service: str | None, apart: bool
) -> Luggage:
    """What the jobs of a run take along, as things are now.

    Args:
        config: The configuration of the run.
        need: `credential` of the lake's file.
        service: Of the pool's credential monitor, None for the user's own token.
        apart: Whether jobs run on hosts that share no files with this one.
    """
    kind, token = need["kind"] if need else "", credentials.token_file()
    if kind == "any":
        kind = "token" if service or token else "x509"
    copied = token if apart and kind == "token" and not service else None
    given = os.environ.get("X509_CERT_DIR", "")
    # Where hosts of the grid have them they stay; they are many.
    own = apart and os.path.isdir(given) and given != credentials.AUTHORITIES
    # Another configuration has another folder: a run that goes on keeps its own.
    key = sha256(repr((config, copied, own and given)).encode()).hexdigest()[:12]
    return Luggage(
        Path(".snakemake/nanolake", key),
        kind,
        service or "" if kind == "token" else "",
        copied,
        given if own else None,
        apart,
    )


def check(luggage: Luggage, *, minutes: float) -> None:
    """The user's own token must be where jobs find it, and a copy must outlive them.

    Args:
        luggage: What jobs take along.
        minutes: How long a job may run.

    Raises:
        CredentialError: It is not.
    """
    if luggage.kind != "token" or luggage.service or not (found := examine("token")):
        return
    if found.place == "BEARER_TOKEN":
        problem = "a job of a pool cannot be given it: its value would be for all to see"
        raise CredentialError("token in BEARER_TOKEN", problem, "put it into BEARER_TOKEN_FILE")
    if luggage.token and found.expires < time.time() + 60 * minutes:
        problem = f"it is {left(found)}, and a job that gets a copy of it may run {minutes:g} min"
        remedy = (
            "get one that lives as long, let units run shorter (pool.minutes), or have the pool's"
            " credential monitor renew it (pool.token_service)"
        )
        raise CredentialError(f"token in {found.place}", problem, remedy)


def pack(luggage: Luggage, config: Mapping[str, Any]) -> None:
    """Put what jobs take along into its folder, for its owner alone.

    Args:
        luggage: What that is.
        config: The configuration of the run, resolved.
    """
    luggage.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    (luggage.folder / "config.yaml").write_text(text, encoding="utf-8")
    token = luggage.folder / "token"
    if luggage.token and not token.is_symlink():
        token.symlink_to(os.path.abspath(luggage.token))
    if luggage.authorities:  # what is there already stays: jobs of an earlier run may be taking it
        shutil.copytree(luggage.authorities, luggage.folder / "certificates", dirs_exist_ok=True)


def unpack(command: Sequence[str], environment: MutableMapping[str, str]) -> list[str]:
    """Let a job use what came with it, and nothing that is on another host.

    Args:
        command: What the job is to run: a command of Snakemake.
        environment: That of the job; changed.

    Returns:
        The command, with the run's own configuration in place of what led to it.
    """
    if not environment.get(VARIABLE):
        return list(command)
    folder = Path(environment[VARIABLE]).absolute()
    if service := environment.get(SERVICE):
        environment["BEARER_TOKEN_FILE"] = f"{environment.get('_CONDOR_CREDS', '')}/{service}.use"
    elif (token := folder / "token").exists():
        token.chmod(0o600)
        environment["BEARER_TOKEN_FILE"] = str(token)
    if not os.path.isdir(environment.get("X509_CERT_DIR", "")):
        environment.pop("X509_CERT_DIR", None)
        if (certificates := folder / "certificates").is_dir():
            environment["X509_CERT_DIR"] = str(certificates)
    return [
        *_without(command, "--config", "--configfiles"),
        "--configfiles",
        f"{folder}/config.yaml",
    ]


def _without(command: Sequence[str], *options: str) -> list[str]:
    """A command line without some options and their values, which end at the next option."""
    kept, keeping = [], True
    for word in command:
        if word.startswith("--"):
            keeping = word not in options
        if keeping:
            kept.append(word)
    return kept

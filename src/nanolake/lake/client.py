"""A connection to Rucio, and Rucio's errors in words with a remedy."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import tenacity

from nanolake.errors import LakeError

T = TypeVar("T")

# Seconds until a connection is there, and until an answer begins: Rucio's client waits for ten
# minutes, three times. The first answer is small, later ones may need the whole catalogue.
_FIRST, _LATER = (5, 20), (5, 600)


class Did(NamedTuple):
    """A data identifier, `scope:name`."""

    scope: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Did:
        """Read `scope:name`.

        Raises:
            LakeError: It has no scope.
        """
        scope, colon, name = text.partition(":")
        if not (colon and scope and name):
            raise LakeError(text, "it is no DID", "write it as scope:name")
        return cls(scope, name)

    def __str__(self) -> str:
        """The DID as Rucio writes it."""
        return f"{self.scope}:{self.name}"

    def plain(self) -> dict[str, str]:
        """The mapping that Rucio's API takes."""
        return {"scope": self.scope, "name": self.name}


def connect(*, rucio_config: str | None = None, account: str | None = None) -> Any:
    """Make a client of the lake and see that it answers and knows the account.

    Args:
        rucio_config: A rucio.cfg in place of RUCIO_CONFIG.
        account: Account in place of that of the configuration.

    Raises:
        LakeError: There is no configuration, no server, or no access.
    """
    if rucio_config:
        if not Path(rucio_config).is_file():
            remedy = "start the embedded lake with `nanolake lake up`, or name a rucio.cfg"
            raise LakeError(rucio_config, "there is no such file", remedy)
        os.environ["RUCIO_CONFIG"] = os.path.abspath(rucio_config)
    _no_prompt()
    with explained("the lake"):
        from rucio.client import Client
        from rucio.common.config import clean_cached_config

        clean_cached_config()
        client = Client(account=account, timeout=_FIRST)
        known = client.whoami()["account"]
        client.timeout = _LATER
    if known != client.account:
        # A token that is kept in a file is taken without a look at whose it is.
        problem = f"its token is that of the account {known}, not of {client.account}"
        raise LakeError("the lake", problem, "check account and auth_token_file_path")
    return client


def _no_prompt() -> None:
    """Rucio's OIDC client asks on the terminal for a code when a token is refused: it must fail."""
    if not (sys.stdin and sys.stdin.isatty()):
        sys.stdin = open(os.devnull)  # noqa: SIM115  (for the life of the process)


def repeated(call: Callable[[], T]) -> T:
    """Do again what the lake's database has undone because another writer was there first.

    Of two transactions that meet a database takes one. Rucio tells the client of the other no more
    than DatabaseException, or that a rule could not be made "at this time" (as where replicas are
    being deleted), and leaves it to him to come again.
    """
    from rucio.common import exception

    undone = (exception.DatabaseException, exception.ReplicationRuleCreationTemporaryFailed)
    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(undone),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=5),
        stop=tenacity.stop_after_attempt(8),
        reraise=True,
    )
    return again(call)


_SILENT = (
    "the server does not answer",
    "check rucio_host of RUCIO_CONFIG and the network; run again when it is back",
)
# Exception of Rucio (or requests) to (problem, remedy); the first one that fits is taken.
_WORDS = {
    "CannotAuthenticate": (
        "the server refuses the credentials",
        "check account, user name, password, token or proxy of RUCIO_CONFIG; `rucio whoami` tries",
    ),
    "MissingClientParameter": (
        "the client's configuration is incomplete",
        "set RUCIO_CONFIG to a complete rucio.cfg",
    ),
    "ConfigNotFound": (
        "there is no configuration of a Rucio client",
        "set RUCIO_CONFIG to a rucio.cfg, or choose another lake: --config lake=embedded",
    ),
    "ConnectionError": _SILENT,
    "ServerConnectionException": _SILENT,
    "Timeout": ("the server does not answer in time", "run again later"),
    "AccessDenied": (
        "the account may not do this",
        "ask for the permission, or choose a scope and RSEs that the account may use",
    ),
    "ScopeNotFound": (
        "the scope does not exist",
        "choose one of `rucio scope list`, or ask for it to be made",
    ),
    "InvalidRSEExpression": (
        "no RSE matches the expression",
        "check the RSE expression of the lake's file against `rucio rse list`",
    ),
    "RSENotFound": ("the RSE does not exist", "choose one of `rucio rse list`"),
    "InsufficientAccountLimit": (
        "the quota of the account is exceeded",
        "delete old datasets (`nanolake lake expire`), or ask for more quota",
    ),
    "RSEOverQuota": ("the RSE is full", "choose other RSEs, or ask for space"),
    "InsufficientTargetRSEs": (
        "no RSE of the expression has room, or may be written to",
        "choose other RSEs, or ask for space",
    ),
    "RSEWriteBlocked": ("the RSE is blocked for writing", "choose other RSEs, or wait"),
    "DatabaseException": (
        "the lake's database refuses",
        "run again; if it stays so, ask the lake's people",
    ),
    "DataIdentifierNotFound": ("the lake has no such DID", "check scope and name"),
    "ReplicaUnAvailable": (
        "no replica is available",
        "see `nanolake lake replicas`; ask the lake's people to recover it",
    ),
}


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what Rucio and its connection raise in the block into a LakeError about `what`."""
    try:
        yield
    except LakeError:
        raise
    except Exception as error:
        for kind in type(error).__mro__:
            if kind.__name__ in _WORDS:
                problem, remedy = _WORDS[kind.__name__]
                raise LakeError(what, f"{problem} ({_details(error)})", remedy) from error
        if type(error).__module__.startswith(("rucio.", "requests.", "urllib3.")):
            remedy = "see the server's log, or ask the lake's people"
            problem = f"Rucio says {type(error).__name__} ({_details(error)})"
            raise LakeError(what, problem, remedy) from error
        raise


def _details(error: Exception) -> str:
    """The last lines of an error, without Rucio's headline where it says more."""
    text = " ".join(str(error).split())
    text = text.partition("Details: ")[2] or text
    if text.startswith("<"):
        return "it answers with a web page: is rucio_host that of a Rucio?"
    return text[:300]

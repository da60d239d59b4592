"""What a lake asks of a credential, compared with what the credential says of itself.

Says no only where storage cannot say yes; storage itself has the last word (see `preflight`).
"""

from __future__ import annotations

import os
import posixpath
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from nanolake import credentials
from nanolake.credential_claims import Credential, examine, examine_proxy, left
from nanolake.errors import CredentialError

# Tokens for whatever storage there is: WLCG's and SciTokens' words for it.
_ANY_AUDIENCE = {"https://wlcg.cern.ch/jwt/v1/any", "ANY"}
# An activity, and the scopes of WLCG and SciTokens that include it.
_SCOPES = {
    "storage.read": {"storage.read", "storage.stage", "read"},
    "storage.stage": {"storage.stage"},
    "storage.create": {"storage.create", "storage.modify", "write"},
    "storage.modify": {"storage.modify", "write"},
}


def check(
    need: Mapping[str, Any],
    wanted: Iterable[tuple[str, str]] = (),
    *,
    own_authorities: bool = True,
) -> Credential:
    """The credential that storage will be shown, which says nothing against the need.

    Args:
        need: `credential` of a lake's file: kind, audience, issuer, vo, minutes.
        wanted: Activities and the paths on storage that a token must cover (`storage.read`,
            `/store/cms/file.root`); an empty path for anywhere.
        own_authorities: Whether a client will read that knows no CA but those of X509_CERT_DIR, as
            that of XRootD does.

    Raises:
        CredentialError: It is missing or malformed, others may read it, or it is not what is
            needed.
    """
    found = examine(need["kind"])
    if not found:
        problem = f"there is none; looked for in {', '.join(credentials.places(need['kind']))}"
        raise CredentialError(_name(need["kind"]), problem, _how(need))
    for problem in _problems(found, need, wanted):
        raise CredentialError(f"{_name(found.kind)} in {found.place}", problem, _how(need, found))
    if own_authorities:
        _check_authorities(found.kind)
        if found.kind == "token":
            _check_tls(need)
    return found


def _problems(
    found: Credential, need: Mapping[str, Any], wanted: Iterable[tuple[str, str]]
) -> Iterator[str]:
    now, minutes = time.time(), need["minutes"]
    if found.expires <= now:
        yield f"it has expired {_ago(now - found.expires)} ago"
    if found.not_before > now:
        yield f"it is not valid yet, but in {_ago(found.not_before - now)}; or the clock is wrong"
    if found.expires < now + 60 * minutes:
        yield f"it is {left(found)} only, a run needs {minutes:g} min to begin with"
    if found.kind == "token":
        yield from _token_problems(found, need, wanted)
    elif need["vo"] and need["vo"] not in {name.split("/")[1] for name in found.attributes}:
        attributes = " ".join(found.attributes) or "none"
        yield f"it has no VOMS attribute of {need['vo']} (it has: {attributes})"


def _token_problems(
    found: Credential, need: Mapping[str, Any], wanted: Iterable[tuple[str, str]]
) -> Iterator[str]:
    audience = need["audience"]
    if audience and not {audience, *_ANY_AUDIENCE} & set(found.audience):
        yield f"its audience is {' '.join(found.audience) or 'empty'}, not {audience}"
    if need["issuer"] and need["issuer"].rstrip("/") != found.issuer.rstrip("/"):
        yield f"its issuer is {found.issuer}, not {need['issuer']}"
    for activity, path in wanted:
        if not covers(found, activity, path):
            scopes = " ".join(found.scopes) or "none"
            yield f"its scopes do not cover {activity}:{path or '…'} (it has: {scopes})"


def covers(token: Credential, activity: str, path: str) -> bool:
    """Whether the scopes of a token may allow an activity on a path of a storage.

    The paths of scopes begin where the issuer's area on that storage begins, which only the
    storage knows: a scope covers a path if it does so for one of the folders where that may be. Of
    a token with groups and no scopes of storage, storage judges by the groups.

    Args:
        token: What it says of itself.
        activity: `storage.read`, `storage.create`, `storage.modify` or `storage.stage`.
        path: Path on the storage; empty for anywhere.
    """
    parts = [scope.partition(":") for scope in token.scopes]
    known = set().union(*_SCOPES.values())
    if token.attributes and not any(name in known for name, _, _ in parts):
        return True
    return any(
        # WLCG's scopes must have a path; without one SciTokens' mean all of them.
        name in _SCOPES[activity] and (bool(colon) or "." not in name) and _within(path, folder)
        for name, colon, folder in parts
    )


def _within(path: str, folder: str) -> bool:
    """Whether a path has, somewhere, all parts of a folder in a row: /store/cms/f has /cms."""
    parts, area = (
        [part for part in posixpath.normpath(text).split("/") if part not in ("", ".")]
        for text in (path, unquote(folder))
    )
    starts = range(len(parts) - len(area) + 1)
    return not path or any(parts[i : i + len(area)] == area for i in starts)


def _check_authorities(kind: str) -> None:
    trusted = credentials.authorities()
    # XRootD's x509 knows folders only.
    if trusted and (kind == "token" or os.path.isdir(trusted)):
        return
    problem = f"there is none in X509_CERT_DIR or {credentials.AUTHORITIES}"
    remedy = "set X509_CERT_DIR to the folder of the CA certificates of your grid"
    raise CredentialError("folder of CA certificates", problem, remedy)


def _check_tls(need: Mapping[str, Any]) -> None:
    """XrdCl uses a proxy that is there for TLS as well: a bad one ends TLS, and so the token."""
    try:
        if proxy := credentials.find_proxy(credentials.environment(need)):
            examine_proxy(*proxy)
    except CredentialError as error:
        problem = f"{error.problem}; with it XRootD's client shows no token either"
        raise CredentialError(error.what, problem, f"{error.remedy}; or remove it") from None


def _name(kind: str) -> str:
    return {"token": "token", "x509": "proxy"}.get(kind, "credential")


def _how(need: Mapping[str, Any], found: Credential | None = None) -> str:
    """How to get a credential that fits."""
    kind = found.kind if found else need["kind"]
    asked = [f"{key} {need[key]}" for key in ("issuer", "audience") if need[key]]
    token = "get a token" + (f" ({', '.join(asked)})" if asked else "")
    if found and found.place == "BEARER_TOKEN":
        token += ", best in a file that BEARER_TOKEN_FILE names: only that can be renewed"
    else:
        token += f" into {found.place if found else 'a file that BEARER_TOKEN_FILE names'}"
    vo = need["vo"] or "VO"
    proxy = f"voms-proxy-init -voms {vo}" + (f" -out {found.place}" if found else "")
    return {"token": token, "x509": proxy}.get(kind, f"{token}, or: {proxy}")


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"

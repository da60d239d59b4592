"""Takes out of texts and documents what must not leave the machine.

Credentials (user parts and queries of URLs, values under secret-looking names, JSON web tokens,
keys and certificates) and absolute paths, of which only the last name stays: `…/name`. DIDs
(`scope:/name`) and relative paths are left alone.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

REMOVED = "(removed)"
_SECRET = r"(?:passw(?:or)?d|passphrase|secret|token|credential|authz|api[_-]?key|private[_-]?key)"
_SECRET_KEY = re.compile(_SECRET, re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"([\w-]*{_SECRET}[\w-]*[\"']?\s*[=:]\s*[\"']?)[^\s\"',}}&]+", re.IGNORECASE
)
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")
# Keys and certificates, whole or cut short.
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----(?:.*?-----END [A-Z0-9 ]+-----|.*)", re.DOTALL)
# A URL ends at a blank, at a quote, or where the next URL of a list begins.
_URL = re.compile(r"([A-Za-z][\w+.-]*)://([^\s\"'<>]*?)(?=,[A-Za-z][\w+.-]*://|[\s\"'<>]|$)")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d*)?")
# Two names at least: `p / GeV` is no path. `a:b` with b absolute is one only after another path.
_ONE_PATH = r"(?:~[\w.-]*)?/[^\s\"'=:,;/]+(?:/[^\s\"'=:,;/]+)+/?"
_PATHS = re.compile(rf"(?<![^\s\"'=,;(\[{{|]){_ONE_PATH}(?::{_ONE_PATH})*")


def url(text: str) -> str:
    """A URL without user, password, query and fragment; of a local file only the name stays."""
    scheme, _, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    # First what may be a password, which may itself hold a `?` or a `#`.
    authority = re.split(r"[?#]", authority.rpartition("@")[2])[0]
    if not _AUTHORITY.fullmatch(authority):
        return f"{scheme}://{REMOVED}"  # a password with a `/` in it ends the authority too early
    path = re.split(r"[?#]", path)[0]
    if scheme.lower() == "file":
        return f"file:…/{Path(path).name}"
    return f"{scheme}://{authority}{slash}{path}"


def secrets(value: str) -> str:
    """A text without tokens, keys and certificates; everything else in it stays."""
    return _PEM.sub(REMOVED, _JWT.sub(REMOVED, value))


def text(value: str) -> str:
    """A text without credentials and absolute paths."""
    if value.startswith(("/", "~/")) and "\n" not in value:
        return _name(value)  # the whole of it is a path, blanks in it or not
    value = _URL.sub(lambda match: url(match[0]), secrets(value))
    value = _ASSIGNED.sub(rf"\g<1>{REMOVED}", value)
    return _PATHS.sub(lambda match: ":".join(map(_name, match[0].split(":"))), value)


def _name(path: str) -> str:
    return f"…/{Path(path).name}" if path.strip("/") else path


def document(value: Any) -> Any:
    """The content of a JSON or YAML file without credentials and absolute paths."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return {
            text(key) if isinstance(key, str) else key: REMOVED
            if _SECRET_KEY.search(str(key)) and isinstance(entry, str | int) and entry
            else document(entry)
            for key, entry in value.items()
        }
    if isinstance(value, list | tuple):
        return [document(entry) for entry in value]
    return value


def command(arguments: Sequence[str]) -> str:
    """A command line without credentials and absolute paths, as one would type it."""
    result = []
    secret = False
    for argument in arguments:
        result.append(REMOVED if secret else text(argument))
        secret = (
            argument.startswith("-") and "=" not in argument and bool(_SECRET_KEY.search(argument))
        )
    return shlex.join(result)


def file(path: str | Path) -> tuple[bytes, bool]:
    """The bytes of a JSON or YAML file without credentials and absolute paths.

    Returns:
        The bytes, and whether anything was taken out; if not, they are those of the file.
    """
    raw = Path(path).read_bytes()
    if Path(path).suffix == ".json":
        found = json.loads(raw)
        kept = document(found)
        same, clean = kept == found, json.dumps(kept, indent=1) + "\n"
    else:
        found = yaml.safe_load(raw)
        kept = document(found)
        same = kept == found and "#" not in raw.decode()  # a comment may hold a secret, too
        clean = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
    return (raw, False) if same else (clean.encode(), True)

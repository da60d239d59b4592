"""JSON metadata of DIDs on SQLite, where Rucio's own plug-in refuses to work.

Reading and writing need nothing but the permission to do so; searching is done here, in Python.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator
from typing import Any

from rucio.core.did_meta_plugins import json_meta
from rucio.core.did_meta_plugins.json_meta import JSONDidMeta
from rucio.db.sqla import models
from rucio.db.sqla.session import stream_session
from sqlalchemy import select

json_meta.json_implemented = lambda session=None: True

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def _equal_types(have: Any, wanted: Any) -> Any:
    """Read a filter's value, which may have come as text, as the type that is stored."""
    if isinstance(have, bool):
        return str(wanted).lower() == "true"
    return type(have)(wanted) if isinstance(have, (int, float)) else wanted


def matches(metadata: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Say whether metadata satisfy all conditions of a filter such as ``{"events.gt": 100}``."""
    for condition, value in wanted.items():
        key, _, comparison = condition.partition(".")
        if key not in metadata:
            return False
        try:
            if not _COMPARISONS[comparison](metadata[key], _equal_types(metadata[key], value)):
                return False
        except (TypeError, ValueError):
            return False  # a number cannot be compared with this text: it does not match
    return True


class SqliteJSONDidMeta(JSONDidMeta):
    """Rucio's JSON metadata with a search that works on SQLite."""

    @stream_session
    def list_dids(
        self,
        scope: Any,
        filters: dict[str, Any] | list[dict[str, Any]],
        did_type: str = "collection",
        ignore_case: bool = False,
        limit: int | None = None,
        offset: int | None = None,
        long: bool = False,
        recursive: bool = False,
        ignore_dids: set[str] | None = None,
        *,
        session: Any,
    ) -> Iterator[Any]:
        """List the DIDs of a scope whose metadata satisfy one of the filters."""
        alternatives = [filters] if isinstance(filters, dict) else filters
        statement = select(models.DidMeta).where(models.DidMeta.scope == scope)
        found = 0
        for row in session.execute(statement).scalars():
            metadata = json.loads(row.meta) if row.meta else {}
            if not any(matches(metadata, wanted) for wanted in alternatives):
                continue
            unknown = {"did_type": None, "bytes": None, "length": None}
            yield {"scope": row.scope, "name": row.name, **unknown} if long else row.name
            found += 1
            if limit and found >= limit:
                return

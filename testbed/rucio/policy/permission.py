"""Who may do what: the generic permissions, and what an account needs to use its own quota.

Beyond them an account may upload to an RSE where it has quota, mend a replica there, and change or
end its own rules. Scopes stay their owners': registering a file checks its scope as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from rucio.common.exception import RucioException
from rucio.core.account_limit import get_local_account_limit
from rucio.core.permission import generic
from rucio.core.rse import get_rse_id
from rucio.core.rule import get_rule

_RULE_OPTIONS = {"lifetime", "comment", "meta", "activity", "source_replica_expression",
                 "purge_replicas", "child_rule_id", "cancel_requests", "boost_rule"}  # fmt: skip


def _has_quota(issuer: Any, kwargs: dict[str, Any], session: Any) -> bool:
    rse_id = kwargs.get("rse_id") or get_rse_id(kwargs["rse"], vo=issuer.vo, session=session)
    limit = get_local_account_limit(account=issuer, rse_ids=rse_id, session=session)
    return limit is not None and limit != 0


def _owns_rule(issuer: Any, kwargs: dict[str, Any], session: Any) -> bool:
    if not set(kwargs.get("options") or {}) <= _RULE_OPTIONS:
        return False
    return bool(get_rule(kwargs["rule_id"], session=session)["account"] == issuer)


_ALSO: dict[str, Callable[[Any, dict[str, Any], Any], bool]] = {
    "add_replicas": _has_quota,
    "update_replicas_states": _has_quota,
    "declare_bad_file_replicas": _has_quota,
    "update_rule": _owns_rule,
    "del_rule": _owns_rule,
    "move_rule": _owns_rule,
    "reduce_rule": _owns_rule,
}


def has_permission(issuer: Any, action: str, kwargs: dict[str, Any], *, session: Any) -> bool:
    """Say whether an account may do something.

    Rucio takes a TypeError for "this package does not know the action" and silently asks the
    generic permissions instead; nothing here may raise one, so one means no.
    """
    try:
        if generic.has_permission(issuer, action, kwargs, session=session):
            return True
        return action in _ALSO and _ALSO[action](issuer, kwargs, session)
    except TypeError:
        logging.getLogger(__name__).exception("permission %s denied after an error", action)
        return False
    except RucioException as error:  # an unknown RSE or rule: the action itself will say so
        logging.getLogger(__name__).info("permission %s denied: %s", action, error)
        return False

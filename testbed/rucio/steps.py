"""The daemons that the lake runs: what is work for each, and how one round of it is done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from rucio.core.request import TransferStatsManager
from rucio.daemons.abacus import account as abacus_account
from rucio.daemons.abacus import collection_replica as abacus_collection
from rucio.daemons.abacus import rse as abacus_rse
from rucio.daemons.badreplicas import minos, necromancer
from rucio.daemons.common import HeartbeatHandler
from rucio.daemons.conveyor import finisher, poller, submitter
from rucio.daemons.judge import cleaner, evaluator, repairer
from rucio.daemons.reaper import reaper
from rucio.daemons.undertaker import undertaker
from rucio.db.sqla import models
from rucio.db.sqla.constants import (
    BadFilesStatus,
    DatabaseOperationType,
    RequestState,
    RequestType,
    RuleState,
)
from rucio.db.sqla.session import db_session
from sqlalchemy import Select, func, select

from testbed.rucio.transfers import COPIES, NAME, SCHEMES

_IN_FLIGHT = (RequestState.SUBMITTED,)
_ENDED = (
    RequestState.DONE,
    RequestState.FAILED,
    RequestState.LOST,
    RequestState.NO_SOURCES,
    RequestState.ONLY_TAPE_SOURCES,
    RequestState.SUBMISSION_FAILED,
    RequestState.MISMATCH_SCHEME,
)
_BATCH = 100
# Submitting takes milliseconds here: what stays in that state was left by a process that died.
finisher.FAILED_DURING_SUBMISSION_DELAY = timedelta(seconds=30)
_REPAIR_AFTER = 5  # seconds that a stuck rule is left alone


def _utcnow() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _count(model: Any, *conditions: Any) -> Select[Any]:
    return select(func.count()).select_from(model).where(*conditions)


def _requests(*states: RequestState) -> Select[Any]:
    return _count(models.Request, models.Request.state.in_(states))


# The order is that of a file's life: what one daemon leaves, the next one finds.
WORK: dict[str, Callable[[], Select[Any]]] = {
    "undertaker": lambda: _count(
        models.DataIdentifier, models.DataIdentifier.expired_at < _utcnow()
    ),
    "judge-cleaner": lambda: _count(
        models.ReplicationRule, models.ReplicationRule.expires_at < _utcnow(),
        models.ReplicationRule.child_rule_id.is_(None),
    ),
    "minos": lambda: _count(models.BadPFN),
    "necromancer": lambda: _count(models.BadReplica, models.BadReplica.state == BadFilesStatus.BAD),
    "judge-evaluator": lambda: _count(models.UpdatedDID),
    "judge-repairer": lambda: _count(
        models.ReplicationRule, models.ReplicationRule.state == RuleState.STUCK,
        models.ReplicationRule.updated_at < _utcnow() - timedelta(seconds=_REPAIR_AFTER),
    ),
    "submitter": lambda: _requests(RequestState.QUEUED),
    "poller": lambda: _requests(*_IN_FLIGHT),
    "finisher": lambda: _count(
        models.Request,
        models.Request.state.in_(_ENDED)
        | (models.Request.state == RequestState.SUBMITTING)
        & (models.Request.updated_at < _utcnow() - finisher.FAILED_DURING_SUBMISSION_DELAY),
    ),
    "abacus-account": lambda: _count(models.UpdatedAccountCounter),
    "abacus-rse": lambda: _count(models.UpdatedRSECounter),
    "abacus-collection": lambda: _count(models.UpdatedCollectionReplica),
    "reaper": lambda: _count(
        models.RSEFileAssociation, models.RSEFileAssociation.tombstone < _utcnow(),
        models.RSEFileAssociation.lock_cnt == 0,
    ),
}  # fmt: skip


def work() -> dict[str, int]:
    """Count, in one query, what every daemon has to do."""
    columns = [statement().scalar_subquery().label(name) for name, statement in WORK.items()]
    with db_session(DatabaseOperationType.READ) as session:
        found = session.execute(select(*columns)).one()
    counts = dict(zip(WORK, found, strict=True))
    # What is still being copied is nobody's work; what another process copied is lost: work.
    counts["poller"] = max(0, counts["poller"] - COPIES.running())
    return counts


def daemons(handler: HeartbeatHandler) -> dict[str, Callable[[], Any]]:
    """Give one round of every daemon, by name, in the order of WORK."""
    paused: dict[str, dict[Any, datetime]] = {name: {} for name in WORK}
    rounds: dict[str, Callable[..., Any]] = {
        "undertaker": partial(
            undertaker.run_once, paused_dids=paused["undertaker"], chunk_size=_BATCH
        ),
        "judge-cleaner": partial(cleaner.run_once, paused_rules=paused["judge-cleaner"]),
        "minos": partial(minos.run_once, bulk=_BATCH),
        "necromancer": partial(necromancer.run_once, bulk=_BATCH),
        "judge-evaluator": partial(
            evaluator.run_once, paused_dids=paused["judge-evaluator"], did_limit=_BATCH
        ),
        "judge-repairer": partial(
            repairer.run_once, paused_rules=paused["judge-repairer"], delta=_REPAIR_AFTER
        ),
        "submitter": _submit,
        "poller": _poll,
        "finisher": _finish,
        "abacus-account": abacus_account.run_once,
        "abacus-rse": abacus_rse.run_once,
        "abacus-collection": partial(abacus_collection.run_once, limit=1000),
        "reaper": partial(
            reaper.run_once, rses=[], include_rses=None, exclude_rses=None, vos=None,
            chunk_size=_BATCH, greedy=False, scheme=None, delay_seconds=0,
            auto_exclude_threshold=100, auto_exclude_timeout=600,
        ),
    }  # fmt: skip
    return {name: partial(rounds[name], heartbeat_handler=handler) for name in WORK}


def _submit(heartbeat_handler: HeartbeatHandler) -> None:
    _, batch = submitter._fetch_requests(
        partition_hash_var=None, bulk=_BATCH, activity=None, rse_ids=None,
        request_type=[RequestType.TRANSFER], ignore_availability=False, filter_transfertool=None,
        metrics=submitter.METRICS, cached_topology=None,
        set_last_processed_by=False, heartbeat_handler=heartbeat_handler,
    )  # fmt: skip
    submitter._handle_requests(
        batch, transfertools=[NAME], schemes=SCHEMES, failover_schemes=[], max_sources=4,
        timeout=None, transfertool_kwargs={}, metrics=submitter.METRICS,
    )  # fmt: skip


def _poll(heartbeat_handler: HeartbeatHandler) -> None:
    _, batch = poller._fetch_requests(
        db_bulk=1000, older_than=0, activity_shares=None, transfertool=NAME,
        filter_transfertool=None, cached_topology=None, activity=None,
        set_last_processed_by=False, heartbeat_handler=heartbeat_handler,
    )  # fmt: skip
    ended = {request["external_id"] for request in batch if COPIES.done(request["external_id"])}
    with TransferStatsManager() as statistics:
        poller._handle_requests(
            batch, fts_bulk=_BATCH, multi_vo=False, timeout=None, transfertool=NAME,
            transfer_stats_manager=statistics, oidc_support=False,
        )  # fmt: skip
    COPIES.forget(ended)


def _finish(heartbeat_handler: HeartbeatHandler) -> None:
    _, batch = finisher._fetch_requests(
        db_bulk=1000, set_last_processed_by=False, cached_topology=None,
        heartbeat_handler=heartbeat_handler, activity=None,
    )  # fmt: skip
    finisher._handle_requests(
        batch, bulk=_BATCH, suspicious_patterns=[], retry_protocol_mismatches=False
    )

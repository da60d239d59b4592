"""Fill a new lake: tables, accounts, scopes, RSEs. Done again it changes what is different."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from rucio.alembicrevision import ALEMBIC_REVISION
from rucio.common.constants import DEFAULT_VO
from rucio.common.types import InternalAccount, InternalScope
from rucio.core import account, account_limit, distance, identity, rse, scope
from rucio.core.oidc import oidc_identity_string
from rucio.db.sqla import models
from rucio.db.sqla.constants import AccountType, DatabaseOperationType, IdentityType
from rucio.db.sqla.session import db_session, get_engine
from sqlalchemy import select

_EVERY_WAY = {
    "wan": dict.fromkeys(
        ("read", "write", "delete", "third_party_copy_read", "third_party_copy_write"), 1
    ),
    "lan": dict.fromkeys(("read", "write", "delete"), 1),
}


def fill(definition: dict[str, Any]) -> None:
    """Make everything that a lake's definition (etc/lake.json) names."""
    _tables()
    with db_session(DatabaseOperationType.WRITE) as session:
        if session.execute(select(models.VO).where(models.VO.vo == DEFAULT_VO)).first() is None:
            session.add(models.VO(vo=DEFAULT_VO, description="lake", email="N/A"))
            session.flush()
        for name, one in definition["accounts"].items():
            _account(name, one, session)
            if definition.get("issuer"):
                _token_identity(name, definition["issuer"], session)
        ids = {name: _rse(name, one, session) for name, one in definition["rses"].items()}
        for source, target in itertools.permutations(ids.values(), 2):
            if not distance.get_distances(source, target, session=session):
                distance.add_distance(source, target, distance=1, session=session)
        for name, one in definition["accounts"].items():
            if one["quota"]:
                for rse_id in ids.values():
                    account_limit.set_local_account_limit(
                        account=InternalAccount(name), rse_id=rse_id, bytes_=one["quota"],
                        session=session,
                    )  # fmt: skip


def _tables() -> None:
    """Make the tables, with the note of their version that Rucio's migrations look for.

    Rucio's own build_database writes the note through alembic, which cannot bear a % in a path.
    """
    models.register_models(get_engine())
    models.AlembicVersion.__table__.create(get_engine(), checkfirst=True)
    with db_session(DatabaseOperationType.WRITE) as session:
        if session.execute(select(models.AlembicVersion)).first() is None:
            session.add(models.AlembicVersion(version_num=ALEMBIC_REVISION))


def _account(name: str, one: dict[str, Any], session: Any) -> None:
    internal, email = InternalAccount(name), f"{name}@localhost"
    if not account.account_exists(internal, session=session):
        kind = AccountType.SERVICE if name == "root" else AccountType.USER
        account.add_account(internal, kind, email, session=session)
        identity.add_identity(
            name, IdentityType.USERPASS, email, password=one["password"], session=session
        )
        identity.add_account_identity(
            name, IdentityType.USERPASS, internal, email, default=True, session=session
        )
    for owned in one["scopes"]:
        if not scope.check_scope(InternalScope(owned), session=session):
            scope.add_scope(InternalScope(owned), internal, session=session)


def _token_identity(name: str, issuer: str, session: Any) -> None:
    """Let the subject of this name be the account."""
    internal, email = InternalAccount(name), f"{name}@localhost"
    who = oidc_identity_string(name, issuer)
    if not identity.exist_identity_account(who, IdentityType.OIDC, internal, session=session):
        identity.add_identity(who, IdentityType.OIDC, email, session=session)
        identity.add_account_identity(
            who, IdentityType.OIDC, internal, email, default=True, session=session
        )


def _protocols(name: str, one: dict[str, Any]) -> list[dict[str, Any]]:
    """The protocols of an RSE: those of the definition, or files in the lake's folder."""
    on_disk = {"scheme": "file", "hostname": "localhost", "port": 0,
               "prefix": f"{Path('rse', name).absolute()}/",
               "impl": "rucio.rse.protocols.posix.Default", "domains": _EVERY_WAY}  # fmt: skip
    return one.get("protocols", [on_disk])


def _rse(name: str, one: dict[str, Any], session: Any) -> str:
    if not rse.rse_exists(name, session=session):
        rse.add_rse(name, deterministic=True, session=session)
    rse_id: str = rse.get_rse_id(name, session=session)
    for key, value in {**one["attributes"], "greedyDeletion": True}.items():
        rse.add_rse_attribute(rse_id, key, value, session=session)
    there = rse.get_rse_protocols(rse_id, session=session)["protocols"]
    for protocol in _protocols(name, one):
        old = [p for p in there if p["scheme"] == protocol["scheme"]]
        if any(protocol.items() <= p.items() for p in old):
            continue
        if old:  # the lake's folder has moved, or the storage has
            rse.del_protocols(rse_id, protocol["scheme"], session=session)
        rse.add_protocol(rse_id, dict(protocol), session=session)
    return rse_id


def fill_once() -> None:
    """Fill the lake of the current folder unless that is done already for what is defined."""
    definition = json.loads(Path("etc/lake.json").read_text())
    wanted = json.dumps([
        str(Path.cwd()), definition["rses"], sorted(definition["accounts"]),
        definition.get("issuer"),
    ])  # fmt: skip
    done = Path("db/filled.json")
    if done.exists() and done.read_text() == wanted:
        return
    fill(definition)
    done.write_text(wanted)

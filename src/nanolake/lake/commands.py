"""`nanolake lake`: what the lake holds, where, and for how long."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from nanolake import config, config_lake
from nanolake.errors import LakeError

_OUT = Console(highlight=False, soft_wrap=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--lake",
    "name",
    default="embedded",
    show_default=True,
    help="Name of a file of config/lakes, or a path.",
)
@click.pass_context
def lake(context: click.Context, name: str) -> None:
    """Look into the data lake, move datasets, start and stop the embedded one."""
    context.obj = config.read_lake(name)


@contextmanager
def _client(settings: dict[str, Any]) -> Iterator[Any]:
    """A client of the lake; an embedded lake that does not run is started for the command."""
    from nanolake.lake.client import connect
    from nanolake.lake.session import running

    if settings["kind"] not in ("embedded", "rucio"):
        raise LakeError(f"lake {settings['name']}", "it has no Rucio", "choose one with --lake")
    with running(settings):
        yield connect(**config_lake.client_settings(settings))


def _launcher(settings: dict[str, Any]) -> Any:
    """The launcher of an embedded lake."""
    from testbed import lake as testbed

    if settings["kind"] != "embedded":
        problem = "only an embedded lake is started and stopped here"
        raise LakeError(f"lake {settings['name']}", problem, "choose it with --lake embedded")
    return testbed


@lake.command()
@click.pass_obj
def up(settings: dict[str, Any]) -> None:
    """Start the embedded lake and leave it running."""
    found = _launcher(settings).up(settings["folder"], database=settings["database"])
    account = settings["account"] or "analyst"
    _OUT.print(f"{'started' if found.started else 'already running'}: {found.url}")
    _OUT.print(f"for Rucio's own commands: export RUCIO_CONFIG={found.config(account)}")


@lake.command()
@click.pass_obj
def down(settings: dict[str, Any]) -> None:
    """Stop the embedded lake; what it holds stays."""
    ran = _launcher(settings).down(settings["folder"])
    _OUT.print("stopped" if ran else "it did not run")


@lake.command()
@click.argument("pattern", default="*")
@click.pass_obj
def ls(settings: dict[str, Any], pattern: str) -> None:
    """List datasets: PATTERN is a name, or scope:name, with * for anything."""
    from nanolake.lake.listing import datasets

    scope, _, name = pattern.rpartition(":")
    with _client(settings) as client:
        rows = datasets(client, name, scope=scope or None)
    table = _table("dataset", "files", "bytes", "RSEs")
    for row in rows:
        table.add_row(row["did"], str(row["files"]), f"{row['bytes']:,}", ", ".join(row["rses"]))
    _show(table, "no dataset matches; is its scope right, or has nothing been ingested yet?")


@lake.command()
@click.argument("dids", nargs=-1, required=True)
@click.option("--rse", help="RSE expression, e.g. QOS=FAST.")
@click.pass_obj
def replicas(settings: dict[str, Any], dids: tuple[str, ...], rse: str | None) -> None:
    """Show the available replicas of datasets or files DIDS (scope:name)."""
    from nanolake.lake.content import replicas_of

    schemes = ["file", "root", "davs", "https"]
    with _client(settings) as client:
        found = replicas_of(client, dids, rse=rse, schemes=schemes)
    table = _table("file", "RSE", "replica")
    for did, places in found.items():
        for place in places or [{"rse": "-", "pfn": "no replica is available"}]:
            table.add_row(did, place["rse"], place["pfn"])
    _show(table, "the lake knows none of these")


@lake.command()
@click.argument("dids", nargs=-1, required=True)
@click.pass_obj
def rules(settings: dict[str, Any], dids: tuple[str, ...]) -> None:
    """Show the replication rules of datasets DIDS: where they are kept, and until when."""
    from nanolake.lake.rules import rules_of

    table = _table("dataset", "rule", "account", "RSEs", "state", "there/to come/stuck", "until")
    with _client(settings) as client:
        for did in dids:
            for row in rules_of(client, did):
                locks = f"{row['ok']}/{row['replicating']}/{row['stuck']}"
                about = (row["account"], row["rse_expression"], row["state"], locks)
                table.add_row(did, row["id"], *about, row["expires_at"] or "for ever")
    _show(table, "no rule keeps them")


@lake.command()
@click.argument("did")
@click.argument("rse")
@click.option("--lifetime", type=float, help="Days at the new place; for ever by default.")
@click.option("--timeout", default=3600.0, show_default=True, help="Seconds to wait.")
@click.pass_obj
def move(
    settings: dict[str, Any], did: str, rse: str, lifetime: float | None, timeout: float
) -> None:
    """Move dataset DID to RSE, e.g. QOS=FAST; the old copies go once the new ones are there."""
    from nanolake.lake.rules import move as move_rule

    with _client(settings) as client, _OUT.status(f"moving {did} to {rse}"):
        rule = move_rule(client, did, rse, lifetime=lifetime, timeout=timeout)
    _OUT.print(f"{did} is on {rse} (rule {rule}); the lake deletes the other copies")


@lake.command()
@click.argument("rule")
@click.pass_obj
def expire(settings: dict[str, Any], rule: str) -> None:
    """End RULE (an id) now: the lake deletes the replicas that only it keeps."""
    from nanolake.lake.rules import expire as expire_rule

    with _client(settings) as client:
        expire_rule(client, rule)
    _OUT.print(f"rule {rule} ends now")


def _table(*columns: str) -> Table:
    table = Table(box=None)
    for column in columns:
        # Names and ids are for copying: never cut, wrapped only by the terminal.
        table.add_column(column, no_wrap=True, overflow="ignore")
    return table


def _show(table: Table, nothing: str) -> None:
    if not table.row_count:
        _OUT.print(nothing)
        sys.exit(3)
    # A pipe has no width: rows stay whole.
    width = None if _OUT.is_terminal else 1000
    Console(highlight=False, soft_wrap=True, width=width).print(table)

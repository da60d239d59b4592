"""The command line of the test-bed."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from testbed.errors import TestbedError

_CONSOLE = Console(highlight=False, soft_wrap=True)
_SERVICES = click.Choice(["lake"])
_FOLDER = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("resources/lake"),
    show_default=True,
    help="Where the lake keeps everything.",
)


class _Group(click.Group):
    """Prints our errors as one message, without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except TestbedError as error:
            click.secho(f"error: {error}", fg="red", err=True)
            sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Real services on this machine: a Rucio data lake with two storage elements."""


@main.command()
@click.argument("service", type=_SERVICES)
@_FOLDER
@click.option(
    "--database",
    type=click.Choice(["sqlite", "postgresql"]),
    help="Database of a new lake.  [default: sqlite]",
)
def up(service: str, folder: Path, database: str | None) -> None:
    """Bring SERVICE up, or find it running."""
    from testbed import lake

    start = time.monotonic()
    with _CONSOLE.status(f"bringing {service} up"):
        found = lake.up(folder, database=database)
    how = f"up in {time.monotonic() - start:.1f} s" if found.started else "already running"
    _CONSOLE.print(f"[green]lake[/green] {how}: {found.url}, pid {found.pid}, in {found.folder}")
    _CONSOLE.print("use it:   ", end="")
    _CONSOLE.print(f"export RUCIO_CONFIG={shlex.quote(str(found.config('analyst')))}", markup=False)
    _CONSOLE.print(f"end it:   testbed down lake --folder {shlex.quote(str(folder))}", markup=False)


@main.command()
@click.argument("service", type=_SERVICES)
@_FOLDER
@click.option("--delete", is_flag=True, help="Delete its data, too.")
def down(service: str, folder: Path, delete: bool) -> None:
    """Stop SERVICE; its data stay."""
    from testbed import lake

    ran = lake.down(folder, delete=delete)
    kept = "deleted" if delete else f"its data are in {folder}"
    _CONSOLE.print(f"{service} {'is down' if ran else 'was not running'}; {kept}")


@main.command()
@_FOLDER
def status(folder: Path) -> None:
    """Show what runs; exit code 3 if nothing does."""
    from testbed import lake

    found = lake.find(folder)
    if found is None:
        _CONSOLE.print(f"no lake runs in {folder}")
        sys.exit(3)
    table = Table("program", "state", "pid", title=f"lake {found.url} in {found.folder}")
    for name, state, pid in lake.programs(folder):
        table.add_row(name, state, str(pid))
    _CONSOLE.print(table)


if __name__ == "__main__":
    main()

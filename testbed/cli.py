"""The command line of the test-bed."""

from __future__ import annotations

import os
import shlex
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from testbed.errors import TestbedError

_CONSOLE = Console(highlight=False, soft_wrap=True)
_SERVICES = click.Choice(["lake", "xrootd", "condor", "slurm"])
_SERVICE = click.argument("service", type=_SERVICES)
_FOLDER = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the service keeps everything.  [default: resources/SERVICE]",
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
    """Real services on this machine: a Rucio data lake, XRootD servers, two batch systems."""


@main.command()
@_SERVICE
@_FOLDER
@click.option(
    "--database",
    type=click.Choice(["sqlite", "postgresql"]),
    help="Database of a new lake.  [default: sqlite]",
)
@click.option("--hosts", type=click.IntRange(0, 9), help="Execute hosts of a pool with a network.")
@click.option("--nodes", type=click.IntRange(1, 9), help="Compute nodes of a cluster.")
@click.option(
    "--site",
    type=click.Path(file_okay=False, path_type=Path),
    help="Site of XRootD whose tokens and servers jobs use.",
)
@click.option("--expose", type=int, multiple=True, help="Port of this machine for all hosts.")
@click.option(
    "--show", type=click.Path(path_type=Path), multiple=True, help="Folder for all hosts."
)
def up(service: str, folder: Path | None, **options: Any) -> None:
    """Bring SERVICE up, or find it running."""
    start = time.monotonic()
    folder = folder or Path("resources", service)
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if wrong := set(given) - _OPTIONS[service]:
        raise click.UsageError(f"--{min(wrong)} is not an option of {service}")
    with _CONSOLE.status(f"bringing {service} up"):
        found, place, script = _up(service, folder, given)
    how = f"up in {time.monotonic() - start:.1f} s" if found.started else "already running"
    _CONSOLE.print(f"[green]{service}[/green] {how}: {place}, pid {found.pid}, in {found.folder}")
    _CONSOLE.print("use it:   ", end="")
    _CONSOLE.print(script, markup=False)
    end = f"testbed down {service} --folder {shlex.quote(str(folder))}"
    _CONSOLE.print(f"end it:   {end}", markup=False)


_OPTIONS = {
    "lake": {"database"},
    "xrootd": set[str](),
    "condor": {"hosts", "site", "expose", "show"},
    "slurm": {"nodes", "site", "expose", "show"},
}


def _up(service: str, folder: Path, options: dict[str, Any]) -> tuple[Any, str, str]:
    """Bring a service up: itself, its address, and how a shell uses it."""
    found = _module(service).up(folder, **options)
    place = _address(service, found)
    if service == "condor":
        use = f". {shlex.quote(str(found.folder / 'env.sh'))}"
        apart = f"testbed run --folder {shlex.quote(str(folder))} -- condor_q"
        return found, place, apart if found.known.hosts else use
    if service == "slurm":
        login = f"testbed run --service slurm --folder {shlex.quote(str(folder))} -- bash"
        return found, place, login
    if service == "lake":
        return found, place, f"export RUCIO_CONFIG={shlex.quote(str(found.config('analyst')))}"
    from testbed.xrootd import lake

    lake.up(found)
    return found, place, f". {shlex.quote(str(found.folder / 'env/analyst.sh'))}"


@main.command()
@_SERVICE
@_FOLDER
@click.option("--delete", is_flag=True, help="Delete its data, too.")
def down(service: str, folder: Path | None, delete: bool) -> None:
    """Stop SERVICE; its data stay."""
    folder = folder or Path("resources", service)
    ran = _module(service).down(folder, delete=delete)
    kept = "deleted" if delete else f"its data are in {folder}"
    _CONSOLE.print(f"{service} {'is down' if ran else 'was not running'}; {kept}")


@main.command()
@click.argument("service", type=_SERVICES, default="lake")
@_FOLDER
def status(service: str, folder: Path | None) -> None:
    """Show what of SERVICE runs; exit code 3 if nothing does."""
    folder = folder or Path("resources", service)
    module = _module(service)
    found = module.find(folder)
    if found is None:
        _CONSOLE.print(f"no {service} runs in {folder}")
        sys.exit(3)
    where = f"{service} {_address(service, found)} in {found.folder}"
    table = Table("program", "state", "pid", title=where)
    for name, state, pid in module.programs(folder):
        table.add_row(name, state, str(pid))
    _CONSOLE.print(table)


def _address(service: str, found: Any) -> str:
    if service == "condor":
        return f"{len(found.hosts)} execute hosts" if found.known.hosts else "one host"
    if service == "slurm":
        return f"{len(found.nodes)} compute nodes"
    return str(found.url if service == "lake" else found.url("fast"))


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--service", type=click.Choice(["condor", "slurm"]), default="condor")
@_FOLDER
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(service: str, folder: Path | None, command: tuple[str, ...]) -> None:
    """Run COMMAND on the submit host of a pool, or on the login node of a cluster."""
    state = import_module(f"testbed.{service}.state")
    folder = (folder or Path("resources", service)).resolve()
    known = state.load(folder)
    if known is None:
        problem = f"{folder} is not of {service}"
        raise TestbedError(problem, f"testbed up {service}, or name its --folder")
    words = [*state.prefix(folder, known), *command]
    os.execvpe(words[0], words, os.environ | state.variables(folder))


_SITE = click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=Path("resources/xrootd"),
    show_default=True,
    help="The site.",
)
_OUTPUT = click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="File, made 0600."
)


@main.command()
@_SITE
@_OUTPUT
@click.option("--scope", default="storage.read:/cms", show_default=True)
@click.option("--audience", help="[default: that of the site's servers]")
@click.option("--lifetime", default=3600.0, show_default=True, help="Seconds.")
@click.option("--issuer", default="wlcg", show_default=True)
def token(folder: Path, output: Path, audience: str | None, **claims: Any) -> None:
    """Mint a token of the site; -o - prints it."""
    from testbed.definition import write_private
    from testbed.xrootd import credentials

    if audience:
        claims["audience"] = audience
    made = credentials.token(folder.resolve(), _port(folder), **claims)
    if output == Path("-"):
        click.echo(made)
    else:
        write_private(output, made)


@main.command()
@click.argument("user", type=click.Choice(["analyst", "guest", "stranger"]))
@_SITE
@_OUTPUT
@click.option("--vo", default="", help="VO whose attributes it has: escape or other.")
@click.option("--hours", default=24.0, show_default=True)
def proxy(user: str, folder: Path, output: Path, vo: str, hours: float) -> None:
    """Make a proxy certificate of USER."""
    from testbed.xrootd import proxies

    proxies.create(folder.resolve() / "authority", user, output, vo=vo, hours=hours)


def _port(folder: Path) -> int:
    from testbed.xrootd import launch

    known = launch.load(folder)
    if known is None:
        raise TestbedError(f"{folder} is not a site", "testbed up xrootd, or name its --folder")
    return known.ports["issuer"]


def _module(service: str) -> Any:
    return import_module(f"testbed.{service}")


if __name__ == "__main__":
    main()

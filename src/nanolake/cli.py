"""The command line: what a user does beside `snakemake` itself."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from testbed.errors import TestbedError

from nanolake import __version__, analyses
from nanolake.errors import NanolakeError
from nanolake.lake.commands import lake


class _Group(click.Group):
    """Prints our errors as one message, without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (NanolakeError, TestbedError) as error:
            click.secho(f"error: {error}", fg="red", err=True)
            sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """CMS NanoAOD from a data lake to physics plots and back."""


main.add_command(lake)


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--cores", default="all", show_default=True, help="Cores of this machine to use.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(cores: str, arguments: tuple[str, ...]) -> None:
    """Run the workflow with a progress line; further ARGUMENTS go to Snakemake."""
    from nanolake.progress import run_workflow

    sys.exit(run_workflow(cores, arguments))


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def submit(arguments: tuple[str, ...]) -> None:
    """Run Snakemake where it outlives this terminal; ARGUMENTS are its own.

    E.g. nanolake submit --profile condor. It runs on this machine, in a session of its own; what
    it says goes to logs/coordinator.log. `nanolake status` shows how far it is, `nanolake stop`
    ends it.
    """
    from nanolake.batch import coordinator

    pid = coordinator.submit(arguments)
    click.echo(f"submitted: process {pid}, output in {coordinator.LOG}")
    click.echo("how far it is:  nanolake status [--follow]")
    click.echo("end it:         nanolake stop")


@main.command()
@click.option("--follow", is_flag=True, help="Go on until it ends; Ctrl-C leaves it alone.")
def status(follow: bool) -> None:
    """Show how far the run of this folder is, or how the last one ended.

    However it was started: nanolake submit, nanolake run, snakemake. Exit status: 0, it is at work;
    3, none is, and the last one ended well; 1, none is, and the last one failed or was killed. With
    --follow: 0, it ended well; 1, it did not.
    """
    from nanolake.batch import view

    sys.exit(view.follow() if follow else view.status())


@main.command()
def stop() -> None:
    """End the run of this folder as Ctrl-C does; leave none of its jobs in the queue.

    If it is dead already, the jobs that it left are removed. Units that are done stay; start it
    again and it goes on.
    """
    from nanolake.batch.coordinator import stop as end

    for line in end():
        click.echo(line)


@main.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--lake",
    "lakes",
    multiple=True,
    metavar="NAME",
    help="Also look at this lake (a file of config/lakes, or a path): the credential that it"
    " asks for, what was found, how long it is good, what it allows, and whether its storage opens"
    " a file of each dataset of config/config.yaml. May be given several times.",
)
@click.option(
    "--profile",
    metavar="NAME",
    help="Also submit a small job with this profile of Snakemake, e.g. condor, and say what it"
    " finds on a host of the pool: software, credential, storage.",
)
@click.option("--wait", default=120.0, show_default=True, help="Seconds that it may take.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def doctor(
    lakes: tuple[str, ...], profile: str | None, wait: float, arguments: tuple[str, ...]
) -> None:
    """Say what this machine has, what is missing, and the command that mends it.

    Further ARGUMENTS, e.g. --shared-fs-usage none, go to the Snakemake that submits the job of
    --profile. The exit status is 1 if anything that is needed is missing.
    """
    from nanolake.doctor import examine, examine_lake, examine_pool, show

    if arguments and not profile:
        raise click.UsageError(f"without --profile nobody reads {' '.join(arguments)}")
    findings = [*examine(), *(finding for name in lakes for finding in examine_lake(name))]
    if profile:
        for name in lakes or [None]:
            findings += examine_pool(profile, lake=name, arguments=arguments, seconds=wait)
    sys.exit(show(findings))


@main.command()
@click.option("--lake", "lake_name", metavar="NAME", help="A file of config/lakes, or a path.")
@click.option("--port", default=8888, show_default=True, help="On 127.0.0.1; or the next free one.")
@click.option("--no-browser", is_flag=True, help="Only say where it is.")
def lab(lake_name: str | None, port: int, no_browser: bool) -> None:
    """Run JupyterLab on this machine, with the notebooks and the lake; Ctrl-C ends it.

    An embedded lake is up as long as the lab is.
    """
    from nanolake.interactive.lab import start

    sys.exit(start(lake_name, port=port, browser=not no_browser))


@main.command()
@click.argument("analysis", type=click.Choice(analyses.NAMES))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(), help="Histogram file to write.")
@click.option("--cutflow", type=click.Path(), help="Also write the cut flow as CSV.")
@click.option("--selection", help="Selection of the analysis; default: its first.")
@click.option(
    "--engine",
    "mode",
    type=click.Choice(["auto", "compiled", "jit"]),
    default="auto",
    show_default=True,
)
@click.option("--datasets", default="config/datasets.yaml", show_default=True, type=click.Path())
def histogram(
    analysis: str,
    files: tuple[Path, ...],
    output: str,
    cutflow: str | None,
    selection: str | None,
    mode: str,
    datasets: str,
) -> None:
    """Fill the histograms of ANALYSIS from reduced ntuples FILES, ours or the official skims.

    The sample is taken from the name of each file: SAMPLE.root or SAMPLESkim.root.
    """
    from nanolake.histogram import standalone

    standalone(
        analysis, files, output, cutflow=cutflow, selection=selection, mode=mode, datasets=datasets
    )

"""What a notebook holds: an analysis on a lake, and its results."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from nanolake import alone, analyses, config_lake, engine, pack
from nanolake import config as settings
from nanolake.batch.watch import Watch
from nanolake.catalogue import read
from nanolake.errors import LakeError, NanolakeError
from nanolake.interactive import PROJECT, tasks, working_folder
from nanolake.interactive.units import Task

if TYPE_CHECKING:
    import hist
    import pandas as pd
    from distributed import Client
    from matplotlib.figure import Figure

OWN = Path(".snakemake/nanolake/notebook.yaml")  # keys of the configuration that a notebook gives


def analysis(name: str, *, folder: str | os.PathLike[str] | None = None, **config: Any) -> Analysis:
    """An analysis on a lake, in a notebook.

    Args:
        name: dimuon, higgs4l, htautau, or one of your own.
        folder: Working folder, with `config/` in it; the project's own if there is none.
        config: Keys of the configuration in place of those of config/config.yaml, e.g.
            `lake="escape"`, `synthetic={"scale": 0.1}`.

    Raises:
        ConfigError: The configuration cannot be used; all problems are named.
    """
    place = working_folder(folder)
    known = settings.load_yaml(place / "config/config.yaml") | {"analyses": [name]} | config
    with contextlib.chdir(place):
        resolved = settings.resolve(known)
    return Analysis(name, place, {"analyses": [name]} | config, resolved)


class Analysis(NamedTuple):
    """An analysis in a working folder.

    Attributes:
        name: Its name.
        folder: The working folder.
        given: Keys of the configuration that the notebook gives.
        config: The whole configuration, resolved.
    """

    name: str
    folder: Path
    given: Mapping[str, Any]
    config: Mapping[str, Any]

    def path(self, *parts: str) -> Path:
        """A file of the results of the analysis."""
        return self.folder.joinpath(self.config["results"], self.name, *parts)

    def prepare(self) -> dict[str, Any]:
        """Find the inputs in the lake, open one of each dataset, cut them into units.

        Returns:
            The plan: {analysis, tree, samples: {name: {files, units, channels, kind, ...}}}.

        Raises:
            NanolakeError: Something of it failed; Snakemake's own words are shown.
        """
        self.snakemake(*(self._target(name) for name in self._inputs()))
        plan: dict[str, Any] = read(self.path("plan.json"))
        return plan

    def run(
        self,
        client: Client | None = None,
        *,
        progress: bool = True,
        backoff: float = tasks.BACKOFF,
    ) -> Result:
        """Make all results; what is made already, by whatever engine, is not made again.

        Args:
            client: Of a Dask cluster whose workers make the units; else this machine does.
            progress: Whether to show a bar.
            backoff: Seconds before a unit tries storage again that was down.

        Raises:
            NanolakeError: It failed; the message names the unit, its log and the remedy. What is
                made stays.
        """
        if client is not None:
            plan = self.prepare()
            with self._held():
                self._units(client, plan, progress=progress, backoff=backoff)
        self.snakemake(self.name)
        return Result(self)

    def missing(self, plan: Mapping[str, Any]) -> list[Task]:
        """The units that are not there yet, from these inputs and by this code."""
        fingerprint = engine.graph_fingerprint(self.name, self._selection(), "skim")
        with contextlib.chdir(self.folder):
            return [
                self._task(place, fingerprint)
                for place in self._places(plan)
                if not pack.is_made(place, pack.input_key(plan, place), fingerprint)
            ]

    def dataframe(self, sample: str, *, client: Client | None = None, **options: Any) -> Any:
        """ROOT's RDataFrame of a sample, read from the best replica of each file.

        Its files have connections of their own, which log in when they are first read: once a token
        has been renewed, a new one of it reads by the new token.

        Args:
            sample: Its name.
            client: Of a Dask cluster, over which ROOT distributes its event loop.
            options: Of ROOT's distributed RDataFrame, e.g. `npartitions=8`.

        Raises:
            NanolakeError: The inputs cannot be found.
        """
        plan, credential = self.prepare(), self.config["lake"]["credential"]
        ROOT = _root_for(credential)
        replicas = read(self.path(self._inputs()[-1]))
        files = [replicas[file["path"]][0] for file in plan["samples"][sample]["files"]]
        urls = [str(ROOT.nanolake.ApartByName(self._opened(file))) for file in files]
        if client is None:
            return ROOT.RDataFrame(plan["tree"], urls)
        ROOT.RDF.Distributed.initialize(_root_for, credential)
        return ROOT.RDataFrame(plan["tree"], urls, executor=client, **options)

    def select(self, dataframe: Any, channel: str | None = None, *, kind: str = "data") -> Any:
        """The selection of the analysis on an RDataFrame.

        Args:
            dataframe: A node of RDataFrame, or of the distributed one.
            channel: One of the analysis's channels; the first if none is named.
            kind: `data` or `mc`.
        """
        module = analyses.load(self.name)
        if module.HELPERS:
            _declare(module.HELPERS)
        return module.select(dataframe, channel or module.CHANNELS[0], kind, self._selection())

    def cluster(self, name: str = "local", **options: Any) -> Any:
        """A Dask cluster for this analysis, with the credential of its lake; see `cluster`."""
        from nanolake.interactive.cluster import cluster

        return cluster(name, folder=self.folder, config=self.config, **options)

    def publish(self, *files: str | os.PathLike[str], name: str) -> pd.DataFrame:
        """Upload files of one's own into the lake, and register them as one dataset.

        What is made of embargoed data goes where the lake keeps such data.

        Args:
            files: Paths below the folder of the results.
            name: Of what they are, within the campaign; results are in `<results>/<name>/`.

        Returns:
            What is there now: path, DID, and the rest of the receipt.

        Raises:
            LakeError: The lake takes nothing, or refuses it.
        """
        import pandas as pd

        from nanolake.lake import publish, session

        target = _target_of(self)
        private = config_lake.is_private(self.config, self.name)
        about = publish.provenance(self.config, str(PROJECT), private=private)
        where = config_lake.publishing(self.config, self.name) | {"target": target}
        with contextlib.chdir(self.folder), session.running(self.config["lake"]):
            receipt = Path(self.config["results"], name, "published.json")
            receipt.parent.mkdir(parents=True, exist_ok=True)
            inside = [os.path.relpath(file) for file in files]
            publish.run(inside, str(receipt), part=name, metadata=about, **where)
            return pd.DataFrame(read(receipt)["files"])

    # --- how ----------------------------------------------------------------------------------

    def snakemake(self, *targets: str, cores: str = "all") -> None:
        """Run the workflow up to some of its targets, on this machine.

        Raises:
            NanolakeError: It failed; the end of what it said is in the message.
        """
        own = self.folder / OWN
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(yaml.safe_dump(dict(self.given), sort_keys=False))
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")),
            *("--cores", cores, "--nocolor", "--configfile", str(OWN), "--", *targets),
        ]
        done = subprocess.run(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise NanolakeError(f"{' '.join(targets)} failed:\n{_essence(done.stdout)}")

    def _inputs(self) -> list[str]:
        """What units read, the place of the files last."""
        place = "prestaged" if self.config["lake"]["read"]["prestage"] else "replicas"
        return ["engine", "plan.json", f"{place}.json"]

    def _target(self, name: str) -> str:
        return str(Path(self.config["results"], self.name, name))

    def _selection(self) -> str:
        chosen = self.config["selections"].get(self.name)
        return str(chosen or analyses.load(self.name).SELECTIONS[0])

    def _places(self, plan: Mapping[str, Any]) -> list[pack.Place]:
        logs = f"logs/skim/{self.name}"
        return pack.places(pack.members(plan), self._target("units"), logs)

    def _task(self, place: pack.Place, fingerprint: str) -> Task:
        return Task(
            folder=str(self.folder),
            analysis=self.name,
            sample=place.sample,
            unit=place.unit,
            events=place.events,
            ledger=place.ledger,
            log=place.log,
            inputs=[self._target(name) for name in self._inputs()],
            credential=self.config["lake"]["credential"],
            private=config_lake.is_private(self.config),
            how={
                "verify": self.config["verify"],
                "scratch": self.config["scratch"],
                "accelerator": self.config["accelerator"],
                "fingerprint": fingerprint,
            },
        )

    def _opened(self, replica: Mapping[str, Any]) -> str:
        from nanolake import sources

        url = sources.local_path(replica.get("cache") or replica["pfn"])
        return url if sources.is_remote(url) else str(self.folder / url)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """No other run works in the folder meanwhile."""
        descriptor = alone.hold(self.folder)
        try:
            yield
        finally:
            os.close(descriptor)

    def _units(
        self, client: Client, plan: Mapping[str, Any], *, progress: bool, backoff: float
    ) -> None:
        missing = self.missing(plan)
        with contextlib.chdir(self.folder):
            states = partial(tasks.states, client)
            watch = Watch(lambda line: None, every=0, engine="dask", states=states)
            watch.start()
            watch.plan(len(self._places(plan)), len(missing))
            well = False
            try:
                with _bar(missing, shown=progress) as tell:
                    tasks.make(client, missing, watch=watch, tell=tell, backoff=backoff)
                well = True
            finally:
                watch.end(well)


class Result(NamedTuple):
    """What an analysis has made.

    Attributes:
        analysis: The analysis.
    """

    analysis: Analysis

    @property
    def cutflow(self) -> pd.DataFrame:
        """Events that pass each cut, by sample and channel."""
        import pandas as pd

        return pd.read_csv(self.analysis.path("cutflow.csv"))

    @property
    def histograms(self) -> dict[str, hist.Hist]:
        """All histograms, by name."""
        from nanolake import plotting

        return plotting.read_histograms(self.analysis.path("histograms.root"))

    @property
    def ntuples(self) -> dict[str, Path]:
        """The reduced ntuple of each sample, one tree a channel."""
        return {path.stem: path for path in sorted(self.analysis.path("ntuples").glob("*.root"))}

    @property
    def ledgers(self) -> list[dict[str, Any]]:
        """The ledger of every unit: events, files, replicas, bytes, seconds, cut flow."""
        found = sorted(self.analysis.path("units").glob("*/*.json"))
        return [read(path) for path in found]

    @property
    def plots(self) -> list[str]:
        """Names of the plots."""
        return list(analyses.load(self.analysis.name).figure_names())

    def plot(self, name: str | None = None) -> Figure:
        """Draw a plot; the first if none is named.

        Raises:
            KeyError: There is no such plot.
        """
        from nanolake import plotting

        wanted, config = name or self.plots[0], self.analysis.config
        private = config_lake.is_private(config, self.analysis.name)
        plotting.EXTRA_TEXT.set("Private Work" if private else "Open Data")
        luminosity = read(self.analysis.path("catalogue.json"))["luminosity"]
        options = config.get(self.analysis.name, {})
        module = analyses.load(self.analysis.name)
        _let_figures_be_seen()
        for drawn, figure in module.figures(self.histograms, luminosity, options):
            if drawn == wanted:
                return figure
        raise KeyError(f"no plot {wanted!r}; there are {', '.join(self.plots)}")

    def publish(self) -> pd.DataFrame:
        """Upload plots, histograms and reduced ntuples into the lake, and register them.

        Returns:
            What is there now: path, DID, and the rest of the receipt.

        Raises:
            NanolakeError: The lake takes nothing, or refuses it; see `LakeError`.
        """
        import pandas as pd

        _target_of(self.analysis)
        self.analysis.snakemake(self.analysis._target("published.json"))
        return pd.DataFrame(read(self.analysis.path("published.json"))["files"])


def _target_of(analysis: Analysis) -> dict[str, Any]:
    """Where what the analysis makes is published."""
    target = config_lake.publish_target(analysis.config, analysis.name)
    if not target:
        what = f"the lake {analysis.config['lake']['name']!r}"
        remedy = "choose a lake whose file says where to `publish`"
        raise LakeError(what, f"it takes nothing of {analysis.name}", remedy)
    return target


def _let_figures_be_seen() -> None:
    """Let a notebook show a figure that pyplot does not know of, also without %matplotlib."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell:
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"png"})


def _root_for(credential: Mapping[str, Any] | None) -> Any:
    """ROOT that reads from a lake; on a worker of a distributed RDataFrame ROOT itself calls it."""
    from nanolake import credentials, root

    credentials.show(credential)
    return root.load()


def _declare(helpers: str) -> None:
    """Declare C++ functions here and on the workers of distributed RDataFrames."""
    from nanolake import root

    root.load().RDF.Distributed.DistributeCppCode(helpers)


def _essence(said: str) -> str:
    """What Snakemake said from its first error on."""
    lines = said.splitlines()
    first = next((n for n, line in enumerate(lines) if "rror" in line), max(0, len(lines) - 20))
    return "\n".join(lines[first:])


@contextlib.contextmanager
def _bar(missing: list[Task], *, shown: bool) -> Iterator[Callable[[Task], None]]:
    """A bar of units and events a second; gives what is to be called with each unit made."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("units"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    began, events = time.monotonic(), 0
    with Progress(*columns, disable=not shown) as progress:
        bar = progress.add_task("units", total=len(missing), rate="")

        def tell(task: Task) -> None:
            nonlocal events
            events += read(task["ledger"])["read"]
            rate = events / (time.monotonic() - began)
            progress.update(bar, advance=1, rate=f"{rate:,.0f} events/s")

        yield tell

"""What the unit tests share: engines, real data, and small synthetic files."""

from pathlib import Path

import pytest

from nanolake import engine
from nanolake.generate import generate_file

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real CMS open data; tests that need it are skipped where it is not there."""
    if not SHARED.is_dir():
        pytest.skip("real CMS data are not beside the project (../shared/data)")
    return SHARED


@pytest.fixture(scope="session")
def program():
    """Function (analysis, mode, selection) -> engine, built once a session."""
    from nanolake import analyses

    def obtain(analysis: str, mode: str = "compiled", selection: str | None = None) -> str:
        chosen = selection or analyses.load(analysis).SELECTIONS[0]
        return str(engine.obtain(analysis, chosen, mode=mode))

    return obtain


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory):
    """Function (sample, events) -> path of a synthetic file with clusters of 1,000 events."""
    folder = tmp_path_factory.mktemp("synthetic")

    def make(sample: str, events: int = 8000) -> Path:
        path = folder / str(events) / f"{sample}.root"
        if not path.exists():
            generate_file(sample, path, events=events, seed=7, cluster_events=1000)
        return path

    return make


@pytest.fixture(scope="session")
def tasks():
    """Functions that write the tasks of the engine."""
    return Tasks()


class Tasks:
    """Tasks of the engine for one file."""

    def skim(self, analysis: str, path: Path, output: Path, *, kind: str, channels, range_=None):
        from nanolake import analyses

        module = analyses.load(analysis)
        events = self.events(path)
        return {
            "samples": [
                {
                    "name": path.stem,
                    "object": "Events",
                    "files": [{"path": str(path), "events": events}],
                }
            ],
            "columns": module.columns(kind),
            "range": range_ or [0, events],
            "kind": kind,
            "channels": list(channels),
            "output": str(output),
        }

    def merge(self, analysis: str, unit: Path, output: Path, cutflow, *, kind: str, weights=None):
        from nanolake import analyses

        module = analyses.load(analysis)
        return {
            "samples": [
                {
                    "name": channel,
                    "object": channel,
                    "files": [{"path": str(unit), "events": steps[-1][1]}],
                }
                for channel, steps in cutflow.items()
            ],
            "kept": list(module.kept(kind)),
            "weights": weights or dict.fromkeys(cutflow, 1.0),
            "weight_type": module.WEIGHT_TYPE,
            "output": str(output),
        }

    @staticmethod
    def events(path: Path) -> int:
        import uproot

        return int(uproot.open(path)["Events"].num_entries)

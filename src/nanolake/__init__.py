"""nanolake: CMS NanoAOD from a data lake to physics plots and back.

In a notebook: `nanolake.analysis("dimuon").run()`, and `nanolake.cluster("condor")` for workers.
"""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Only when they are asked for: a job of a batch system begins a second earlier without.
    if name == "analysis":
        from nanolake.interactive.analysis import analysis

        return analysis
    if name == "cluster":
        from nanolake.interactive.cluster import cluster

        return cluster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

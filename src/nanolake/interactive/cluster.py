"""Workers of Dask: on this machine, as jobs of HTCondor, as jobs of Slurm.

Each is one process with one thread and makes one unit at a time. What they and the scheduler say to
each other is encrypted, and nobody else can join them: the key is made anew for every cluster.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nanolake import config as settings
from nanolake.errors import NanolakeError
from nanolake.interactive import PROJECT, working_folder

if TYPE_CHECKING:
    from distributed.deploy.spec import SpecCluster

LOGS = Path("logs/dask")
ENGINES = ("local", "condor", "marconi100")
# Seconds after which a worker whose scheduler is gone ends, and with it its job.
DEATH = 60
_COMMANDS = {"condor": "condor_submit", "marconi100": "sbatch"}
_BEDS = {"condor": "condor", "marconi100": "slurm"}


def cluster(
    engine: str = "local",
    *,
    maximum: int | None = None,
    minimum: int = 1,
    memory: str = "2GB",
    minutes: float = 60,
    folder: str | os.PathLike[str] | None = None,
    config: Mapping[str, Any] | None = None,
    interface: str | None = None,
    **options: Any,
) -> SpecCluster:
    """Start a Dask cluster that grows and shrinks with what there is to do.

    Args:
        engine: `local`; `condor` or `marconi100`: jobs as the profile of that name makes them.
        maximum: Most workers; those of this machine's cores, or 16 jobs, if none is given.
        minimum: Fewest workers.
        memory: Of each worker, the unit that it makes included.
        minutes: How long a job may run; later another one takes its place.
        folder: Working folder, which the hosts of the workers share; see `analysis`.
        config: The configuration of the runs, resolved, for its credential; by default that of
            the working folder.
        interface: Network interface through which the workers reach this host, e.g. `ib0`; by
            default that of this host's name.
        options: Of the class of dask-jobqueue (HTCondorCluster, SLURMCluster), or LocalCluster.

    Raises:
        CredentialError: What storage asks for is missing, or about to end.
        NanolakeError: There is no such engine here.
    """
    if engine not in ENGINES:
        raise NanolakeError(f"no engine {engine!r}; there are {', '.join(ENGINES)}")
    place = working_folder(folder)
    with contextlib.chdir(place):
        chosen = config or settings.resolve(settings.load_yaml("config/config.yaml"))
        _check_credential(chosen, engine)
        if engine == "local":
            made, most = _local(memory, options), os.cpu_count() or 1
        else:
            _require(engine)
            LOGS.mkdir(mode=0o700, parents=True, exist_ok=True)
            make = {"condor": _condor, "marconi100": _slurm}[engine]
            made, most = make(_Jobs(place, memory, minutes, interface), chosen, options), 16
    most = maximum or most
    made.adapt(minimum=min(minimum, most), maximum=most)
    return made


def _check_credential(config: Mapping[str, Any], engine: str) -> None:
    """What storage asks for is there, unless the pool's monitor gives it to jobs.

    A unit reads the file of a token when it begins: who renews it renews it for the workers.
    """
    need = config["lake"]["credential"]
    if not need or (engine == "condor" and config["pool"]["token_service"]):
        return
    from nanolake import preflight

    preflight.check_lake(config["lake"])


def _require(engine: str) -> None:
    """The batch system's commands must be here."""
    command = _COMMANDS[engine]
    if not shutil.which(command):
        raise NanolakeError(
            f"there is no {command} here, so no jobs for workers\n"
            f"  remedy:  do this on a host that submits jobs; where no pool is:"
            f" testbed up {_BEDS[engine]}"
        )


def _local(memory: str, options: dict[str, Any]) -> Any:
    from distributed import LocalCluster, Security

    return LocalCluster(
        n_workers=0,
        threads_per_worker=1,
        memory_limit=memory,
        security=Security.temporary(),
        protocol="tls",
        dashboard_address="127.0.0.1:0",
        **options,
    )


class _Jobs(NamedTuple):
    """What is asked of jobs that are workers; see `cluster`."""

    place: Path
    memory: str
    minutes: float
    interface: str | None


def _of_a_batch_system(jobs: _Jobs, prologue: list[str]) -> dict[str, Any]:
    """What HTCondor and Slurm have in common."""
    from distributed import Security

    # Certificate and key of the workers, 0600.
    keys = jobs.place / ".snakemake/nanolake/dask"
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    where = {"interface": jobs.interface} if jobs.interface else {"host": socket.gethostname()}
    return {
        "cores": 1,
        "processes": 1,
        "memory": jobs.memory,
        "python": sys.executable,
        "nanny": True,
        "death_timeout": DEATH,
        "interface": jobs.interface,
        "log_directory": str(LOGS),
        "local_directory": "${TMPDIR:-/tmp}",
        "security": Security.temporary(),
        "protocol": "tls://",
        "shared_temp_directory": str(keys),
        "scheduler_options": where | {"dashboard_address": "127.0.0.1:0"},
        "job_script_prologue": ["export OMP_NUM_THREADS=1", *prologue],
    }


@contextlib.contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Once imported, dask_jobqueue 0.9 lets an interrupt end the process: in a lab, the kernel."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _profile(name: str) -> dict[str, Any]:
    """`default-resources` of a profile."""
    found: dict[str, Any] = settings.load_yaml(PROJECT / "profiles" / name / "config.yaml")
    return dict(found["default-resources"])


def _condor(jobs: _Jobs, config: Mapping[str, Any], options: dict[str, Any]) -> Any:
    with _interrupts_kept():
        from dask_jobqueue import HTCondorCluster

    service, need = config["pool"]["token_service"], config["lake"]["credential"]
    directives = {
        "initialdir": str(jobs.place),
        "getenv": _profile("condor")["getenv"].strip("'"),
        "allowed_job_duration": str(int(60 * jobs.minutes)),
    }
    prologue = []
    if need and need["kind"] != "x509" and service:
        directives["MY.OAuthServicesNeeded"] = f'"{service}"'
        prologue.append(f'export BEARER_TOKEN_FILE="$_CONDOR_CREDS/{service}.use"')
    if need and need["kind"] == "x509":
        from nanolake import credentials

        directives["x509userproxy"] = os.path.abspath(credentials.proxy_file())
    common = _of_a_batch_system(jobs, prologue)
    more = {"disk": "1GB", "job_extra_directives": directives}
    return HTCondorCluster(**(common | more | options))


def _slurm(jobs: _Jobs, config: Mapping[str, Any], options: dict[str, Any]) -> Any:
    with _interrupts_kept():
        from dask_jobqueue import SLURMCluster

    from nanolake.batch import slurm_queue

    slurm_queue.require_secrecy()
    # Snakemake evaluates it, too; account and QOS are sbatch's own variables.
    partition = eval(_profile("marconi100")["slurm_partition"], {"shutil": shutil})
    common = _of_a_batch_system(jobs, [])
    hours, rest = divmod(int(jobs.minutes), 60)
    more = {
        "queue": partition,
        "walltime": f"{hours:02d}:{rest:02d}:00",
        "job_extra_directives": [f"--chdir={jobs.place}"],
    }
    return SLURMCluster(**(common | more | options))

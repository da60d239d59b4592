"""The engine: a program that runs the event loops of one analysis.

It is an executable file, `ENGINE inspect|skim|merge|histogram`, that takes a task as JSON on its
standard input and gives a result as JSON on its standard output. Where there is a compiler it is
the compiled graph of the analysis; elsewhere it is a script that runs the same graph by JIT
(`nanolake.jit`). Both give the same bytes.

Tasks:

- inspect: object, columns, paths -> files [{path, events, clusters, bytes, uuid}]
- skim: samples, columns, range, kind, channels, output -> read, bytes_read, cutflow, accelerator,
  files [{bytes, uuid, bytes_read, requests, open_seconds, loop_seconds}]
- merge: samples, kept, weights, weight_type, output -> events
- histogram: samples (with parts), columns, weight_type, output -> cutflow

samples are [{name, object, files: [{path, events, bytes?, uuid?, adler32?}]}]: what is said of a
file is compared with it, a checksum by reading it whole. columns map names to C++ types.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nanolake import analyses, causes, codegen, protocols, root, sources
from nanolake.errors import CredentialError, EngineError, InputError, NanolakeError

# No fused multiply-adds and no instructions of this machine alone: the bits of the results must
# be those of any other machine. -O3 gains nothing here and compiles longer.
FLAGS = ("-O2", "-ffp-contract=off", "-fno-fast-math")
COMMON = ("program", "accelerator", "swap")  # what the engines of all analyses share
LIBRARIES = [
    *("ROOTDataFrame", "ROOTVecOps", "ROOTNTuple", "TreePlayer", "Tree", "Hist", "RIO"),
    *("GenVector", "MathCore", "Core", "dl"),
]

REMEDIES = {
    "unreadable": "check that the path is right and that it is a ROOT file; copy it again",
    "truncated": "copy it again: the transfer was cut short",
    "schema": "check that it is NanoAOD of the schema named in datasets.yaml",
    "events": "the file was replaced after it was catalogued; run again to catalogue it anew",
    "corrupt": "copy it again and compare its checksum with the catalogue",
    "stale": "a stale copy or replaced file: drop it from the cache, or catalogue it anew",
    "storage": "see that its storage is up and that the file is there, then run again",
    "scheme": "give the lake's file schemes that ROOT reads, or access: stage",
    "weight": "merge it again from its units; ntuples of several samples must not be mixed",
    "unwritable": "check the free space and the permissions of the output folder",
}


def cache_folder() -> Path:
    """Where compiled engines are kept: NANOLAKE_CACHE, or nanolake in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("NANOLAKE_CACHE") or Path(home) / "nanolake")


def compiler() -> str | None:
    """The C++ compiler: CXX, or g++, or none."""
    return shutil.which(os.environ.get("CXX") or "g++")


def graph_fingerprint(analysis: str, selection: str, part: str) -> str:
    """A short hash of the graph of `skim` or `histogram`, which changes when its physics does."""
    module = analyses.load(analysis)
    write = {"skim": codegen.skim_source, "histogram": codegen.histogram_source}[part]
    return codegen.fingerprint(module.HELPERS, write(module, selection))


def fingerprint(analysis: str, selection: str) -> str:
    """A short hash of everything that a compiled engine is made of but the machine."""
    sources = sorted(root.CPP.glob("*"))
    texts = [codegen.source(analyses.load(analysis), selection), *(s.read_text() for s in sources)]
    return codegen.fingerprint(*texts, *FLAGS)


def obtain(analysis: str, selection: str, *, mode: str = "auto") -> Path:
    """The engine of an analysis, from the cache or built now.

    Args:
        analysis: Name of the analysis.
        selection: One of its selections.
        mode: `compiled`, `jit`, or `auto`: compiled where there is a compiler.

    Raises:
        EngineError: It must be compiled and cannot.
    """
    if mode == "jit" or (mode == "auto" and not compiler()):
        return _jit_script(analysis, selection)
    return _compiled(analysis, selection)


def _jit_script(analysis: str, selection: str) -> Path:
    script = cache_folder() / "engine" / f"{analysis}-{selection}-jit"
    text = (
        "#!/bin/sh\n"
        "# Runs the graph of the analysis by JIT: there is no compiler, or none is wanted.\n"
        f'exec "${{NANOLAKE_PYTHON:-python3}}" -m nanolake.jit {analysis} {selection} "$@"\n'
    )
    _publish(script, lambda path: path.write_text(text))
    return script


def _compiled(analysis: str, selection: str) -> Path:
    cxx, where = compiler(), root.installation()
    if not cxx:
        raise EngineError(
            "there is no C++ compiler\n  remedy:  install g++, or set engine: jit (3 s a unit more)"
        )
    machine = subprocess.run(
        [cxx, "-dumpfullversion", "-dumpmachine"], capture_output=True, text=True, check=True
    ).stdout
    key = codegen.fingerprint(fingerprint(analysis, selection), machine, *map(str, where))
    folder = cache_folder() / "engine"
    program = folder / f"{analysis}-{selection}-{key}"
    if program.exists():
        return program
    with _lock(program.with_suffix(".lock")):
        if not program.exists():
            _compile(program, codegen.source(analyses.load(analysis), selection), cxx, machine)
    return program


def _compile(program: Path, text: str, cxx: str, machine: str) -> None:
    """Compile the graph of an analysis and link it with what all analyses share."""
    where = root.installation()
    compile_ = [cxx, *FLAGS, *where.flags, f"-I{root.CPP}", f"-I{where.include}"]
    graph = program.with_suffix(".cpp")
    _publish(graph, lambda path: path.write_text(text))
    graph_object = program.with_suffix(".o")
    _run([*compile_, "-c", "-o", str(graph_object), str(graph)])
    common = [_common_object(compile_, name, machine) for name in COMMON]
    link = [cxx, *where.flags, f"-L{where.lib}", f"-Wl,-rpath,{where.lib}", "-rdynamic"]
    objects = [str(path) for path in (graph_object, *common)]
    _publish(
        program,
        lambda path: _run([*link, "-o", str(path), *objects, *(f"-l{lib}" for lib in LIBRARIES)]),
    )
    graph_object.unlink()


def _common_object(compile_: Sequence[str], name: str, machine: str) -> Path:
    """The part of the program that all analyses share, compiled once, whoever comes first."""
    source = root.CPP / f"{name}.cpp"
    headers = [path.read_text() for path in sorted(root.CPP.glob("*.h"))]
    key = codegen.fingerprint(source.read_text(), *headers, *compile_, machine)
    target = cache_folder() / "engine" / f"{name}-{key}.o"
    with _lock(target.with_suffix(".lock")):
        if not target.exists():
            _publish(target, lambda path: _run([*compile_, "-c", "-o", str(path), str(source)]))
    return target


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _publish(target: Path, write: Any) -> None:
    """Write under a temporary name, then move into place: nobody ever sees half a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    write(part)
    part.chmod(part.stat().st_mode | (part.stat().st_mode & 0o444) >> 2)  # who reads may run it
    os.replace(part, target)


def _run(command: Sequence[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise EngineError(f"the compiler failed: {' '.join(command)}\n{result.stderr[-4000:]}")


def run(
    engine: str | os.PathLike[str],
    action: str,
    task: Mapping[str, Any],
    *,
    accelerator: str = "auto",
) -> dict[str, Any]:
    """Give a task to an engine and wait for its result.

    Raises:
        InputError: A file is missing, damaged, or not what the catalogue says.
        CredentialError: Its storage wants another credential.
        EngineError: Anything else; the program's own messages go to standard error.
    """
    environment = sources.environment() | {
        "NANOLAKE_PYTHON": sys.executable,
        "LD_LIBRARY_PATH": _libraries(),
    }
    if accelerator == "off":
        environment["NANOLAKE_ACCELERATOR"] = "off"
    process = subprocess.run(
        [os.path.abspath(engine), action],
        input=json.dumps(task),
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    lines = process.stdout.strip().splitlines()
    result: dict[str, Any] = {}
    if lines and lines[-1].startswith("{"):
        result = json.loads(lines[-1])
    if result and "problem" not in result:
        return result
    _remove_outputs(task)
    if result and result["problem"]["kind"] == "by-jit":
        return run(_jit_script(*result["problem"]["what"].split()), action, task)
    if result:
        raise _error(action, result["problem"])
    # The kernel kills the largest process when memory runs out.
    cause = "memory" if process.returncode == -signal.SIGKILL else "bug"
    raise EngineError(
        f"{action}: the engine ended with status {process.returncode} and no result;"
        " its messages are above",
        cause=cause,
    )


def _libraries() -> str:
    """Where a compiled engine finds ROOT, which may lie elsewhere than on the host that made it."""
    given = os.environ.get("LD_LIBRARY_PATH")
    return os.pathsep.join([str(root.installation().lib), *([given] if given else [])])


def _remove_outputs(task: Mapping[str, Any]) -> None:
    """What a task that failed has left: its output, and the channels' own files beside it."""
    if "output" not in task:
        return  # an inspection writes nothing; an empty path would be the working folder
    output = Path(task["output"])
    for path in (output, *output.parent.glob(f"{output.name}.*")):
        if path.is_file():
            path.unlink()


def _error(action: str, problem: Mapping[str, str]) -> NanolakeError:
    kind, path, what = problem["kind"], problem["file"], problem["what"]
    if kind == "credential":
        return CredentialError(path, what, protocols.REFUSED)
    if kind not in REMEDIES:
        return EngineError(f"{action}: {what}", cause="memory" if kind == "memory" else "bug")
    cause = "storage" if kind == "storage" else "input"
    if kind == "unwritable" and causes.is_full(Path(path).parent):
        cause = "disk"
    return InputError(Path(path).stem, path, what, REMEDIES[kind], cause=cause)


def install(analysis: str, selection: str, target: str, *, mode: str = "auto") -> None:
    """Put the engine of an analysis into the results, where all its jobs find it."""
    program = obtain(analysis, selection, mode=mode)
    _publish(Path(target), lambda path: shutil.copyfile(program, path))

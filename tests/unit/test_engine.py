"""The engine: compiled and JIT agree bit for bit, and bad files give one clear error."""

import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import uproot

from nanolake import analyses, codegen, engine, root
from nanolake.errors import EngineError, InputError
from nanolake.graph import Recorder, axis, used_columns
from nanolake.sources import adler32

CASES = [
    ("dimuon", "Run2012BC_DoubleMuParked_Muons", "data", ["dimuon"], None),
    ("higgs4l", "SMHiggsToZZTo4L", "mc", ["4mu", "4e", "2e2mu"], "df103"),
    ("higgs4l", "SMHiggsToZZTo4L", "mc", ["4mu", "4e", "2e2mu"], "portal"),
    ("htautau", "DYJetsToLL", "mc", ["mutau"], None),
    ("htautau", "Run2012B_TauPlusX", "data", ["mutau"], None),
]


def run_chain(program, analysis, source, kind, channels, folder, tasks, cuts=(), selection=None):
    """Skim in one or several units, merge, histogram; the paths of ntuple and histograms."""
    folder.mkdir(parents=True)
    events = tasks.events(source)
    edges = [0, *cuts, events]
    units, flows = [], []
    for number, (begin, end) in enumerate(pairwise(edges)):
        unit = folder / f"u{number}.root"
        task = tasks.skim(analysis, source, unit, kind=kind, channels=channels, range_=[begin, end])
        result = engine.run(program, "skim", task)
        assert result["read"] == end - begin
        units.append(unit)
        flows.append(result["cutflow"])
    module = analyses.load(analysis)
    ntuple, output = folder / "n.root", folder / "h.root"
    samples = [
        {
            "name": channel,
            "object": channel,
            "files": [
                {"path": str(unit), "events": flow[channel][-1][1]}
                for unit, flow in zip(units, flows, strict=True)
            ],
        }
        for channel in channels
    ]
    weights = {channel: 0.1 * (number + 1) for number, channel in enumerate(channels)}
    merged = engine.run(
        program,
        "merge",
        {
            "samples": samples,
            "kept": list(module.kept(kind)),
            "weights": weights,
            "weight_type": module.WEIGHT_TYPE,
            "output": str(ntuple),
        },
    )
    parts = module.parts({"p": next(iter(module.PARTS))}, channels)
    chosen = selection or module.SELECTIONS[0]
    flow = engine.run(
        program,
        "histogram",
        {
            "samples": [
                {
                    "name": source.stem,
                    "object": "Events",
                    "files": [{"path": str(ntuple), "events": merged["events"]}],
                    "parts": parts,
                }
            ],
            "columns": module.ntuple_columns(chosen),
            "weight_type": module.WEIGHT_TYPE,
            "output": str(output),
        },
    )
    return ntuple, output, (flows, flow) if not cuts else flow


@pytest.mark.parametrize(("analysis", "sample", "kind", "channels", "selection"), CASES)
def test_compiled_and_jit_agree_bit_for_bit(
    analysis, sample, kind, channels, selection, program, synthetic, tasks, tmp_path
):
    source = synthetic(sample)
    results = [
        run_chain(
            program(analysis, mode, selection),
            analysis,
            source,
            kind,
            channels,
            tmp_path / mode,
            tasks,
            selection=selection,
        )
        for mode in ("compiled", "jit")
    ]
    (ntuple, histograms, flow), (jit_ntuple, jit_histograms, jit_flow) = results
    assert flow == jit_flow
    assert ntuple.read_bytes() == jit_ntuple.read_bytes()
    assert histograms.read_bytes() == jit_histograms.read_bytes()
    assert uproot.open(ntuple)["Events"].num_entries > 50


@pytest.mark.parametrize(("analysis", "sample", "kind", "channels", "selection"), CASES[:2])
def test_the_number_of_units_leaves_no_trace(
    analysis, sample, kind, channels, selection, program, synthetic, tasks, tmp_path
):
    whole, parts = (
        run_chain(
            program(analysis, "compiled", selection),
            analysis,
            synthetic(sample),
            kind,
            channels,
            tmp_path / str(len(cuts)),
            tasks,
            cuts=cuts,
        )
        for cuts in ((), (1000, 1500, 1500, 7000))  # one edge in a cluster, one unit of no event
    )
    assert whole[0].read_bytes() == parts[0].read_bytes()
    assert whole[1].read_bytes() == parts[1].read_bytes()


def test_the_accelerator_changes_no_bit(program, synthetic, tasks, tmp_path):
    source, htautau = synthetic("DYJetsToLL"), program("htautau")
    sums = set()
    for wish in ("auto", "off"):
        output = tmp_path / f"{wish}.root"
        task = tasks.skim("htautau", source, output, kind="mc", channels=["mutau"])
        result = engine.run(htautau, "skim", task, accelerator=wish)
        assert wish == "auto" or result["accelerator"] == "off"
        sums.add(adler32(output))
    assert len(sums) == 1


def test_weights_of_channels_are_in_the_ntuple_and_in_the_histograms(
    program, synthetic, tasks, tmp_path
):
    ntuple, histograms, _ = run_chain(
        program("higgs4l"),
        "higgs4l",
        synthetic("SMHiggsToZZTo4L"),
        "mc",
        ["4mu", "4e", "2e2mu"],
        tmp_path / "w",
        tasks,
    )
    tree = uproot.open(ntuple)["Events"].arrays(["channel", "weight", "H_mass"], library="np")
    for number, weight in enumerate((0.1, 0.2, 0.30000000000000004)):
        mine = tree["channel"] == number
        assert set(tree["weight"][mine]) == {weight}
        name = ("4mu", "4e", "2e2mu")[number]
        filled = uproot.open(histograms)[f"p_{name}_H_mass"]
        counts = np.rint(filled.values(flow=True) / weight)
        assert counts.sum() == mine.sum()
        np.testing.assert_array_equal(filled.values(flow=True), counts * weight)
        np.testing.assert_allclose(filled.errors(flow=True), np.sqrt(counts) * weight, rtol=1e-15)


def damaged(kind, good, folder, other):
    """A file that is damaged in one way."""
    path = folder / good.name
    content = good.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "text":
        path.write_text("<html>404 not found</html>" * 100)
    elif kind == "schema":
        shutil.copy(other, path)
    elif kind == "tree":
        with uproot.recreate(path) as file:
            file["Other"] = {"x": np.arange(3.0)}
    elif kind == "type":
        with uproot.recreate(path) as file:
            file["Events"] = {"nMuon": np.arange(3.0)}
    elif kind == "corrupt":
        middle = len(content) // 3
        path.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])
    return path


PROBLEMS = {
    "missing": "cannot be opened",
    "truncated": "cut short|cannot be opened",
    "text": "cannot be opened as a ROOT file",
    "schema": "there is no column",
    "tree": "there is no tree Events",
    "type": "column nMuon is Double_t, not UInt_t",
    "corrupt": "error while reading|cannot be opened",
}


@pytest.mark.parametrize("mode", ["compiled", "jit"])
@pytest.mark.parametrize("kind", PROBLEMS)
def test_bad_inputs_give_one_clear_error(kind, mode, program, synthetic, tasks, tmp_path):
    if mode == "jit" and kind not in ("truncated", "type", "corrupt"):
        pytest.skip("the checks are the same C++: three kinds are enough by JIT")
    good = synthetic("Run2012BC_DoubleMuParked_Muons")
    other = synthetic("Run2012B_TauPlusX")
    bad = damaged(kind, good, tmp_path, other)
    output = tmp_path / "unit.root"
    task = tasks.skim("dimuon", good, output, kind="data", channels=["dimuon"])
    if kind == "schema":
        task["columns"] = analyses.load("higgs4l").columns("data")
    task["samples"][0]["files"][0]["path"] = str(bad)
    with pytest.raises(InputError, match=PROBLEMS[kind]) as caught:
        engine.run(program("dimuon", mode), "skim", task)
    text = str(caught.value)
    assert str(bad) in text
    assert "remedy:" in text
    assert not output.exists()


def test_a_file_with_another_number_of_events_is_refused(program, synthetic, tasks, tmp_path):
    source = synthetic("Run2012BC_DoubleMuParked_Muons")
    task = tasks.skim("dimuon", source, tmp_path / "u.root", kind="data", channels=["dimuon"])
    task["samples"][0]["files"][0]["events"] += 1
    with pytest.raises(InputError, match="it holds 8000 events, the catalogue says 8001"):
        engine.run(program("dimuon"), "skim", task)


@pytest.mark.parametrize("mode", ["compiled", "jit"])
def test_a_file_with_another_identity_is_refused(mode, program, synthetic, tasks, tmp_path):
    source = synthetic("Run2012BC_DoubleMuParked_Muons")
    task = tasks.skim("dimuon", source, tmp_path / "u.root", kind="data", channels=["dimuon"])
    (file,) = task["samples"][0]["files"]
    with uproot.open(source) as opened:
        own = {"bytes": source.stat().st_size, "uuid": str(opened.file.uuid)}
    own["adler32"] = adler32(source)
    file |= own
    (seen,) = engine.run(program("dimuon", mode), "skim", task)["files"]
    assert {key: seen[key] for key in ("bytes", "uuid")} == {k: own[k] for k in ("bytes", "uuid")}
    assert seen["bytes_read"] > 0 and seen["requests"] > 0
    for key, other in (("uuid", "other"), ("bytes", 7), ("adler32", "00000001")):
        file |= {**own, key: other}
        with pytest.raises(InputError, match="the catalogue says"):
            engine.run(program("dimuon", mode), "skim", task)


def test_a_mixed_ntuple_is_refused(program, tmp_path):
    path = tmp_path / "n.root"
    with uproot.recreate(path) as file:
        file["Events"] = {"mass": np.array([1, 2], "f4"), "weight": np.array([1.0, 2.0])}
    task = {
        "samples": [
            {
                "name": "s",
                "object": "Events",
                "files": [{"path": str(path), "events": 2}],
                "parts": [["p", "all"]],
            }
        ],
        "columns": {"mass": "Float_t"},
        "weight_type": "double",
        "output": str(tmp_path / "h.root"),
    }
    with pytest.raises(InputError, match="the weight is not constant in p"):
        engine.run(program("dimuon"), "histogram", task)


def test_a_program_that_dies_is_an_error(tmp_path):
    program = tmp_path / "engine"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(EngineError, match="status 3"):
        engine.run(program, "skim", {})


def test_the_program_explains_itself(program):
    done = subprocess.run([program("dimuon")], capture_output=True, text=True, input="")
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_an_engine_finds_root_where_it_lies_on_this_host(program, tmp_path):
    """Made on another host, whose environment lies elsewhere."""
    made = Path(program("dimuon")).read_bytes()
    here = str(root.installation().lib).encode()
    assert made.count(here) == 1
    moved = tmp_path / "engine"
    moved.write_bytes(made.replace(here, b"/far" + b"x" * (len(here) - 4)))
    moved.chmod(0o755)
    nothing = {"object": "Events", "columns": {}, "paths": []}
    alone = subprocess.run([moved, "inspect"], input=b"{}", capture_output=True)
    assert b"cannot open shared object file" in alone.stderr
    assert engine.run(moved, "inspect", nothing) == {"files": []}


def test_an_engine_is_built_once(program, monkeypatch):
    first = program("dimuon")
    monkeypatch.setattr(engine, "_run", lambda command: pytest.fail("compiled again"))
    assert str(engine.obtain("dimuon", "df102")) == first


def test_processes_that_need_the_same_engine_build_it_once(monkeypatch, tmp_path):
    compiler, calls = tmp_path / "c++", tmp_path / "calls"
    compiler.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexec {engine.compiler()} "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("NANOLAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(compiler))
    code = "from nanolake import engine; print(engine.obtain('dimuon', 'df102', mode='compiled'))"
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    programs = {process.communicate(timeout=300)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(programs) == 1
    compiled = [line for line in calls.read_text().splitlines() if " -c " in line]
    assert len(compiled) == 1 + len(engine.COMMON)


def test_without_a_compiler_the_engine_is_jit_or_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("NANOLAKE_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert engine.obtain("dimuon", "df102").read_bytes().startswith(b"#!")
    with pytest.raises(EngineError, match="remedy:  install g"):
        engine.obtain("dimuon", "df102", mode="compiled")


def test_a_compiler_error_is_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("NANOLAKE_CACHE", str(tmp_path))
    monkeypatch.setattr(codegen, "source", lambda *_: "this is not C++")
    with pytest.raises(EngineError, match="the compiler failed"):
        engine.obtain("dimuon", "df102", mode="compiled")


def test_columns_of_an_expression():
    known = ["Muon_pt", "pt", "pair", "b"]
    assert used_columns("Muon_pt[pair.muon] > std::pt && x->b", known) == ["Muon_pt", "pair"]
    assert used_columns("f(pt, Muon_pt) + pt", known) == ["pt", "Muon_pt"]


def test_a_recorder_remembers_what_was_asked_of_it():
    start = Recorder({"x": "Float_t"})
    node = start.Define("y", "2 * x").Filter("y > 1", "large")
    assert start.steps == ()
    assert node.known() == ["x", "y"]
    booked = node.Histo1D(axis("h", r"$\eta$ of $p_T$", 3, 0, 1), "y")
    assert booked.axis.title == "h;#eta of p_T;Events"
    assert [step.name for step in booked.steps] == ["y", "large"]


@pytest.mark.parametrize("analysis", analyses.NAMES)
def test_the_graph_hash_tells_skim_from_histogram(analysis, monkeypatch):
    module = analyses.load(analysis)
    skim, filled = (
        engine.graph_fingerprint(analysis, module.SELECTIONS[0], part)
        for part in ("skim", "histogram")
    )
    assert skim != filled
    book = module.book
    monkeypatch.setattr(
        module, "book", lambda df, part: book(df.Filter("weight > 0") if df else df, part)
    )
    assert engine.graph_fingerprint(analysis, module.SELECTIONS[0], "skim") == skim
    assert engine.graph_fingerprint(analysis, module.SELECTIONS[0], "histogram") != filled


def test_a_failed_inspection_touches_nothing(program, tmp_path, monkeypatch):
    """It has no output to remove, and the working folder is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("mine")
    (tmp_path / "damaged.root").write_bytes(b"root" + bytes(1000))
    task = {"object": "Events", "columns": {}, "paths": ["damaged.root"]}
    with pytest.raises(InputError):
        engine.run(program("dimuon"), "inspect", task)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "damaged.root"]


def test_files_of_a_chain_are_set_apart_by_name_and_named_as_the_task_does() -> None:
    ROOT = root.load()
    for path in ("root://some.host:1094//lake/a.root", "roots://h//a@b.root"):
        one, other = (str(ROOT.nanolake.ApartByName(path)) for _ in range(2))
        assert one != other and "@" in one.split("/")[2]
        assert [str(ROOT.nanolake.Address(apart)) for apart in (one, other)] == [path, path]
    for path in ("root://me@some.host//a.root", "/lake/a.root", "a@b.root"):
        assert str(ROOT.nanolake.ApartByName(path)) == path
        assert str(ROOT.nanolake.Address(path)) == path

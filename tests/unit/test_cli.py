"""The command line explains itself, and its errors are one message each."""

import io
import subprocess
import sys

import pytest
from click.testing import CliRunner
from rich.console import Console

from nanolake import doctor, engine, progress
from nanolake.cli import main
from nanolake.errors import InputError


@pytest.mark.parametrize(
    "command", [[], ["run"], ["submit"], ["status"], ["stop"], ["doctor"], ["histogram"]]
)
def test_every_command_has_help(command):
    result = CliRunner().invoke(main, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_an_error_is_one_message_without_a_traceback(tmp_path):
    wrong = tmp_path / "Nonsense.root"
    wrong.write_text("x")
    result = CliRunner().invoke(main, ["histogram", "dimuon", str(wrong), "-o", "h.root"])
    assert result.exit_code == 1
    assert "error: Nonsense: its name is not that of a sample" in result.output
    assert "Traceback" not in result.output
    assert "remedy:" in result.output


def test_doctor_finds_what_is_there():
    findings = {finding.what: finding for finding in doctor.examine()}
    assert findings["ROOT"].found == "6.40.00"
    assert doctor.show(list(findings.values())) == 0


def test_doctor_names_what_is_missing_and_the_remedy(monkeypatch, capsys):
    monkeypatch.setattr(engine, "compiler", lambda: None)
    findings = [doctor._compiler(), doctor._package("no-such-package")]
    assert [finding.state for finding in findings] == ["optional", "missing"]
    assert doctor.show(findings) == 1
    shown = capsys.readouterr().out
    assert "apt-get install g++" in shown
    assert "make setup" in shown


LINES = """\
Building DAG of jobs...
localrule skim:
    input: a
3 of 10 steps (30%) done
progress: units 2 of 7; jobs: 1 running
Error in rule skim:
    message: None
error: x: it is empty
"""


def test_the_progress_line_hides_jobs_and_shows_errors():
    screen = io.StringIO()
    console = Console(file=screen, width=100)
    seen = progress._follow(iter(LINES.splitlines(keepends=True)), console)
    assert len(seen) == 8
    shown = screen.getvalue()
    assert "3 of 10 jobs" in shown
    assert "units 2 of 7; jobs: 1 running" in shown
    assert "error: x: it is empty" in shown
    assert "input: a" not in shown


@pytest.mark.parametrize(
    ("code", "expected", "status"),
    [
        ("print('out'); import os; os.write(2, b'from C\\n')", "out\nfrom C", 0),
        ("raise InputError('s', 'p', 'it is bad', 'mend it')", "error: s: it is bad", 65),
        ("1 / 0", "ZeroDivisionError", 70),
    ],
)
def test_logs_catch_both_streams_and_errors(tmp_path, code, expected, status):
    log = tmp_path / "job.log"
    program = (
        "from nanolake.logs import logged\nfrom nanolake.errors import InputError\n"
        f"with logged({str(log)!r}):\n    {code}\n"
    )
    done = subprocess.run([sys.executable, "-u", "-c", program], capture_output=True, text=True)
    assert done.returncode == status
    assert done.stdout == done.stderr == ""
    text = log.read_text()
    assert expected in text
    assert ("Traceback" in text) == ("/ 0" in code)


def test_an_input_error_names_file_replica_and_remedy():
    text = str(InputError("sample", "root://host//f", "it is short", "copy it"))
    assert text.splitlines() == [
        "sample: it is short",
        "  replica: root://host//f",
        "  remedy:  copy it",
    ]

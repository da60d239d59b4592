"""Outputs get their names when all of them is there, whoever else is at work on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanolake import outputs


def test_file_has_its_name_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "folder/file"
    with outputs.whole(target) as part:
        part.write_text("all")
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["file"]
    assert target.read_text() == "all"


def test_after_an_error_what_was_there_stays_alone(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("before")
    with pytest.raises(ZeroDivisionError), outputs.whole(target) as part:
        part.write_text("half")
        1 / 0  # noqa: B018
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_text() == "before"


def test_two_hosts_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with outputs.whole(tmp_path / "file") as mine:
        mine.write_text("all")
        with monkeypatch.context() as other:
            other.setattr("platform.node", lambda: "elsewhere")
            with outputs.whole(tmp_path / "file") as theirs:
                theirs.write_text("all")
        assert mine.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_the_killed_have_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".file.host-12.part").touch()
    (tmp_path / "file").touch()
    outputs.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

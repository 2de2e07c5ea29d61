"""Folders with blanks and Chinese, folders that may not be written, full disks: worded alike by every command."""

import errno
import json
import os
import shlex

import pytest

from medgrpo.cli import main as command_line
from medgrpo.errors import MedgrpoError, file_error, typed_path


def ended(*words):
    with pytest.raises(SystemExit) as end:
        command_line.main([str(word) for word in words])
    return end.value.code or 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("behind", [False, True])
def test_a_full_disk_is_said_by_every_command(number, behind, monkeypatch, capsys):
    def full(*_, **__):
        inner = OSError(number, os.strerror(number), "/there/file")
        if behind:
            raise RuntimeError("could not serialise") from inner
        raise inner

    monkeypatch.setattr(command_line, "app", full)
    assert ended("doctor") == 1
    said = capsys.readouterr().err
    assert "the disk is full: /there/file" in said
    assert "make room and run the same command again" in said


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EROFS, "read-only file system"), (errno.EACCES, "may not be read or written")],
)
def test_a_place_that_may_not_be_written_is_said_with_what_to_do(number, words):
    error = file_error(OSError(number, os.strerror(number), "/there/file"))
    assert words in error.problem
    assert "--output" in str(error.hint)


@pytest.mark.parametrize("nested", ["", ".partial.123-abcdef"])
def test_a_folder_that_may_not_be_written_is_named_and_no_name_of_ours(tmp_path, monkeypatch, nested):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    passing = tmp_path / f"..copy.json.77-abcdef{nested or ''}.partial"
    named = file_error(OSError(errno.EACCES, "Permission denied", str(passing)))
    assert ".partial" not in named.problem
    assert f"copy.json cannot be written: this user may not write into {tmp_path}" in named.problem
    quoted = f"Failed to open local file '{tmp_path}/.s.parquet.77-abcdef.partial'. Detail: [errno 13]"
    assert f"{tmp_path}/s.parquet cannot be written" in file_error(OSError(errno.EACCES, quoted)).problem


def test_a_file_that_may_not_be_read_is_told_how_to_open_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)
    file = tmp_path / "my weights"
    file.touch()
    error = file_error(OSError(errno.EACCES, "Permission denied", str(file)))
    assert "may not be read by this user" in error.problem
    assert f"chmod a+r '{file}'" in str(error.hint)


def test_a_path_in_a_hint_can_be_typed_as_it_stands(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "mit Leerzeichen 数据"
    folder.mkdir()
    (folder / "config.toml").write_text("[run]\n")
    monkeypatch.chdir(tmp_path)
    assert ended("train", "--dry-run", "--output", folder) == 2
    hint = capsys.readouterr().err.split("hint: ")[1]
    assert str(folder) in shlex.split(hint)
    assert typed_path("plain/path") == "plain/path"


def test_the_way_through_a_folder_with_blanks_and_chinese(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "with space 数据"
    folder.mkdir()
    monkeypatch.chdir(folder)
    rows = [{"question": f"Is {i} even?", "answer": "yes" if i % 2 == 0 else "no"} for i in range(40)]
    (folder / "rows 问题.json").write_text(json.dumps(rows), encoding="utf-8")
    assert ended("preprocess", "rows 问题.json", "prepared 集") == 0
    audit = capsys.readouterr().out.split("(medgrpo ")[1].split(")")[0]
    assert ended(*shlex.split(audit)) == 0
    log = {
        "name": "run 一",
        "history": [{"step": i, "reward": 0.5 + i / 100, "loss": 0.1} for i in range(20)],
    }
    (folder / "log 一.json").write_text(json.dumps(log), encoding="utf-8")
    assert ended("health", "log 一.json") == 0
    assert ended("compare", "log 一.json", "--html", "--output", "page 页") == 0
    assert (folder / "page 页" / "report.html").is_file()


def test_an_error_of_ours_keeps_its_words():
    worded = command_line._as_medgrpo_error(MedgrpoError("ours", hint="do this"))
    assert (worded.problem, worded.hint) == ("ours", "do this")

"""Files are whole or absent."""

import math
import resource
import signal
import subprocess
import sys

import pytest

from medgrpo.files import (
    append_lines,
    read_json,
    sync_files,
    write_json,
    write_lines,
    write_text,
    written_aside,
)
from medgrpo.records import json_objects


def test_a_block_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail_half_way():
        with written_aside(path) as partial:
            partial.write_text("new")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_half_a_surrogate_pair_does_not_stop_a_run(tmp_path):
    write_text(tmp_path / "a.txt", "x\ud83d")
    assert (tmp_path / "a.txt").read_text() == "x?"


def test_two_processes_may_write_one_name(tmp_path):
    code = "import sys, pathlib; from medgrpo.files import write_text\nfor _ in range(50): write_text(pathlib.Path(sys.argv[1]), sys.argv[2] * 10_000, durable=False)"
    path = tmp_path / "shared"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), letter]) for letter in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert path.read_text() in ("a" * 10_000, "b" * 10_000)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path):
    """The kernel refuses to write beyond a limit, as it does on a full disk."""
    path = tmp_path / "a.txt"
    write_text(path, "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_text(path, "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_json_holds_no_nan_whatever_held_it(tmp_path):
    import numpy as np

    document = {
        "nan": [math.nan, -math.inf, 1.5],
        "numpy": [np.float32("nan"), np.int64(3), np.array([1.0, math.nan]), np.array(2.5), np.bool_(True)],
        "set": {4},
        "path": tmp_path,
        5: None,
    }
    write_json(tmp_path / "a.json", document)
    assert read_json(tmp_path / "a.json") == {
        "nan": [None, None, 1.5],
        "numpy": [None, 3, [1.0, None], 2.5, True],
        "set": [4],
        "path": "./",  # as it is seen from the file
        "5": None,
    }


@pytest.mark.parametrize("text", [None, "", "[1]", '{"a": 1', "\x00"])
def test_a_file_without_a_whole_object_reads_as_none(tmp_path, text):
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    assert read_json(tmp_path / "a.json") == {}


def test_lines_of_data_come_back_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    entries = [{"text": "a\u2028b\x85c\nd"}, {"text": "http://u:p@host hf_abcdefghijklmnop"}]
    write_lines(tmp_path / "data.jsonl", entries[:1])
    append_lines(tmp_path / "data.jsonl", entries[1:], is_data=True)
    assert json_objects(tmp_path / "data.jsonl") == entries
    append_lines(tmp_path / "log.jsonl", [{**entries[1], "half": "x\ud83d"}])
    (line,) = json_objects(tmp_path / "log.jsonl")
    assert "hf_abc" not in line["text"]
    assert line["half"] == "x?"


def test_weights_may_be_read_by_those_who_may_read_the_rest(tmp_path):
    """safetensors 0.8 writes for the owner alone; a file that is shared under another name is left as it is."""
    mine, linked, other = (tmp_path / name for name in ("a.safetensors", "b.safetensors", "note.txt"))
    for file in (mine, linked, other):
        file.write_bytes(b"x")
        file.chmod(0o600)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "base.bin").hardlink_to(linked)
    tmp_path.chmod(0o750)
    sync_files(tmp_path)
    assert [oct(file.stat().st_mode & 0o777) for file in (mine, linked, other)] == ["0o640", "0o600", "0o600"]

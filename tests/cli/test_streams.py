"""Streams that are closed, full or gone: said where it can be said, and what was asked for is done."""

import json
import subprocess
import sys

import pytest

from medgrpo.masking import masked_streams

ERROR = ("health", "/nowhere/at/all", "--json")


def shell(redirection, *words):
    """Exit code, and what stdout and stderr got, of a call with that redirection."""
    call = " ".join([sys.executable, "-P", "-m", "medgrpo.cli.main", *words, redirection])
    done = subprocess.run(["sh", "-c", call], capture_output=True, text=True, errors="replace", check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("redirection", "words", "code", "said"),
    [
        (">&-", ("--help",), 0, "stdout is closed"),
        (">&-", ERROR, 2, "no log at"),
        ("1</dev/null", ("--help",), 1, "is stdout open for writing?"),
        ("1</dev/null", ERROR, 2, "no log at"),
        (">/dev/full", ("--help",), 1, "the disk is full"),
        (">/dev/full", ERROR, 2, "no log at"),
        ("<&- >&- 2>&-", ("--help",), 0, ""),
    ],
)
def test_a_stream_that_cannot_be_written_to_is_worded(redirection, words, code, said):
    found, _, stderr = shell(redirection, *words)
    assert found == code
    assert said in stderr
    for word in ("Traceback", "looks like a bug", "Exception ignored"):
        assert word not in stderr


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_what_is_asked_for_comes_without_stderr(redirection):
    code, stdout, _ = shell(redirection, *ERROR)
    assert code == 2
    assert "no log at" in stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1:strict", "gbk"])
def test_an_encoding_without_our_characters_stops_nothing_and_json_stays_json(monkeypatch, encoding):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    code, stdout, stderr = shell("", "presets", "list")
    assert code == 0
    assert stdout
    code, stdout, _ = shell("", "presets", "list", "--json")
    assert json.loads(stdout)["presets"]
    monkeypatch.setenv("MEDGRPO_LANG", "zh")
    code, stdout, stderr = shell("", "health", "/有", "--json")
    assert "/有" in json.loads(stdout)["error"]["problem"]
    assert "Traceback" not in stderr


def test_a_file_that_is_opened_later_does_not_become_stdout(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "q?", "answer": "yes", "completion": "<answer>yes</answer>"}\n')
    out = tmp_path / "scores.csv"
    assert shell(">&- 2>&-", "score", str(rows), "--output", str(out))[0] == 0
    assert out.read_text().splitlines()[0].lstrip("\ufeff").count(",") > 1


def test_a_note_that_cannot_be_written_stops_nothing(monkeypatch):
    full = open("/dev/full", "w", buffering=1)  # noqa: SIM115  (closing it fails, as writing does)
    with masked_streams():
        monkeypatch.setattr(sys.stderr, "stream", full)
        print("a note", file=sys.stderr, flush=True)
    with pytest.raises(OSError, match="No space"):
        full.close()

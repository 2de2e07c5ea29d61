"""Pipes, sockets and devices where a file is expected: named or counted, never waited for, never read to the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from medgrpo.cli.main import main

ROWS = [{"id": str(i), "question": "q?", "answer": "yes", "completion": "yes"} for i in range(30)]


class Hangs(BaseException):
    """The command waited for something that never comes."""


def called(*words, seconds=20):
    """Exit code of a command in this process; raises where it waits."""

    def ring(*_):
        raise Hangs(words)

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        main([str(word) for word in words])
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return 0


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    return tmp_path / "pipe.json"


@pytest.mark.parametrize("name", ["pipe.json", "/dev/zero"])
def test_no_command_reads_a_pipe_or_a_device(pipe, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    os.symlink("/dev/zero", tmp_path / "zero.toml")
    os.mkfifo(tmp_path / "pipe.toml")
    template = "pipe.toml" if name == "pipe.json" else "zero.toml"
    for words in (
        ("score", name),
        ("score", "said.jsonl", "--references", name),
        ("eval", "--predictions", name),
        ("eval", "--predictions", "said.jsonl", "--import-review", name),
        ("eval", "--predictions", "said.jsonl", "--targets", template),
        ("health", name),
        ("compare", name, name, "--output", "out"),
        ("preprocess", name, "new"),
        ("preprocess", "said.jsonl", "new", "--prompt", template),
        ("train", "--config", name),
        ("train", "--preset", template),
        ("train", "--data", template, "--dry-run"),
        ("train", "--set", f"data.prompt_template={template}", "--dry-run"),
        ("make-dpo", name, "--from", "models", "--data", "said.jsonl"),
        ("make-dpo", name),
        ("merge-lora", name),
        ("ask", name, "-", "what?"),
        ("ask", "said.jsonl", name, "what?"),
    ):
        assert called(*words) in (1, 2), words
        said = capsys.readouterr().err
        assert "bug" not in said, (words, said)


def test_a_source_counts_what_is_no_file(tmp_path, capsys):
    source = tmp_path / "source"
    source.mkdir()
    (source / "rows.json").write_text(json.dumps([{**row, "image": "a.png"} for row in ROWS]))
    Image.new("RGB", (8, 8)).save(source / "a.png")
    for name in ("more.json", "b.png", "IM0001", "c.dcm", "d.nii.gz", "e.parquet"):
        os.mkfifo(source / name)
    with socket.socket(socket.AF_UNIX) as one:
        before = Path.cwd()
        os.chdir(source)  # the name of a socket may be 108 characters long
        one.bind("s.json")
        os.chdir(before)
    code = called("preprocess", source, tmp_path / "out", "--json", "--workers", "1")
    assert code == 0
    skipped = json.loads(capsys.readouterr().out)["skipped"]
    assert skipped["pipe, not a file"] == 6
    assert skipped["socket, not a file"] == 1


def test_a_run_with_pipes_in_it_is_refused(tmp_path, capsys):
    run = tmp_path / "run"
    (run / "stages" / "1-sft").mkdir(parents=True)
    (run / "config.toml").write_text("")
    (run / "log.jsonl").write_text('{"step": 1, "loss": 0.1}\n')
    os.mkfifo(run / "stages" / "1-sft" / "log.jsonl")
    assert called("health", run) == 1
    assert "is a pipe" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_command_and_let_a_pipeline_end(tmp_path, number):
    """`medgrpo preprocess … | cat` ends when the command is killed: nothing holds its standard output."""
    source = tmp_path / "source"
    source.mkdir()
    noise = Image.effect_noise((900, 900), 60)
    noise.save(source / "0.png")
    data = (source / "0.png").read_bytes()
    for index in range(1, 200):
        (source / f"{index}.png").write_bytes(data)
    rows = [{"question": "q?", "answer": "yes", "image": f"{index}.png"} for index in range(200)]
    (source / "rows.json").write_text(json.dumps(rows))
    words = ["preprocess", str(source), str(tmp_path / "out"), "--workers", "2", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "medgrpo.cli.main", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    journal = "images.jsonl"
    while time.monotonic() < deadline and process.poll() is None:
        if any(file.stat().st_size for file in tmp_path.glob(f".out*/{journal}")):
            break
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(number)
    started = time.monotonic()
    process.communicate(timeout=60)  # waits until the last holder of standard output has closed it
    assert time.monotonic() - started < 30

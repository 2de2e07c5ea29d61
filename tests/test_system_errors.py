"""What the system refuses is a sentence with what to do, whichever command meets it in whatever library's words."""

import errno
import os
import subprocess
import sys

import pytest

from medgrpo.cli import main as entry
from medgrpo.foreign import fault_of_input, reading, reads
from medgrpo.system import is_full_disk, refusal_of_system


def worded(error):
    return entry._as_medgrpo_error(error)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "lies on a read-only file system"),
        (errno.EACCES, "Permission denied"),
        (errno.EMFILE, "too many files"),
        (errno.ENAMETOOLONG, "too long"),
        (errno.EISDIR, "is a folder"),
        (errno.EIO, "the disk fails"),
        (errno.ENOMEM, "too little memory"),
    ],
)
def test_an_error_of_the_system_is_worded_with_its_place(number, words):
    error = worded(OSError(number, os.strerror(number), "/x/file"))
    assert words in error.problem
    assert "/x/file" in error.problem
    assert error.hint
    assert "bug" not in str(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 704 vs 598"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
        ValueError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_full_disks_are_known_in_every_library_s_words(error):
    assert is_full_disk(error)
    assert "full" in worded(error).problem


def test_memory_that_runs_out_is_worded():
    for error in (
        MemoryError("Unable to allocate 7.28 TiB for an array"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ):
        assert "too little memory" in worded(error).problem
    assert refusal_of_system(ValueError("no bug of the system")) is None


def test_what_reading_raises_names_the_file_and_what_was_expected(tmp_path):
    @reads("path", "a list of numbers")
    def numbers(path):
        return [int(word) for word in path.read_text().split()]

    (tmp_path / "a").write_text("1 x")
    with pytest.raises(ValueError, match="invalid literal") as caught:  # callers see the error they know
        numbers(tmp_path / "a")
    error = worded(caught.value)
    assert str(tmp_path / "a") in error.problem
    assert "invalid literal" in error.problem
    assert error.expected == "a list of numbers"
    outer = TypeError("outer")
    with pytest.raises(KeyError) as inner, reading("inner", "x"):
        raise KeyError("k")
    outer.__cause__ = inner.value
    assert "inner" in fault_of_input(outer).problem
    assert fault_of_input(ValueError()) is None


def test_what_is_no_fault_of_an_input_is_still_a_bug():
    assert "bug" in str(worded(ValueError("x")))


def test_a_pipe_that_is_closed_ends_the_command_quietly(tmp_path):
    script = f"{sys.executable} -m medgrpo.cli.main presets show balanced; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({script}) | true; sleep 0"], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


@pytest.mark.parametrize("command", ["score", "compare", "preprocess", "eval"])
def test_a_disk_that_can_only_be_read_is_worded(command, tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        '{"id": "1", "question": "q", "answer": "yes", "completion": "yes"}\n' * 2
    )
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 1}\n{"step": 2, "loss": 1}\n')
    room = tmp_path / "room"
    room.mkdir()
    words = {
        "score": f"score rows.jsonl --output {room}/a.csv",
        "compare": f"compare log.jsonl --html --output {room}/page",
        "preprocess": f"preprocess rows.jsonl {room}/data --missing-image text --workers 1",
        "eval": f"eval --predictions rows.jsonl --output {room}/eval",
    }[command]
    script = f"cd {tmp_path} && mount -t tmpfs -o ro none {room} && {sys.executable} -m medgrpo.cli.main {words} --quiet"
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no private mounts here: {done.stderr.strip()[:80]}")
    assert done.returncode in (1, 2), done.stderr
    assert done.stderr.count("error: ") == 1
    assert "read-only" in done.stderr or "may not be written" in done.stderr, done.stderr
    assert "bug" not in done.stderr


def test_a_folder_that_is_gone_beneath_a_command_is_named(tmp_path, monkeypatch):
    from medgrpo.system import refusal_of_system

    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    assert refusal_of_system(FileNotFoundError(2, "No such file or directory")) is None
    gone.rmdir()
    said = refusal_of_system(FileNotFoundError(2, "No such file or directory"))
    assert said is not None
    assert "is gone" in said.problem
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "template", ["{% break %}", "{{ messages[0].content + 3 }}", "{{ undefined_name.x }}"]
)
def test_what_a_chat_template_raises_is_the_templates_fault(template):
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from medgrpo.cli.main import _as_medgrpo_error

    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    with pytest.raises(Exception) as raised:  # noqa: PT011 - of many classes
        environment.from_string(template).render(messages=[{"content": "?"}])
    assert "the model's chat template cannot write this" in _as_medgrpo_error(raised.value).problem

"""A merge that was finished is known again; two into one folder, and what a killed one left, are clear."""

import json
import os
import subprocess
import sys

import pytest

from medgrpo.cli.main import main
from medgrpo.errors import UsageError
from medgrpo.files import PARTIAL
from medgrpo.locks import new_folder
from medgrpo.models.demo import build_demo_model
from medgrpo.models.merge import finished_merge, merge_adapters
from tests.models.adapters import lora, make_adapter


def test_a_finished_merge_is_known_and_another_is_refused(tmp_path, capsys):
    from medgrpo.data.demo import demo_texts

    build_demo_model(tmp_path / "base", demo_texts(), seed=3)
    adapter = make_adapter(tmp_path / "base", tmp_path / "adapter", lora(), scale=0.1)
    left = tmp_path / f".merged{PARTIAL}"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")  # a killed merge
    merge_adapters([(adapter, 1.0)], tmp_path / "merged", verify=0)
    assert not left.exists()
    assert finished_merge([(adapter, 1.0)], tmp_path / "merged") is not None
    assert finished_merge([(adapter, 0.5)], tmp_path / "merged") is None
    assert finished_merge([(adapter, 1.0)], tmp_path / "merged", dtype="float16") is None
    capsys.readouterr()  # what libraries print when they are first imported
    with pytest.raises(SystemExit) as ended:
        main(["merge-lora", str(adapter), "--output", str(tmp_path / "merged"), "--json"])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["was_finished"]
    with pytest.raises(SystemExit) as ended:
        main(["merge-lora", f"{adapter}=0.5", "--output", str(tmp_path / "merged")])
    assert ended.value.code == 2
    assert "exists and is not empty" in capsys.readouterr().err


HOLD = """
import sys, pathlib
from medgrpo.locks import new_folder
with new_folder(pathlib.Path(sys.argv[1]), "merge into") as partial:
    (partial / "a").write_text("a")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_into_one_folder_are_clear(tmp_path):
    target = tmp_path / "merged"
    words = [sys.executable, "-c", HOLD, str(target)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(UsageError, match=f"the merge into {target} is going on in another process"),
            new_folder(target, "merge into"),
        ):
            raise AssertionError
        other.stdin.close()
    assert other.returncode == 0
    assert sorted(os.listdir(target)) == ["a"]
    with pytest.raises(UsageError, match="exists and is not empty"), new_folder(target, "merge into"):
        raise AssertionError


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    from medgrpo.files import partial_name, write_text

    process = subprocess.Popen(["true"])
    process.wait()
    dead = partial_name(tmp_path / "a.json").name.replace(str(os.getpid()), str(process.pid))
    alive = partial_name(tmp_path / "b.json").name.replace(str(os.getpid()), str(os.getppid()))
    for name in (dead, alive, ".mine.partial"):
        (tmp_path / name).write_text("{")
    write_text(tmp_path / "c.txt", "whole")
    assert sorted(os.listdir(tmp_path)) == sorted(["c.txt", alive, ".mine.partial"])

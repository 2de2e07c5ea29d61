"""The run folder's writer."""

import json
import os
from contextlib import ExitStack

import pytest

from medgrpo.errors import UsageError
from medgrpo.files import read_json
from medgrpo.records import json_objects
from medgrpo.runs.record import read_run
from medgrpo.runs.writer import RunWriter, free_folder, new_run_name, refuse_used_folder


@pytest.fixture
def writer(tmp_path):
    return RunWriter.create(
        tmp_path / "run", "first", "[run]\nseed = 1\n", {"seed": 1}, logs=tmp_path / "logs"
    )


def test_a_line_is_on_disk_when_append_returns(writer):
    stage = writer.stage(1, "grpo", "grpo", is_main=True)
    writer.append(stage, {"step": 1, "loss": float("nan"), "reward": 0.5})
    assert stage.log.read_text() == '{"stage": "grpo", "step": 1, "loss": null, "reward": 0.5}\n'


def test_cut_moves_later_and_half_written_lines_aside(writer):
    stage = writer.stage(1, "grpo", "grpo", is_main=True)
    for step in (1, 2, 3):
        writer.append(stage, {"step": step})
    with stage.log.open("a") as file:
        file.write('{"stage": "gr')
    assert writer.cut(stage, 2) == 2
    assert [entry["step"] for entry in json_objects(stage.log)] == [1, 2]
    assert (stage.path / "log.abandoned.jsonl").read_text().splitlines()[0] == '{"stage": "grpo", "step": 3}'
    assert writer.cut(stage, 2) == 0


def test_the_log_copy_is_there_at_the_start_and_has_all_at_the_end(writer, tmp_path):
    copy = tmp_path / "logs" / "first.json"
    assert json.loads(copy.read_text())["history"] == []
    sft = writer.stage(1, "sft", "sft", is_main=False)
    main = writer.stage(2, "grpo", "grpo", is_main=True)
    writer.append(sft, {"step": 1, "loss": 2.0})
    writer.append(main, {"step": 1, "reward": 0.5})
    writer.finish("finished")
    record = read_run(copy)
    assert record.finished
    assert record.config == {"run": {"seed": 1}}
    assert [entry["reward"] for entry in record.history] == [0.5]
    assert [stage.name for stage in record.stages] == ["1-sft"]


def test_two_runs_of_one_name_have_two_log_copies(tmp_path):
    for folder in ("one", "two"):
        RunWriter.create(tmp_path / folder, "same", "", {}, logs=tmp_path / "logs")
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["same-2.json", "same.json"]


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot be made: .*file is a file"):
        refuse_used_folder(tmp_path / "file" / "deep" / "run")
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for a user who is not root
    with pytest.raises(UsageError, match="may not be written"):
        refuse_used_folder(tmp_path / "deep" / "run")
    monkeypatch.undo()
    refuse_used_folder(tmp_path / "deep" / "run")


def test_a_run_that_failed_before_its_first_step_is_not_offered_for_resuming(writer):
    stage = writer.stage(1, "grpo", "grpo", is_main=True)
    writer.finish("failed", error="no such module")
    with pytest.raises(UsageError) as error:
        refuse_used_folder(writer.path)
    assert error.value.hint.startswith("it failed before its first step: rm -r ")
    writer.append(stage, {"step": 1, "loss": 1.0})
    with pytest.raises(UsageError) as error:
        refuse_used_folder(writer.path)
    assert error.value.hint.startswith("--resume ")


def test_a_used_folder_is_refused_with_the_way_to_continue_it(writer):
    with pytest.raises(UsageError) as error:
        RunWriter.create(writer.path, "again", "", {}, logs=None)
    assert error.value.hint.startswith(f"--resume {writer.path}")


def test_reopening_keeps_the_record_and_its_copy(writer):
    writer.finish("stopped", steps=3)
    again = RunWriter.reopen(writer.path, logs=writer.path.parent / "logs")
    assert again.info["steps"] == 3
    assert again.log_copy == writer.log_copy
    assert read_json(writer.path / "training_info.json")["finished"] is False


def test_names_are_numbered(tmp_path):
    first = new_run_name("balanced", tmp_path)
    (tmp_path / first).mkdir()
    assert new_run_name("balanced", tmp_path) == first[:-1] + "2"


def test_runs_that_are_named_at_once_get_folders_of_their_own(tmp_path):
    place = tmp_path / "runs" / new_run_name("balanced", tmp_path / "runs")
    with ExitStack() as stack:
        folders = [stack.enter_context(free_folder(place)) for _ in range(3)]
    assert [folder.name[-2:] for folder in folders] == ["-1", "-2", "-3"]
    assert all(folder.is_dir() for folder in folders)


def test_a_folder_that_an_error_leaves_empty_is_given_back(tmp_path):
    with pytest.raises(ValueError, match="before anything"), free_folder(tmp_path / "a-1"):
        raise ValueError("before anything was written")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a-1" / "checkpoints").mkdir(parents=True)
    with free_folder(tmp_path / "a-1") as folder:
        pass
    assert folder.name == "a-2"
    assert folder.is_dir()


def test_a_run_that_was_moved_writes_its_copy_where_it_is_resumed(writer, tmp_path):
    writer.release()
    (tmp_path / "elsewhere").mkdir()
    moved = writer.path.rename(tmp_path / "elsewhere" / "run")
    old = writer.log_copy
    old.unlink()
    old.parent.rmdir()
    again = RunWriter.reopen(moved, logs=tmp_path / "elsewhere" / "logs")
    again.finish("finished")
    assert again.log_copy == tmp_path / "elsewhere" / "logs" / old.name
    assert again.log_copy.is_file()
    assert not old.exists()

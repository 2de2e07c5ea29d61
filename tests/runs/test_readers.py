"""Logs of every trainer become one record; broken logs lose only what is broken."""

import json
import math

import pytest

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.runs.metric_names import canonical_entry
from medgrpo.runs.record import read_run

LOGS = {
    "easyr1_qwen25vl3b/experiment_log.jsonl": ("EasyR1/verl JSONL", "grpo", 36, 195),
    "easyr1_qwen25vl3b/experiment_log_before_resume_step160.jsonl": ("EasyR1/verl JSONL", "grpo", 161, 160),
    "llamafactory_medical_sft/trainer_log.jsonl": ("LLaMA-Factory trainer_log.jsonl", "sft", None, 6750),
    "smolvlm_endoscopy_sft/trainer_state.json": ("TRL/Transformers trainer_state.json", "sft", 108, 900),
    "swift_sft/logging.jsonl": ("ms-swift logging.jsonl", "sft", None, 438),
    "swift_sft/trainer_state.json": ("TRL/Transformers trainer_state.json", "sft", None, 400),
    "trl_dpo/trainer_state.json": ("TRL/Transformers trainer_state.json", "dpo", 5, 30),
    "trl_qwen25vl_console/run_terminal.md": ("console capture", "grpo", 49, 490),
    "trl_sft_wordle/trainer_state.json": ("TRL/Transformers trainer_state.json", "sft", 18, 90),
    "trl_wordle_4090/trainer_state.json": ("TRL/Transformers trainer_state.json", "grpo", 400, 400),
    "vlm_sft_string_values/training_metrics.jsonl": ("JSONL of strings", "sft", None, 969),
}


@pytest.mark.parametrize("name", LOGS)
def test_every_real_log_is_read(shared_data, name):
    source_format, method, entries, last_step = LOGS[name]
    run = read_run(shared_data / "logs" / name)
    assert (run.source_format, run.method, run.steps) == (source_format, method, last_step)
    assert entries is None or len(run.history) == entries
    assert all(isinstance(value, int | float | str) for entry in run.history for value in entry.values())


def test_every_log_file_of_the_shared_data_is_in_the_table_above(shared_data):
    found = {
        str(path.relative_to(shared_data / "logs"))
        for path in (shared_data / "logs").rglob("*")
        if path.is_file()
    }
    assert found == set(LOGS)


def test_nested_easyr1_keys_become_trl_keys(shared_data):
    run = read_run(shared_data / "logs/easyr1_qwen25vl3b/experiment_log.jsonl")
    entry = next(entry for entry in run.history if entry["step"] == 161 and "reward" in entry)
    assert entry["reward"] == 0.609375
    assert entry["rewards/accuracy/mean"] == 0.234375
    assert entry["kl"] == 0.0469519067555666
    assert entry["completions/clipped_ratio"] == pytest.approx(0.0156, abs=0.02)
    assert run.config["beta"] == 0.01
    assert run.series("eval_reward")[0] == [160, 165, 170, 175, 180, 185, 190, 195]


def test_two_parts_of_one_easyr1_run_are_joined_by_step(shared_data):
    run = read_run(shared_data / "logs/easyr1_qwen25vl3b")
    assert run.series("reward")[0] == list(range(1, 196))
    assert "2 files joined" in " ".join(run.notes)


def test_swift_and_trainer_state_of_one_run_agree(shared_data):
    swift = read_run(shared_data / "logs/swift_sft/logging.jsonl")
    trainer = read_run(shared_data / "logs/swift_sft/trainer_state.json")
    steps, losses = trainer.series("loss")
    assert swift.series("loss")[0][: len(steps)] == steps
    assert swift.series("loss")[1][: len(steps)] == pytest.approx(losses, rel=1e-6)
    assert swift.finished is True
    assert trainer.finished is False


def test_strings_are_numbers(shared_data):
    run = read_run(shared_data / "logs/vlm_sft_string_values/training_metrics.jsonl")
    assert run.series("loss")[1][0] == 0.63513
    assert run.series("eval_loss")[0] == [250, 500, 750, 969]


def test_console_capture_takes_steps_from_the_progress_bar(shared_data):
    run = read_run(shared_data / "logs/trl_qwen25vl_console/run_terminal.md")
    assert run.series("reward")[0] == list(range(10, 500, 10))
    assert run.total_steps == 29790
    assert run.series("grad_norm")[1][2] == 404.0
    assert run.config["model"] == "Qwen/Qwen2.5-VL-3B-Instruct"


def test_ansi_codes_and_nan_in_a_console_do_not_matter(tmp_path):
    log = tmp_path / "console.txt"
    log.write_text(
        "\x1b[32m 50%|###  | 5/10 [00:10<00:10]\x1b[0m\x1b[1m{'loss': nan, 'reward': '0.5', 'epoch': 0.1}\x1b[0m\r"
        "100%|#####| 10/10 [00:20<00:00]{'loss': 0.25, 'grad_norm': inf, 'reward': 0.75}\n"
    )
    run = read_run(log)
    assert run.series("reward") == ([5, 10], [0.5, 0.75])
    assert math.isnan(run.history[0]["loss"])
    assert run.history[1]["elapsed_s"] == 20


def test_lines_of_verls_console_logger_are_read_with_colours_and_numpy_scalars(tmp_path):
    log = tmp_path / "verl.log"
    log.write_text(
        "INFO starting\n"
        "\x1b[36m(TaskRunner pid=7)\x1b[0m step:1 - actor/lr:1e-06 - critic/rewards/mean:0.25 - timing_s/step:33.5\n"
        "(TaskRunner pid=7) step:2 - actor/kl_loss:np.float64(0.002) - critic/rewards/mean:np.float64(0.5)"
        " - val-core/slake/acc/mean@1:0.4\n"
    )
    run = read_run(log)
    assert run.source_format == "verl console capture"
    assert run.series("reward") == ([1, 2], [0.25, 0.5])
    assert run.history[0]["learning_rate"] == 1e-6
    assert run.history[1]["kl"] == 0.002
    assert run.history[1]["eval_slake/acc/mean@1"] == 0.4


def test_old_trl_keys_are_renamed(tmp_path):
    rows = [{"step": 1, "reward": 0.5, "rewards/accuracy": 0.25, "completion_length": 40.0}]
    run = read_run(_lines(tmp_path, rows))
    assert run.history == [
        {"step": 1, "reward": 0.5, "rewards/accuracy/mean": 0.25, "completions/mean_length": 40.0}
    ]


def test_a_cut_last_line_is_left_out_and_said(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n{"step": 3, "lo')
    run = read_run(log)
    assert run.series("loss") == ([1, 2], [2.0, 1.0])
    assert run.notes == ["line 3, the last, is cut off: left out"]


def test_resumed_steps_stand_once_and_the_later_attempt_counts(tmp_path):
    rows = [{"step": step, "loss": 1.0} for step in range(1, 11)] + [
        {"step": step, "loss": 2.0} for step in range(7, 13)
    ]
    run = read_run(_lines(tmp_path, rows))
    assert run.series("loss") == (list(range(1, 13)), [1.0] * 6 + [2.0] * 6)
    (overlap,) = run.overlaps
    assert (overlap.first_step, overlap.last_step, overlap.dropped_entries) == (7, 10, 4)


def test_the_same_step_logged_twice_counts_once(tmp_path):
    run = read_run(
        _lines(tmp_path, [{"step": 1, "loss": 1.0}, {"step": 1, "loss": 3.0}, {"step": 1, "eval_loss": 2.0}])
    )
    assert run.series("loss") == ([1], [3.0])
    assert run.series("eval_loss") == ([1], [2.0])


def test_null_loss_is_a_nan_because_json_has_none(tmp_path):
    run = read_run(_lines(tmp_path, [{"stage": "grpo", "step": 1, "loss": None, "reward": 0.5}]))
    assert math.isnan(run.history[0]["loss"])


@pytest.mark.parametrize("content", ['{"log_history": []}', "", '{"history": [], "name": "x"}', "[]"])
def test_an_empty_history_is_a_run_without_steps(tmp_path, content):
    log = tmp_path / "trainer_state.json"
    log.write_text(content)
    run = read_run(log)
    assert (run.steps, run.history) == (0, [])


def test_broken_utf8_does_not_stop_the_reading(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_bytes(b'{"step": 1, "loss": 1.0, "event": "\xff\xfe"}\n{"step": 2, "loss": 0.5}\n')
    assert read_run(log).series("loss") == ([1, 2], [1.0, 0.5])


def test_our_log_copy_keeps_name_config_stages(tmp_path):
    copy = tmp_path / "demo.json"
    document = {
        "schema_version": 1,
        "name": "demo",
        "config": {"training": {"beta": 0.04}},
        "history": [{"stage": "grpo", "step": 1, "reward": 0.5}],
        "stages": [{"name": "1-sft", "method": "sft", "history": [{"step": 1, "loss": 2.0}]}],
        "finished": True,
        "run": str(tmp_path),
    }
    copy.write_text(json.dumps(document))
    assert read_run(copy).folder is None  # it does not name the copy as its own
    (tmp_path / "training_info.json").write_text(json.dumps({"log_copy": str(copy)}))
    run = read_run(copy)
    assert (run.name, run.finished, run.method, run.folder) == ("demo", True, "grpo", tmp_path)
    assert [(stage.name, stage.method, stage.history[0]["loss"]) for stage in run.stages] == [
        ("1-sft", "sft", 2.0)
    ]


def test_our_run_folder_is_read_as_the_writer_writes_it(tmp_path):
    from medgrpo.runs.writer import RunWriter

    writer = RunWriter.create(
        tmp_path / "run", "run", "[training]\nbeta = 0.04\n", {}, logs=tmp_path / "logs"
    )
    sft, main = writer.stage(1, "sft", "sft", is_main=False), writer.stage(2, "grpo", "grpo", is_main=True)
    writer.append(sft, {"step": 1, "loss": 2.0})
    for step in (1, 2, 3):
        writer.append(main, {"step": step, "loss": math.nan if step == 2 else 0.1, "reward": step / 10})
    writer.cut(main, 2)
    writer.append(main, {"step": 3, "loss": 0.1, "reward": 0.9})
    writer.finish("finished", validation={"after": {"reward": 0.9}})
    folder = read_run(tmp_path / "run")
    copy = read_run(tmp_path / "logs" / "run.json")
    for run in (folder, copy):
        assert run.series("reward") == ([1, 2, 3], [0.1, 0.2, 0.9])
        assert run.config == {"training": {"beta": 0.04}}
        assert run.finished is True
        assert run.validation == {"after": {"reward": 0.9}}
        assert [stage.method for stage in run.stages] == ["sft"]
    assert [(overlap.first_step, overlap.dropped_entries) for overlap in folder.overlaps] == [(3, 1)]
    assert math.isnan(folder.history[1]["loss"])


def test_the_newest_checkpoint_of_a_trainer_folder_is_read(tmp_path):
    for step in (90, 100):
        folder = tmp_path / "out" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": [{"step": step, "loss": 1.0}]}))
    run = read_run(tmp_path / "out")
    assert (run.name, run.steps) == ("out", 100)


def test_a_missing_log_is_a_wrong_call(tmp_path):
    with pytest.raises(UsageError, match="no log at"):
        read_run(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", b"hello\nworld\n"), ("a.parquet", b"PAR1\x00\x00"), ("a.json", b'{"a": 1}')],
)
def test_a_file_that_is_no_log_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MedgrpoError, match=r"no training metrics|binary file"):
        read_run(tmp_path / name)


def test_a_folder_without_a_log_says_what_was_looked_for(tmp_path):
    with pytest.raises(MedgrpoError) as caught:
        read_run(tmp_path)
    assert "trainer_state.json" in str(caught.value)


def _lines(folder, rows):
    path = folder / "run.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("text", "value"), [('{"a": 1.5}', {"a": 1.5}), ("[Infinity, 1e400]", [math.inf, math.inf])]
)
def test_json_is_read_with_and_without_orjson(monkeypatch, text, value):
    from medgrpo.runs.readers import decode

    assert decode.decoded(text) == value
    monkeypatch.setattr(decode, "orjson", None)
    assert decode.decoded(text) == value


def test_json_beyond_the_strict_standard_is_read():
    from medgrpo.runs.readers.decode import decoded

    assert math.isnan(decoded('{"loss": NaN}')["loss"])
    assert decoded('["\\ud83d"]') == ["\ufffd"]
    with pytest.raises(ValueError, match="Expecting"):
        decoded('{"loss": ')


def test_entries_of_plain_numbers_and_of_written_ones_become_the_same():
    plain = {"step": 2.0, "train/lr": 0.5, "stage": "grpo", "reward": 1}
    written = {"step": "2", "train/lr": "0.5", "stage": "grpo", "reward": True}
    expected = {"step": 2, "learning_rate": 0.5, "stage": "grpo", "reward": 1}
    assert canonical_entry(plain) == canonical_entry(written) == expected
    assert canonical_entry({"lr": 1.0, "learning_rate": 2.0}) == {"learning_rate": 1.0}
    assert canonical_entry({"stage": 3, "step": 1}) == {"stage": 3, "step": 1}

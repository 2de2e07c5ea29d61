"""What training wrote, read again after somebody changed it."""

import json

import pytest

from medgrpo.errors import MedgrpoError
from medgrpo.run_files import log_entries, training_info
from medgrpo.runs.known import known_runs
from medgrpo.runs.store import SPOOL, read_completions

ODD = ({"mean": [1]}, [1], "0.5", True, [], {"a": {"b": 1}})


def test_a_log_holds_steps_and_numbers_alone(tmp_path):
    steps = [1, 2, "3", 4.0, None, True, -1, 10**30, [5]]
    lines = [{"stage": "grpo", "step": step, "reward": 0.5} for step in steps]
    lines += [{"stage": ["grpo"], "step": 9, "reward": odd, "loss": None} for odd in ODD]
    file = tmp_path / "log.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + '[1]\n"x"\n{"step": 3, "rew')
    read = log_entries(file)
    assert [entry["step"] for entry in read] == [1, 2, *[9] * len(ODD)]
    assert all(
        type(value) in (int, float, type(None)) for e in read for n, value in e.items() if n != "stage"
    )
    assert read[0] == {"stage": "grpo", "step": 1, "reward": 0.5}
    assert read[-1] == {"step": 9, "loss": None}
    assert log_entries(tmp_path / "none.jsonl") == []


def test_one_odd_record_hides_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fields = ("name", "best", "validation", "resumed", "started", "steps", "status", "preset", "total_steps")
    for number, (field, odd) in enumerate((field, odd) for field in fields for odd in (*ODD, 3, 10**400)):
        run = tmp_path / "runs" / f"{number}"
        run.mkdir(parents=True)
        (run / "training_info.json").write_text(json.dumps({"started": "2026", "best": None, field: odd}))
        (run / "config.toml").write_text("training = 3\nmodel = []\n")
        (run / "log.jsonl").write_text('{"step": 1e999}\n' + "[" * 100_000)
    assert len(known_runs()) == len(fields) * (len(ODD) + 2)
    (run / "training_info.json").write_text(
        json.dumps(
            {
                "validation": {
                    "after": {"a": "3", "d": 0.2, "b": {"value": "x"}, "c": {"value": 0.5}},
                    "before": 1,
                },
                "own": {"x": 1},
            }
        )
    )
    assert training_info(run) == {"validation": {"after": {"d": 0.2, "c": {"value": 0.5}}}, "own": {"x": 1}}


@pytest.mark.parametrize(
    ("name", "odd"),
    [("rewards", [1]), ("rewards", {"a": "x"}), ("tokens", "3"), ("images", [3]), ("image_id", 3)],
)
def test_what_is_in_no_part_yet_is_looked_at_as_the_parts_are(tmp_path, name, odd):
    (tmp_path / "completions").mkdir()
    row = {
        "stage": "grpo",
        "step": 1,
        "prompt_id": "a",
        "completion": "x",
        "rewards": {"format": 1.0},
        name: odd,
    }
    (tmp_path / "completions" / SPOOL).write_text(json.dumps(row) + "\n")
    with pytest.raises(MedgrpoError, match=rf"{SPOOL}, row 1: {name} is"):
        read_completions(tmp_path)

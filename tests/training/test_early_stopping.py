"""Validation while training: when it runs, what it keeps, when it stops the run."""

import hashlib

import pytest

from medgrpo.errors import MedgrpoError
from medgrpo.files import read_json
from medgrpo.records import json_objects
from medgrpo.training.watch.reporter import SilentReporter
from tests.training.conftest import StopsAt, run

VALIDATED = (
    "stages.sft.enabled=false",
    "validation.steps=1",
    "validation.rows=4",
    "validation.metric=reward",
    "training.save_steps=1",
    "training.warmup_ratio=0",
)


def digest(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_the_best_weights_are_those_of_the_best_validation(tiny_config, tmp_path):
    config = tiny_config(*VALIDATED, "training.learning_rate=2e-3", "training.max_steps=4")
    result = run(config, tmp_path / "run")
    values = {entry["step"]: entry["eval_reward"] for entry in json_objects(result.log)}
    assert list(values) == [1, 2, 3, 4]
    best = max(values, key=lambda step: (values[step], -step))
    assert result.best == {"step": best, "metric": "reward", "value": pytest.approx(values[best])}
    assert digest(tmp_path / "run" / "best_model") == digest(
        tmp_path / "run" / "checkpoints" / f"checkpoint-{best}"
    )
    after = result.validation["after"]["reward"]
    assert after["low"] <= after["value"] <= after["high"]
    assert after["value"] == pytest.approx(values[4])


def test_a_run_that_no_longer_improves_stops_and_its_patience_survives_a_resume(tiny_config, tmp_path):
    # Nothing is learned at rate 0, so that the first validation stays the best.
    config = tiny_config(*VALIDATED, "training.learning_rate=0", "training.early_stopping_patience=3")
    stopped = run(config, tmp_path / "run", reporter=StopsAt("grpo", 3))
    assert stopped.status == "stopped"
    assert "after" not in stopped.validation
    reporter = SilentReporter()
    result = run(config, tmp_path / "run", reporter=reporter, resume=True)
    assert result.status == "finished"
    assert [entry["step"] for entry in json_objects(result.log)] == [1, 2, 3, 4]
    assert result.best["step"] == 1
    assert any("stopping early: 3 validations" in note for note in reporter.notes)
    assert read_json(tmp_path / "run" / "final_model" / "complete.json")["step"] == 4
    # It stays finished, and goes on when more patience is asked for.
    assert run(config, tmp_path / "run", resume=True).steps == 4
    patient = config.model_copy(
        update={"training": config.training.model_copy(update={"early_stopping_patience": 4})}
    )
    assert run(patient, tmp_path / "run", resume=True).steps == 5


def test_validation_can_be_off_or_only_before_and_after(tiny_config, tmp_path):
    base = ("stages.sft.enabled=false", "training.max_steps=2", "validation.rows=4")
    off = run(tiny_config(*base), tmp_path / "off")
    assert off.validation == {}
    ends = run(tiny_config(*base, "validation.before_and_after=true"), tmp_path / "ends")
    assert set(ends.validation) == {"blind", "before", "after"}
    assert ["eval_reward" in entry for entry in json_objects(ends.log)] == [False, True]
    assert not (tmp_path / "ends" / "best_model").exists()


def test_a_health_rule_stops_the_run_with_its_reason_and_saves_nothing_sick(tiny_config, tmp_path):
    # A learning rate that blows the weights up: the loss is NaN a few steps later.
    config = tiny_config(
        "stages.sft.enabled=false",
        "training.method=sft",
        "training.learning_rate=1e30",
        "training.warmup_ratio=0",
        "training.max_steps=6",
        "training.save_steps=100",
    )
    with pytest.raises(MedgrpoError, match="stopped at step") as caught:
        run(config, tmp_path / "run")
    assert "nan" in caught.value.problem
    assert read_json(tmp_path / "run" / "training_info.json")["status"] == "failed"
    assert len(json_objects(tmp_path / "run" / "log.jsonl")) < 6
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    assert not (tmp_path / "run" / "final_model").exists()

"""`estimate-time --probe`: a few real steps of the real trainer, scaled to the whole run."""

import json
import subprocess
import sys

import pytest

from medgrpo.data.demo import DemoSize, demo_texts, write_demo_dataset
from medgrpo.models.demo import build_demo_model

pytestmark = pytest.mark.slow


def test_the_probe_measures_steps_and_scales_them(tmp_path):
    model = build_demo_model(tmp_path / "model", demo_texts(), seed=3)
    dataset = write_demo_dataset(tmp_path / "data", seed=1, size=DemoSize(12, 4, 4))
    sizes = ["--generations", "2", "--tokens", "6", "--prompts-per-step", "2"]
    command = ["estimate-time", "--model", model, "--data", dataset.path, "--probe", *sizes, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "medgrpo.cli.main", *map(str, command)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    probe = found["probe"]
    assert found["source"] == "probe"
    assert probe["steps"] == len(probe["s_per_prompt"]) == 4
    assert all(0 < seconds < 60 for seconds in probe["s_per_prompt"])
    middle = sorted(probe["s_per_prompt"][1:])[1]  # the first step only warms up
    # All pictures of the demo are of one size, so the corrected estimate is what the steps took.
    assert found["s_per_prompt"] == pytest.approx(middle, rel=0.05)
    assert sum(found["phases"].values()) == pytest.approx(found["s_per_prompt"])
    assert found["prompts_per_hour"] == pytest.approx(3600 / found["s_per_prompt"])
    trained = found["s_per_prompt"] * found["prompts_per_step"] * found["steps"] / 3600
    assert found["hours"] == pytest.approx(trained + found["validation_hours"], rel=0.01)
    assert set(probe["factors"]) >= {"rollout", "update"}
    assert "real steps on this machine" in found["range_source"]
    assert found["hours_low"] < found["hours"] < found["hours_high"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "model"]  # no run, no log is left


def test_a_probe_without_a_model_says_what_it_needs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "medgrpo.cli.main", "estimate-time", "--probe"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--model MODEL --data DATASET" in done.stderr

"""What a step's time went to."""

import time

import pytest

from medgrpo.records import json_objects
from medgrpo.training.watch.phases import PHASES, PhaseClock
from tests.training.conftest import run

SLOW_REWARD = """
import time

def slow(completions, **columns):
    time.sleep(1)
    return [float(len(str(completion)) % 3) for completion in completions]
"""


def test_a_phase_inside_another_stops_that_one():
    clock = PhaseClock()
    began = time.perf_counter()
    with clock.phase("logprobs"):
        time.sleep(0.02)
        with clock.phase("rollout"):
            time.sleep(0.2)
    time.sleep(0.05)
    seconds = clock.stop()
    took = time.perf_counter() - began
    assert seconds["rollout"] >= 0.2
    assert 0.02 <= seconds["logprobs"] < 0.2  # without the rollout inside
    assert seconds["update"] >= 0.05
    assert seconds["reward"] == 0
    assert sum(seconds.values()) == pytest.approx(took, abs=0.02)


def test_the_log_says_what_each_step_spent_its_time_on(tiny_config, tmp_path):
    rewards = tmp_path / "rewards.py"
    rewards.write_text(SLOW_REWARD)
    config = tiny_config(
        f'rewards.weights={{"{rewards}:slow" = 1.0}}',
        "training.num_iterations=2",
        "training.max_steps=4",
        "training.largest_first=true",
        "validation.steps=1",
        "validation.rows=4",
    )
    result = run(config, tmp_path / "run")
    log = json_objects(result.log)
    for entry in log:
        spent = [entry[f"time/{phase}"] for phase in PHASES]
        assert sum(spent) == pytest.approx(entry["s_per_prompt"] * config.training.prompts_per_step)
        # TRL's own figure is without the optimiser; a validation alone would take 1 s more.
        assert entry["step_time"] <= sum(spent) < entry["step_time"] + 1
    first, again = log[0::2], log[1::2]  # one step samples, the next learns from the same completions
    assert all(entry["time/rollout"] > 0 and entry["time/logprobs"] > 0 for entry in first)
    assert all(entry["time/reward"] >= 1 for entry in first)
    assert all(entry[f"time/{phase}"] == 0 for entry in again for phase in PHASES if phase != "update")
    assert all(entry["time/update"] > 0 for entry in log)
    sft = json_objects(tmp_path / "run" / "stages" / "1-sft" / "log.jsonl")
    for entry in sft:  # a method that samples nothing: what took time, and the rest
        spent = {key: value for key, value in entry.items() if key.startswith("time/")}
        assert spent.keys() == {"time/prepare", "time/vision", "time/update"}
        assert all(value > 0 for value in spent.values())
        rows = config.stages["sft"].prompts_per_step
        assert sum(spent.values()) == pytest.approx(entry["s_per_prompt"] * rows)


def test_what_dynamic_sampling_draws_and_scores_again_counts(tiny_config, tmp_path):
    rewards = tmp_path / "rewards.py"
    rewards.write_text(SLOW_REWARD.replace("% 3", "* 0"))  # no group has spread: all are drawn again
    config = tiny_config(
        f'rewards.weights={{"{rewards}:slow" = 1.0}}',
        "rollout.dynamic_sampling=2",
        "training.max_steps=1",
        "stages.sft.enabled=false",
    )
    (entry,) = json_objects(run(config, tmp_path / "run").log)
    assert entry["dynamic_sampling/rounds"] == 2
    assert (
        entry["time/reward"] >= 3
    )  # each second counts once (see above), so none of these is another phase's

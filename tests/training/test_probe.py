"""`estimate-time --probe`: a few real steps of the real trainer, scaled to the whole run."""

import json
import subprocess
import sys
from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from medgrpo.config.presets import resolve_run
from medgrpo.config.sections import CurriculumConfig
from medgrpo.data.demo import DemoSize, demo_texts, write_demo_dataset
from medgrpo.estimate.facts import Facts, situation_of
from medgrpo.estimate.interval import PROBED, probed_range
from medgrpo.estimate.time import phases
from medgrpo.models.demo import build_demo_model
from medgrpo.training.before.curriculum import Curriculum
from medgrpo.training.probe import (
    LEAST_BATCHES,
    MOST_BATCHES,
    Batch,
    factors,
    largest_first,
    measured_batches,
    prompt_tokens,
    ratios,
)


def _work(*settings, size=512):
    resolved, _ = resolve_run("balanced", model="m", assignments=settings)
    facts = Facts(model="Qwen2.5-VL-3B", size=size, samples=4096, gpu="H200")
    return situation_of(resolved.config, facts).work


def _batch_of(work, slower, times=1.0):
    """A log's line of a host that is as much slower, phase by phase."""
    prompts = work.plan.prompts_per_step
    spent = {name: times * slower.get(name, 1.0) * took for name, took in phases(work).of_the_log().items()}
    line = {f"time/{name}": seconds * prompts for name, seconds in spent.items()}
    return Batch([{"s_per_prompt": sum(spent.values()), **line}], prompts)


@pytest.mark.parametrize(
    "settings",
    [
        ("training.method=sft", "training.prompts_per_step=4"),
        ("training.method=dpo", "training.prompts_per_step=4"),
        ("training.prompts_per_step=4", "rollout.engine=transformers"),
        ("training.prompts_per_step=4", "rollout.engine=vllm"),
    ],
)
def test_a_host_that_is_slower_in_one_phase_is_found_out_from_larger_rows(settings):
    slower = {"prepare": 3.0, "update": 1.4, "rollout": 1.2, "vision": 0.9}
    sizes = [_work(*settings, size=size) for size in (1024, 1024, 896, 616)]
    found = factors(sizes, [_batch_of(work, slower) for work in sizes])
    usual = _work(*settings, size=448)
    truth = _batch_of(usual, slower).s_per_prompt
    assert phases(usual).scaled(found).total == pytest.approx(truth, rel=1e-6)
    assert phases(usual).total != pytest.approx(truth, rel=0.05)


def test_a_batch_that_something_disturbed_does_not_count():
    work = _work("training.method=sft", "training.prompts_per_step=4")
    times = (1.0, 1.02, 4.0, 0.98, 1.0)
    found = factors([work] * 5, [_batch_of(work, {}, one) for one in times])
    assert phases(work).scaled(found).total == pytest.approx(phases(work).total, rel=0.01)


def test_the_range_is_wider_where_the_steps_of_the_probe_differ_and_narrower_the_more_there_are():
    steady, few, many = (
        probed_range([1.0] * 3),
        probed_range([0.8, 1.0, 1.3]),
        probed_range([0.8, 1.0, 1.3] * 9),
    )
    assert steady == pytest.approx(PROBED)
    assert few[0] < many[0] < steady[0] < 1 < steady[1] < many[1] < few[1]
    one = probed_range([1.0])
    assert one[0] < steady[0]
    assert one[1] > steady[1]


def test_the_ratios_of_the_steps_are_around_one():
    work = _work("training.method=sft", "training.prompts_per_step=4")
    batches = [_batch_of(work, {}, one) for one in (1.0, 1.1, 1.3, 1.1, 0.9)]
    found = ratios([work] * 5, batches, factors([work] * 5, batches))
    assert sorted(found)[2] == pytest.approx(1)
    assert [round(one * 1.1, 3) for one in found] == [1.0, 1.1, 1.3, 1.1, 0.9]


def test_short_steps_are_measured_more_often():
    work = _work("training.method=sft", "training.prompts_per_step=4")
    assert measured_batches(replace(work, image_tokens=0)) == MOST_BATCHES
    long = _work(
        "rollout.engine=transformers", "rollout.max_completion_length=1024", "engine.shared_prompt=off"
    )
    assert measured_batches(long) == LEAST_BATCHES


@pytest.mark.slow
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
    assert 1 + LEAST_BATCHES <= probe["steps"] == len(probe["s_per_prompt"]) <= 1 + MOST_BATCHES
    assert all(0 < seconds < 60 for seconds in probe["s_per_prompt"])
    middle = median(probe["s_per_prompt"][1:])  # the first step only warms up
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


@pytest.mark.slow
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


def test_the_first_batch_is_of_the_largest_rows_and_the_others_are_drawn_of_all():
    settings = CurriculumConfig.model_validate(largest_first(9))
    tokens = np.array([16.0] * 30 + [64.0] * 4 + [36.0] * 6)
    order = Curriculum(-tokens, settings, seed=3, chunk=4, chunks=9).order(0)
    assert sorted(order[:4]) == [30, 31, 32, 33]
    assert {0 <= row < 30 for row in order[4:]} == {True, False}
    assert len(set(order[:36])) > 30  # nearly each row once before any comes again


@pytest.mark.parametrize(("method", "sequences"), [("sft", 1), ("dpo", 2), ("grpo", 8)])
def test_the_log_says_how_long_the_prompts_of_a_batch_were(method, sequences):
    work = _work(f"training.method={method}", "training.prompts_per_step=4", "rollout.num_generations=8")
    count, batches, lengths = 0, [], (500, 210, 333)
    for number, length in enumerate(lengths):
        answer = 90 + number if method == "grpo" else 0
        count += 4 * sequences * (length + answer)
        batches.append(
            Batch(
                [{"num_tokens": count, "completions/mean_length": answer or None}, {"s_per_prompt": 1.0}], 4
            )
        )
    assert prompt_tokens(batches, work) == pytest.approx(lengths)
    assert prompt_tokens([Batch([{"s_per_prompt": 1.0}], 4)], work) is None

"""Advice comes true when it is typed; what is said to fit has what vLLM needs."""

import importlib.util
import sys
from pathlib import Path

import pytest

from medgrpo.config.presets import resolve_run
from medgrpo.estimate.advice import _changes, advise
from medgrpo.estimate.estimate import Facts, estimate
from medgrpo.estimate.facts import situation_of
from medgrpo.estimate.memory import GIB, Memory
from medgrpo.estimate.time import trained_parameters

_SPEC = importlib.util.spec_from_file_location("random_runs", Path(__file__).with_name("random_runs.py"))
random_runs_module = importlib.util.module_from_spec(_SPEC)
sys.modules["random_runs"] = random_runs_module
_SPEC.loader.exec_module(random_runs_module)
random_runs = random_runs_module.random_runs


def test_every_advice_typed_as_given_saves_what_it_says_in_200_random_runs():
    said = 0
    for run in random_runs(200, seed=1):
        before = run.estimate()
        hours, gib = sum(before.hours), before.memory.peak / GIB
        for advice in before.document()["advice"]:
            after = run.with_typed(advice["change"]).estimate()
            assert hours - sum(after.hours) == pytest.approx(advice["saves_hours"], rel=1e-6, abs=1e-9), (
                advice
            )
            assert gib - after.memory.peak / GIB == pytest.approx(advice["saves_gib"], abs=0.006), advice
            assert after.memory.fits == advice["fits"], advice
            saves = advice["saves_hours"] > 0 or advice["saves_gib"] > 0
            assert saves or (advice["fits"] and not before.memory.fits), advice
            said += 1
    assert said > 400


def test_no_advice_is_about_what_the_method_does_not_do():
    for run in random_runs(60, seed=2, training__method="sft"):
        for advice in run.estimate().document()["advice"]:
            assert not any(
                word in advice["change"]
                for word in ("rollout.", "vllm", "beta", "num_generations", "engine.")
            ), advice


def test_nothing_fits_with_a_smaller_share_than_vllm_needs_in_300_random_runs():
    fitting = 0
    for run in random_runs(300, seed=3, training__method="grpo", rollout__engine="vllm"):
        found = run.estimate()
        work, memory = found.work, Memory(found.work)
        if not found.document(with_advice=False)["fits"]:
            continue
        fitting += 1
        # What must be there by plain arithmetic: the weights in 16 bits, and the cache of one group with its prompt.
        shape = work.shape
        group = work.generations * (work.prompt_tokens + work.config.rollout.max_completion_length)
        least = 2 * shape.parameters + group * shape.layers * 2 * shape.kv_width * 2
        assert least < work.config.vllm.gpu_memory_utilization * work.gpu.memory_gib * GIB
        assert memory.vllm_needs > least
    assert fitting > 20


def test_vllm_is_not_slower_than_transformers_in_250_random_runs():
    slower = []
    # Sleep mode, ZeRO-3 and TRL's way, which all make vLLM do more than sample, are asked about by whoever sets them.
    usual = {"vllm__enable_sleep_mode": "false", "engine__shared_prompt": "auto", "launch__deepspeed": "none"}
    runs = random_runs(
        250, seed=4, training__method="grpo", rollout__engine="transformers", tuning__method="lora", **usual
    )
    for run in runs:
        plain = run.estimate()
        faster = run.with_typed("--vllm colocate").estimate()
        if faster.s_per_prompt > plain.s_per_prompt * 1.05:
            slower.append((run.facts, plain.s_per_prompt, faster.s_per_prompt))
    assert len(slower) <= 25, slower[:5]


def test_a_run_whose_vllm_cannot_start_is_told_the_share_that_makes_it_fit():
    words = ("--set", "vllm.gpu_memory_utilization=0.2", "--set", "rollout.engine=vllm")
    facts = random_runs_module.Facts(model="Qwen2.5-VL-7B", size=512, samples=1797, gpu="A100")
    run = random_runs_module.RandomRun(words, facts)
    found = run.estimate().document()
    assert not found["fits"]
    assert "vllm.gpu_memory_utilization = 0.2" in found["verdict"]
    share = next(entry for entry in found["advice"] if entry["change"].startswith("--set vllm.gpu_memory"))
    assert share["fits"]
    assert run.with_typed(share["change"]).estimate().memory.fits


def test_where_no_one_change_makes_it_fit_several_are_named_that_do_the_same_training():
    """A 32B model beside its vLLM on 80 GiB: without vLLM, and 4-bit."""
    config = resolve_run("balanced", model="m", assignments=("rollout.engine=vllm",))[0].config
    found = estimate(config, Facts(model="Qwen2.5-VL-32B", gpu="A100", samples=1797, size=512)).document()
    best = found["advice"][0]
    assert best["fits"]
    assert best["change"] == "--set rollout.engine=transformers --set tuning.method=qlora"
    assert not any(one["fits"] and "--gpus" not in one["change"] for one in found["advice"][1:])


@pytest.mark.parametrize(("images", "expected"), [(1, 162), (3, 162)])
def test_half_the_pixels_are_half_of_each_picture_s(images, expected):
    config = resolve_run("balanced", model="m")[0].config
    facts = Facts(model="Qwen2.5-VL-3B", gpu="A100", samples=1797, size=512, images=images)
    (change,) = [one for one in _changes(situation_of(config, facts).work) if "max_pixels" in one.typed]
    assert change.settings["model.max_pixels"] == expected * 28**2


def test_what_is_trained_is_counted_by_tower():
    def trained(*words):
        config = resolve_run("balanced", model="m", assignments=words)[0].config
        return trained_parameters(
            situation_of(config, Facts(model="Qwen2.5-VL-3B", gpu="A100", samples=9)).work
        )

    language, sides = "tuning.towers=language", ("vision", "aligner")
    for method in ("tuning.method=full", "tuning.method=lora"):
        whole = trained(method, "tuning.towers=language,vision,aligner")
        parts = [trained(method, f"tuning.towers={tower}") for tower in sides]
        assert whole == trained(method, language) + sum(parts)
        assert all(part > 0 for part in parts)


def test_no_two_choices_of_the_alternatives_are_the_same_run():
    from medgrpo.estimate.alternatives import compare_alternatives

    resolved, _ = resolve_run("balanced", model="m")
    facts = Facts(
        model="Qwen2.5-VL-3B", gpu="A100", samples=100, size=512
    )  # 512 px are the pictures as they are
    table = compare_alternatives(estimate(resolved.config, facts))
    figures = [(one["hours"], one["peak_gib"], one["image_tokens"], one["generations"]) for one in table]
    assert len(set(figures)) == len(figures)
    assert "as configured" in table[0]["change"]


def test_a_change_that_is_enough_is_not_offered_by_halves():
    resolved, _ = resolve_run("balanced", model="m")
    facts = Facts(model="Qwen2.5-VL-3B", gpu="CPU", samples=100, size=512)
    lines = advise(resolved.config, facts, situation_of(resolved.config, facts).work)
    for line in lines:
        if line.fits:
            key = line.change.partition("=")[0]
            assert [one for one in lines if one.change.partition("=")[0] == key and not one.fits] == []

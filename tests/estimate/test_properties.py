"""What must hold of every estimate, whatever is asked: random runs over all cards.

MEDGRPO_DRAWS=1000 MEDGRPO_SEED=77 asks many more than CI has time for.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from medgrpo.errors import MedgrpoError
from medgrpo.estimate.advice import with_settings
from medgrpo.estimate.alternatives import compare_alternatives
from medgrpo.estimate.estimate import estimate
from medgrpo.estimate.hardware import GPUS
from medgrpo.estimate.memory import GIB, Memory
from medgrpo.estimate.time import phases

sys.path.insert(0, str(Path(__file__).parent))
from random_runs import random_runs

DRAWS, SEED = int(os.environ.get("MEDGRPO_DRAWS", "60")), int(os.environ.get("MEDGRPO_SEED", "20261130"))
CARDS = tuple(GPUS)
CLOSE = 1 + 1e-9


def runs(part, **fixed):
    return random_runs(max(20, DRAWS // part), SEED + part, cards=CARDS, **fixed)


def changed(work, **settings):
    return replace(
        work,
        config=with_settings(work.config, {key.replace("__", "."): value for key, value in settings.items()}),
    )


def test_no_run_fits_whose_vllm_gets_less_than_it_needs():
    fitting = 0
    for run in runs(1, training__method="grpo", rollout__engine="vllm"):
        work = run.estimate().work
        if not Memory(work).fits:
            continue
        fitting += 1
        # By plain arithmetic: the weights in 16 bits, and the cache of one group with its prompt.
        shape, most = work.shape, work.at_largest
        group = work.generations * (most.prompt_tokens + work.config.rollout.max_completion_length)
        least = 2 * shape.parameters + group * shape.layers * 2 * shape.kv_width * 2
        assert least < work.config.vllm.gpu_memory_utilization * work.gpu.memory_gib * GIB, run
    assert fitting > DRAWS // 30


def test_the_headline_is_the_alternatives_row_and_each_row_is_what_typing_it_gives():
    for run in runs(10):
        found = run.estimate()
        table = compare_alternatives(found)
        (own,) = [entry for entry in table if entry["is_this"]]
        assert own["s_per_prompt"] == found.s_per_prompt
        assert own["hours"] == sum(found.hours)
        for entry in table:
            engine = next((one for one in ("vllm", "transformers") if one in entry["change"]), None)
            if entry["is_this"] or engine is None:
                continue
            size = int(entry["change"].split(" px")[0]) if " px" in entry["change"] else None
            config = with_settings(
                found.config, {"rollout.num_generations": entry["generations"], "rollout.engine": engine}
            )
            typed = estimate(config, replace(found.facts, size=size or found.facts.size))
            assert typed.s_per_prompt == entry["s_per_prompt"], (run, entry)
            assert typed.memory.fits == entry["fits"], (run, entry)


def test_twice_the_gpus_take_no_longer_but_for_what_they_tell_each_other():
    compared = 0
    for run in runs(3, training__prompts_per_step="16", rollout__num_generations="8"):
        one = run.estimate().work
        two = replace(one, gpus=one.gpus * 2)
        try:
            before, after = phases(one), phases(two)
        except MedgrpoError:  # a step that so many GPUs cannot share
            continue
        if one.shares_weights != two.shares_weights:  # sharing starts with the second GPU
            continue
        compared += 1
        told = after.communication - before.communication + max(0.0, after.sync - before.sync)
        # A pass may not halve: as many GPUs as passes is where the saving ends.
        assert after.total - max(0.0, told) <= before.total * 1.02, (run, before, after)
    assert compared > 10


@pytest.mark.parametrize(
    "more",
    [
        {"rollout__max_completion_length": 2},
        {"rollout__num_generations": 2},
        {"image_tokens": 2},
        {"text_tokens": 300},
    ],
    ids=str,
)
def test_more_tokens_are_never_cheaper(more):
    """The whole step in one pass: a step is cut into even parts, and what is cut smaller holds less and launches more."""
    for run in runs(
        6, training__prompts_per_step="8", engine__tokens_per_pass="10000000", model__context_length="8192"
    ):
        before = run.estimate().work
        (name, factor), config = next(iter(more.items())), before.config
        if name == "image_tokens":
            after = replace(before, image_tokens=before.image_tokens * 2, largest_image_tokens=None)
            before = replace(before, largest_image_tokens=None)
        elif name == "text_tokens":
            after = replace(before, text_tokens=factor)
        else:
            section, key = name.split("__")
            after = changed(before, **{name: getattr(getattr(config, section), key) * factor})
        assert phases(before).total <= phases(after).total * 1.02, (run, name, phases(before), phases(after))
        assert Memory(before).peak <= Memory(after).peak * CLOSE, (run, name)


def test_less_that_learns_takes_no_more_memory():
    for run in runs(3, tuning__method="full"):
        full = run.estimate().work
        lora = changed(full, tuning__method="lora")
        gathers_all = full.uses_vllm and full.shares_weights and not full.config.launch.fsdp
        if (
            gathers_all
        ):  # ZeRO-3 makes all weights whole at once to merge an adapter for vLLM, full ones one by one
            assert Memory(lora).static <= Memory(full).static * CLOSE, run
        else:
            assert Memory(lora).peak <= Memory(full).peak * CLOSE, run
        if not full.uses_vllm and not full.shares_weights:
            assert Memory(changed(full, tuning__method="qlora")).peak <= Memory(lora).peak * CLOSE, run
        assert Memory(changed(full, training__optim="adamw_8bit")).peak <= Memory(full).peak * CLOSE, run


def test_what_frees_memory_never_takes_more_and_what_adds_work_is_never_faster():
    for run in runs(3):
        work = run.estimate().work
        recomputed = changed(work, training__gradient_checkpointing=True)
        kept = changed(work, training__gradient_checkpointing=False)
        if work.gpu.is_cpu is False and recomputed.groups_per_pass == kept.groups_per_pass:
            assert Memory(recomputed).peak <= Memory(kept).peak * CLOSE, run
            assert phases(kept).total <= phases(recomputed).total * CLOSE, run
        if work.is_colocated:
            asleep, awake = (changed(work, vllm__enable_sleep_mode=one) for one in (True, False))
            assert Memory(asleep).peak <= Memory(awake).peak * CLOSE, run
            assert phases(awake).total <= phases(asleep).total * CLOSE, run
        if work.method.has_reference:
            held, free = (changed(work, training__beta=one) for one in (0.04, 0.0))
            assert phases(free).total <= phases(held).total * CLOSE, run
        dora, lora = (changed(work, tuning__method=one) for one in ("dora", "lora"))
        assert phases(lora).total <= phases(dora).total * CLOSE, run
        if work.shares_prompt:
            shared, stock = (changed(work, engine__shared_prompt=one) for one in ("on", "off"))
            most = work.constants.stream * 1.02  # where launches are the time and the prompts short
            assert phases(shared).total <= phases(stock).total * most, (run, phases(shared), phases(stock))


def test_a_better_card_of_one_kind_is_no_slower_and_holds_no_less():
    for run in runs(6):
        work = run.estimate().work
        for small, large in (("A100-40GB", "A100"), ("H100", "H200"), ("L4", "L40S"), ("T4", "A100")):
            one, other = (replace(work, gpu=GPUS[name]) for name in (small, large))
            assert phases(other).total <= phases(one).total * 1.02, (run, small, large)
            if Memory(one).fits and not work.is_colocated:
                assert Memory(other).fits, (run, small, large)

"""More work is never cheaper, a better card never slower: runs drawn by hypothesis, which shrinks what breaks a rule.

MEDGRPO_DRAWS=1000 draws many more, others each time.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medgrpo.errors import MedgrpoError
from medgrpo.estimate.advice import with_settings
from medgrpo.estimate.estimate import Facts
from medgrpo.estimate.hardware import GPUS
from medgrpo.estimate.memory import GIB, Memory
from medgrpo.estimate.time import phases

sys.path.insert(0, str(Path(__file__).parent))
from random_runs import CARDS, MODELS, RandomRun

CLOSE, A_LITTLE = 1 + 1e-9, 1.02
"""The second: parts of a pass that do not divide evenly."""
LARGER = {
    "A100-40GB": "A100",
    "H100": "H200",
    "L4": "L40S",
    "T4": "A100",
    "A10": "A100",
    "RTX3090": "RTX4090",
}
SETTINGS = {
    "rollout.num_generations": [2, 4, 8],
    "training.prompts_per_step": [1, 2, 4, 8],
    "rollout.max_completion_length": [64, 256, 512],
    "tuning.method": ["lora", "dora", "qlora", "full"],
    "training.beta": [0.0, 0.04],
    "training.method": ["grpo", "sft", "dpo"],
    "rollout.engine": ["transformers", "vllm"],
    "vllm.gpu_memory_utilization": [0.1, 0.3, 0.7],
    "engine.shared_prompt": ["auto", "off"],
    "training.gradient_checkpointing": ["true", "false"],
    "launch.deepspeed": ["none", "zero2", "zero3"],
}
DRAWS = int(os.environ.get("MEDGRPO_DRAWS", "15"))
FEW = settings(
    max_examples=DRAWS,
    deadline=None,
    derandomize=DRAWS == 15,
    database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@st.composite
def works(draw, **fixed):
    """The workload of a valid run; fixed settings with `__` for the dot."""
    chosen = {key: draw(st.sampled_from(values)) for key, values in SETTINGS.items()}
    chosen |= {key.replace("__", "."): value for key, value in fixed.items()}
    gpus = draw(st.sampled_from([1, 1, 2, 4]))
    if gpus == 1:
        chosen["launch.deepspeed"] = "none"
    words = [word for key, value in chosen.items() for word in ("--set", f"{key}={value}")]
    model, card = draw(st.sampled_from(MODELS)), draw(st.sampled_from(CARDS))
    facts = Facts(
        model=model, size=draw(st.sampled_from([224, 512, 1024])), samples=4096, gpu=card, gpus=gpus
    )
    try:
        return RandomRun(tuple(words), facts).estimate().work
    except (MedgrpoError, ValidationError):
        assume(False)


def changed(work, **values):
    return replace(
        work, config=with_settings(work.config, {key.replace("__", "."): one for key, one in values.items()})
    )


def step_seconds(work):
    return phases(work).total * work.plan.prompts_per_step


@FEW
@given(works())
def test_more_prompts_a_step_take_longer_together_and_no_longer_each(work):
    more = changed(work, training__prompts_per_step=2 * work.config.training.prompts_per_step)
    assert step_seconds(work) <= step_seconds(more) * A_LITTLE
    # A prompt more in a pass is a launch less for each; a cut that is finer holds less and launches more.
    if work.groups_per_pass == more.groups_per_pass:
        assert phases(more).total <= phases(work).total * A_LITTLE
        assert Memory(work).peak <= Memory(more).peak * CLOSE


@FEW
@given(
    works(engine__tokens_per_pass=10_000_000, model__context_length=8192), st.sampled_from([1.3, 2.0, 4.0])
)
def test_larger_pictures_take_longer_and_hold_more(work, factor):
    assume(work.image_tokens)
    work = replace(work, largest_image_tokens=None)
    larger = replace(work, image_tokens=round(work.image_tokens * factor))
    assert phases(work).total <= phases(larger).total * CLOSE
    assert Memory(work).peak <= Memory(larger).peak * CLOSE


@FEW
@given(works(engine__tokens_per_pass=10_000_000, model__context_length=8192, training__method="grpo"))
def test_more_completions_and_longer_ones_take_longer_and_hold_more(work):
    for name, value in (
        ("num_generations", work.config.rollout.num_generations),
        ("max_completion_length", work.config.rollout.max_completion_length),
    ):
        more = changed(work, **{f"rollout__{name}": 2 * value})
        assert phases(work).total <= phases(more).total * A_LITTLE, name
        assert Memory(work).peak <= Memory(more).peak * CLOSE, name


@FEW
@given(works(engine__tokens_per_pass=8000), st.sampled_from(sorted(LARGER)))
def test_a_larger_card_is_no_slower_and_what_fits_fits_it(work, small):
    one, other = (replace(work, gpu=GPUS[name]) for name in (small, LARGER[small]))
    assume(one.groups_per_pass == other.groups_per_pass)
    assert phases(other).total <= phases(one).total * A_LITTLE
    if Memory(one).fits and not work.is_colocated:
        assert Memory(other).fits


@FEW
@given(works(training__method="grpo", rollout__engine="vllm"))
def test_what_fits_gives_vllm_its_weights_and_the_cache_of_a_group(work):
    assume(Memory(work).fits)
    shape, most = work.shape, work.at_largest
    group = work.generations * (most.prompt_tokens + work.config.rollout.max_completion_length)
    least = 2 * shape.parameters + group * shape.layers * 2 * shape.kv_width * 2
    assert least < work.config.vllm.gpu_memory_utilization * work.gpu.memory_gib * GIB


@FEW
@given(works(training__method="dpo"))
def test_falling_back_to_trls_way_is_never_faster(work):
    assume(work.shares_prompt)
    assert phases(work).total <= phases(replace(work, fell_back=True)).total * work.constants.stream * CLOSE
    assert Memory(work).peak <= Memory(replace(work, fell_back=True)).peak * CLOSE

"""Seconds per prompt of a run, phase by phase.

A roofline with measured efficiencies: each phase costs its floating-point operations over the GPU's rate,
or its bytes over the memory bandwidth, whichever is more, divided by the share of that peak which stock
TRL 1.16 reaches. The shares were fitted to four measured runs (Qwen2.5-VL-3B, LoRA, 256 tokens, one H200):

| image | G | engine | measured s/prompt |
| --- | --- | --- | --- |
| 512 px | 4 | Transformers | 17.5 |
| 1024 px | 8 | Transformers | 21.7 |
| 512 px | 4 | vLLM | 1.7 |
| 1024 px | 8 | vLLM | 8.0 |

With a group's prompt and pictures computed once (`engine.shared_prompt`) the shares are fitted to medgrpo's own runs
beside stock TRL (BENCHMARKS.md): .66 and 2.02 s with vLLM at eight prompts a step and one, 3.97 with Transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from medgrpo.estimate.workload import COMPLETION_SHARE, Workload

TRAINING_EFFICIENCY = 0.085  # share of the bf16 peak in forward and backward passes of stock TRL
SHARED_EFFICIENCY = 0.2  # the same where prompts are shared, and small passes do not wait for launches
SHARED_IMAGE_EFFICIENCY = 0.16  # a picture through the vision tower, without gradient
SHARED_PASS_S_PER_LAYER = 0.014  # least of a pass, forward and backward: its launches
SHARED_S_PER_LAYER = 0.34e-3  # one token through a decoder layer from a recorded step
SHARED_SYNC_S = 0.1  # the weights under an adapter to a colocated vLLM
PREFILL_EFFICIENCY = 0.35
BANDWIDTH_EFFICIENCY = 0.6
TRANSFORMERS_S_PER_LAYER = 1.8e-3  # Python and kernel launches of one decoder layer with an unmerged LoRA
TRANSFORMERS_S_PER_LAYER_PLAIN = 0.9e-3  # the same without LoRA
VLLM_S_PER_TOKEN = 2.5e-3  # scheduling and sampling of one decoding step
WEIGHT_SYNC_GB_S = 20.0  # copying updated weights into vLLM
PASS_RATE_BATCH = 64  # completions of one forward pass while a curriculum's pass rates are measured
REWARD_S_PER_COMPLETION = 20e-6  # text rewards in the compiled core, decoding included
LOW, HIGH = 0.6, 1.7  # the fitted runs lie within this range; an unknown GPU host may too


@dataclass(frozen=True)
class Phases:
    """Seconds per prompt."""

    generate: float
    image: float
    forward: float
    backward: float
    reward: float

    @property
    def total(self) -> float:
        """Their sum."""
        return self.generate + self.image + self.forward + self.backward + self.reward


def phases(work: Workload) -> Phases:
    """What one prompt of the main stage costs, in seconds, all its completions and updates included, over all GPUs."""
    flops = work.gpu.bf16_tflops * 1e12
    generations, method = work.generations, work.method
    # Masks are all drawn from one reading of the picture.
    samples = (generations if method.samples_texts else 1) * method.sequences
    uses_vllm = method.samples_texts and work.config.rollout.engine == "vllm"
    token_flops = 2 * work.shape.active_parameters
    attention = (
        4 * work.shape.layers * work.shape.hidden * work.sequence_tokens
    )  # scores and values, per token
    forward_once = samples * work.sequence_tokens * (token_flops + attention) / (flops * TRAINING_EFFICIENCY)
    # Besides the training passes: one for the sampler's log-probabilities with vLLM or where a batch is used again, one
    # for the reference if beta > 0.
    updates = work.plan.steps_per_batch
    passes = updates + (uses_vllm or updates > 1) + (bool(method.samples) and work.config.training.beta > 0)
    image_once = samples * _image_flops(work) / (flops * TRAINING_EFFICIENCY)
    # LoRA needs gradients of activations only; full tuning also those of the weights.
    backward_factor = (1 if work.has_lora else 2) + (1 if work.checkpoints_activations else 0)
    share = 1 / work.gpus
    if work.shares_prompt:
        passes -= uses_vllm and updates == 1  # the update's own pass gives them
        completions = work.sequence_tokens - work.prompt_tokens
        tokens = work.prompt_tokens + generations * completions
        compute = tokens * (token_flops + attention) / (flops * SHARED_EFFICIENCY)
        least = work.shape.layers * SHARED_PASS_S_PER_LAYER / work.groups_per_pass / (1 + backward_factor)
        forward_once = max(compute, least)
        image_once = _image_flops(work) / (flops * SHARED_IMAGE_EFFICIENCY) / passes
    return Phases(
        generate=(_generate(work, uses_vllm=uses_vllm) if method.samples_texts else 0.0) * share,
        image=image_once * passes * share,
        forward=forward_once * passes * share,
        backward=forward_once * backward_factor * updates * share,
        reward=generations * (1 + sum(work.resampled)) * REWARD_S_PER_COMPLETION if method.samples else 0.0,
    )


class Hours(NamedTuple):
    """Hours of a run by what they are spent on."""

    training: float
    """All stages."""
    validation: float
    pass_rate: float
    """Before training, for a curriculum by pass rate."""


def hours(work: Workload) -> Hours:
    """What the whole run takes."""
    seconds = sum(
        phases(stage).total * stage.plan.prompts_per_step * stage.plan.steps / stage.plan.steps_per_batch
        for stage in [*work.warm_up, work]
    )
    return Hours(seconds / 3600, _validation_seconds(work) / 3600, _pass_rate_seconds(work) / 3600)


def _generate(work: Workload, *, uses_vllm: bool) -> float:
    """Seconds per prompt on one GPU: the step's prompts at once, then what dynamic sampling draws again."""
    first = _round(work, 1.0, uses_vllm=uses_vllm)
    sync = 2 * work.shape.parameters / (WEIGHT_SYNC_GB_S * 1e9) if uses_vllm else 0.0
    if uses_vllm and work.shares_prompt and work.config.tuning.method == "lora":
        sync = SHARED_SYNC_S
    seconds = first + sync / _prompts_together(work)
    for share in work.resampled:
        any_dead = 1 - (1 - share) ** work.plan.prompts_per_step  # else there is no such round
        if any_dead > 0:
            seconds += any_dead * _round(work, share / any_dead, uses_vllm=uses_vllm)
    return seconds


def _round(work: Workload, share: float, *, uses_vllm: bool) -> float:
    """Seconds per prompt of the step for sampling a share of its prompts: prefill, then one decoding step per token."""
    prefills = 1 if uses_vllm or work.shares_prompt else work.generations  # vLLM caches the shared prompt
    together = share * work.plan.samples_per_step / work.gpus
    decode = work.config.rollout.max_completion_length * _token_seconds(
        work, together, uses_vllm=uses_vllm, is_recorded=work.shares_prompt
    )
    return share * prefills * _prefill_seconds(work) + decode / _prompts_together(work)


def _prompts_together(work: Workload) -> float:
    """Prompts of a step on one GPU."""
    return max(1.0, work.plan.samples_per_step // work.gpus / work.generations)


def _prefill_seconds(work: Workload) -> float:
    """Seconds for reading one prompt with its image."""
    flops = 2 * work.shape.active_parameters * work.prompt_tokens + _image_flops(work)
    return flops / (work.gpu.bf16_tflops * 1e12 * PREFILL_EFFICIENCY)


def _token_seconds(work: Workload, together: float, *, uses_vllm: bool, is_recorded: bool = False) -> float:
    """Seconds for one more token of `together` completions: weights and cache are read once."""
    gpu, shape = work.gpu, work.shape
    context = work.prompt_tokens + COMPLETION_SHARE * work.config.rollout.max_completion_length / 2
    kv_bytes = together * context * shape.layers * 2 * shape.kv_width * 2
    read = (2 * shape.read_parameters(together) + kv_bytes) / (
        gpu.bandwidth_gb_s * 1e9 * BANDWIDTH_EFFICIENCY
    )
    if uses_vllm:
        return read + VLLM_S_PER_TOKEN
    per_layer = TRANSFORMERS_S_PER_LAYER if work.has_lora else TRANSFORMERS_S_PER_LAYER_PLAIN
    if is_recorded:
        per_layer = SHARED_S_PER_LAYER
    return max(read, shape.layers * per_layer)


def _pass_rate_seconds(work: Workload) -> float:
    """Sampling every row with Transformers, 64 completions at once, as `training.pass_rate` does."""
    if work.config.curriculum.by != "pass_rate":
        return 0.0
    completions = work.plan.rows * work.config.curriculum.samples
    tokens = -(-completions // PASS_RATE_BATCH) * work.config.rollout.max_completion_length
    decode = tokens * _token_seconds(work, PASS_RATE_BATCH, uses_vllm=False)
    return (completions * _prefill_seconds(work) + decode) / work.gpus


def _image_flops(work: Workload) -> float:
    """Floating-point operations of encoding one image."""
    patches = work.shape.patches_per_token * work.image_tokens
    attention = (
        4 * work.shape.vision_layers * work.shape.vision_hidden * min(patches, 1024)
    )  # most blocks see a window
    return patches * (2 * work.shape.vision_parameters + attention)


def _validation_seconds(work: Workload) -> float:
    validation = work.config.validation
    times = (2 if validation.before_and_after else 0) + (
        work.plan.steps // validation.steps if validation.steps else 0
    )
    rows = min(validation.rows or work.rows, work.rows)
    tokens = work.config.rollout.max_completion_length
    batches = -(-rows // 32)
    per_batch = tokens * work.shape.layers * TRANSFORMERS_S_PER_LAYER
    prefill = rows * (2 * work.shape.active_parameters * work.prompt_tokens + _image_flops(work))
    return times * (batches * per_batch + prefill / (work.gpu.bf16_tflops * 1e12 * PREFILL_EFFICIENCY))

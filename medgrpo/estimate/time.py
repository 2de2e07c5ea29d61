"""Seconds per prompt of a run, phase by phase, from floating-point operations, bytes and launches.

A phase of one GPU takes what its products take at a share of the card's peak and its element-wise work at a share of
the memory's bandwidth, or what the host needs to launch it, whichever is more. Counts are those of the model's
configuration and of what the code does: how many passes, over which tokens, each picture how often. The shares and the
times of launches are `constants.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil, sqrt
from typing import NamedTuple

from medgrpo.estimate import unet
from medgrpo.estimate.constants import Constants
from medgrpo.estimate.processor import GB_PER_CORE
from medgrpo.estimate.workload import Workload

PASS_RATE_BATCH = 64
"""Completions of one forward pass while a curriculum's pass rates are measured."""
VALIDATION_BATCH = 32
PLAIN_MODULES = 10
"""Modules with weights in a layer without adapters; each adapted one brings four more."""
ADAPTED_MODULES = 7
"""Linear layers of a decoder layer that an adapter sits on."""
LAYER_MODULES = 13
"""All modules of a decoder layer, containers too."""
LORA_MODULES = 10
"""What PEFT puts around one adapted layer: containers for each adapter's halves, drop-out, embeddings and magnitudes."""
BESIDE = 0.25
"""Share of the preparation that a step waits for where other trainers read rows beside it."""
ADAPTER_READS = 14
"""Bytes for each number that an adapter reads: to float32 (6), to 16 bits again (6), its product (2)."""
ADAPTER_WRITES = 12
"""For each that it makes: its product (2), scaled (4), added to the layer's (6)."""
RECORDING_TOKENS = 8
"""Tokens that take as long one by one as the first ones and the recording of a step do."""
AT_ONCE = 8
"""Pictures that go through a frozen tower together (`engine.features`)."""
WINDOW_PATCHES = 8
"""Side of a window of Qwen2.5-VL's tower, in patches."""
SAM_FLOPS = 1.1e12
"""SAM 2 large over one picture of 1024 px: its encoder, and its decoder with gradients."""
FULL_ATTENTION_LAYERS = 4
"""Layers of that tower without windows."""


@dataclass(frozen=True)
class Phases:
    """Seconds per prompt, over all GPUs; named as the log names them, the update in its parts."""

    prepare: float = 0.0
    vision: float = 0.0
    sync: float = 0.0
    prefill: float = 0.0
    rollout: float = 0.0
    reward: float = 0.0
    logprobs: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    optimizer: float = 0.0
    communication: float = 0.0

    @property
    def update(self) -> float:
        """What the log calls the update: forward, backward, optimiser and communication."""
        return self.forward + self.backward + self.optimizer + self.communication

    @property
    def total(self) -> float:
        """Their sum."""
        return float(sum(vars(self).values()))

    def of_the_log(self) -> dict[str, float]:
        """By the phases that a run's log has (`time/…`)."""
        names = ("prepare", "sync", "prefill", "rollout", "reward", "vision", "logprobs", "update")
        return {name: float(getattr(self, name)) for name in names}

    def scaled(self, factors: dict[str, float]) -> Phases:
        """Each phase times its factor; parts of the update by that of `update`."""
        parts = ("forward", "backward", "optimizer", "communication")
        return Phases(
            **{
                field.name: getattr(self, field.name)
                * factors.get("update" if field.name in parts else field.name, 1.0)
                for field in fields(self)
            }
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


def phases(work: Workload) -> Phases:
    """What one prompt of the main stage costs, in seconds, all its completions and updates included, over all GPUs."""
    step = _step(work)
    return Phases(**{name: seconds / work.plan.prompts_per_step for name, seconds in vars(step).items()})


def _step(work: Workload) -> Phases:
    """Seconds of a batch of prompts and of all steps that learn from it, on one GPU of those that share it."""
    constants, plan, method = work.constants, work.plan, work.method
    if work.draws_masks and work.shape.widths:
        return _unet_step(work)
    prompts = plan.prompts_per_step / work.gpus
    samples = plan.samples_per_step / work.gpus
    updates = plan.steps_per_batch
    passes = _passes(work)
    forward = sum(one.forward for one in passes)
    backward = sum(one.backward for one in passes)
    shown = prompts / work.together if method.samples or work.shares_prompt else samples * method.sequences
    prepare = shown * _preparing(work) * (BESIDE if work.is_other_code and not method.samples else 1.0)
    seen, judged = _mask_seconds(work) if work.draws_masks else (0.0, 0.0)
    return Phases(
        prepare=prepare,
        vision=_kept_features(work, prompts / work.together) if work.keeps_features else 0.0,
        sync=_sync(work) if work.uses_vllm else 0.0,
        prefill=_prefill(work, prompts) if method.samples_texts else 0.0,
        rollout=_sampling(work) if method.samples_texts else seen,
        reward=samples * (1 + sum(work.resampled)) * constants.text_reward_s
        if method.samples_texts
        else judged,
        logprobs=_judged_before(work, passes) + _bookkeeping(work, samples),
        forward=updates * forward,
        backward=updates * backward,
        optimizer=updates * (_optimizer(work) + constants.step_s * _host(work)),
        communication=updates * _communication(work, len(passes)),
    )


def _bookkeeping(work: Workload, samples: float) -> float:
    """Seconds of a step for putting what was sampled into batches, which the log books on its log probabilities."""
    if not work.method.samples_texts:
        return 0.0
    constants = work.constants
    return (constants.batch_s + samples * constants.sample_s) * _host(work)


def _preparing(work: Workload) -> float:
    """Seconds for one prompt with its pictures through the processor."""
    pixels = _patches(work) * 14**2
    return work.constants.picture_s + pixels * work.constants.pixel_s


# ------------------------------------------------------------------------------------- passes of the update


class Pass(NamedTuple):
    """Seconds of one pass of a step."""

    forward: float
    backward: float
    """With what is recomputed."""
    without_gradient: float
    """Forward only, as for log probabilities of the policy."""
    reference: float
    """The same of the reference model: the policy without its adapter, or a copy."""


def _passes(work: Workload) -> list[Pass]:
    """The passes of one step on one GPU; all alike."""
    samples = work.plan.samples_per_step / work.gpus
    if work.draws_masks:
        tokens = work.sequence_tokens
        pictures = work.plan.prompts_per_step / work.gpus
        one = _pass(work, tokens, work.sequence_tokens, 1, 1)
        return [one] * max(1, round(pictures))
    if work.shares_prompt:
        groups = work.groups_per_pass
        rows = groups * work.answers
        tokens = max(groups, 1.0) * work.prompt_tokens + rows * work.own_tokens
        count = max(1, round(samples * work.method.sequences / rows))
        pictures = 0.0 if work.keeps_features else max(groups, 1)
        return [_pass(work, tokens, work.sequence_tokens, rows, pictures)] * count
    rows = float(work.plan.per_device_train_batch_size)
    count = max(1, round(samples / rows))
    rows *= work.method.sequences
    return [_pass(work, rows * work.sequence_tokens, work.sequence_tokens, rows, rows)] * count


def _pass(work: Workload, tokens: float, context: float, rows: float, pictures: float) -> Pass:
    """One pass of the update: the language model over `tokens`, its head, and pictures through the tower.

    Args:
        context: tokens that the last token of a sequence sees.
        rows: sequences, each with `learned_tokens` that its head is computed for.
        pictures: that go through the tower in this pass.
    """
    constants, shape = work.constants, work.shape
    head_tokens = rows * work.learned_tokens
    compute = _layers_flops(work, tokens, context) + 2 * shape.vocab * shape.hidden * head_tokens
    products = compute / (work.flops * _products(work))
    bare = (tokens * _element_bytes(work) + head_tokens * shape.vocab * 12) / _elements_rate(work)
    elements = bare + tokens * _adapter_bytes(work) / _elements_rate(work)
    unpack = _unpacking(work)
    one = products + elements + unpack + _norms(work)
    launches = shape.layers * _layer_launches(work)
    hooks = _gathering(work)
    streamed = constants.stream if work.shares_prompt else 1.0
    recorded = launches * constants.autograd * streamed
    # ZeRO-3 fetches module by module and waits for each: nothing of it is hidden behind the products.
    waits = 0.0 if work.config.launch.fsdp else hooks
    hooks -= waits
    without = max(one, launches * streamed + hooks) + waits
    plain = products + bare + unpack
    reference = waits + max(
        plain, shape.layers * _layer_launches(work, with_adapters=False) * streamed + hooks
    )
    forward = max(one, recorded + hooks) + waits
    # LoRA needs gradients of activations only; full tuning also those of the weights.
    share = 1.0 if work.has_lora else 2.0
    launched = recorded * constants.backward_launches + hooks
    back = max(products * share + 2 * elements + unpack, launched) + waits
    if work.checkpoints_activations:
        back += max(one, recorded + hooks) + waits
    if pictures and work.image_tokens:
        seen, again = _tower(work, pictures)
        forward, back = forward + seen, back + again
        without, reference = without + seen, reference + seen
    return Pass(forward, back, without, reference)


def _tower(work: Workload, pictures: float) -> tuple[float, float]:
    """Seconds of a pass's pictures through the tower, forward and, with what is recomputed, backward."""
    if work.has_tower_kernel and not work.draws_masks:  # all in one call, their windows in one kernel
        products = pictures * _tower_flops(work) / (work.flops * _tower_share(work))
        launches = work.shape.vision_layers * work.constants.vision_layer_s * _host(work)
        seen = max(products, launches)
        return seen, 2 * seen if work.goes_back_through_tower else 0.0
    seen = _tower_loop(work, pictures)
    if work.draws_masks or not work.goes_back_through_tower:  # masks: it is called without gradients
        return seen, 0.0
    return seen, seen * work.constants.vision_backward


def _gathering(work: Workload) -> float:
    """Seconds that hooks take in one pass through the layers, where weights are shared out: FSDP's one for each layer,
    ZeRO-3's one for each module in it."""
    if not work.shares_weights:
        return 0.0
    constants, shape = work.constants, work.shape
    if work.config.launch.fsdp:
        return (shape.layers + shape.vision_layers) * constants.fsdp_layer_s * _host(work)
    adapters = 4 * ADAPTED_MODULES if work.has_lora else 0
    modules = shape.layers * (PLAIN_MODULES + adapters) + shape.vision_layers * PLAIN_MODULES
    return modules * constants.zero3_module_s * _host(work)


def _products(work: Workload) -> float:
    """Share of the peak that products reach."""
    return work.constants.cpu_matmul if work.gpu.is_cpu else work.constants.matmul


def _elements_rate(work: Workload) -> float:
    """Bytes a second of element-wise work."""
    share = work.constants.cpu_elements if work.gpu.is_cpu else 1.0
    return work.bytes_per_s * work.constants.bandwidth * share


def _layers_flops(work: Workload, tokens: float, context: float) -> float:
    """Operations of all decoder layers for so many tokens, forward."""
    shape = work.shape
    layers = shape.active_parameters - (1 if shape.tied else 2) * shape.vocab * shape.hidden
    attention = 4 * shape.layers * (shape.query_width or shape.hidden) * context / 2
    return tokens * (2 * layers + attention)


def _element_bytes(work: Workload) -> float:
    """Bytes that a token moves through all layers beside the products, forward."""
    constants, shape = work.constants, work.shape
    each = constants.hidden_passes * shape.hidden + constants.mlp_passes * shape.mlp_used
    return work.width * shape.layers * each


def _adapter_bytes(work: Workload) -> float:
    """Bytes that adapters beside their layers move for a token through all layers, forward: their input is copied into
    float32 and back for the product, their output scaled and added. A fused one (`engine.fused_adapters`) moves none."""
    if not work.adapters_move_copies:
        return 0.0
    shape = work.shape
    made = 2 * shape.hidden + (shape.query_width or shape.hidden) + 2 * shape.kv_width + 2 * shape.mlp_used
    return float(shape.layers * (ADAPTER_READS * work.adapter_inputs + ADAPTER_WRITES * made))


def _layer_launches(work: Workload, *, with_adapters: bool = True) -> float:
    """Seconds in which one decoder layer is launched forward without gradients, adapters unmerged or switched off."""
    constants = work.constants
    added = {
        "lora": constants.fused_s if work.fuses_adapters else constants.lora_s,
        "dora": constants.lora_s + constants.dora_s,
        "qlora": constants.lora_s + constants.qlora_s,
    }
    without = {"qlora": constants.qlora_s}
    seconds = constants.layer_s + (added if with_adapters else without).get(work.config.tuning.method, 0.0)
    if work.shape.experts:
        seconds += work.shape.experts_used * constants.layer_s / 4
    return seconds * _host(work)


def _host(work: Workload) -> float:
    """Launches of this code and machine against those of ours on a GPU's host."""
    if work.is_other_code and work.has_lora:
        return work.constants.other_launches
    return work.constants.cpu_op if work.gpu.is_cpu else 1.0


def _unpacking(work: Workload) -> float:
    """Seconds for making bf16 weights of 4-bit ones once."""
    if work.config.tuning.method != "qlora":
        return 0.0
    return 4.5 * _adapted(work) / (work.bytes_per_s * work.constants.dequantise)


def _norms(work: Workload) -> float:
    """Seconds of a forward pass for the norms of all weights with their adapter, which DoRA divides by."""
    if work.config.tuning.method != "dora":
        return 0.0
    return work.constants.dora_bytes * _adapted(work) / (work.bytes_per_s * work.constants.bandwidth)


def _adapted(work: Workload) -> float:
    """Weights of the decoder layers."""
    shape = work.shape
    return shape.language_parameters - (1 if shape.tied else 2) * shape.vocab * shape.hidden


def _judged_before(work: Workload, passes: list[Pass]) -> float:
    """Seconds of a step's forward passes beside the update's: the sampler's log probabilities, and the reference model's."""
    old = sum(one.without_gradient for one in passes) if _has_old_pass(work) else 0.0
    if not _has_reference_pass(work):
        return old
    # DPO's loss turns to its reference in each pass, GRPO's batch once.
    turns = len(passes) if work.method.needs_pairs else 1
    return old + sum(one.reference for one in passes) + turns * _switching(work)


def _switching(work: Workload) -> float:
    """Seconds for turning from the policy to its reference and back, by walks over all modules: PEFT's adapters off and on,
    and DPO's recomputation."""
    constants, shape = work.constants, work.shape
    if work.draws_masks:
        return 0.0
    adapters = LORA_MODULES * ADAPTED_MODULES if work.has_lora else 0
    modules = shape.layers * (LAYER_MODULES + adapters) + shape.vision_layers * PLAIN_MODULES
    each = constants.adapter_switch_s if work.has_lora else 0.0
    if work.method.needs_pairs and work.checkpoints_activations:
        each += constants.recompute_switch_s
    return modules * each


def _has_old_pass(work: Workload) -> bool:
    """Whether the log probabilities of the sampler take a pass of their own."""
    if not work.method.samples:
        return False
    by_pass = work.is_other_code or work.has_old_pass or work.config.tuning.dropout > 0
    return work.plan.steps_per_batch > 1 or (work.uses_vllm and by_pass)


def _has_reference_pass(work: Workload) -> bool:
    """Whether a reference model is asked: always by DPO."""
    if not work.method.samples:
        return work.method.needs_pairs
    return work.config.training.beta > 0 and work.method.has_reference


# ------------------------------------------------------------------------------------------------ pictures


def _patches(work: Workload) -> float:
    return work.shape.patches_per_token * work.image_tokens


def _tower_flops(work: Workload) -> float:
    """Operations of one picture through the vision tower."""
    shape, patches = work.shape, _patches(work)
    seen = min(patches, 1024.0)  # most blocks see a window
    return patches * (2 * shape.vision_parameters + 4 * shape.vision_layers * shape.vision_hidden * seen)


def _tower_loop(work: Workload, pictures: float) -> float:
    """Seconds of a pass of so many pictures through the tower as Transformers runs it: windows one by one."""
    constants, shape = work.constants, work.shape
    side = (_patches(work) / work.images) ** 0.5
    windows = work.images * ceil(side / WINDOW_PATCHES) ** 2 if shape.family == "qwen2.5-vl" else 1
    windowed = max(0, shape.vision_layers - FULL_ATTENTION_LAYERS) if windows > 1 else 0
    calls = windowed * windows + (shape.vision_layers - windowed)
    launches = (
        shape.vision_layers * constants.vision_layer_s + pictures * calls * constants.window_s
    ) * _host(work)
    return max(launches, pictures * _tower_flops(work) / (work.flops * _tower_share(work)))


def _tower_share(work: Workload) -> float:
    """Share of the peak in the tower; a processor's is that of its other products, half lost on narrow ones."""
    return work.constants.cpu_matmul / 2 if work.gpu.is_cpu else work.constants.vision_share


def _kept_features(work: Workload, prompts: float) -> float:
    """Seconds for a step's pictures through a frozen tower, each once."""
    if not work.image_tokens:
        return 0.0
    constants = work.constants
    calls = ceil(prompts / (min(AT_ONCE, work.groups_per_pass) if work.method.needs_pairs else AT_ONCE))
    compute = prompts * _tower_flops(work) / (work.flops * _tower_share(work))
    return max(compute, calls * work.shape.vision_layers * constants.vision_layer_s * _host(work))


# ------------------------------------------------------------------------------------------------ sampling


def _prompts_together(work: Workload) -> float:
    """Prompts of a step on one GPU."""
    return max(1.0, work.plan.samples_per_step / work.gpus / work.generations)


def _prefill(work: Workload, prompts: float) -> float:
    """Seconds for reading a step's prompts before anything is sampled."""
    rounds = 1 + sum(work.resampled)
    return rounds * _prefill_seconds(work, prompts, is_shared=work.shares_prompt or work.uses_vllm)


def _prefill_seconds(work: Workload, prompts: float, *, is_shared: bool) -> float:
    """Seconds for reading so many prompts, once for their completions or once for each."""
    constants, shape = work.constants, work.shape
    copies = prompts * (1 if is_shared else work.generations)
    flops = copies * _layers_flops(work, work.prompt_tokens, work.prompt_tokens)
    pictures = 0.0 if work.keeps_features and not work.uses_vllm else copies
    if work.uses_vllm:  # in 16 bits on every card
        flops += pictures * _tower_flops(work) if work.image_tokens else 0.0
        return flops / (1e12 * work.gpu.bf16_tflops * constants.prefill) + copies * _preparing(work)
    seen = _tower_loop(work, pictures) if pictures and work.image_tokens else 0.0
    launches = shape.layers * _layer_launches(work) * (constants.stream if is_shared else 1.0)
    besides = constants.prefill_s * _host(work) if is_shared else 0.0
    share = constants.prefill
    if work.gpu.is_cpu:
        besides += copies * work.prompt_tokens * _element_bytes(work) / _elements_rate(work)
        share = constants.cpu_matmul
    read = max(flops / (work.flops * share), launches)
    return read + _unpacking(work) + _norms(work) + seen + besides


def _sampling(work: Workload) -> float:
    """Seconds of a step for sampling: its prompts at once, then what dynamic sampling draws again."""
    seconds = _round(work, 1.0)
    for share in work.resampled:
        any_dead = 1 - (1 - share) ** work.plan.prompts_per_step  # else there is no such round
        if any_dead > 0:
            seconds += any_dead * _round(work, share / any_dead)
    return seconds


def _round(work: Workload, share: float) -> float:
    """Seconds for sampling a share of the step's prompts: one decoding step per token of the longest completion."""
    together = share * work.plan.samples_per_step / work.gpus
    longest = work.config.rollout.max_completion_length
    if work.uses_vllm and work.config.vllm.mode == "server":
        together *= work.gpus
    seconds = longest * _token_seconds(work, max(1.0, together), uses_vllm=work.uses_vllm)
    if work.is_recorded and not work.uses_vllm:  # a few tokens one by one, then the recording
        seconds += min(longest, RECORDING_TOKENS) * work.shape.layers * _layer_launches(work)
    return seconds


def _token_seconds(
    work: Workload, together: float, *, uses_vllm: bool, is_recorded: bool | None = None
) -> float:
    """Seconds for one more token of `together` completions: weights and cache are read once."""
    constants, shape = work.constants, work.shape
    context = work.prompt_tokens + work.completion_share * work.config.rollout.max_completion_length / 2
    width, rate = (2, 1e12 * work.gpu.bf16_tflops) if uses_vllm else (work.width, work.flops)
    kv_bytes = together * context * shape.layers * 2 * shape.kv_width * width
    weights = width * shape.read_parameters(together)
    compute = 2 * shape.active_parameters * together / (rate * _products(work))
    if uses_vllm:
        parallel = work.config.vllm.tensor_parallel_size
        read = (weights / parallel + kv_bytes) / (work.bytes_per_s * constants.vllm_bandwidth)
        return max(read, compute) + constants.vllm_step_s + together * constants.vllm_row_s
    recorded = work.is_recorded if is_recorded is None else is_recorded
    # A recorded step reads the whole room that is set aside; `generate` copies the cache with each token.
    room = work.prompt_tokens + work.config.rollout.max_completion_length
    kv_bytes *= 1.5 * room / context if recorded else 3.0
    if work.config.tuning.method == "full":  # read in float32, written and read in 16 bits
        weights *= (4 + 2 * work.width) / work.width if work.is_half else 1.0
    read = (weights + kv_bytes) / (work.bytes_per_s * constants.bandwidth)
    extra = _unpacking(work) + _norms(work)
    if work.gpu.is_cpu:  # nothing runs beside anything
        elements = together * _element_bytes(work) / _elements_rate(work)
        elements *= sqrt(
            work.gpu.bandwidth_gb_s / GB_PER_CORE
        )  # few numbers at once: half the threads' gain is lost
        return read + compute + elements + shape.layers * _layer_launches(work) + constants.cpu_token_s
    if recorded:  # played back: small kernels one after the other, then the reading
        each = constants.recorded_s + (constants.recorded_lora_s if work.has_lora else 0.0)
        return max(read, compute) + shape.layers * each + extra
    each = _layer_launches(work) * (constants.sharded_launches if work.shares_weights else 1.0)
    return max(read, compute, shape.layers * each) + extra


def _sync(work: Workload) -> float:
    """Seconds for the policy's weights into vLLM."""
    constants, shape = work.constants, work.shape
    modules = shape.layers * ADAPTED_MODULES
    sends_all = (
        work.config.tuning.method != "lora" or work.shares_weights or work.config.vllm.mode == "server"
    )
    sends_all |= (
        work.config.vllm.enable_sleep_mode or work.config.vllm.tensor_parallel_size > 1 or work.gpus > 1
    )
    moved = 14 * shape.parameters / (work.bytes_per_s * constants.bandwidth)
    seconds = moved + modules * constants.sync_module_s * (2 if sends_all else 1)
    if work.config.vllm.mode == "server":
        seconds += 2 * shape.parameters / (1e9 * work.gpu.link_gb_s * constants.link)
    if work.shares_weights:
        seconds += 2 * shape.parameters / (1e9 * work.gpu.link_gb_s * constants.link)
        vllm = work.config.vllm
        moves_all = vllm.enable_sleep_mode or vllm.tensor_parallel_size > 1 or vllm.mode == "server"
        by_trl = work.config.launch.fsdp and (work.config.tuning.method != "lora" or moves_all)
        each = constants.fsdp_sync_s if by_trl else constants.gathered_sync_s
        seconds += modules * each * _host(work)
    if work.config.vllm.enable_sleep_mode:
        seconds += 2 * 2 * shape.parameters / 50e9  # to the host's memory and back
    return seconds


# --------------------------------------------------------------------------------- optimiser, several GPUs


def trained_parameters(work: Workload) -> int:
    """Weights that learn."""
    if work.shape.widths:
        return unet.parameters(work.shape)
    shape, rank, towers = work.shape, work.config.tuning.rank, work.config.tuning.towers
    if not work.has_lora:
        whole = {
            "language": shape.language_parameters,
            "vision": shape.vision_parameters - shape.aligner_parameters,
            "aligner": shape.aligner_parameters,
        }
        return sum(whole[tower] for tower in towers)
    learned = shape.lora_parameters(rank, towers)
    if work.draws_masks and not shape.experts:  # adapters on the attention alone
        learned -= 3 * shape.layers * rank * (shape.hidden + shape.mlp)
    return learned


def _optimizer(work: Workload) -> float:
    """Seconds of one optimiser step over what this GPU holds of it."""
    each = {"adamw_8bit": 14, "paged_adamw_8bit": 16, "paged_adamw_32bit": 32, "adafactor": 24}
    held = trained_parameters(work) / (work.gpus if work.shares_optimizer else 1)
    moved = held * each.get(work.config.training.optim, 40)  # clipping reads the gradients once more
    return moved / (work.bytes_per_s * work.constants.bandwidth)


def _communication(work: Workload, passes: int) -> float:
    """Seconds of a step in which the GPUs wait for each other's numbers."""
    if work.gpus == 1:
        return 0.0
    constants, shape = work.constants, work.shape
    rate = 1e9 * work.gpu.link_gb_s * constants.link
    share = (work.gpus - 1) / work.gpus
    seconds = 2 * share * 4 * trained_parameters(work) / rate + 20 * constants.collective_s
    if work.shares_weights:
        gathers = 3 if work.checkpoints_activations else 2
        seconds += (
            passes
            * gathers
            * (share * 2 * shape.parameters / rate / 2 + 4 * shape.layers * constants.collective_s)
        )
    return seconds


def _mask_seconds(work: Workload) -> tuple[float, float]:
    """Seconds of a step for SAM's pass over the pictures, and for the masks drawn of each."""
    pictures = work.plan.prompts_per_step / work.gpus
    side = work.config.masks.image_size or 1024
    products = SAM_FLOPS * (side / 1024) ** 2 / (work.flops * _products(work))
    return pictures * max(work.constants.mask_sam_s * _host(work), products), pictures * _judged_seconds(
        work, side**2
    )


def _judged_seconds(work: Workload, pixels: float) -> float:
    """Seconds for the masks that are drawn of one picture: drawn, judged, their likelihood."""
    constants = work.constants
    drawn = work.generations if work.method.samples else 0
    each = constants.mask_judge_s + (constants.cpu_drawn_s if work.gpu.is_cpu else 0.0)
    return drawn * each * pixels / 1024**2


def _unet_step(work: Workload) -> Phases:
    """Seconds of a step of the U-Net: pictures one by one, forward and twice that backward."""
    constants, updates = work.constants, work.plan.steps_per_batch
    pictures = work.plan.prompts_per_step / work.gpus
    one = pictures * unet.forward_seconds(work)
    reference = one if work.config.training.beta > 0 and work.method.samples else 0.0
    return Phases(
        rollout=updates * (one + reference),
        reward=pictures * _judged_seconds(work, unet.pixels(work)),
        backward=updates * 2 * one,
        optimizer=updates * constants.step_s * _host(work)
        + (pictures * constants.cpu_picture_s if work.gpu.is_cpu else 0.0),
        communication=updates * _communication(work, 1),
    )


# ------------------------------------------------------------------------------------- before and in between


def _pass_rate_seconds(work: Workload) -> float:
    """Sampling every row with Transformers, 64 completions at once, as `training.pass_rate` does."""
    curriculum = work.config.curriculum
    if curriculum.by != "pass_rate" and not curriculum.drop:
        return 0.0
    completions = work.plan.rows * work.config.curriculum.samples
    tokens = ceil(completions / PASS_RATE_BATCH) * work.config.rollout.max_completion_length
    decode = tokens * _token_seconds(work, PASS_RATE_BATCH, uses_vllm=False, is_recorded=False)
    batches = ceil(completions / PASS_RATE_BATCH)
    read = batches * _plain_prefill(work, min(completions, PASS_RATE_BATCH))
    return (read + decode) / work.gpus


def _validation_seconds(work: Workload) -> float:
    """Greedy answers to the validation rows, before, after and in between."""
    validation = work.config.validation
    times = (2 if validation.before_and_after else 0) + (
        work.plan.steps // validation.steps if validation.steps else 0
    )
    rows = min(validation.rows or work.rows, work.rows)
    if work.shape.widths:
        return times * rows * unet.forward_seconds(work)
    batches = ceil(rows / VALIDATION_BATCH)
    longest = work.config.rollout.max_completion_length if not work.draws_masks else 0
    decode = longest * _token_seconds(work, min(rows, VALIDATION_BATCH), uses_vllm=False, is_recorded=False)
    return times * batches * (decode + _plain_prefill(work, min(rows, VALIDATION_BATCH)))


def _plain_prefill(work: Workload, rows: float) -> float:
    """Seconds for reading so many prompts with Transformers, each with its picture."""
    constants = work.constants
    flops = rows * _layers_flops(work, work.prompt_tokens, work.prompt_tokens)
    seen = _tower_loop(work, rows) if work.image_tokens else 0.0
    launches = work.shape.layers * _layer_launches(work)
    share = constants.cpu_matmul if work.gpu.is_cpu else constants.prefill
    return max(flops / (work.flops * share), launches) + _unpacking(work) + _norms(work) + seen


__all__ = ["Constants", "Hours", "Phases", "hours", "phases", "trained_parameters"]

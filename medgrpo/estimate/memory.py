"""GiB on the fullest GPU of a run, phase by phase, whether they are there, and what must fit into vLLM's share.

What is held all the time (weights, adapters or all weights in float32, gradients, optimiser) and what each phase adds:
phases do not overlap, so the peak takes the largest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from medgrpo.estimate import unet
from medgrpo.estimate.constants import MEMORY
from medgrpo.estimate.time import VALIDATION_BATCH, trained_parameters
from medgrpo.estimate.workload import Workload

GIB = 2**30
OPTIMIZER_BYTES = {
    "adamw_8bit": 2.2,
    "paged_adamw_8bit": 0.0,  # paged to the host where the GPU is full
    "paged_adamw_32bit": 0.0,
    "adafactor": 0.1,
}
"""Of each trained weight; AdamW has two float32."""
PER_WEIGHT_4BIT = 0.52
LIVE_PARAMETERS = 1e9
"""Weights that ZeRO-3 leaves gathered, by DeepSpeed's defaults (`stage3_max_live_parameters`)."""
GATHERED_COPIES = 2
"""Of all weights while ZeRO-3 gathers them at once: they themselves and what they are gathered in, by two runs."""
PHASE_WORDS = {
    "load": "loading",
    "before": "validation before training (the whole model on one GPU)",
    "sync": "handing the weights to vLLM",
    "rollout": "sampling",
    "vision": "looking at the pictures",
    "update": "the update",
    "optimizer": "the optimiser's step",
}


@dataclass(frozen=True)
class Memory:
    """What a run needs on its fullest GPU, in bytes, and whether it is there."""

    work: Workload
    """Of the longest prompt."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "work", self.work.at_largest)

    # -------------------------------------------------------------------------------- held all the time

    @cached_property
    def base(self) -> float:
        """Weights of the whole model as one GPU holds them when they are not shared out."""
        work, shape = self.work, self.work.shape
        if shape.widths:
            return 4.0 * unet.parameters(shape)
        if work.config.tuning.method == "full" and work.config.model.dtype == "auto":
            return 4.0 * shape.parameters
        if work.config.tuning.method == "qlora":
            plain = (1 if shape.tied else 2) * shape.vocab * shape.hidden
            return PER_WEIGHT_4BIT * (shape.parameters - plain) + 2 * plain
        return float(work.width) * shape.parameters

    @cached_property
    def held(self) -> dict[str, float]:
        """By part: weights, gradients, optimizer."""
        work = self.work
        trained = trained_parameters(work)
        states = OPTIMIZER_BYTES.get(work.config.training.optim, 8.0)
        weights, gradients, optimizer = self.base, 4.0 * trained, states * trained
        if work.has_lora:
            weights += 4.0 * trained
        elif self.has_reference_copy:
            weights += self.base
        if work.shares_optimizer:
            gradients, optimizer = gradients / work.gpus, optimizer / work.gpus
        if work.shares_weights:
            weights = weights / work.gpus
        return {"weights": weights, "gradients": gradients, "optimizer": optimizer}

    @property
    def has_reference_copy(self) -> bool:
        """Whether a second model is held: a LoRA run switches its adapter off instead."""
        work = self.work
        needs = work.method.needs_pairs or (work.config.training.beta > 0 and work.method.has_reference)
        return needs and not work.has_lora

    @property
    def static(self) -> float:
        """Sum of what is held."""
        return sum(self.held.values())

    # --------------------------------------------------------------------------------- what phases add

    @cached_property
    def added(self) -> dict[str, float]:
        """By phase, beside what is held and vLLM's share."""
        work, shape = self.work, self.work.shape
        if shape.widths:
            return {"update": self.activations}
        whole = self.base if work.shares_weights else 0.0
        trained = trained_parameters(work) / (work.gpus if work.shares_optimizer else 1)
        phases = {
            "update": self.activations
            + self.logits
            + self.vision
            + self.largest_layer
            + self.casts
            + self.identity,
            "optimizer": 4.0 * trained if "8bit" not in work.config.training.optim else 0.0,
        }
        if work.draws_masks:
            phases["update"] += MEMORY.sam_gib * GIB
        if work.method.samples_texts:
            phases["rollout"] = self.features + (0.0 if work.uses_vllm else self.cache + whole)
        elif work.keeps_features:
            phases["vision"] = self.features
        if not work.draws_masks and not work.is_other_code:
            head = 4.0 * shape.vocab * shape.hidden  # TRL's head computes in float32
            phases["update"] = max(phases["update"], head + self.largest_layer + self.casts + self.identity)
        if (
            work.uses_vllm
        ):  # under ZeRO-3 TRL gathers all weights to merge an adapter, FSDP's and whole ones go one by one
            gathers_all = work.shares_weights and work.has_lora and not work.config.launch.fsdp
            largest = max(3 * shape.mlp_used, shape.vocab if work.shares_weights else 0)
            phases["sync"] = GATHERED_COPIES * whole if gathers_all else 4.0 * shape.hidden * largest
            if work.shares_weights:  # gathered in pieces, which torch keeps and the update cannot use
                phases["update"] += phases["sync"]
        if work.shares_weights and work.config.validation.before_and_after:
            phases["before"] = self.base + self.validation_cache
        return phases

    @cached_property
    def tokens(self) -> tuple[float, float, float]:
        """Of one pass of the update: tokens, tokens that are learned from, pictures that go through the tower."""
        work = self.work
        longest = work.longest_learned
        if work.draws_masks:
            return work.prompt_tokens + longest, longest, 1.0
        if work.shares_prompt:
            groups = work.groups_per_pass
            rows = groups * work.answers
            pictures = 0.0 if work.keeps_features else max(1.0, groups)
            own = longest + work.own_tokens - work.learned_tokens
            return max(1.0, groups) * work.prompt_tokens + rows * own, rows * longest, pictures
        rows = work.plan.per_device_train_batch_size * work.method.sequences
        return rows * (work.prompt_tokens + longest), rows * longest, float(rows)

    @property
    def activations(self) -> float:
        """What a U-Net's layers keep; of a language model one state for each layer, and what one layer holds while it is recomputed; or all."""
        work, shape = self.work, self.work.shape
        if shape.widths:
            return unet.kept_bytes(work) + unet.drawn_bytes(work)
        tokens = self.tokens[0]
        one = tokens * work.width * (MEMORY.hidden_kept * shape.hidden + MEMORY.mlp_kept * shape.mlp_used)
        if work.config.tuning.method == "dora":
            one *= 2
        if work.checkpoints_activations:
            return tokens * shape.hidden * work.width * shape.layers + one
        return 0.6 * one * shape.layers

    @property
    def logits(self) -> float:
        """Of the tokens that SFT learns from in a pass; GRPO, DPO and SFT by the engine compute theirs in pieces."""
        work = self.work
        if work.draws_masks or work.method.samples_texts or work.method.needs_pairs or work.shares_prompt:
            return 0.0  # none, or in pieces
        return self.tokens[1] * work.shape.vocab * MEMORY.logit_bytes

    @property
    def vision(self) -> float:
        """Of the tower in a pass: what one layer holds and, where gradients come back, one state for each layer."""
        work, shape = self.work, self.work.shape
        patches = self.tokens[2] * shape.patches_per_token * work.image_tokens
        if work.draws_masks or not work.goes_back_through_tower:
            return patches * shape.vision_hidden * work.width * MEMORY.vision_kept
        return patches * shape.vision_hidden * work.width * (shape.vision_layers + MEMORY.vision_kept)

    @property
    def largest_layer(self) -> float:
        """What is gathered of one layer at a time, or unpacked of one matrix of 4-bit weights."""
        work, shape = self.work, self.work.shape
        layer = (shape.parameters - shape.vocab * shape.hidden) / max(1, shape.layers)
        if work.shares_weights:  # this layer and the next; ZeRO-3 also leaves some gathered behind it
            kept = 0.0 if work.config.launch.fsdp else min(LIVE_PARAMETERS, shape.parameters)
            return 2.0 * (2 * layer + kept)
        return 2.0 * shape.hidden * shape.mlp if work.config.tuning.method == "qlora" else 0.0

    @property
    def casts(self) -> float:
        """16-bit copies of float32 weights that autocast keeps for a pass."""
        work = self.work
        if work.config.tuning.method != "full" or not work.is_half or work.shares_weights:
            return 0.0
        return 2.0 * trained_parameters(work)

    @property
    def identity(self) -> float:
        """The identity matrix that PEFT multiplies by a DoRA adapter to have its weight: as wide as the widest input, in
        float32, with autocast's copy."""
        work = self.work
        if work.config.tuning.method != "dora":
            return 0.0
        return (4.0 + (2.0 if work.is_half else 0.0)) * work.shape.mlp**2

    @property
    def cache(self) -> float:
        """Keys and values of a step's completions while Transformers samples; the last layer is held twice."""
        work, shape = self.work, self.work.shape
        length = work.prompt_tokens + work.config.rollout.max_completion_length
        rows = work.plan.samples_per_step / work.gpus
        return rows * length * (shape.layers + 1) * 2 * shape.kv_width * work.width

    @property
    def features(self) -> float:
        """What the tower made of a step's pictures, and the tower's own state."""
        work, shape = self.work, self.work.shape
        if not work.image_tokens:
            return 0.0
        prompts = max(1.0, work.plan.prompts_per_step / work.gpus)
        if work.method.needs_pairs:  # a pass looks at its own
            prompts = work.groups_per_pass
        at_once = min(prompts, 8.0) * shape.patches_per_token * work.image_tokens
        kept = prompts * work.image_tokens * shape.hidden * work.width
        return kept + at_once * shape.vision_hidden * work.width * MEMORY.vision_kept

    @property
    def validation_cache(self) -> float:
        """Keys and values of a batch of validation rows."""
        work, shape = self.work, self.work.shape
        length = work.prompt_tokens + work.config.rollout.max_completion_length
        rows = min(VALIDATION_BATCH, work.config.validation.rows or VALIDATION_BATCH)
        return rows * length * (shape.layers + 1) * 2 * shape.kv_width * work.width

    # -------------------------------------------------------------------------------------- vLLM's share

    @property
    def total(self) -> float:
        """The card's memory."""
        return self.work.gpu.memory_gib * GIB

    @property
    def vllm_share(self) -> float:
        """What a colocated vLLM takes."""
        return self.work.config.vllm.gpu_memory_utilization * self.total if self.work.is_colocated else 0.0

    @cached_property
    def vllm_needs(self) -> float:
        """What must fit into it: its weights, its own needs, and the cache of one group with its prompt, or of the
        longest context that it promises."""
        work, shape = self.work, self.work.shape
        if not work.is_colocated:
            return 0.0
        parallel = work.config.vllm.tensor_parallel_size
        longest = work.prompt_tokens + work.config.rollout.max_completion_length
        context = work.config.vllm.max_model_length or work.config.model.context_length
        tokens = max(work.generations * longest, context)
        weights = 2.0 * shape.parameters / parallel
        return weights + tokens * self.kv_bytes / parallel + MEMORY.vllm_gib * GIB

    @property
    def kv_bytes(self) -> float:
        """Of one token in vLLM's cache."""
        shape = self.work.shape
        return 2.0 * shape.layers * 2 * shape.kv_width

    @property
    def share_is_enough(self) -> bool:
        """Whether vLLM can start and sample a group."""
        return self.vllm_needs <= self.vllm_share

    @property
    def least_share(self) -> float:
        """Least `vllm.gpu_memory_utilization` that is enough, in hundredths; above 1 where the card is too small."""
        return -(-self.vllm_needs * 1.02 * 100 // self.total) / 100 if self.total else 2.0

    # --------------------------------------------------------------------------------------- the verdict

    @cached_property
    def by_phase(self) -> dict[str, float]:
        """Bytes in each phase, everything counted that is on the GPU then."""
        asleep = self.work.config.vllm.enable_sleep_mode
        found = {}
        for phase, added in self.added.items():
            held = self.static
            if phase == "before":  # nothing is there yet but the model, whole
                held = 0.0
            vllm = self.vllm_share
            if phase == "before" or (asleep and phase in {"update", "optimizer"}):
                vllm = 0.0
            own = MEMORY.workspace_gib * GIB + MEMORY.slack * added
            context = 0.0 if self.work.gpu.is_cpu else MEMORY.context_gib * GIB
            found[phase] = held + added + vllm + own + context
        return found

    @property
    def tightest(self) -> str:
        """The phase that needs most."""
        return max(self.by_phase, key=lambda phase: self.by_phase[phase])

    @property
    def peak(self) -> float:
        """Bytes on the GPU at the tightest phase."""
        return max(self.by_phase.values())

    @property
    def torch_peak(self) -> float:
        """What torch says of it: without the CUDA context."""
        return self.peak - (0.0 if self.work.gpu.is_cpu else MEMORY.context_gib * GIB)

    @property
    def fits(self) -> bool:
        """Whether the peak leaves the reserve free, and vLLM's share is enough."""
        return self.peak <= MEMORY.reserve * self.total and (
            not self.work.is_colocated or self.share_is_enough
        )

    @property
    def host_gib(self) -> float:
        """Memory of the host while the model is loaded: a copy in each process before it is shared out; sleep mode
        moves vLLM's weights there."""
        work = self.work
        copies = work.gpus if work.shares_weights else 1
        asleep = (
            2.0 * work.shape.parameters * work.gpus
            if work.config.vllm.enable_sleep_mode and work.is_colocated
            else 0.0
        )
        each = 4.0 if work.config.tuning.method == "full" else 2.0
        return (copies * each * work.shape.parameters + asleep) / GIB + 4.0 * work.gpus

    def verdict(self) -> str:
        """One sentence: the card, its memory, the tightest phase."""
        work = self.work
        card = f"{work.gpu.name} ({work.gpu.memory_gib:.0f} GiB)"
        if work.is_colocated and not self.share_is_enough:
            return (
                f"does NOT fit on {card}: vLLM gets {self.vllm_share / GIB:.1f} GiB "
                f"(vllm.gpu_memory_utilization = {work.config.vllm.gpu_memory_utilization:g}) and needs "
                f"{self.vllm_needs / GIB:.1f} for its weights and the cache of one group"
            )
        word = "fits" if self.fits else "does NOT fit"
        return (
            f"{word} on {card}: {self.peak / GIB:.1f} GiB in {PHASE_WORDS[self.tightest]}, the tightest phase"
        )


def memory_gib(work: Workload) -> dict[str, float]:
    """GiB by part (weights, gradients, optimizer, activations, logits, kv_cache, vllm, framework) and `peak`.

    A frozen base is in 16 bits (4 bits with qlora); what is trained, its gradients and AdamW's two moments are float32,
    since small updates vanish in bfloat16.
    """
    memory = Memory(work)
    samples = work.method.samples_texts
    parts = {
        **memory.held,
        "activations": memory.activations
        + memory.vision
        + memory.casts
        + memory.largest_layer
        + memory.identity,
        "logits": max(memory.logits, 4.0 * work.shape.vocab * work.shape.hidden if samples else 0.0),
        "kv_cache": memory.cache if samples and not work.uses_vllm else 0.0,
        "vllm": memory.vllm_share,
        "framework": (0.0 if work.gpu.is_cpu else MEMORY.context_gib * GIB) + MEMORY.workspace_gib * GIB,
    }
    return {name: value / GIB for name, value in parts.items()} | {"peak": memory.peak / GIB}


def fits(work: Workload) -> bool:
    """Whether the run has the memory that it needs, vLLM's share included."""
    return Memory(work).fits

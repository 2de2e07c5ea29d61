"""The run to be estimated, in the few numbers that cost time and memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medgrpo.config.passes import SHARE_OF_FREE, bytes_of_a_token, tokens_of_a_pass
from medgrpo.config.plan import StagePlan, enabled_stages, plan_stage, stage_settings
from medgrpo.config.sections import RunConfig
from medgrpo.config.sharing import shares_weights
from medgrpo.estimate.constants import FITTED, Constants
from medgrpo.estimate.hardware import Gpu
from medgrpo.foreign import reads
from medgrpo.methods import METHODS, Method
from medgrpo.models.shape import ModelShape

TEXT_TOKENS = 101
"""Tokens of question, instructions and chat template around an image: the median of the structured template."""
TARGET_TOKENS = 40
"""Tokens of a target that SFT learns: tags, plane, modality and a short answer."""
QUESTION_TOKENS = 50
"""Of those, what is a row's own: the question and what follows it."""
MASK_TEXT_TOKENS = 30
"""Tokens of the prompt and of the fixed answer of a model that answers with masks."""
COMPLETION_SHARE = 0.7
"""Mean length of a completion as a share of the limit. A group waits for its longest, so generation pays it all."""
DEAD_SHARE, DEAD_SHARE_LOW, DEAD_SHARE_HIGH = 0.4, 0.0, 0.8
"""Share of the groups without spread, which dynamic sampling draws again: as the demo ends (BENCHMARKS.md, .42), and the
range that an estimate spans."""


@dataclass(frozen=True)
class Workload:
    """One run.

    Attributes:
        image_tokens: language-model tokens of a prompt's pictures, after the 2×2 merge, on average over the rows; 0 for text.
        largest_image_tokens: of the prompt that has most; None: all have as many.
        images: pictures of a prompt, which share its tokens.
        rows_of_a_picture: rows of the data about one picture, on average.
        gpus: GPUs that share a step.
        dead_share: groups without spread in each round of dynamic sampling, as a share.
        text_tokens: of a prompt, beside its image; None: `TEXT_TOKENS`.
        completion_share: mean length of a completion as a share of the limit.
        target_tokens: of what SFT, or one side of a pair, learns; None: as usual for the method.
        is_other_code: whether another trainer's run is meant, for the table of published figures.
        has_old_pass: whether the log probabilities beside vLLM's take a pass of their own, as in TRL and in older code.
        learns_past_tower: whether a step goes back through a frozen tower too, as in TRL and in older code.
        fell_back: whether the check of shared prompts failed, so that each row was computed with its own.
    """

    config: RunConfig
    shape: ModelShape
    gpu: Gpu
    gpus: int
    rows: int
    image_tokens: int
    largest_image_tokens: int | None = None
    images: int = 1
    rows_of_a_picture: float = 1.0
    dead_share: float = DEAD_SHARE
    text_tokens: int | None = None
    completion_share: float = COMPLETION_SHARE
    target_tokens: int | None = None
    is_other_code: bool = False
    has_old_pass: bool = False
    learns_past_tower: bool = False
    fell_back: bool = False
    constants: Constants = FITTED

    @property
    def plan(self) -> StagePlan:
        """The main stage in numbers."""
        return plan_stage(self.config, self.rows, world_size=self.gpus)

    @property
    def method(self) -> Method:
        """How the main stage learns."""
        return METHODS[self.config.training.method]

    @property
    def warm_up(self) -> list[Workload]:
        """The stages before the main one, each as a run of its own with the settings that training gives it."""
        return [
            replace(self, config=stage_settings(self.config, name).model_copy(update={"stages": {}}))
            for name in enabled_stages(self.config)
        ]

    @property
    def generations(self) -> int:
        """Completions per prompt; 1 where nothing is sampled."""
        return self.method.group_size(self.config.rollout.num_generations)

    @property
    def resampled(self) -> list[float]:
        """Share of a step's prompts that each further round of dynamic sampling draws, on average."""
        rounds = self.config.rollout.dynamic_sampling if self.method.samples_texts else 0
        return [self.dead_share**number for number in range(1, rounds + 1)]

    # ------------------------------------------------------------------------------------ lengths

    @property
    def prompt_tokens(self) -> int:
        """Tokens before the completion."""
        usual = MASK_TEXT_TOKENS if self.draws_masks else TEXT_TOKENS
        return self.image_tokens + (usual if self.text_tokens is None else self.text_tokens)

    @property
    def at_largest(self) -> Workload:
        """The same as if every prompt were the longest."""
        if self.largest_image_tokens is None:
            return self
        return replace(self, image_tokens=self.largest_image_tokens, largest_image_tokens=None)

    @property
    def draws_masks(self) -> bool:
        """Whether the model answers with masks."""
        return "mask" in self.method.needs

    @property
    def learned_tokens(self) -> float:
        """Tokens that one sequence of a pass learns from, on average."""
        longest = self.config.rollout.max_completion_length
        if self.method.samples_texts:
            return self.completion_share * longest
        if self.target_tokens is not None:
            return self.target_tokens
        return self.completion_share * longest if self.method.needs_pairs else TARGET_TOKENS

    @property
    def longest_learned(self) -> float:
        """The same of the longest sequence, which memory is needed for."""
        return self.config.rollout.max_completion_length if self.method.samples_texts else self.learned_tokens

    @property
    def sequence_tokens(self) -> float:
        """Tokens of one prompt with its completion, on average."""
        return self.prompt_tokens + self.learned_tokens

    # --------------------------------------------------------------------------------- how it runs

    @property
    def uses_vllm(self) -> bool:
        """Whether vLLM samples."""
        return self.method.samples_texts and self.config.rollout.engine == "vllm"

    @property
    def is_colocated(self) -> bool:
        """Whether vLLM shares the training GPUs."""
        return self.uses_vllm and self.config.vllm.mode == "colocate"

    @property
    def shares_weights(self) -> bool:
        """Whether weights are spread over the GPUs (ZeRO-3, FSDP)."""
        return shares_weights(self.config.launch, self.gpus)

    @property
    def shares_optimizer(self) -> bool:
        """Whether gradients and optimiser are spread over the GPUs (ZeRO-2 and -3, FSDP)."""
        return self.gpus > 1 and bool(self.config.launch.fsdp or self.config.launch.deepspeed)

    @property
    def shares_prompt(self) -> bool:
        """Whether what a group, a pair or SFT's rows about a picture have in common is computed once (`engine.shared_prompt`)."""
        return self.has_tower_kernel and not self.fell_back

    @property
    def has_tower_kernel(self) -> bool:
        """Whether the engine took the model over: a tower's windows are one kernel then, after falling back too."""
        has_groups = self.method.samples_texts or self.method.needs_pairs or self.teaches_pictures
        return has_groups and self.shape.experts <= 1 and self.config.engine.shared_prompt != "off"

    @property
    def teaches_pictures(self) -> bool:
        """Whether SFT learns from rows with pictures, each of which the engine reads for its rows."""
        return "target" in self.method.teaches and bool(self.image_tokens) and not self.is_other_code

    @property
    def answers(self) -> float:
        """Sequences that a prompt is read for: its completions, both answers of a pair, SFT's rows about its picture."""
        return self.generations * self.method.sequences * self.together

    @property
    def together(self) -> float:
        """Rows of SFT that a picture is read for (`data.rows_of_a_picture`); 1: each reads its own."""
        if not (self.teaches_pictures and self.shares_prompt):
            return 1.0
        most = min(self.config.data.rows_of_a_picture, self.plan.prompts_per_step / self.gpus)
        return max(1.0, min(float(most), self.rows_of_a_picture))

    @property
    def own_tokens(self) -> float:
        """Tokens of a sequence that it shares with no other, on average: those that are learned; of SFT's rows the question too."""
        return self.learned_tokens + (QUESTION_TOKENS if self.together > 1 else 0)

    @property
    def keeps_features(self) -> bool:
        """Whether what a frozen vision tower makes of a picture is kept for the step."""
        return self.shares_prompt and not self.shares_weights and not self.trains_vision

    @property
    def trains_vision(self) -> bool:
        """Whether the picture's side learns."""
        return bool({"vision", "aligner"} & set(self.config.tuning.towers))

    @property
    def goes_back_through_tower(self) -> bool:
        """Whether a step's gradients reach the first layer of the picture's side."""
        return self.trains_vision or self.is_other_code or self.learns_past_tower

    @property
    def is_recorded(self) -> bool:
        """Whether Transformers samples from a recorded step (CUDA graph)."""
        return self.shares_prompt and not self.shares_weights and not self.gpu.is_cpu

    @property
    def groups_per_pass(self) -> float:
        """Prompts of one pass of the update, where each is in it once; below 1 for a part of a group."""
        if self.method.needs_pairs:
            return self.plan.per_device_train_batch_size
        training, engine = self.config.training, self.config.engine
        if self.teaches_pictures:
            return self._pictures_per_pass()
        longest, rows = self.config.rollout.max_completion_length, self.plan.per_device_train_batch_size
        is_cut = training.per_device_train_batch_size or training.gradient_accumulation_steps
        if is_cut and engine.tokens_per_pass is None:
            return rows / self.generations
        prompt = self.at_largest.prompt_tokens  # the cut is made for the longest
        usual = rows * (prompt + longest)
        budget = engine.tokens_per_pass or tokens_of_a_pass(
            usual, self._tokens_that_fit(), shared_out=self.shares_weights
        )
        most = self.plan.samples_per_step / self.gpus / self.generations
        each = prompt + self.generations * longest
        if each > budget:
            fitting = max(1.0, (budget - prompt) // longest)
            part = max(
                (
                    rows
                    for rows in range(1, self.generations + 1)
                    if self.generations % rows == 0 and rows <= fitting
                ),
                default=1,
            )
            return part / self.generations
        whole = int(budget // each)
        return max(
            min(1.0, most),
            max((n for n in range(1, int(most) + 1) if most % n == 0 and n <= whole), default=1),
        )

    def _pictures_per_pass(self) -> float:
        """The same for SFT's rows about a picture: see `training.trainers.passes.whole_share`."""
        training, engine, rows = (
            self.config.training,
            self.config.engine,
            self.plan.per_device_train_batch_size,
        )
        is_cut = training.per_device_train_batch_size or training.gradient_accumulation_steps
        launch = self.config.launch
        if (is_cut and engine.tokens_per_pass is None) or launch.deepspeed or launch.fsdp:
            return rows / self.together
        usual = int(rows * (self.at_largest.prompt_tokens + self.learned_tokens))
        budget = engine.tokens_per_pass or tokens_of_a_pass(usual, self._tokens_that_fit())
        each = self.at_largest.prompt_tokens + self.together * self.own_tokens
        most = self.plan.samples_per_step / self.gpus / self.together
        return min(most, max(1.0, budget // each))

    def _tokens_that_fit(self) -> int:
        """As `training.trainers.passes` finds out on the GPU: half of what weights, optimiser and vLLM leave."""
        if (
            self.gpu.is_cpu
            or not self.checkpoints_activations
            or self.config.training.gradient_checkpointing is False
        ):
            return 0
        total = 2**30 * self.gpu.memory_gib
        each_weight = {"full": 4.0, "qlora": 0.6}.get(self.config.tuning.method, float(self.width))
        weights = each_weight * self.shape.parameters
        held = weights * (6 if self.config.tuning.method == "full" else 1)
        sampler = self.config.vllm.gpu_memory_utilization * total if self.is_colocated else 0.0
        each = bytes_of_a_token(self.shape.layers, self.shape.hidden, self.shape.mlp)
        return max(0, int(SHARE_OF_FREE * (0.98 * total - held - sampler) / each))

    @property
    def has_lora(self) -> bool:
        """Whether a small adapter is trained rather than all weights."""
        return self.config.tuning.method != "full"

    @property
    def fuses_adapters(self) -> bool:
        """Whether an adapter is added inside its matrix product (`engine.fused_adapters`)."""
        config = self.config
        is_plain = config.tuning.method == "lora" and not config.tuning.dropout
        has_engine = self.method.samples_texts or self.method.needs_pairs or self.teaches_pictures
        is_whole = not (self.gpu.is_cpu or self.shares_weights or self.is_other_code)
        return config.engine.fused_adapters and is_plain and has_engine and is_whole

    @property
    def adapters_move_copies(self) -> bool:
        """Whether adapters stand beside their layers, in float32 where those are in 16 bits: their input is copied."""
        return self.has_lora and self.is_half and not self.fuses_adapters and not self.is_other_code

    @property
    def adapter_inputs(self) -> int:
        """Numbers that the adapters of one decoder layer read for a token, each its own: q, k, v, gate, up; o; down."""
        shape = self.shape
        return 5 * shape.hidden + (shape.query_width or shape.hidden) + shape.mlp_used

    @property
    def checkpoints_activations(self) -> bool:
        """Whether activations are recomputed in the backward pass."""
        chosen = self.config.training.gradient_checkpointing
        return not self.gpu.is_cpu if chosen is None else chosen

    @property
    def is_half(self) -> bool:
        """Whether products are computed in 16 bits at the card's full rate."""
        if self.gpu.is_cpu or self.config.model.dtype == "float32":
            return False
        return self.gpu.has_bf16 or self.config.model.dtype == "float16"

    @property
    def flops(self) -> float:
        """Floating-point operations a second that the card does at best in the run's type."""
        return 1e12 * (
            self.gpu.bf16_tflops if self.is_half else self.gpu.fp32_tflops or self.gpu.bf16_tflops / 8
        )

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second that its memory gives at best."""
        return 1e9 * self.gpu.bandwidth_gb_s

    @property
    def width(self) -> int:
        """Bytes of a number in the frozen weights and in what passes through the layers."""
        return 2 if self.is_half else 4


@reads("data", "a prepared dataset")
def read_dataset(data: Path) -> dict[str, Any]:
    """`dataset.json` of a prepared dataset, or what a mixture (`a,b:0.3`) says in its place.

    Raises:
        UsageError: there is no prepared dataset.
    """
    from medgrpo.data.mixture import open_data

    return open_data(data).info

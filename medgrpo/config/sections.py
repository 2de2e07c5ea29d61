"""The settings of a run: one frozen section per concern, each field with its unit and reason.

Names are TRL's where TRL has one. Values are decided by `medgrpo.config.layers`.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from medgrpo.methods import METHODS, names_of_methods

Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]
LossType = Literal["dapo", "grpo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"]
"""Losses of TRL 1.16's GRPOTrainer."""
Schedule = Literal[
    "cosine",
    "linear",
    "constant",
    "constant_with_warmup",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
]
"""Schedules of Transformers that need no further arguments."""


def _list_of(value: Any) -> Any:
    """A single word as the list of it, as other trainers take it (`report_to=wandb`); none as the empty list."""
    if value is None or value in ("", "none"):
        return ()
    if isinstance(value, float) and math.isnan(value):  # nan, a health rule, is a number to TOML
        value = "nan"
    return tuple(word.strip() for word in value.split(",")) if isinstance(value, str) else value


def _pattern_of(value: Any) -> Any:
    """Names of modules, as PEFT and ms-swift take them, as the regular expression over them."""
    names = value.split(",") if isinstance(value, str) and re.fullmatch(r"[\w,\s]+", value) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return value
    return rf"(.*\.)?({'|'.join(name.strip() for name in names)})"


def _shares_of(value: Any) -> Any:
    """`0,1` as the list of both numbers; none as the empty list."""
    if value is None or value in ("", "none"):
        return ()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (value,)
    return tuple(value.split(",")) if isinstance(value, str) else value


def _scale_of(value: Any) -> Any:
    """TRL's older true and false."""
    return {True: "group", False: "none"}[value] if isinstance(value, bool) else value


def _known_method(name: str) -> str:
    if name not in METHODS:
        raise PydanticCustomError("literal_error", "Input should be {names}", {"names": names_of_methods()})
    return name


def _is_named_none(section: type[BaseModel], name: str) -> bool:
    field = section.model_fields.get(name)
    return field is not None and "none" in get_args(field.annotation)


Listed = BeforeValidator(_list_of)
MethodName = Annotated[str, AfterValidator(_known_method)]
"""A key of `medgrpo.methods.METHODS`."""


class Section(BaseModel):
    """A group of settings: immutable, unknown names refused; what it checks with is built when it is first used."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _none_by_name(cls, values: Any) -> Any:
        """`--set KEY=none` means the value that is called so, where a setting has one (`data.augment=none`)."""
        if not isinstance(values, dict):
            return values
        named = {name for name, value in values.items() if value is None and _is_named_none(cls, name)}
        return {name: "none" if name in named else value for name, value in values.items()}


class ModelConfig(Section):
    """Which model is trained, and what it sees of an image."""

    path: str | None = None
    """Folder or hub name of the base model; none: the demo-size model, built from a config."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model; off unless typed, since it is someone else's code."""
    force_base: bool = False
    """Go on from an adapter although base or adapter differ from what was trained; take a base with tensors too many."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights; auto: bfloat16 where the GPU has it, else float32."""
    attn_implementation: str | None = None
    """Attention kernel as Transformers names it; none: its own choice."""
    max_pixels: int = Field(602_112, ge=28 * 28)
    """Largest image the model sees, in pixels; 602112 is 768 image tokens of Qwen2.5-VL at most."""
    min_pixels: int | None = Field(None, ge=28 * 28 // 4)
    """Smallest image the model sees, in pixels; smaller ones are enlarged. None: the model's own, which vLLM keeps to."""
    thinking: Literal["template", "on", "off"] = "template"
    """Whether a model with two modes (Qwen3's /think and /no_think) reasons first; template: as it does by itself."""
    context_length: int = Field(2048, ge=64)
    """Longest prompt (image tokens included) plus completion, in tokens; longer rows are dropped and counted."""


class DataConfig(Section):
    """Which rows are trained on, and how they become prompts."""

    path: str | None = None
    """Prepared dataset (from `medgrpo preprocess`); none: the generated demo set."""
    rows: int | None = Field(None, ge=1)
    """Train on the first N rows of each stage; none: all."""
    prompt_template: str = "structured"
    """Name of a prompt template, or path of one: the words around the question, and the tags asked for."""
    system_prompt: str | None = None
    """Replaces the template's system prompt."""
    box_format: Literal["pixel", "thousand", "unit"] | None = None
    """Numbers of the boxes: pixels of the picture as the model sees it, 0-1000 or 0-1 of its sides; none: as the
    model's family was trained to write them."""
    reasoning: Literal["labels", "free"] = "labels"
    """What SFT teaches between <think> and </think> where a row has no completion of its own: the line that its labels
    make ("CT, axial view."), or nothing (free), so that a model keeps its own way of thinking."""
    use_image_title: bool = False
    """Put `image_title` into the prompt ("This is a case of …"); it may give the answer away, hence off."""
    shuffle: bool = True
    """Shuffle the rows anew each epoch, by the seed."""
    rows_of_a_picture: int = Field(1, ge=1)
    """SFT: up to so many rows about one picture in the same step, which looks at the picture once; fewer pictures are in a
    step then. 1: rows come in any order, and those that happen to meet in a step share all the same."""
    augment: Literal["none", "light", "flip", "swap"] = "none"
    """How pictures are varied each epoch. light: brightness, contrast, border; flip: also mirrored where nothing names
    a side; swap: also mirrored with left and right exchanged in the words."""


class CurriculumConfig(Section):
    """Which rows of the main stage are asked when: easy ones first."""

    by: str | None = Field(None, pattern=r"^(column:\w+|mask_area|thin_vessels|pass_rate)$")
    """What says how hard a row is: column:NAME, mask_area (large is easy), thin_vessels (the share of the mask that
    is one or two pixels wide, large is hard), or pass_rate (measured with the start model before training, kept for the next
    run); none: no curriculum."""
    schedule: Literal["linear", "staged", "sorted"] = "linear"
    """linear: more and more rows, the easiest first; staged: the easiest, then all; sorted: easy to hard in each epoch."""
    start: float = Field(0.3, gt=0, le=1)
    """Share of the rows, the easiest, that linear and staged begin with."""
    full_at: float = Field(0.5, gt=0, le=1)
    """Share of the run's steps after which linear and staged ask all rows."""
    easy: Literal["low", "high"] | None = None
    """Which values of the column are the easy ones; none: low, of mask_area high."""
    levels: Annotated[tuple[str, ...], Listed] = ()
    """Values of a text column, easy ones first, such as ["closed", "choice", "open"]."""
    samples: int = Field(4, ge=1)
    """Completions per row that a pass rate is measured with."""
    drop: Annotated[tuple[float, ...], BeforeValidator(_shares_of)] = ()
    """Leave out rows whose pass rate is one of these, `0,1`: what the start model never or always solves
    (`validation.metric`) has no spread in its group and teaches nothing. Measured before training, kept for the next run."""


class TuningConfig(Section):
    """Which weights change."""

    method: Literal["full", "lora", "dora", "qlora"] = "lora"
    """full: all weights; lora/dora: small added matrices; qlora: those over a 4-bit base (needs CUDA)."""
    rank: int = Field(16, ge=1)
    """LoRA rank r; low ranks suffice for reward training."""
    alpha: int = Field(32, ge=1)
    """LoRA scale: the update is multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """LoRA dropout; 0 keeps sampler and trainer the same model."""
    towers: Annotated[tuple[Literal["language", "vision", "aligner"], ...], Listed] = Field(
        ("language",), min_length=1
    )
    """Parts that are trained, by adapter or as a whole; the others get no gradient. Parts and not names, since
    names like q_proj also occur in the vision tower."""
    target_modules: Annotated[str | None, BeforeValidator(_pattern_of)] = None
    """Regular expression over module names that get an adapter, or a list of their last parts; replaces `towers`."""


class RewardConfig(Section):
    """What is rewarded."""

    weights: str | dict[str, float] = "balanced"
    """Name of a weight set, or weight per reward (name, `file.py:function` or entry point); scaled to sum 1."""
    gate: str | None = None
    """A reward (say `format`) that multiplies the sum of the others instead of joining it."""
    aggregation: Literal["sum", "normalize_then_sum"] = "sum"
    """sum: weighted sum; normalize_then_sum: each component normalised in its group first (GDPO)."""
    overlong_share: float = Field(0.0, ge=0, le=1)
    """DAPO's soft length punishment: the reward falls over this last share of the longest length; 0: off."""
    overlong_penalty: float = Field(0.5, gt=0)
    """What a completion of the longest length loses there; DAPO takes half of the reward's range."""
    on_error: Literal["stop", "skip"] = "stop"
    """What to do when a reward raises: stop and name reward and row, or skip the row and count it."""
    timeout_s: float = Field(600.0, ge=0)
    """Longest time of one call (a batch) of a reward of your own, in seconds; 0: no limit."""
    audit_limit: float | None = Field(None, gt=0)
    """Best cheat / references above which training does not start; none: a warning above 0.8."""
    caption_threshold: float = Field(0.7, ge=0, le=1)
    """Cosine below which `caption_alignment` gives 0."""


class RolloutConfig(Section):
    """How completions are sampled for one GRPO step."""

    num_generations: int = Field(8, ge=2)
    """Completions per prompt, the group size G: GRPO compares them with each other."""
    max_completion_length: int = Field(256, gt=0)
    """Longest completion, in tokens."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature; 1 samples from the very policy whose gradient is taken."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus sampling; below 1 it biases the policy ratio."""
    top_k: int = Field(0, ge=0)
    """Sample from the k likeliest tokens; 0: all."""
    min_p: float | None = Field(None, ge=0, le=1)
    """Leave out tokens less likely than this share of the likeliest; biases the policy ratio as top_p does."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Above 1 tokens that were there already are less likely; biases the policy ratio as well."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What generates during training."""
    ahead: int = Field(0, ge=0, le=1)
    """1: sample the next batch before the policy learns from this one. A vLLM server then works while the policy learns;
    completions come from a policy one update older, which the logged importance ratio weighs."""
    dynamic_sampling: int = Field(0, ge=0)
    """Replace groups whose rewards are all equal by other prompts' groups, up to N times a step (DAPO); 0: off."""


class VllmConfig(Section):
    """vLLM as the generator of rollouts; used when `rollout.engine` is vllm."""

    mode: Literal["colocate", "server"] = "colocate"
    """colocate: on the training GPUs; server: a running `trl vllm-serve`."""
    gpu_memory_utilization: float = Field(0.3, gt=0, le=1)
    """Share of GPU memory for vLLM when colocated."""
    tensor_parallel_size: int = Field(1, ge=1)
    """GPUs that share one copy of the model."""
    max_model_length: int | None = Field(None, ge=1)
    """Context of vLLM, in tokens; none: `model.context_length`."""
    server_base_url: str | None = None
    """Address of the vLLM server."""
    server_timeout_s: int = Field(900, ge=1)
    """Seconds that the vLLM server may take to sample a batch; one that does not answer at all ends the run sooner."""
    enable_sleep_mode: bool = False
    """Free vLLM's memory during the update."""
    max_logprob_gap: float = Field(0.3, gt=0)
    """Stop when sampler and trainer differ by more than this per token (mean |Δlogp|): nothing is learned there."""


class EngineConfig(Section):
    """How log probabilities are computed: once for what the completions of a prompt, or the rows about a picture, have in common."""

    shared_prompt: Literal["auto", "on", "off"] = "auto"
    """auto: a group's prompt and pictures once, checked against TRL's way on the first rows, which it goes back to
    where they differ; on: unchecked; off: every completion with its own prompt and pictures, as TRL does."""
    tokens_per_pass: int | None = Field(None, ge=1)
    """Most tokens of one pass of the update, prompts counted once; groups are kept whole. none: as many as take the
    memory of up to 8 completions that each have their own prompt and pictures, as TRL computes them, and on a GPU
    at least 8,192 where half of its free memory holds them."""
    features_gib: float = Field(0.0, ge=0)
    """Memory of the host, in GiB for each process, for what a frozen vision tower has made of pictures, so that a later step
    does not look again; the pictures asked for longest ago go. 0: nothing is kept beyond a step."""
    fused_adapters: bool = True
    """Add a LoRA adapter in the matrix product that spreads it, in the base's type, instead of in four steps around it;
    plain LoRA without dropout, with CUDA, where every process has all weights."""


class MasksConfig(Section):
    """How masks are drawn and judged; used by the methods of mask models."""

    sampler: Literal["independent", "cells", "scales", "smooth", "segments", "threshold"] = "cells"
    """What moves together in a drawn mask: nothing, square cells, cells of three sizes, a smooth field, uncertain
    stretches, the whole mask. docs/vessels.md compares them."""
    cell_px: int | None = Field(None, ge=1)
    """Side of the (smallest) cell, in pixels; none: the sampler's own, 8 for cells."""
    noise: float | None = Field(None, gt=0)
    """Scale of the noise shared by a cell, in logits; none: the sampler's own, 0.5 for cells."""
    sharpness: float | None = Field(None, gt=0)
    """Temperature of the pixels' coins under shared noise; none: 0.5."""
    credit: Literal["local", "whole"] = "local"
    """local: what a pixel changes of the reward; whole: every pixel gets its mask's advantage, as GRPO has it."""
    anchor: float = Field(0.0, ge=0)
    """Weight of a supervised loss beside the reward; it is logged as what it is."""
    anchor_loss: Literal["soft_dice", "bce", "soft_cldice"] = "soft_dice"
    """The supervised loss of the anchor."""
    warm_start_loss: Literal["soft_dice", "bce", "soft_cldice", "bce_dice"] = "bce_dice"
    """What masks-sft learns by; bce_dice is the sum of both."""
    recall_target: float | None = Field(None, gt=0, le=1)
    """Recall that earns the whole bonus; none: the reward's own."""
    dice_weight: float | None = Field(None, ge=0)
    """Weight of Dice in the reward; none: the reward's own."""
    recall_weight: float | None = Field(None, ge=0)
    """Weight of recall in the reward; none: the reward's own."""
    dynamic_recall: bool = False
    """Recall weighs 0.4 while its running mean is below 0.80, and 0.2 after; replaces `recall_weight`."""
    hold_dice: bool = True
    """A guarded reward also takes away what a mask lacks of the Dice that validation found before the stage: reward ×
    min(1, Dice / Dice before). Without rows for that validation only the area guards."""
    image_size: int | None = Field(None, ge=16)
    """Longest side that pictures are brought to, in pixels; none: as stored."""
    patch_size: int | None = Field(None, ge=16)
    """Side of the squares that are trained on, in pixels; whole pictures are stitched from them. None: no patches."""
    threshold: float | None = Field(None, gt=0, lt=1)
    """Probability above which a pixel is foreground; none: chosen on the validation split for `validation.metric`."""
    prompt: str | None = None
    """What models that take words are asked; none: "<image>Please segment the blood vessel."."""
    text: Literal["fixed", "sampled"] = "fixed"
    """Whether Sa2VA's answer is fixed, or sampled and learned with the mask."""
    sam: str | None = None
    """SAM 2 that a plain vision-language model is put together with. With method grpo: a frozen SAM that makes masks of
    the boxes and points that are written."""
    train_parts: Annotated[tuple[str, ...] | None, Listed] = None
    """Names of modules that are trained whole beside an adapter, such as mask_decoder; none: the model's own choice."""
    keep: Literal["all", "ends", "none"] = "ends"
    """Which drawn masks the completion store keeps: all, the best and the worst of each group, or none."""
    overlays: int = Field(4, ge=0)
    """Pictures with their masks that are written at each validation."""


class DpoConfig(Section):
    """What DPO learns from a pair."""

    loss_type: Literal[
        "sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot",
        "apo_zero", "apo_down",
    ] = "sigmoid"  # fmt: skip
    """TRL's loss; sigmoid is DPO's own, ipo bounds the margin, robust takes label_smoothing for the share of wrong pairs."""
    sft_weight: float = Field(0.0, ge=0)
    """Weight of the likelihood of the chosen answer beside the loss (RPO): keeps it from falling with the rejected one."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of pairs taken to be the wrong way round; for sigmoid and robust."""


class TrainingConfig(Section):
    """The main stage: its method, length and optimiser."""

    method: MethodName = Field(
        "grpo", description="; ".join(f"{name}: {method.learns}" for name, method in METHODS.items()) + "."
    )
    prompts_per_step: int = Field(8, ge=1)
    """Prompts (rows, for sft and dpo) of one optimiser step, over all GPUs."""
    per_device_train_batch_size: int | None = Field(None, ge=1)
    """Completions (rows, for sft and dpo) of one forward pass per GPU; none: as many as divide the step, up to 8."""
    gradient_accumulation_steps: int | None = Field(None, ge=1)
    """Forward passes of one step per GPU; none: as the batch size asks. It cuts the step and does not enlarge it."""
    num_train_epochs: float = Field(3.0, gt=0)
    """Passes over the training rows; steps are derived and printed."""
    max_steps: int | None = Field(None, ge=1)
    """Optimiser steps; replaces `num_train_epochs`."""
    learning_rate: float = Field(1e-5, ge=0)
    """Peak learning rate; 1e-5 suits LoRA, full fine-tuning takes about a tenth."""
    vision_learning_rate: float | None = Field(None, ge=0)
    """Peak learning rate of the vision tower and the aligner, where `tuning.towers` trains them; none: the same."""
    optim: Literal[
        "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor"
    ] = "adamw_torch"
    """Optimiser as Transformers names it; paged_adamw_8bit holds its state in a quarter of the memory (CUDA)."""
    lr_scheduler_type: Schedule = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    """Share of the steps in which the learning rate rises to its peak; the first takes a part of it, not 0."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW weight decay."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this norm."""
    beta: float = Field(0.0, ge=0)
    """KL coefficient of GRPO (0: no reference model is held), preference temperature of DPO (0: TRL's 0.1)."""
    epsilon: float = Field(0.2, gt=0)
    """Clip range of the policy ratio."""
    epsilon_high: float | None = Field(None, gt=0)
    """Upper clip range; none: `epsilon`. DAPO uses 0.28. CISPO's only limit of the ratio: 5."""
    delta: float | None = Field(None, gt=1)
    """Largest ratio also where the advantage is negative (two-sided clipping); none: unlimited."""
    loss_type: LossType = "dapo"
    """GRPO's loss: how completions of different lengths weigh, and how the ratio is limited."""
    scale_rewards: Annotated[Literal["group", "batch", "none"], BeforeValidator(_scale_of)] = "group"
    """What the advantage is divided by; none is Dr. GRPO's choice."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """Where the policy ratio is taken; sequence is GSPO."""
    num_iterations: int = Field(1, ge=1)
    """Updates per generated batch; 1 is on-policy."""
    mask_truncated_completions: bool = False
    """Leave completions that hit the length limit out of the loss."""
    entropy_coef: float = Field(0.0, ge=0)
    """Weight of an entropy bonus in the loss; 0: none."""
    top_entropy_quantile: float = Field(1.0, gt=0, le=1)
    """Learn from the most uncertain share of the tokens only; 1: from all."""
    gradient_checkpointing: bool | None = None
    """Recompute activations to save memory; none: on with CUDA."""
    save_steps: int = Field(50, ge=1)
    """A checkpoint every N steps."""
    save_total_limit: int = Field(2, ge=1)
    """Newest checkpoints kept, besides the best."""
    early_stopping_patience: int | None = Field(None, ge=1)
    """Stop after N validations without a better metric; none: never."""
    stop_on: Annotated[tuple[str, ...], Listed] = ("nan",)
    """Health rules (see `medgrpo health`) that stop the run where they find something abnormal."""
    largest_first: bool | None = None
    """Try the longest prompt at full completion length before the first step, without learning from it, so that
    what does not fit fails at once; none: with CUDA."""
    retry_on_oom: bool = False
    """Out of memory: halve `per_device_train_batch_size` (same result, more passes) and go on from the last checkpoint."""


class StageConfig(Section):
    """A stage before the main one, such as the SFT warm start; what is not set is as in the main stage."""

    method: MethodName = Field("sft", description=f"{names_of_methods()}.")
    prompts_per_step: int | None = Field(None, ge=1)
    """Prompts or rows of one optimiser step."""
    per_device_train_batch_size: int | None = Field(None, ge=1)
    """Completions or rows of one forward pass per GPU."""
    gradient_accumulation_steps: int | None = Field(None, ge=1)
    """Forward passes of one step per GPU."""
    num_train_epochs: float | None = Field(None, gt=0)
    """Passes over the training rows."""
    max_steps: int | None = Field(None, ge=1)
    """Optimiser steps; replaces `num_train_epochs`."""
    learning_rate: float | None = Field(None, ge=0)
    """Peak learning rate."""
    vision_learning_rate: float | None = Field(None, ge=0)
    """Peak learning rate of the vision tower and the aligner."""
    lr_scheduler_type: Schedule | None = None
    """How the learning rate falls after the warm-up."""
    warmup_ratio: float | None = Field(None, ge=0, lt=1)
    """Share of the steps in which the learning rate rises to its peak; the first takes a part of it, not 0."""
    weight_decay: float | None = Field(None, ge=0)
    """AdamW weight decay."""
    beta: float | None = Field(None, ge=0)
    """KL coefficient."""
    rows: int | None = Field(None, ge=1)
    """Use the first N rows in this stage."""
    enabled: bool = True
    """Whether the stage is run."""


class ValidationConfig(Section):
    """Measuring on the validation split, greedily, while training."""

    before_and_after: bool = True
    """Measure before the first and after the last step, so that the gain can be told."""
    steps: int = Field(0, ge=0)
    """Measure every N steps; 0: not in between."""
    rows: int | None = Field(256, ge=1)
    """Rows measured each time; none: the whole split."""
    metric: str = "answer_match"
    """What chooses the best checkpoint and stops early: a metric of `medgrpo eval`."""


class LoggingConfig(Section):
    """What is written while training, besides the run folder's own log."""

    report_to: Annotated[tuple[Tracker, ...], Listed] = ("tensorboard",)
    """Where curves are shown; nothing leaves this machine unless `offline` is false or the environment says so."""
    project: str = "medgrpo"
    """Project of wandb and trackio, experiment of mlflow."""
    offline: bool = True
    """Keep what trackers write in the run folder (`wandb sync` sends it later); false: as they do by themselves."""
    sample_steps: int = Field(0, ge=0)
    """Write random samples for human review every N steps; 0: never."""
    samples: int = Field(8, ge=1)
    """How many samples are written each time."""


class LaunchConfig(Section):
    """Processes and machines."""

    gpus: int | None = Field(None, ge=1)
    """GPUs on this machine; none: one, or the CPU where there is none."""
    nodes: int = Field(1, ge=1)
    """Machines."""
    deepspeed: str | None = None
    """zero2, zero3, or path of a DeepSpeed configuration."""
    fsdp: bool = False
    """Spread weights, gradients and optimiser over the GPUs with PyTorch's own FSDP2 instead of DeepSpeed ZeRO-3."""
    cpu: bool = False
    """Let `gpus` processes train on the CPU: slow, to try out a run of several processes."""
    timeout_s: int = Field(1800, ge=10)
    """Seconds that a process waits for the others before the run ends; a validation on one of them must fit in."""
    start_timeout_s: int = Field(900, ge=10)
    """Seconds until all processes of all machines must have met; machines of a job start at different times."""


class RunSection(Section):
    """Identity of the run."""

    name: str | None = None
    """Name of the run; none: preset, date and a number."""
    output: str | None = None
    """Run folder; none: `runs/<name>`."""
    seed: int = Field(0, ge=0)
    """Seed of model initialisation, data order, sampling and dropout."""


class RunConfig(Section):
    """Everything that decides a training run."""

    run: RunSection = RunSection()
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    tuning: TuningConfig = TuningConfig()
    rewards: RewardConfig = RewardConfig()
    rollout: RolloutConfig = RolloutConfig()
    vllm: VllmConfig = VllmConfig()
    engine: EngineConfig = EngineConfig()
    masks: MasksConfig = MasksConfig()
    dpo: DpoConfig = DpoConfig()
    training: TrainingConfig = TrainingConfig()
    stages: dict[str, StageConfig] = Field(default_factory=dict)
    """Stages before the main one, in order, by name."""
    validation: ValidationConfig = ValidationConfig()
    logging: LoggingConfig = LoggingConfig()
    launch: LaunchConfig = LaunchConfig()

    @model_validator(mode="after")
    def _shares_are_shares(self) -> RunConfig:
        if not all(0 <= share <= 1 for share in self.curriculum.drop):
            raise ValueError("curriculum.drop takes pass rates from 0 to 1, such as 0,1")
        return self

    @model_validator(mode="after")
    def _completion_fits(self) -> RunConfig:
        if self.rollout.max_completion_length >= self.model.context_length:
            raise ValueError(
                f"rollout.max_completion_length ({self.rollout.max_completion_length}) leaves no room for the prompt "
                f"in model.context_length ({self.model.context_length})"
            )
        return self

"""The run to be estimated, in the few numbers that cost time and memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medgrpo.config.passes import MANY_TOKENS, tokens_of_a_pass
from medgrpo.config.plan import StagePlan, enabled_stages, plan_stage, stage_settings
from medgrpo.config.sections import RunConfig
from medgrpo.estimate.hardware import Gpu
from medgrpo.foreign import reads
from medgrpo.methods import METHODS, Method
from medgrpo.models.shape import ModelShape

TEXT_TOKENS = 96
"""Tokens of question, instructions and chat template around an image: the median of the structured template."""
COMPLETION_SHARE = 0.7
"""Mean length of a completion as a share of the limit. A group waits for its longest, so generation pays it all."""


LARGE_GPU = 40
"""GiB from which on passes are as large as keeps the GPU busy; training looks at what is really free."""
DEAD_SHARE, DEAD_SHARE_LOW, DEAD_SHARE_HIGH = 0.4, 0.0, 0.8
"""Share of the groups without spread, which dynamic sampling draws again: as the demo ends (BENCHMARKS.md, .42), and the
range that an estimate spans."""


@dataclass(frozen=True)
class Workload:
    """One run.

    Attributes:
        image_tokens: language-model tokens of one image, after the 2×2 merge; 0 for text.
        gpus: GPUs that share a step.
        dead_share: groups without spread in each round of dynamic sampling, as a share.
    """

    config: RunConfig
    shape: ModelShape
    gpu: Gpu
    gpus: int
    rows: int
    image_tokens: int
    dead_share: float = DEAD_SHARE

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

    @property
    def prompt_tokens(self) -> int:
        """Tokens before the completion."""
        return self.image_tokens + TEXT_TOKENS

    @property
    def sequence_tokens(self) -> float:
        """Tokens of one prompt with its completion, on average."""
        return self.prompt_tokens + COMPLETION_SHARE * self.config.rollout.max_completion_length

    @property
    def shares_prompt(self) -> bool:
        """Whether a group's prompt and pictures are computed once (`engine.shared_prompt`)."""
        is_dense = self.shape.experts <= 1
        return self.method.samples_texts and is_dense and self.config.engine.shared_prompt != "off"

    @property
    def groups_per_pass(self) -> float:
        """Prompts of one pass of the update, where each is in it once; below 1 for a part of a group."""
        training, engine = self.config.training, self.config.engine
        longest, rows = self.config.rollout.max_completion_length, self.plan.per_device_train_batch_size
        is_cut = training.per_device_train_batch_size or training.gradient_accumulation_steps
        if is_cut and engine.tokens_per_pass is None:
            return rows / self.generations
        fitting = MANY_TOKENS if self.gpu.memory_gib >= LARGE_GPU else 0
        budget = engine.tokens_per_pass or tokens_of_a_pass(rows * (self.prompt_tokens + longest), fitting)
        most = self.plan.samples_per_step / self.gpus / self.generations
        return max(
            1 / self.generations,
            min(most, budget // (self.prompt_tokens + self.generations * longest)),
        )

    @property
    def has_lora(self) -> bool:
        """Whether a small adapter is trained rather than all weights."""
        return self.config.tuning.method != "full"

    @property
    def checkpoints_activations(self) -> bool:
        """Whether activations are recomputed in the backward pass."""
        return self.config.training.gradient_checkpointing is not False


@reads("data", "a prepared dataset")
def read_dataset(data: Path) -> dict[str, Any]:
    """`dataset.json` of a prepared dataset, or what a mixture (`a,b:0.3`) says in its place.

    Raises:
        UsageError: there is no prepared dataset.
    """
    from medgrpo.data.mixture import open_data

    return open_data(data).info

"""The training methods: what every room needs to know of each, in one table.

A method is its entry here and the one class that the entry names (a `StageMethod` beside its trainer).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Method:
    """What a stage of this method learns from, and what one of its steps is."""

    name: str
    learns: str
    """Half a sentence for help texts."""
    stage: str
    """`module:class` that trains a stage, a `medgrpo.training.methods.StageMethod`; imported when a stage begins."""
    samples: Literal["texts", "masks"] | None = None
    """What it samples, `rollout.num_generations` for each prompt, to learn from their rewards; None: it learns what
    the rows teach."""
    teaches: tuple[str, ...] = ()
    """What a row teaches word for word: `target` (see `prompts.build_target`), or columns of the row."""
    needs: tuple[str, ...] = ()
    """Columns without which a row cannot be learned from."""
    has_reference: bool = False
    """Whether `training.beta` above 0 holds it to a reference model."""
    main_metric: str = "loss"
    """Log key of what it is after."""
    usual_lora_rate: float | None = None
    """Learning rate that suits an adapter, where far less than it is worth a warning; taken where the method is chosen
    over a preset's."""
    usual_full_rate: float | None = None
    """The same where all weights are trained."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Full key → value that take the place of those of a preset made for another method."""

    @property
    def samples_texts(self) -> bool:
        """Whether a language model writes completions: `rollout.engine` generates, completions are kept."""
        return self.samples == "texts"

    def group_size(self, num_generations: int) -> int:
        """Samples for each prompt of a step: the group that rewards are compared in, or 1."""
        return num_generations if self.samples else 1

    @property
    def needs_pairs(self) -> bool:
        """Whether it learns from a chosen and a rejected answer."""
        return {"chosen", "rejected"} <= set(self.needs)

    @property
    def sequences(self) -> int:
        """Sequences that one sample puts through the model: 2 for a pair."""
        return max(1, len(self.teaches))


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "grpo",
            "by reward",
            "medgrpo.training.trainers.grpo:Grpo",
            samples="texts",
            has_reference=True,
            main_metric="reward",
            usual_lora_rate=1e-5,
            usual_full_rate=1e-6,
        ),
        Method(
            "sft",
            "by imitation",
            "medgrpo.training.trainers.sft:Sft",
            teaches=("target",),
            usual_lora_rate=1e-4,
            usual_full_rate=1e-5,
        ),
        Method(
            "dpo",
            "by preference pairs",
            "medgrpo.training.trainers.dpo:Dpo",
            teaches=("chosen", "rejected"),
            needs=("chosen", "rejected"),
            has_reference=True,
            main_metric="rewards/accuracies",
            usual_full_rate=5e-7,
        ),
        Method(
            "masks",
            "by rewards of drawn masks",
            "medgrpo.training.trainers.masks:Masks",
            samples="masks",
            needs=("mask",),
            has_reference=True,
            main_metric="reward",
            settings={"rewards.weights": "multi_objective_guarded", "validation.metric": "reward"},
        ),
        Method(
            "masks-sft",
            "by imitation of masks",
            "medgrpo.training.trainers.masks:MasksSft",
            teaches=("mask",),
            needs=("mask",),
            settings={"rewards.weights": "multi_objective_guarded", "validation.metric": "reward"},
        ),
    )
}
SAMPLING = frozenset(name for name, method in METHODS.items() if method.samples)
"""Methods that learn from rewards of what they sample."""
SUPERVISED = frozenset(METHODS) - SAMPLING
"""Methods that learn what the rows teach."""


def names_of_methods() -> str:
    """The names in words: `grpo, sft or dpo`."""
    *most, last = METHODS
    return f"{', '.join(most)} or {last}"

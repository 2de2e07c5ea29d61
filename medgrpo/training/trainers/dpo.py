"""Preference training on TRL's DPOTrainer, on the pairs that `make-dpo` writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl import DPOTrainer

from medgrpo.training.before.datasets import RowSource, dpo_dataset
from medgrpo.training.methods import StageMethod
from medgrpo.training.run.context import StageContext
from medgrpo.training.trainers.arguments import dpo_arguments
from medgrpo.training.trainers.base import RunTrainer

if TYPE_CHECKING:
    from medgrpo.config.plan import StagePlan
    from medgrpo.config.sections import RunConfig


class Dpo(StageMethod):
    """Learning which of two answers is preferred."""

    def trainer_class(self) -> type[PreferenceTrainer]:
        """TRL's, with ours before it."""
        return PreferenceTrainer

    def arguments(self, config: RunConfig, plan: StagePlan, output: Path) -> Any:
        """`DPOConfig`."""
        return dpo_arguments(config, plan, output)

    def examples(self, source: RowSource, tokenizer: Any) -> Any:
        """See `dpo_dataset`."""
        return dpo_dataset(source, tokenizer)


class PreferenceTrainer(RunTrainer, DPOTrainer):
    """TRL's DPO trainer with our data order, log and checkpoints."""

    def __init__(self, context: StageContext, **options: Any) -> None:
        self.context = context
        super().__init__(**options)

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Nothing in advance: `dpo_dataset` tokenises a text row when it is asked for."""
        return dataset

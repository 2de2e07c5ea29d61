"""Preference training on TRL's DPOTrainer, on the pairs that `make-dpo` writes."""

from __future__ import annotations

from typing import Any

from trl import DPOTrainer

from medgrpo.training.run.context import StageContext
from medgrpo.training.trainers.base import RunTrainer


class PreferenceTrainer(RunTrainer, DPOTrainer):
    """TRL's DPO trainer with our data order, log and checkpoints."""

    def __init__(self, context: StageContext, **options: Any) -> None:
        self.context = context
        super().__init__(**options)

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Nothing in advance: `dpo_dataset` tokenises a text row when it is asked for."""
        return dataset

"""Supervised fine-tuning on TRL's SFTTrainer: only the completion is learned."""

from __future__ import annotations

from typing import Any

from trl import SFTTrainer

from medgrpo.training.run.context import StageContext
from medgrpo.training.trainers.base import RunTrainer


class SupervisedTrainer(RunTrainer, SFTTrainer):
    """TRL's SFT trainer with our data order, log and checkpoints."""

    def __init__(self, context: StageContext, **options: Any) -> None:
        self.context = context
        super().__init__(**options)

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Nothing in advance: `sft_dataset` tokenises a text row when it is asked for."""
        return dataset

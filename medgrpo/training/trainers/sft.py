"""Supervised fine-tuning on TRL's SFTTrainer: only the completion is learned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl import SFTTrainer

from medgrpo.training.before.datasets import RowSource, sft_dataset
from medgrpo.training.methods import StageMethod
from medgrpo.training.run.context import StageContext
from medgrpo.training.trainers.arguments import sft_arguments
from medgrpo.training.trainers.base import RunTrainer
from medgrpo.training.trainers.free_reasoning import FreeReasoning

if TYPE_CHECKING:
    from medgrpo.config.plan import StagePlan
    from medgrpo.config.sections import RunConfig
    from medgrpo.training.before.preflight import Preflight
    from medgrpo.training.trainers.policy import Policy


class Sft(StageMethod):
    """Learning what the rows answer."""

    reasoning_is_free = False

    def trainer_class(self) -> type[SupervisedTrainer]:
        """TRL's, with ours before it."""
        return SupervisedTrainer

    def arguments(self, config: RunConfig, plan: StagePlan, output: Path) -> Any:
        """`SFTConfig`."""
        return sft_arguments(config, plan, output)

    def examples(self, source: RowSource, tokenizer: Any) -> Any:
        """See `sft_dataset`."""
        return sft_dataset(source, tokenizer, reasoning_is_free=self.reasoning_is_free)

    def trainer(self, context: StageContext, policy: Policy, source: RowSource, checks: Preflight) -> Any:
        """With the thinking of the targets left out of the loss where the configuration says so."""
        self.reasoning_is_free = context.config.data.reasoning == "free"
        return super().trainer(context, policy, source, checks)


class SupervisedTrainer(RunTrainer, SFTTrainer):
    """TRL's SFT trainer with our data order, log and checkpoints."""

    def __init__(self, context: StageContext, **options: Any) -> None:
        self.context = context
        super().__init__(**options)
        if context.config.data.reasoning == "free":
            processor: Any = self.processing_class
            tokenizer = getattr(processor, "tokenizer", processor)
            collate: Any = vars(self)["data_collator"]  # set by TRL
            self.data_collator: Any = FreeReasoning(collate, tokenizer.decode)

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Nothing in advance: `sft_dataset` tokenises a text row when it is asked for."""
        return dataset

"""How a stage is trained by its method: what differs between methods, in one class each."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.methods import METHODS, Method

if TYPE_CHECKING:
    from medgrpo.config.plan import StagePlan
    from medgrpo.config.sections import RunConfig
    from medgrpo.models.weights import Weights
    from medgrpo.training.before.datasets import RowSource
    from medgrpo.training.before.preflight import Preflight
    from medgrpo.training.run.context import StageContext
    from medgrpo.training.run.state import Run
    from medgrpo.training.run.validation import Validator
    from medgrpo.training.trainers.policy import Policy
    from medgrpo.training.watch.reporter import Reporter


class StageMethod:
    """What a stage asks of its method, as the methods of language models answer; another kind of model overrides more.

    Args:
        facts: the method's entry in `medgrpo.methods.METHODS`.
    """

    def __init__(self, facts: Method) -> None:
        self.facts = facts

    # ------------------------------------------------------------------------- each method its own

    def trainer_class(self) -> type[Any]:
        """The trainer: a `RunTrainer` before one of TRL's."""
        raise NotImplementedError

    def arguments(self, config: RunConfig, plan: StagePlan, output: Path) -> Any:
        """The trainer's arguments, as TRL takes them.

        Args:
            output: folder of the checkpoints.
        """
        raise NotImplementedError

    def examples(self, source: RowSource, tokenizer: Any) -> Any:
        """The trainer's dataset: rows built when they are asked for."""
        raise NotImplementedError

    def further_options(self, checks: Preflight) -> dict[str, Any]:
        """What the trainer is given besides model, processor, adapter, arguments and data."""
        return {}

    # ---------------------------------------------------------------------- shared by language models

    def load_policy(self, weights: Weights, settings: RunConfig) -> Policy:
        """The model that learns."""
        from medgrpo.training.trainers.policy import load_policy

        return load_policy(weights, settings)

    def fitting_rows(
        self, source: RowSource, policy: Policy, settings: RunConfig, reporter: Reporter
    ) -> tuple[RowSource, int]:
        """The rows that can be learned from, those left out counted and said, and the number of the largest."""
        from medgrpo.training.before.stage_rows import rows_that_fit

        return rows_that_fit(self.facts, source, policy, settings, reporter)

    def fitting_plan(
        self, plan: StagePlan, settings: RunConfig, policy: Policy, source: RowSource, longest: int
    ) -> StagePlan:
        """The plan, its passes cut as this method and model take them.

        Args:
            longest: number of the largest row.
        """
        return plan

    def validator(self, run: Run, settings: RunConfig, policy: Policy) -> Validator | None:
        """What measures the stage on held-out rows; None where nothing is to be measured."""
        from medgrpo.training.run.before_after import stage_validator

        return stage_validator(run, settings, policy)

    def trainer(self, context: StageContext, policy: Policy, source: RowSource, checks: Preflight) -> Any:
        """The trainer of a stage, without callbacks."""
        trainer = self.trainer_class()(
            context=context,
            model=policy.model,
            processing_class=policy.processor,
            peft_config=policy.peft_config,
            args=self.arguments(context.config, context.plan, context.stage.checkpoints),
            train_dataset=self.examples(source, policy.tokenizer),
            **self.further_options(checks),
        )
        if source.is_vision:
            trainer.picture_files = source.picture_files
        if self.facts.samples_texts:
            from medgrpo.training.before.datasets import tokens_of_rows

            trainer.tokens_of_rows = partial(tokens_of_rows, source, policy.processor)
        return trainer


def stage_method(name: str) -> StageMethod:
    """What trains a stage of this method; its module, and with it torch, is imported here."""
    facts = METHODS[name]
    module, _, kind = facts.stage.partition(":")
    method: StageMethod = getattr(import_module(module), kind)(facts)
    return method

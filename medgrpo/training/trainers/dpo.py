"""Preference training on TRL's DPOTrainer, on the pairs that `make-dpo` writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl import DPOTrainer

from medgrpo.engine.inner import inner_of, nothing_dropped
from medgrpo.training.before.datasets import RowSource, dpo_dataset
from medgrpo.training.methods import StageMethod
from medgrpo.training.run.context import StageContext
from medgrpo.training.trainers.arguments import dpo_arguments
from medgrpo.training.trainers.base import RunTrainer
from medgrpo.training.trainers.engine import Engine
from medgrpo.training.trainers.pairs import (
    answered,
    difference_from_stock,
    first_of_each_kind,
    pair_batch,
)
from medgrpo.training.trainers.shared_prompts import SharedPrompts

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
    """TRL's DPO trainer with our data order, log and checkpoints, and each prompt and its pictures once for both answers.

    Overridden besides: `_prepare_inputs` (examples become a batch there) and `_compute_loss` (TRL's own, which calls
    `SharedPrompts` for the model and is handed the reference's log probabilities).
    """

    def __init__(self, context: StageContext, **options: Any) -> None:
        self.context = context
        super().__init__(**options)
        self.engine = Engine(self, context)
        self._collate: Any = vars(self)["data_collator"]  # set by TRL
        if self.engine.is_on:
            self.data_collator: Any = list

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Nothing in advance: `dpo_dataset` tokenises a text row when it is asked for."""
        return dataset

    def _prepare_inputs(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        if not isinstance(examples, list):
            batch: dict[str, Any] = super()._prepare_inputs(examples)
            return batch
        self.engine.comes(bool(one.get("images")) for one in examples)
        if self.engine.asks:
            self._compare(examples)
        if not self.engine.is_on:
            return self._stock_batch(examples)
        made = self._pair_batch(examples)
        with self.context.clock.phase("vision"):
            self.engine.keep_features(self, made["shown"])
        return made

    def _stock_batch(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        with self.context.clock.phase("prepare"):  # the collator writes into the examples
            collated = self._collate([dict(one) for one in examples])
        batch: dict[str, Any] = super()._prepare_inputs(collated)
        return batch

    def _pair_batch(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        with self.context.clock.phase("prepare"):
            inner = inner_of(self.model)
            pairs = [answered(one, self.processing_class, inner) for one in examples]
            batch = pair_batch(pairs, filling=self._tokenizer.pad_token_id)
        device = self.accelerator.device
        return {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}

    def _compare(self, examples: list[dict[str, Any]]) -> None:
        """Both ways on the first examples; back to TRL's where they differ."""
        import torch
        from trl.models.utils import disable_gradient_checkpointing

        few = first_of_each_kind(examples)
        again = disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs)
        with torch.no_grad(), again, nothing_dropped(self.model):
            self.engine.judge(
                self,
                lambda: difference_from_stock(
                    self.model_wrapped,
                    self._pair_batch(few),
                    self._stock_batch(few),
                    self.accelerator.autocast,
                ),
                {bool(one.get("images")) for one in few},
            )

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        if "shown" not in inputs:
            return super()._compute_loss(model, inputs, return_outputs)
        autocast = self.accelerator.autocast
        reference = self.model if self.ref_model is None else self.ref_model
        with self.context.clock.phase("logprobs"):
            chosen, rejected = self.compute_ref_log_probs(SharedPrompts(reference, autocast), inputs)
        inputs = {**inputs, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
        self.precompute_ref_logps = True  # the reference is in the batch
        try:
            return super()._compute_loss(SharedPrompts(model, autocast), inputs, return_outputs)
        finally:
            self.precompute_ref_logps = False  # as `dpo_arguments` leaves it

"""Supervised fine-tuning on TRL's SFTTrainer: only the completion is learned."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl import SFTTrainer

from medgrpo.engine.inner import inner_of, nothing_dropped, picture_ids, text_config_of
from medgrpo.engine.support import attends_by_kernel
from medgrpo.training.before.datasets import RowSource, prompt_lengths, sft_dataset
from medgrpo.training.methods import StageMethod
from medgrpo.training.run.context import StageContext, gathered
from medgrpo.training.trainers.arguments import sft_arguments
from medgrpo.training.trainers.base import RunTrainer
from medgrpo.training.trainers.engine import UNSHARED_ROWS, Engine, Ways
from medgrpo.training.trainers.free_reasoning import FreeReasoning
from medgrpo.training.trainers.passes import whole_share
from medgrpo.training.trainers.same_picture import Taught, apart, batch_of, cut, taught, together
from medgrpo.training.trainers.sampler import EpochOrder, brought_together, side_by_side
from medgrpo.training.trainers.shared_prompts import NO_LABEL, SharedPrompts

if TYPE_CHECKING:
    import torch

    from medgrpo.config.plan import StagePlan
    from medgrpo.config.sections import RunConfig
    from medgrpo.training.before.preflight import Preflight
    from medgrpo.training.trainers.policy import Policy

WAYS = Ways("rows about one picture read it once", "every row with its own picture")
FIGURES = ("entropy", "mean_token_accuracy")
"""TRL's log keys that are means over the learned tokens of a pass."""


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

    def fitting_plan(
        self, plan: StagePlan, settings: RunConfig, policy: Policy, source: RowSource, longest: int
    ) -> StagePlan:
        """A process's share in one batch, which the trainer cuts by tokens."""
        if not source.is_vision:
            return plan
        longest_row = source.with_rows([source.rows[longest]])
        (tokens,) = prompt_lengths(longest_row, policy.processor, method=self.facts.name)
        return whole_share(plan, settings, policy.model, tokens)

    def trainer(self, context: StageContext, policy: Policy, source: RowSource, checks: Preflight) -> Any:
        """With the thinking of the targets left out of the loss where the configuration says so."""
        self.reasoning_is_free = context.config.data.reasoning == "free"
        return super().trainer(context, policy, source, checks)


@dataclass(frozen=True)
class Rows:
    """A batch on its way to the step; no tensor, mapping or list, so that nobody moves or copies it."""

    examples: Sequence[dict[str, Any]]
    taught: Sequence[Taught] | None
    """The examples through the processor; None where that is left to TRL's collator."""
    error: Exception | None = None
    """Why that failed."""


class SupervisedTrainer(RunTrainer, SFTTrainer):
    """TRL's SFT trainer with our data order, log and checkpoints, and each picture once for the rows about it.

    Overridden besides: `training_step`, which is handed rows and takes TRL's own step with each part of them. The loss is TRL's
    (`compute_loss`), which calls a `SharedPrompts` for the model; it divides by the learned tokens of the
    whole step, so that how the step is cut makes no difference.
    """

    def __init__(self, context: StageContext, **options: Any) -> None:
        self.context = context
        super().__init__(**options)
        # TRL's loss divides by the learned tokens of the whole step. Models whose own loss cannot (Qwen2-VL and its kin say so)
        # would have it take the mean of each pass instead, and of each process: a token of a short one counted for more.
        self.model_accepts_loss_kwargs = True
        processor: Any = self.processing_class
        tokenizer = getattr(processor, "tokenizer", processor)
        collate: Any = vars(self)["data_collator"]  # set by TRL
        self._free: FreeReasoning | None = None
        if context.config.data.reasoning == "free":
            self._free = collate = FreeReasoning(collate, tokenizer.decode)
        self._collate = self.data_collator = collate
        self.engine: Engine | None = None
        self._saw_apart = False
        if self._is_vision_dataset:  # rows of texts have nothing in common
            self.engine = Engine(self, context, WAYS)
            if self.engine.is_on:
                self.data_collator = self._rows

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Nothing in advance: `sft_dataset` tokenises a text row when it is asked for."""
        return dataset

    # -------------------------------------------------------------------------------- data order

    def data_order(self, rows: int) -> EpochOrder:
        """Rows about one picture side by side, and brought together where `data.rows_of_a_picture` says so."""
        order = super().data_order(rows)
        if self.picture_files is None:
            return order
        most, size = self.context.config.data.rows_of_a_picture, int(self.args.per_device_train_batch_size)
        order.arrange = lambda chunk: side_by_side(chunk, self._pictures_of(chunk), size=size)
        if most > 1 and self.context.curriculum is not None:
            self.context.reporter.warn(
                f"data.rows_of_a_picture = {most} has no effect under a curriculum, which orders the rows"
            )
        elif most > 1:
            pictures = self._pictures_of(range(rows))
            seed = order.seed if order.shuffle else None
            order.gather = lambda drawn, epoch: brought_together(
                drawn, pictures, most=most, chunk=order.chunk, seed=seed, epoch=epoch
            )
        return order

    def _pictures_of(self, rows: Sequence[int]) -> dict[int, Any]:
        """By row: a number for each set of picture files; None where there are none."""
        assert self.picture_files is not None
        numbers: dict[tuple[str, ...], int] = {}
        found: dict[int, Any] = {}
        for row in rows:
            files = tuple(self.picture_files(row))
            found[row] = numbers.setdefault(files, len(numbers)) if files else None
        return found

    # ------------------------------------------------------------------------------------- batch

    def _rows(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """The collator: rows through the processor, and their labels, which Transformers counts."""
        assert self.engine is not None
        if self.engine.is_on:
            try:
                rows = self._taught(examples)
            except Exception as error:
                if self.engine.is_trusted:
                    raise
                return {"labels": self._stock_labels(examples), "rows": Rows(examples, None, error)}
            return {"labels": _padded([row.labels for row in rows]), "rows": Rows(examples, rows)}
        return {"labels": self._stock_labels(examples), "rows": Rows(examples, None)}

    def _taught(self, examples: Sequence[dict[str, Any]]) -> list[Taught]:
        forget = None if self._free is None else self._free.forget
        return taught(examples, self.processing_class, inner_of(self.model), forget)

    def _stock_labels(self, examples: Sequence[dict[str, Any]]) -> torch.Tensor:
        return _padded([row for part in self._stock_parts(examples) for row in part["labels"].tolist()])

    def _stock_parts(self, examples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """TRL's batches of the rows; as many rows at once as are safe where the batch was to be cut by tokens."""
        size = len(examples) if self.context.plan.tokens_per_pass is None else UNSHARED_ROWS
        return [  # the collator writes into the examples
            self._collate([dict(one) for one in examples[start : start + size]])
            for start in range(0, len(examples), size)
        ]

    def _parts(self, rows: Rows) -> list[dict[str, Any]]:
        """What the passes of this batch learn from."""
        engine = self.engine
        assert engine is not None
        engine.comes(bool(one.get("images")) for one in rows.examples)
        if engine.asks:
            self._compare(rows)
        if not engine.is_on:
            with self.context.clock.phase("prepare"):
                return self._stock_parts(rows.examples)
        if rows.taught is None:
            raise rows.error or RuntimeError("rows were not made ready")
        groups = together(rows.taught, picture_ids(self.model), shares=not self.context.is_probing)
        self._say_what_is_apart(apart(rows.taught, groups), len(rows.taught))
        with self.context.clock.phase("vision"):
            engine.keep_features(self, [group.shown for group in groups])
        dense = None if attends_by_kernel(self.model) else int(text_config_of(self.model).hidden_size)
        divide = partial(cut, groups, self.context.plan.tokens_per_pass, dense=dense)
        # Each pass is a meeting of all processes: as many for each.
        parts = divide(at_least=max(gathered(len(divide()))))
        return [batch_of(rows.taught, part, filling=self._tokenizer.pad_token_id) for part in parts]

    def _say_what_is_apart(self, count: int, rows: int) -> None:
        if count and not self._saw_apart and not self.context.is_probing:
            self._saw_apart = True
            self.context.reporter.warn(
                f"engine: {count} of {rows} rows of a step show a picture that other rows show after another beginning (a chat "
                "template that puts the question first, or another language): the language model reads it again for them"
            )

    def _compare(self, rows: Rows) -> None:
        """Both ways on the first rows; back to TRL's where they differ."""
        import torch
        from trl.models.utils import disable_gradient_checkpointing

        assert self.engine is not None
        few = _first_of_each_kind(rows)
        again = disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs)
        with torch.no_grad(), again, nothing_dropped(self.model):
            kinds = {bool(one.get("images")) for one in few}
            self.engine.judge(self, lambda: self._difference(rows, few), kinds)

    def _difference(self, rows: Rows, few: Sequence[dict[str, Any]]) -> torch.Tensor:
        if rows.error is not None:
            raise rows.error
        read = self._taught(few)
        groups = together(read, picture_ids(self.model))
        order = [number for group in groups for number in group.rows]
        ours = batch_of(read, groups, filling=self._tokenizer.pad_token_id)
        stock = self._collate([dict(few[number]) for number in order])
        return difference_from_stock(
            self.model_wrapped,
            self._prepare_inputs(ours),
            self._prepare_inputs(dict(stock)),
            self.accelerator.autocast,
        )

    # -------------------------------------------------------------------------------------- step

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """TRL's step; rows in parts, whose losses add up to that of the whole."""
        if "rows" not in inputs:
            loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
            return loss
        parts = self._parts(inputs["rows"])
        counts = [int((part["labels"][:, 1:] != NO_LABEL).sum()) for part in parts]
        if num_items_in_batch is None and len(parts) > 1:
            processes = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
            num_items_in_batch = max(1, sum(counts)) * processes
        losses = []
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            with nullcontext() if is_last else self.accelerator.no_sync(model):
                losses.append(super().training_step(model, dict(part), num_items_in_batch))
        self._weigh_figures(counts)
        total: torch.Tensor = sum(losses[1:], losses[0])
        return total

    def _weigh_figures(self, counts: Sequence[int]) -> None:
        """One entry for the batch in TRL's means over passes, each part by its tokens: a part has few or many."""
        for name in FIGURES:
            entries = self._metrics["train"][name]
            if len(counts) > 1 and len(entries) >= len(counts):
                weighed = sum(a * b for a, b in zip(entries[-len(counts) :], counts, strict=True))
                entries[-len(counts) :] = [weighed / max(1, sum(counts))]

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if "shown" not in inputs:
            batch: dict[str, Any] = super()._prepare_inputs(inputs)
            return batch
        device = (
            self.accelerator.device
        )  # what rows have in common is known by being the same object: no copies
        return {name: value.to(device) if hasattr(value, "to") else value for name, value in inputs.items()}

    def compute_loss(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        """TRL's, with the rows about one picture as a group."""
        called = SharedPrompts(model, self.accelerator.autocast) if "shown" in inputs else model
        return super().compute_loss(called, inputs, *rest, **options)


def _padded(labels: Sequence[Sequence[int]]) -> torch.Tensor:
    """int64, (rows, columns): labels padded on the right."""
    import torch

    width = max(len(one) for one in labels)
    return torch.tensor([[*one, *[NO_LABEL] * (width - len(one))] for one in labels])


def _first_of_each_kind(rows: Rows) -> list[dict[str, Any]]:
    """The first example with pictures, another of the same where there is one, and the first without."""
    seen = [tuple(id(image) for image in one.get("images") or []) for one in rows.examples]
    if rows.taught is not None:
        seen = [row.pictures for row in rows.taught]  # type: ignore[misc]
    pictured = next((number for number, pictures in enumerate(seen) if pictures), None)
    same = [
        number for number, pictures in enumerate(seen) if pictured is not None and pictures == seen[pictured]
    ]
    texts = [number for number, pictures in enumerate(seen) if not pictures]
    return [rows.examples[number] for number in [*same[:2], *texts[:1]]]


def difference_from_stock(
    model: Any, ours: dict[str, Any], stock: dict[str, Any], autocast: Any
) -> torch.Tensor:
    """(tokens,): |Δ log probability| of the learned tokens between both ways; infinite where the tokens differ.

    Args:
        ours: see `batch_of`.
        stock: of the same rows in the same order, as TRL's collator made it; both on the model's device.
    """
    import torch

    for name in ("input_ids", "labels"):
        mine, theirs = (batch[name][batch["attention_mask"].bool()] for batch in (ours, stock))
        if mine.shape != theirs.shape or not torch.equal(mine, theirs):
            return torch.full((1,), torch.inf, device=ours["input_ids"].device)
    with autocast():
        theirs = model(**stock, fused_lm_head=True, use_cache=False).log_probs
    found = SharedPrompts(model, autocast)(**ours).log_probs
    counted, expected = (batch["labels"][:, 1:] != NO_LABEL for batch in (ours, stock))
    difference: torch.Tensor = (found[counted].float() - theirs[expected].float()).abs()
    return difference

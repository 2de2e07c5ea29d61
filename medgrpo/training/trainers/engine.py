"""The engine of every method's log probabilities: prompts and pictures once for a group, checked against TRL's own way.

`engine.shared_prompt`: on takes it as it is; auto compares both ways on the first rows and goes back to TRL's,
loudly, where they differ; off is TRL's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from medgrpo.engine.adapters import fuse
from medgrpo.engine.features import is_frozen, keep_features
from medgrpo.engine.inner import inner_of, nothing_dropped
from medgrpo.engine.kept import KeptFeatures
from medgrpo.engine.packed import packed_scores
from medgrpo.engine.shown import Shown
from medgrpo.engine.support import attends_by_kernel, use_kernel, why_not
from medgrpo.training.run.context import gathered
from medgrpo.training.trainers.logprobs import LogProbs, Sequences, trl_logprobs
from medgrpo.training.trainers.sharding import is_whole
from medgrpo.training.watch.oom import is_out_of_memory

if TYPE_CHECKING:
    import torch
    from trl import DPOTrainer, GRPOTrainer, SFTTrainer

    from medgrpo.training.run.context import StageContext

Found = TypeVar("Found")

LARGEST_DIFFERENCE = 1e-3
"""Between both ways in float32: most |Δ log probability| of a token."""
MEAN_DIFFERENCE = 0.05
"""In bfloat16 and float16: mean |Δ log probability|. vLLM and a trainer differ by about 0.03."""
UNSHARED_ROWS = 8
"""Most rows of a forward pass after going back to TRL's way."""
ROWS_COMPARED = 2
"""Of one group with pictures and one without."""


@dataclass(frozen=True)
class Ways:
    """What is computed how often, in words: the engine's way and TRL's."""

    ours: str = "each prompt and its pictures once for its completions"
    stock: str = "every completion with its own prompt and pictures"


class Engine:
    """Which way log probabilities are computed in this run, and why.

    Args:
        trainer: built, its model wrapped by nothing yet.
        words: the two ways.
    """

    def __init__(
        self,
        trainer: GRPOTrainer | DPOTrainer | SFTTrainer,
        context: StageContext,
        words: Ways = Ways(),
    ) -> None:
        self._words = words
        self._context = context
        self._wanted = context.config.engine.shared_prompt
        reason = "engine.shared_prompt = off" if self._wanted == "off" else why_not(trainer.model)
        if reason is None and trainer.aux_loss_enabled:
            reason = "the load balancing loss counts rows"
        self.is_on = reason is None
        by_kernel = False
        if self.is_on:
            device = trainer.accelerator.device
            is_half = trainer.args.bf16 or trainer.args.fp16
            by_kernel = use_kernel(trainer.model, device, is_half=is_half)
            reference = getattr(trainer, "ref_model", None)
            if reference is not None:
                use_kernel(reference, device, is_half=is_half)
        if context.config.engine.fused_adapters and trainer.accelerator.device.type == "cuda":
            fused = fuse(trainer.model) if is_whole(trainer) else 0
            if fused:
                context.reporter.note(f"engine: {fused} adapters are added inside their matrix product")
        self._unchecked: set[bool] = set() if self._wanted == "on" else {True, False}
        self._is_due = self._fell_back = False
        self._keeps_features: bool | None = None
        self._kept: KeptFeatures | None = None
        self._counted, self._seen = (-1, 0, 0), (0, 0)
        self._facts: dict[str, Any] = {"shared_prompt": self.is_on, "reason": reason}
        if reason is None:
            how = "torch's kernel over segments" if by_kernel else "a dense mask"
            self._facts["attention"] = how
            context.reporter.note(f"engine: {words.ours}, by {how}")
        else:
            context.reporter.note(f"engine: {words.stock}: {reason}")
        self._record()

    def keep_features(self, trainer: GRPOTrainer | DPOTrainer | SFTTrainer, shown: list[Shown]) -> None:
        """Look at each picture once for the whole step, where the vision tower learns nothing and is whole here."""
        inner = inner_of(trainer.model)
        if self._keeps_features is None:
            can_look = is_whole(trainer) and hasattr(inner, "get_image_features")
            self._keeps_features = can_look and is_frozen(inner)
            self._kept = self._kept_features()
        if self._keeps_features and self.is_on:
            kept = None if self._context.is_probing else self._kept
            keep_features(inner, shown, trainer.accelerator.device, trainer.accelerator.autocast, kept)
            if kept is not None:
                self._count(kept, trainer.state.global_step)

    def _kept_features(self) -> KeptFeatures | None:
        """What is kept from step to step; None, said, where nothing could be found again."""
        limit = self._context.config.engine.features_gib
        if not limit:
            return None
        reason = None
        if not self._keeps_features:
            reason = "the vision tower learns, or is shared out"
        elif self._context.variation is not None:
            reason = "data.augment shows other pixels in each epoch"
        if reason is None:
            return KeptFeatures(int(limit * 2**30))
        self._context.reporter.warn(f"engine.features_gib = {limit:g} has no effect: {reason}")
        return None

    def _count(self, kept: KeptFeatures, step: int) -> None:
        """Hits and misses of the step under way, and what is held, into its log line."""
        if self._counted[0] != step:
            self._counted = (step, *self._seen)
        _, hits, misses = self._counted
        self._seen = (kept.hits, kept.misses)
        self._context.add_pending(
            {
                "vision/kept_hits": kept.hits - hits,
                "vision/kept_misses": kept.misses - misses,
                "vision/kept_gib": kept.bytes / 2**30,
            }
        )

    def packed(
        self,
        trainer: GRPOTrainer,
        model: torch.nn.Module,
        sequences: Sequences,
        rows_at_once: int | None,
        *,
        with_entropies: bool,
    ) -> LogProbs:
        """Each prompt and its pictures once for its rows."""
        import torch

        count = len(sequences.input_ids)
        parts = [
            packed_scores(
                model,
                part.input_ids,
                part.attention_mask,
                part.completion_length,
                part.shown,
                trainer.accelerator.autocast,
                by_kernel=attends_by_kernel(model),
            )
            for start in range(0, count, rows_at_once or count)
            for part in [sequences.rows(range(start, min(count, start + (rows_at_once or count))))]
        ]
        entropies = [part.entropies for part in parts if part.entropies is not None]
        return LogProbs(
            torch.cat([part.logprobs for part in parts]),
            torch.cat(entropies) if with_entropies and entropies else None,
            None,
        )

    def comes(self, shown: Iterable[bool]) -> None:
        """Told of each batch: both ways are compared on the first that has rows with pictures, and the first that has rows
        without. All processes compare together, since a model that is spread over them is called by all.

        Args:
            shown: of each row, whether it has a picture.
        """
        if self.is_on and self._unchecked:
            self._is_due = any(gathered(bool(self._unchecked & set(shown))))

    @property
    def is_trusted(self) -> bool:
        """Whether it has been compared, or is not to be: what fails now would fail again."""
        return not self._unchecked

    @property
    def asks(self) -> bool:
        """Whether both ways are to be compared on this batch."""
        return self.is_on and self._is_due

    def tried(self, sampled: Callable[[], list[list[int]]]) -> list[list[int]] | None:
        """What this samples; None where it fails with a model that nothing has been compared of: TRL's way is taken then."""
        if not self.is_on or len(self._unchecked) < 2:
            return sampled()
        return self._together(sampled)

    @property
    def rows_of_stock(self) -> int | None:
        """Most rows of a pass of TRL's; None: all. One that was cut for shared prompts holds more than TRL's should."""
        return UNSHARED_ROWS if self._fell_back else None

    def check_once(self, trainer: GRPOTrainer, model: torch.nn.Module, sequences: Sequences) -> None:
        """Both ways on a few rows, and what follows from it."""
        import torch
        from trl.models.utils import disable_gradient_checkpointing

        if not self.asks:
            return
        few = sequences.rows(_few_rows(sequences))
        counted = few.attention_mask[:, -few.completion_length :].bool()
        kinds = {bool(one["pictures"]) for one, row in zip(few.shown, counted.any(1), strict=True) if row}

        def compared() -> torch.Tensor:
            ours = self.packed(trainer, model, few, None, with_entropies=False).logprobs
            stock = trl_logprobs(
                trainer, model, few, rows_at_once=None, with_entropies=False, with_aux_loss=False
            ).logprobs
            return (ours.float() - stock.float()).abs()[counted]

        # Recomputation under no_grad warns of inputs without gradients.
        again = disable_gradient_checkpointing(trainer.model, trainer.args.gradient_checkpointing_kwargs)
        with torch.no_grad(), again, nothing_dropped(model):
            self.judge(trainer, compared, kinds)

    def judge(self, trainer: Any, compared: Callable[[], torch.Tensor], kinds: set[bool]) -> None:
        """Stay, or go back to TRL's way on every process where both differ on any.

        Args:
            compared: gives (tokens,), |Δ log probability| of what this process compares; empty: nothing to compare.
            kinds: whether these rows have pictures, and whether some have none.
        """
        import torch

        difference = self._together(compared)
        if difference is None:
            return
        is_half = next(trainer.model.parameters()).dtype != torch.float32 or trainer.args.bf16
        seen = trainer.accelerator.gather(torch.tensor([len(difference)], device=difference.device)).sum()
        if not int(seen):  # every completion is left out: the next batch tells
            return
        self._unchecked -= set().union(*gathered(kinds))
        self._is_due = False
        if not len(difference):
            difference = difference.new_zeros(1)
        found = torch.nan_to_num(difference.mean() if is_half else difference.max(), nan=torch.inf)
        worst = float(trainer.accelerator.gather(found.reshape(1)).max())
        limit, what = (MEAN_DIFFERENCE, "mean") if is_half else (LARGEST_DIFFERENCE, "largest")
        most = max(worst, self._facts.get("difference", 0.0))
        self._facts |= {"difference": most, "limit": limit, "measure": what}
        if worst > limit:
            self._go_back(
                f"gave other log probabilities than TRL ({what} difference {worst:.2g} a token, allowed {limit:g})"
            )
            return
        shown = " and ".join(
            name for has, name in ((True, "with pictures"), (False, "without")) if has in kinds
        )
        self._context.reporter.note(
            f"engine: log probabilities as TRL's, rows {shown} ({what} difference {worst:.1e} a token, allowed {limit:g})"
        )
        self._record()

    def _together(self, attempt: Callable[[], Found]) -> Found | None:
        """What this gives; None, and TRL's way from now on, where it fails on any process."""
        found, said = None, None
        try:
            found = attempt()
        except Exception as error:
            if is_out_of_memory(error):
                raise
            said = _said(error)
        said = next(filter(None, gathered(said)), None)
        if said is None:
            return found
        self._go_back(said)
        return None

    def _go_back(self, what: str) -> None:
        """To TRL's way, on every process."""
        self.is_on, self._is_due, self._fell_back = False, False, True
        self._facts |= {"shared_prompt": False, "reason": f"a shared prompt {what}"}
        self._context.reporter.warn(f"engine: a shared prompt {what}: from now on {self._words.stock}")
        self._record()

    def _record(self) -> None:
        """Which way it goes and why, into `training_info.json`."""
        if self._context.is_main_process:
            self._context.writer.update_info(engine=self._facts)


def shared_logprobs(
    trainer: Any,
    model: torch.nn.Module,
    sequences: Sequences,
    *,
    rows_at_once: int | None,
    with_entropies: bool,
    with_aux_loss: bool,
) -> LogProbs:
    """A `LogProbFunction`: by the trainer's engine, or as TRL where that is off or counts rows."""
    engine: Engine = trainer.engine
    engine.check_once(trainer, model, sequences)
    if engine.is_on and not with_aux_loss:
        return engine.packed(trainer, model, sequences, rows_at_once, with_entropies=with_entropies)
    return trl_logprobs(
        trainer,
        model,
        sequences,
        rows_at_once=rows_at_once or engine.rows_of_stock,
        with_entropies=with_entropies,
        with_aux_loss=with_aux_loss,
    )


def _said(error: Exception) -> str:
    return f"fails with this model ({type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]})"


def _few_rows(sequences: Sequences) -> list[int]:
    """Rows of a group with pictures and of one without, as far as there are; those with tokens to score first."""
    lengths = sequences.attention_mask[:, -sequences.completion_length :].sum(1).tolist()
    chosen: list[int] = []
    for has_picture in (True, False):
        rows = [row for row, one in enumerate(sequences.shown) if bool(one["pictures"]) == has_picture]
        rows.sort(key=lambda row: lengths[row] == 0)
        chosen += [row for row in rows if sequences.groups[row] == sequences.groups[rows[0]]][:ROWS_COMPARED]
    return sorted(chosen)

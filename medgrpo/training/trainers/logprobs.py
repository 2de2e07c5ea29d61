"""Log probabilities of completions: the one function through which GRPO gets them, and TRL's way to compute them.

Old, reference and current log probabilities all come from `PolicyTrainer.logprobs`, a `LogProbFunction`. The usual
one is `engine.shared_logprobs` (a group's prompt and pictures once), which goes to `trl_logprobs` where it must.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from medgrpo.engine.shown import Shown, picture_inputs

if TYPE_CHECKING:
    import torch
    from trl import GRPOTrainer


@dataclass(frozen=True)
class Sequences:
    """Prompts with their completions as the model reads them: R rows of P prompt and C completion tokens."""

    input_ids: torch.Tensor
    """int64, (R, P + C): prompts padded on the left, completions on the right."""
    attention_mask: torch.Tensor
    """int64, (R, P + C): 1 at tokens; 0 at padding, and over a completion that is not learned from."""
    completion_length: int
    """C, the last columns."""
    shown: Sequence[Shown]
    """Prompt and pictures of each row; rows of one group share the very same entry."""
    groups: Sequence[int]
    """Number of each row's group."""

    @cached_property
    def pictures(self) -> dict[str, Any]:
        """What the model's processor made of the pictures, by the model's names for it, a copy for each row, and
        `num_images` (and `num_tiles`): how many each row has. Empty where no row has any. Most are indexed by picture
        or patch, not by row."""
        prompt_columns = self.input_ids.shape[1] - self.completion_length
        return picture_inputs(self.shown, prompt_columns, self.completion_length, self.input_ids.device)

    def rows(self, places: Sequence[int]) -> Sequences:
        """Some of the rows."""
        taken = list(places)
        return Sequences(
            self.input_ids[taken],
            self.attention_mask[taken],
            self.completion_length,
            [self.shown[place] for place in taken],
            [self.groups[place] for place in taken],
        )


class LogProbs(NamedTuple):
    """What is known of the completion tokens; R rows, C tokens each, finite also where `attention_mask` is 0."""

    logprobs: torch.Tensor
    """(R, C): of each token given those before it, logits divided by the sampling temperature."""
    entropies: torch.Tensor | None
    """(R, C), nats, of the same distributions; None where not asked for."""
    aux_loss: torch.Tensor | None
    """Scalar, the load balancing loss of a mixture of experts; None where not asked for."""


class LogProbFunction(Protocol):
    """A way to compute log probabilities.

    Gradients flow into the weights where torch records them; for old and reference log probabilities it does not.
    The rows come in any order, and a group's rows may be spread over several calls (see `batches.py`).
    """

    def __call__(
        self,
        trainer: GRPOTrainer,
        model: torch.nn.Module,
        sequences: Sequences,
        *,
        rows_at_once: int | None,
        with_entropies: bool,
        with_aux_loss: bool,
    ) -> LogProbs:
        """Log probabilities of the completions under the model.

        Args:
            trainer: for its temperature, autocast and processes.
            model: the policy or the reference, as it is to be called (wrapped where several processes train).
            sequences: what to judge.
            rows_at_once: most rows in one forward pass, to bound memory; None: all.
            with_entropies: whether entropies are wanted.
            with_aux_loss: whether the load balancing loss is wanted.
        """
        ...


def trl_logprobs(
    trainer: GRPOTrainer,
    model: torch.nn.Module,
    sequences: Sequences,
    *,
    rows_at_once: int | None,
    with_entropies: bool,
    with_aux_loss: bool,
) -> LogProbs:
    """As TRL computes them: every row with its whole prompt and its own copy of the picture."""
    from trl import GRPOTrainer

    return LogProbs(
        *GRPOTrainer._get_per_token_logps_and_entropies(
            trainer,
            model,
            sequences.input_ids,
            sequences.attention_mask,
            sequences.completion_length,
            batch_size=rows_at_once,
            compute_entropy=with_entropies,
            compute_aux_loss=with_aux_loss,
            **sequences.pictures,
        )
    )

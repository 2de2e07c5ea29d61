"""Weights that are finite one by one and too large together: the model computes NaN, and NaN is answered with the token 0."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError
from medgrpo.models.adapter_files import largest_of

if TYPE_CHECKING:
    import torch


class LogitsWatch:
    """Looks on while a model generates, and notes which rows got logits that are NaN or infinite.

    It is handed to `generate` as a processor of logits and changes none. It asks the device once, at the end.
    """

    def __init__(self) -> None:
        self._bad: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores as they are; tokens that are ruled out (-inf) beside others are no fault."""
        import torch

        bad = ~torch.isfinite(scores.amax(dim=-1))
        self._bad = bad if self._bad is None else self._bad | bad
        return scores

    @property
    def rows(self) -> int:
        """How many rows had such logits at any step."""
        return 0 if self._bad is None else int(self._bad.sum())


def no_finite_logits(what: str, weights: Iterable[tuple[str, Any]], dtype: str) -> MedgrpoError:
    """Logits that are NaN or infinite, in words.

    Args:
        what: whose logits: "3 of 8 completions".
        weights: name and tensor of all that may be at fault; the three largest are named.
        dtype: in which the model computes, by its name.
    """
    sizes = ((largest_of(one), name) for name, one in weights)
    shown = ", ".join(f"{name} ({size:.3g})" for size, name in nlargest(3, sizes))
    return MedgrpoError(
        f"{what}: the model's logits are NaN or infinite; its largest weights: {shown}",
        expected=f"weights of trained models, seldom above 100, whose products {dtype} can hold",
        hint="take an earlier checkpoint"
        + ("; --dtype float32 or bfloat16 holds larger numbers" if dtype == "float16" else ""),
    )

"""SFT that leaves a model's own thinking alone: what a target says between `<think>` and `</think>` is not learned.

A target that is made of labels has one line there ("CT, axial view."). A model that reasons by itself would learn
to write that line in place of its reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

IGNORED = -100
"""Label of a token that is not learned."""
FREE = "reasoning_is_free"
"""Key of an example whose thinking is not learned; examples written by people are learned word for word."""


class FreeReasoning:
    """A collator after which the thinking of the examples that say so has no loss.

    Args:
        collate: TRL's.
        decode: token ids -> text, special tokens included.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], decode: Callable[[Sequence[int]], str]) -> None:
        self._collate = collate
        self._decode = decode

    def __call__(self, examples: list[Any]) -> Any:
        """The batch."""
        free = [bool(example.pop(FREE, False)) for example in examples]
        batch = self._collate(examples)
        for row, is_free in enumerate(free):
            if is_free:
                self.forget(batch["input_ids"][row], batch["labels"][row])
        return batch

    def forget(self, ids: Any, labels: Any) -> None:
        """Take the loss from what follows `<think>` up to and with `</think>`, in place."""
        places = (labels != IGNORED).nonzero().flatten().tolist()
        learned = [int(ids[place]) for place in places]
        begin = self._tokens_until("<think>", learned)
        end = self._tokens_until("</think>", learned)
        if begin is not None and end is not None:
            labels[places[begin:end]] = IGNORED

    def _tokens_until(self, mark: str, ids: Sequence[int]) -> int | None:
        """How many of the tokens it takes until the text holds the mark; None where it never does."""
        if mark not in self._decode(ids):
            return None
        low, high = 1, len(ids)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if mark in self._decode(ids[:middle]) else (middle + 1, high)
        return low

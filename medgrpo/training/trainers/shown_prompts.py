"""The prompts of a batch as the processor makes them, each once for all its completions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medgrpo.engine.inner import inner_of
from medgrpo.engine.shown import Shown, content_of, shown_of

if TYPE_CHECKING:
    from trl import GRPOTrainer

MANY_CORES = 8
"""From so many on prompts are processed beside each other; a picture takes tens of milliseconds."""


@dataclass(frozen=True)
class Asked:
    """The prompts of a batch: each group's once, and which group each row belongs to."""

    shown: list[Shown]
    images: list[list[Any]]
    """Pictures of each group's prompt."""
    of_row: list[int]

    @property
    def rows(self) -> list[Shown]:
        """The prompt of each row; rows of one group share it."""
        return [self.shown[group] for group in self.of_row]

    @property
    def is_even(self) -> int:
        """Completions of each group where all have equally many and stand beside each other; else 0."""
        each = len(self.of_row) // len(self.shown)
        expected = [group for group in range(len(self.shown)) for _ in range(each)]
        return each if expected == self.of_row else 0


def ask(trainer: GRPOTrainer, examples: Sequence[dict[str, Any]], group_size: int) -> Asked:
    """Process the prompts of a batch, each group's once.

    Args:
        examples: `prompt`, `row` and, for a vision model, `images`; a group's stand beside each other.
        group_size: completions of a prompt. A group may begin on one process and end on the next.
    """
    firsts, of_row = groups_of(examples, group_size, first=trainer.accelerator.process_index * len(examples))
    chosen = [examples[place] for place in firsts]
    if len(chosen) > 1 and (os.cpu_count() or 1) >= MANY_CORES:
        # The first alone: it brings the tokenizer into the state that all of them need.
        with ThreadPoolExecutor(min(len(chosen), MANY_CORES)) as pool:
            shown = [_show(trainer, chosen[0]), *pool.map(lambda one: _show(trainer, one), chosen[1:])]
    else:
        shown = [_show(trainer, one) for one in chosen]
    return Asked(shown, [list(one.get("images") or []) for one in chosen], of_row)


def groups_of(
    examples: Sequence[dict[str, Any]], group_size: int, *, first: int = 0
) -> tuple[list[int], list[int]]:
    """The place of each group's first example, and the group of each.

    Equal prompts are not enough: two rows may ask the same of different pictures. A group is what was drawn
    together, and stands for one prompt and its pictures; what differs in either is another group.

    Args:
        first: number of the first example among those of all processes.
    """
    firsts: list[int] = []
    of_row: list[int] = []
    for place, example in enumerate(examples):
        begins = place == 0 or (first + place) % group_size == 0
        if begins or not _same_prompt(examples[firsts[-1]], example):
            firsts.append(place)
        of_row.append(len(firsts) - 1)
    return firsts, of_row


def _same_prompt(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one["prompt"] != other["prompt"]:
        return False
    mine, theirs = one.get("images") or [], other.get("images") or []
    return len(mine) == len(theirs) and all(
        a is b or (a.size == b.size and a.tobytes() == b.tobytes()) for a, b in zip(mine, theirs, strict=True)
    )


def _show(trainer: GRPOTrainer, example: dict[str, Any]) -> Shown:
    """One prompt through the processor, as TRL 1.16 calls it for a batch."""
    from trl.data_utils import prepare_multimodal_messages

    prompt, images = example["prompt"], list(example.get("images") or [])
    if trainer._is_vlm:
        prompt = prepare_multimodal_messages(prompt, images=images)
    made = trainer.processing_class.apply_chat_template(
        conversation=[prompt],
        tools=None,
        chat_template=trainer.chat_template,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        **trainer.chat_template_kwargs,
    )
    shown = shown_of(inner_of(trainer.model), dict(made), len(images))
    shown["content"] = content_of(images)
    return shown

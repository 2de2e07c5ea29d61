"""Many completions of few prompts as one stream of tokens, in which each prompt stands once.

A group is `[prompt without its last token][last, c1 …][last, c2 …]…`. The prompt's last token stands before each
completion, so that every place has one label: the token that follows it. The last token of a completion is not in
the stream, since nothing is predicted from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

NO_LABEL = -100
"""Label of a place whose prediction is not asked for, as torch and TRL have it."""


@dataclass(frozen=True)
class Segment:
    """Places of the stream that see themselves and the prompt before them: a prompt, or one completion."""

    group: int
    """Number of the group, in the order of the stream."""
    row: int
    """Row of the batch that the tokens are read from."""
    start: int
    """First column in that row."""
    length: int
    is_prompt: bool
    offset: int
    """Place of its first token in the row's own sequence, padding not counted: 0 for a prompt."""


@dataclass(frozen=True)
class Layout:
    """The segments of a batch, groups one after the other, and where their tokens lie in it."""

    segments: tuple[Segment, ...]
    groups: int
    columns: int
    """Of a row of the batch: prompt and completion."""
    prompt_columns: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each group."""
        found = np.zeros(self.groups, dtype=np.int64)
        for segment in self.segments:
            found[segment.group] += segment.length
        return found

    @property
    def tokens(self) -> int:
        """Of the whole stream."""
        return sum(segment.length for segment in self.segments)


@dataclass(frozen=True)
class Places:
    """For each token of the stream, in order: where it comes from and what it belongs to. All (tokens,), int64."""

    source: NDArray[np.int64]
    """Index in the flattened batch."""
    target: NDArray[np.int64]
    """Index in the flattened (rows, completion columns) of the token that it predicts; -1 in prompts."""
    group: NDArray[np.int64]
    segment: NDArray[np.int64]
    """0 in a prompt, then 1, 2 … over all completions."""
    order: NDArray[np.int64]
    """Place in the row's own sequence, padding not counted."""


def lay_out(
    prompt_lengths: Sequence[int],
    completion_lengths: Sequence[int],
    groups: Sequence[int],
    *,
    prompt_columns: int,
    columns: int,
) -> Layout:
    """The segments of a batch whose prompts are padded on the left and completions on the right.

    Args:
        prompt_lengths: tokens of each row's prompt, at least 1.
        completion_lengths: tokens of each row's completion that count; 0 where it is left out.
        groups: number of each row's group, any integers; rows of one group have the same prompt. They keep the
            order in which they first come.
    """
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    segments: list[Segment] = []
    for number, rows in enumerate(members.values()):
        shared = prompt_lengths[rows[0]] - 1
        if shared:
            segments.append(
                Segment(number, rows[0], prompt_columns - shared - 1, shared, is_prompt=True, offset=0)
            )
        segments += [
            Segment(number, row, prompt_columns - 1, completion_lengths[row], is_prompt=False, offset=shared)
            for row in rows
            if completion_lengths[row]
        ]
    return Layout(tuple(segments), len(members), columns, prompt_columns)


def places(layout: Layout) -> Places:
    """Where each token of the stream comes from."""
    completion_columns = layout.columns - layout.prompt_columns
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(5)]
    completions = 0
    for segment in layout.segments:
        steps = np.arange(segment.length, dtype=np.int64)
        completions += not segment.is_prompt
        found = (
            segment.row * layout.columns + segment.start + steps,
            np.full_like(steps, -1) if segment.is_prompt else segment.row * completion_columns + steps,
            np.full_like(steps, segment.group),
            np.full_like(steps, 0 if segment.is_prompt else completions),
            segment.offset + steps,
        )
        for part, values in zip(parts, found, strict=True):
            part.append(values)
    empty = np.zeros(0, dtype=np.int64)
    return Places(*(np.concatenate(part) if part else empty for part in parts))


@dataclass(frozen=True)
class KeyIndex:
    """Which keys each segment of the stream sees, for attention over segments of unequal length."""

    keys: torch.Tensor
    """int64, (gathered keys,): places of the stream, for each segment its prompt and then itself."""
    starts_q: torch.Tensor
    """int32, (segments + 1,): where each segment's queries begin."""
    starts_k: torch.Tensor
    """int32, (segments + 1,): where its keys begin."""
    longest_q: int
    longest_k: int


def key_index(layout: Layout, device: torch.device) -> KeyIndex:
    """Keys by segment: those of its prompt, then its own; causal attention is aligned to the last."""
    import torch

    keys: list[NDArray[np.int64]] = []
    start, prompt = 0, (-1, 0, 0)
    for segment in layout.segments:
        own = np.arange(start, start + segment.length, dtype=np.int64)
        if segment.is_prompt:
            prompt = (segment.group, start, start + segment.length)
        elif prompt[0] == segment.group:
            own = np.concatenate([np.arange(prompt[1], prompt[2], dtype=np.int64), own])
        keys.append(own)
        start += segment.length
    lengths_q = [segment.length for segment in layout.segments]
    lengths_k = [len(own) for own in keys]

    def starts(lengths: list[int]) -> torch.Tensor:
        return torch.tensor(np.concatenate([[0], np.cumsum(lengths)]), dtype=torch.int32, device=device)

    return KeyIndex(
        torch.from_numpy(np.concatenate(keys)).to(device),
        starts(lengths_q),
        starts(lengths_k),
        max(lengths_q),
        max(lengths_k),
    )

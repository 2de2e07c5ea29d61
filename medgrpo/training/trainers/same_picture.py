"""Rows of SFT about one picture as a group of the engine's stream: picture and all that is before the question once.

What a group has in common is the longest beginning of its rows' tokens; what is a row's own, the rest of the question and
the answer, follows it as a completion does in GRPO. Whether two rows show the same picture is asked of the pixels: equal
tokens and equal file names are not enough, different file names not too much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from medgrpo.engine.shown import Shown, beginning, picture_digest, shown_of
from medgrpo.training.trainers.free_reasoning import FREE
from medgrpo.training.trainers.shared_prompts import NO_LABEL, padded_rows, processed

if TYPE_CHECKING:
    import torch

Forget = Callable[["torch.Tensor", "torch.Tensor"], None]
"""Takes labels from a row's tokens, in place: (ids, labels)."""


class Taught(NamedTuple):
    """One row: its prompt, all its tokens, which of them are learned, and what its pictures are known by."""

    shown: Shown
    ids: list[int]
    labels: list[int]
    pictures: tuple[bytes, ...]

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return len(self.shown["prompt_ids"])


@dataclass(frozen=True)
class Together:
    """Rows that begin alike, pictures included."""

    shown: Shown
    """What they have in common."""
    rows: tuple[int, ...]
    """Their numbers in the batch."""
    own: tuple[int, ...]
    """Tokens of each that follow."""

    @property
    def tokens(self) -> int:
        """Of the stream."""
        return len(self.shown["prompt_ids"]) - 1 + sum(self.own)

    def part(self, first: int, last: int) -> Together:
        """Some of the rows, as a group of its own: the stream knows a group by its `shown`."""
        return Together({**self.shown}, self.rows[first:last], self.own[first:last])


# ---------------------------------------------------------------------------------------------------- rows


def taught(
    examples: Sequence[dict[str, Any]], processor: Any, inner: Any, forget: Forget | None = None
) -> list[Taught]:
    """The examples through the processor, each picture once.

    Args:
        examples: `prompt`, `completion` as messages with `images`, or `input_ids` and `labels`.
        inner: the model without its head, for its positions.
        forget: takes labels from the examples that say so (see `FreeReasoning`).
    """
    import torch

    known: dict[int, bytes] = {}
    found = []
    with pictures_once(processor) as shows:
        for example in examples:
            if "input_ids" in example:
                row = _of_tokens(example, inner)
            else:
                pictures = tuple(_content(image, known) for image in example["images"])
                shows(pictures)
                shown, (answer,) = processed(example, ("completion",), processor, inner)
                prompt = shown["prompt_ids"].tolist()
                row = Taught(shown, prompt + answer, [NO_LABEL] * len(prompt) + answer, pictures)
            if forget is not None and example.get(FREE):
                labels = torch.tensor(row.labels)
                forget(torch.tensor(row.ids), labels)
                row = row._replace(labels=labels.tolist())
            found.append(row)
    return found


def _of_tokens(example: dict[str, Any], inner: Any) -> Taught:
    import torch

    ids, labels = list(example["input_ids"]), list(example["labels"])
    first = next((place for place, label in enumerate(labels) if label != NO_LABEL), len(ids) - 1)
    prompt = {"input_ids": torch.tensor([ids[: max(1, first)]])}
    return Taught(shown_of(inner, prompt, 0), ids, labels, ())


def _content(image: Any, known: dict[int, bytes]) -> bytes:
    """What a picture is known by: a digest of its pixels, computed once for each object of a batch."""
    if id(image) not in known:
        known[id(image)] = picture_digest(image)
    return known[id(image)]


@contextmanager
def pictures_once(processor: Any) -> Iterator[Callable[[tuple[bytes, ...]], None]]:
    """Inside, what the image processor makes of the same pictures is made once; the given function says which come next."""
    usual = processor.image_processor if hasattr(processor, "image_processor") else None
    if usual is None:
        yield lambda _: None
        return
    once = _Once(usual)
    processor.image_processor = once
    try:
        yield once.shows
    finally:
        processor.image_processor = usual


class _Once:
    """An image processor that remembers the pictures of a batch."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._made: dict[tuple[Any, ...], Any] = {}
        self._pictures: tuple[bytes, ...] = ()

    def shows(self, pictures: tuple[bytes, ...]) -> None:
        """What the next call is about."""
        self._pictures = pictures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, *pictures: Any, **options: Any) -> Any:
        key = (
            self._pictures,
            repr(sorted((name, str(value)) for name, value in options.items() if name != "images")),
        )
        if key not in self._made:
            self._made[key] = self._processor(*pictures, **options)
        return copy(self._made[key])  # processors take entries out of what they are given


# -------------------------------------------------------------------------------------------------- groups


def together(rows: Sequence[Taught], picture_ids: Sequence[int], *, shares: bool = True) -> list[Together]:
    """The rows in groups, in the order in which they first come; a row that has nothing in common is one of its own.

    Args:
        picture_ids: ids that stand for a piece of a picture.
        shares: False: each row by itself.
    """
    members: dict[Any, list[int]] = {}
    for number, row in enumerate(rows):
        beginning_of = _beginning(row, picture_ids) if shares else None
        members.setdefault(number if beginning_of is None else beginning_of, []).append(number)
    return [_group(rows, numbers) for numbers in members.values()]


def _beginning(row: Taught, picture_ids: Sequence[int]) -> tuple[Any, ...] | None:
    """What rows must have in common to share their pictures: these, and all tokens up to one after the last of them.

    That one more comes from how a stream is laid out: the last token that is shared stands before each row's own. None
    where there is no such token, or no picture.
    """
    prompt = row.ids[: row.prompt]
    last = next((place for place in reversed(range(len(prompt))) if prompt[place] in picture_ids), None)
    if not row.pictures or last is None or last + 2 > len(prompt):
        return None
    return (row.pictures, *prompt[: last + 2])


def _group(rows: Sequence[Taught], numbers: Sequence[int]) -> Together:
    first = rows[numbers[0]]
    shared = min(rows[number].prompt for number in numbers)
    for number in numbers[1:]:
        pairs = zip(first.ids[:shared], rows[number].ids[:shared], strict=True)
        shared = next((place for place, (one, other) in enumerate(pairs) if one != other), shared)
    return Together(
        beginning(first.shown, shared),
        tuple(numbers),
        tuple(len(rows[number].ids) - shared for number in numbers),
    )


def apart(rows: Sequence[Taught], groups: Sequence[Together]) -> int:
    """Rows that show the same pictures as another row of the batch, and yet stand in another group than it."""
    groups_of: dict[tuple[bytes, ...], list[int]] = {}
    for group in groups:
        pictures = rows[group.rows[0]].pictures
        if pictures:
            groups_of.setdefault(pictures, []).append(len(group.rows))
    return sum(sum(sizes) for sizes in groups_of.values() if len(sizes) > 1)


# --------------------------------------------------------------------------------------------------- parts


def cut(
    groups: Sequence[Together], most: int | None, *, dense: int | None, at_least: int = 1
) -> list[list[Together]]:
    """The groups in parts of so many tokens; a group is cut where it alone has more, and where that is cheaper.

    Args:
        most: tokens of a part; None: all in one.
        dense: hidden size of a model that attends by a dense mask: a part's groups are padded to its longest, and a group
            costs by the square of its tokens too; None: by the kernel over segments.
        at_least: parts, no more than there are rows.
    """
    parts: list[list[Together]] = [[]]
    widest = tokens = 0
    pieces = [piece for group in groups for piece in _pieces(group, most, _rows_at_once(group, dense))]
    for piece in pieces if dense is None else sorted(pieces, key=lambda one: -one.tokens):
        widest, tokens = max(widest, piece.tokens), tokens + piece.tokens
        size = tokens if dense is None else widest * (len(parts[-1]) + 1)
        if parts[-1] and most is not None and size > most:
            parts.append([])
            widest = tokens = piece.tokens
        parts[-1].append(piece)
    while len(parts) < at_least:
        largest = max(range(len(parts)), key=lambda place: sum(len(one.rows) for one in parts[place]))
        parts[largest : largest + 1] = _halves(parts[largest])
    return parts


def _rows_at_once(group: Together, dense: int | None) -> int:
    """Rows of a group that read what they share together; all of them by the kernel.

    With a dense mask w tokens cost about w + w² / hidden size: measured on the demo model, where eight short questions in one
    group took half as long again as apart beside a picture of 4 tokens, and two thirds as long beside one of 256.
    """
    rows = len(group.rows)
    if dense is None or rows == 1:
        return rows
    shared, own = len(group.shown["prompt_ids"]) - 1, sum(group.own) / rows

    def cost(at_once: int) -> float:
        width = shared + at_once * own
        return -(-rows // at_once) * (width + width**2 / dense)

    return min(range(rows, 0, -1), key=cost)


def _pieces(group: Together, most: int | None, at_once: int) -> Iterator[Together]:
    first, tokens = 0, len(group.shown["prompt_ids"]) - 1
    for place, own in enumerate(group.own):
        is_full = place - first == at_once or (most is not None and tokens + own > most)
        if place > first and is_full:
            yield group.part(first, place)
            first, tokens = place, len(group.shown["prompt_ids"]) - 1
        tokens += own
    yield group.part(first, len(group.rows))


def _halves(part: list[Together]) -> list[list[Together]]:
    if len(part) > 1:
        return [part[: len(part) // 2], part[len(part) // 2 :]]
    (group,) = part
    middle = len(group.rows) // 2
    return [[group.part(0, middle)], [group.part(middle, len(group.rows))]]


def batch_of(rows: Sequence[Taught], part: Sequence[Together], *, filling: int) -> dict[str, Any]:
    """A part as `SharedPrompts` takes it: what a group has in common on the left, what is a row's own on the right.

    `input_ids`, `attention_mask`, `labels`: int64, (rows, columns); `shown`: of each row, the very same for a group.

    Args:
        filling: id at padding.
    """
    import torch

    numbers = [(group.shown, number) for group in part for number in group.rows]
    own = [(shown, rows[number].ids[len(shown["prompt_ids"]) :]) for shown, number in numbers]
    ids, mask, columns = padded_rows(own, filling=filling)
    labels = torch.full_like(ids, NO_LABEL)
    before = ids.shape[1] - columns
    for place, (shown, number) in enumerate(numbers):
        learned = rows[number].labels[len(shown["prompt_ids"]) :]
        labels[place, before : before + len(learned)] = torch.tensor(learned, dtype=torch.long)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "shown": [shown for shown, _ in numbers],
        "answer_columns": columns,
    }

"""Prepared rows as the datasets that TRL's trainers take, a row built when it is asked for.

Nothing here holds the rows: a source reads them by number from disk, and the trainers' datasets are
row numbers. TRL would tokenise a text model's whole set in advance; here that too happens row by row.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from medgrpo.data.too_long import TURN_END
from medgrpo.methods import METHODS
from medgrpo.models.families import family_of_processor
from medgrpo.pictures import opened_picture, stored_file
from medgrpo.rows import columns

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

    from medgrpo.data.augment import Augmentation
    from medgrpo.data.prompts import PromptTemplate
    from medgrpo.models.coordinates import BoxCoordinates

from medgrpo.rows import Row

Messages = list[dict[str, Any]]
IMAGE_CACHE = 128
"""Decoded images kept: a group asks for the same picture G times in a row."""
BLOCK = 256
"""Rows whose prompt lengths are counted at once."""
IGNORED = -100
"""Label of a token that is not learned."""


class ChosenRows(Sequence[Row]):
    """Rows of another sequence by number; only the numbers are held.

    Args:
        rows: where they are read, such as `PreparedDataset.view`.
        chosen: numbers of the rows, in order.
    """

    def __init__(self, rows: Sequence[Row], chosen: Sequence[int]) -> None:
        self.rows = rows
        self.chosen = chosen

    @classmethod
    def first(cls, rows: Sequence[Row], count: int | None) -> ChosenRows:
        """The first `count` rows; all of them for None."""
        return cls(rows, range(len(rows) if count is None else min(count, len(rows))))

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> ChosenRows: ...
    def __getitem__(self, index: int | slice) -> Row | ChosenRows:
        if isinstance(index, slice):
            return ChosenRows(self.rows, self.chosen[index])
        return self.rows[self.chosen[index]]


@dataclass
class Variation:
    """Pictures varied anew each epoch, by seed, epoch and number of the row alone.

    So a resumed run shows what the uninterrupted one would have shown, and every completion of a group
    is about the same picture. The trainer sets `epoch`.
    """

    settings: Augmentation
    seed: int
    epoch: int = 0

    def apply(self, pictures: list[Image], row: Row, number: int) -> tuple[list[Image], Row]:
        """The pictures of this epoch, and the row that is true of them."""
        from medgrpo.data.augment import augment

        draw = random.Random(f"{self.seed} {self.epoch} {number}")
        return augment(pictures, row, self.settings, draw)


@dataclass(frozen=True)
class RowSource:
    """Rows of one split, the folder that their image paths start from, and the words around them."""

    rows: Sequence[Row]
    folder: Path
    template: PromptTemplate
    is_vision: bool
    use_image_title: bool = False
    variation: Variation | None = None
    """How pictures are varied; None: shown as they are."""
    coordinates: BoxCoordinates | None = None
    """How the model writes boxes; None: pixels of the stored picture."""

    def with_rows(self, rows: Sequence[Row]) -> RowSource:
        """The same source with other rows."""
        return replace(self, rows=rows)

    def shown(self, number: int) -> tuple[Row, list[Image]]:
        """A row and its pictures, as this epoch shows them."""
        row = self.rows[number]
        pictures = images_of(row, self)
        if self.variation is not None and pictures:
            pictures, row = self.variation.apply(pictures, row, number)
        return self.placed(row), pictures

    def picture_files(self, number: int) -> list[str]:
        """Where a row's pictures lie, as `open_image` takes them; none for a text model."""
        return (
            [str(stored_file(self.folder, name)) for name in self.rows[number].get("images") or []]
            if self.is_vision
            else []
        )

    def asked(self, number: int) -> Row:
        """A row as its prompt shows it, pictures not opened and not varied."""
        return _seen(self.placed(self.rows[number]), self)

    def placed(self, row: Row) -> Row:
        """The row, saying how the model writes its boxes."""
        return row if self.coordinates is None else self.coordinates.place(row)


def messages_of(row: Row, source: RowSource) -> Messages:
    """The prompt of a row as chat messages, with one image part per picture; plain text for a text model."""
    from medgrpo.data.prompts import build_messages

    return build_messages(_seen(row, source), source.template, parts=source.is_vision)


def images_of(row: Row, source: RowSource) -> list[Image]:
    """The pictures of a row, decoded, RGB."""
    return (
        [open_image(str(stored_file(source.folder, name))) for name in row.get("images") or []]
        if source.is_vision
        else []
    )


@lru_cache(maxsize=IMAGE_CACHE)
def open_image(path: str) -> Image:
    """A picture as RGB; the last ones stay decoded."""
    with opened_picture(path) as image:
        return image.convert("RGB")


def _seen(row: Row, source: RowSource) -> Row:
    """The row as a prompt may show it: without its title unless that was asked for, without pictures for
    a text model."""
    hidden: Row = {} if source.use_image_title else {"image_title": None}
    return {**row, **hidden} if source.is_vision else {**row, **hidden, "images": []}


# ------------------------------------------------------------------------------------ the trainers' datasets


def grpo_dataset(source: RowSource) -> Dataset:
    """Examples `prompt`, `images` (vision models), `row` (all columns, for the rewards), `number` (of the row)."""
    return _lazy(source, lambda row: {"prompt": messages_of(row, source), "row": row}, with_number=True)


def sft_dataset(source: RowSource, tokenizer: Any, *, reasoning_is_free: bool = False) -> Dataset:
    """Examples `prompt`, `completion`, `images` for vision models, `input_ids`, `labels` for text models.

    Only the completion is learned.
    """
    from medgrpo.data.prompts import build_example

    def example(row: Row) -> dict[str, Any]:
        prompt, target = build_example(_seen(row, source), source.template, parts=source.is_vision)
        marks = {} if row.get("chosen") or not reasoning_is_free else {"reasoning_is_free": True}
        if source.is_vision:
            return {"prompt": prompt, "completion": _assistant(target), **marks}
        start, (completion,) = tokenised(tokenizer, prompt, target)
        return {"input_ids": start + completion, "labels": [IGNORED] * len(start) + completion, **marks}

    return _lazy(source, example)


def dpo_dataset(source: RowSource, tokenizer: Any) -> Dataset:
    """Examples `prompt`, `chosen`, `rejected`, `images` for vision models; `prompt_ids`, `chosen_ids`,
    `rejected_ids` for text models."""

    def example(row: Row) -> dict[str, Any]:
        prompt = messages_of(row, source)
        if source.is_vision:
            answers = {name: _assistant(columns(row)[name]) for name in ("chosen", "rejected")}
            return {"prompt": prompt, **answers}
        start, (chosen, rejected) = tokenised(
            tokenizer, prompt, columns(row)["chosen"], columns(row)["rejected"]
        )
        return {"prompt_ids": start, "chosen_ids": chosen, "rejected_ids": rejected}

    return _lazy(source, example)


def tokenised(tokenizer: Any, prompt: Messages, *answers: str) -> tuple[list[int], list[list[int]]]:
    """Tokens of the prompt, and of each answer after it, as TRL 1.16 splits them.

    The prompt ends where its own tokens and those of prompt and answer part: some templates render a
    prompt alone in another way.
    """

    def tokens(messages: Messages, *, opens_answer: bool) -> list[int]:
        encoded = tokenizer.apply_chat_template(
            messages, add_generation_prompt=opens_answer, tokenize=True, return_dict=True
        )
        return list(encoded["input_ids"])

    alone = tokens(prompt, opens_answer=True)
    whole = [tokens([*prompt, *_assistant(answer)], opens_answer=False) for answer in answers]
    shared = min(_common(alone, one) for one in whole)
    return alone[:shared], [one[shared:] for one in whole]


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the longest common start."""
    pairs = zip(first, second, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _assistant(text: str) -> Messages:
    return [{"role": "assistant", "content": text}]


def _lazy(source: RowSource, build: Callable[[Row], dict[str, Any]], *, with_number: bool = False) -> Dataset:
    """A dataset of row numbers whose rows are built when they are asked for, each once per batch."""
    import numpy as np
    from datasets import Dataset

    def transform(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        shown = {number: source.shown(number) for number in set(batch["number"])}
        examples = []
        for number in batch["number"]:
            row, pictures = shown[number]
            built = {**build(row), "number": number} if with_number else build(row)
            examples.append({**built, "images": list(pictures)} if source.is_vision else built)
        return {key: [one[key] for one in examples] for key in examples[0]}

    return Dataset.from_dict({"number": np.arange(len(source.rows))}).with_transform(transform)


# ------------------------------------------------------------------------------------------ prompt lengths


def drop_long(
    source: RowSource,
    processor: Any,
    room: int,
    on_block: Callable[[int], None] | None = None,
    *,
    method: str = "grpo",
    on_long: Callable[[int, int], None] | None = None,
) -> tuple[ChosenRows, int, int]:
    """Rows that fit, how many did not, and which of the former (by its new number) is the longest.

    TRL truncates nothing here, so this is the only guard.

    Args:
        room: in tokens, image tokens included: of the prompt, and for sft and dpo of the longest answer too,
            which is learned as it stands.
        on_block: told the number of rows counted so far, a few hundred at a time.
        on_long: told the number and the tokens of each row that does not fit.
    """
    kept = array("q")
    longest, most = 0, 0
    for number, length in enumerate(prompt_lengths(source, processor, method=method)):
        if length <= room:
            if length > most:
                longest, most = len(kept), length
            kept.append(number)
        elif on_long is not None:
            on_long(number, length)
        if on_block is not None and number % BLOCK == BLOCK - 1:
            on_block(number + 1)
    return ChosenRows(source.rows, kept), len(source.rows) - len(kept), longest


def learned_answers(row: Row, source: RowSource, method: str) -> list[str]:
    """What a row teaches word for word (`Method.teaches`); nothing where completions are sampled."""
    from medgrpo.data.prompts import build_target

    return [
        build_target(source.placed(row), source.template) if what == "target" else columns(row)[what]
        for what in METHODS[method].teaches
    ]


def prompt_lengths(source: RowSource, processor: Any, *, method: str = "grpo") -> Iterator[int]:
    """Tokens of each prompt, image tokens included, and of the longest answer that it teaches; no picture is decoded."""
    tokenizer = getattr(processor, "tokenizer", processor)
    tokens_of_size = lru_cache(maxsize=4096)(partial(_tokens_of_size, processor))
    family = family_of_processor(processor)
    for start in range(0, len(source.rows), BLOCK):
        rows = [source.rows[number] for number in range(start, min(start + BLOCK, len(source.rows)))]
        texts = [
            processor.apply_chat_template(
                messages_of(source.placed(row), source), add_generation_prompt=True, tokenize=False
            )
            for row in rows
        ]
        whole = [family.expanded(text, processor) for text in texts]
        texts = [text if one is None else one for text, one in zip(texts, whole, strict=True)]
        encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
        for row, ids, one in zip(rows, encoded, whole, strict=True):
            # The placeholder is one token in the text and becomes as many as the image has.
            sizes = picture_sizes(row, source) if source.is_vision and one is None else []
            taught = learned_answers(row, source, method)
            answers = tokenizer(taught, add_special_tokens=False)["input_ids"] if taught else []
            yield (
                len(ids)
                + sum(tokens_of_size(height, width) - 1 for width, height in sizes)
                + max((len(one) + TURN_END for one in answers), default=0)
            )


def tokens_of_rows(source: RowSource, processor: Any, numbers: Sequence[int]) -> list[int]:
    """Tokens of the prompts of these rows."""
    return list(prompt_lengths(source.with_rows([source.rows[number] for number in numbers]), processor))


def picture_sizes(row: Row, source: RowSource) -> list[tuple[int, int]]:
    """(width, height) of each picture of a row, in pixels; a file is opened only where the row does not say."""
    names = row.get("images") or []
    width, height = row.get("width"), row.get("height")
    if len(names) == 1 and width and height:
        return [(width, height)]
    sizes = []
    for name in names:
        with opened_picture(stored_file(source.folder, name)) as image:
            sizes.append(image.size)
    return sizes


def _tokens_of_size(processor: Any, height: int, width: int) -> int:
    counted = processor._get_num_multimodal_tokens(image_sizes=[(height, width)])
    return int(counted["num_image_tokens"][0])

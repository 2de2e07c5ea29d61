"""Prepared rows as the datasets that TRL's trainers take: prompts as chat messages, images opened late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

    from medgrpo.data.prompts import PromptTemplate

Row = dict[str, Any]
Messages = list[dict[str, Any]]
IMAGE_CACHE = 128
"""Decoded images kept: a group asks for the same picture G times in a row."""


@dataclass(frozen=True)
class RowSource:
    """Rows of one split, the folder that their image paths start from, and the words around them."""

    rows: Sequence[Row]
    folder: Path
    template: PromptTemplate
    is_vision: bool
    use_image_title: bool = False

    def with_rows(self, rows: Sequence[Row]) -> RowSource:
        """The same source with other rows."""
        return replace(self, rows=rows)


def messages_of(row: Row, source: RowSource) -> Messages:
    """The prompt of a row as chat messages, with one image part per picture; plain text for a text model."""
    from medgrpo.data.prompts import build_messages

    return build_messages(_seen(row, source), source.template, parts=source.is_vision)


def images_of(row: Row, source: RowSource) -> list[Image]:
    """The pictures of a row, decoded, RGB."""
    return (
        [open_image(str(source.folder / name)) for name in row.get("images") or []]
        if source.is_vision
        else []
    )


@lru_cache(maxsize=IMAGE_CACHE)
def open_image(path: str) -> Image:
    """A picture as RGB; the last ones stay decoded."""
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


def _seen(row: Row, source: RowSource) -> Row:
    """The row as a prompt may show it: without its title unless that was asked for, without pictures for
    a text model."""
    hidden: Row = {} if source.use_image_title else {"image_title": None}
    return {**row, **hidden} if source.is_vision else {**row, **hidden, "images": []}


def grpo_dataset(source: RowSource) -> Dataset:
    """Examples `prompt`, `images` (vision models), `row` (all columns, for the rewards)."""
    return _lazy(source, lambda row: {"prompt": messages_of(row, source), "row": row})


def sft_dataset(source: RowSource) -> Dataset:
    """Examples `prompt`, `completion`, `images` (vision models); only the completion is learned."""
    from medgrpo.data.prompts import build_example

    def example(row: Row) -> dict[str, Any]:
        prompt, target = build_example(_seen(row, source), source.template, parts=source.is_vision)
        return {"prompt": prompt, "completion": _assistant(target)}

    return _lazy(source, example)


def dpo_dataset(source: RowSource) -> Dataset:
    """Examples `prompt`, `chosen`, `rejected`, `images` (vision models)."""
    return _lazy(
        source,
        lambda row: {
            "prompt": messages_of(row, source),
            "chosen": _assistant(row["chosen"]),
            "rejected": _assistant(row["rejected"]),
        },
    )


def _lazy(source: RowSource, build: Callable[[Row], dict[str, Any]]) -> Dataset:
    """A dataset of row numbers whose rows are built when they are asked for.

    A text model's trainers tokenise the whole set in advance, so it gets the finished rows.
    """
    from datasets import Dataset

    def example(number: int) -> dict[str, Any]:
        row = source.rows[number]
        built = build(row)
        return {**built, "images": images_of(row, source)} if source.is_vision else built

    if not source.is_vision and "row" not in build(source.rows[0]):
        return Dataset.from_list([example(number) for number in range(len(source.rows))])

    def transform(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        examples = [example(number) for number in batch["number"]]
        return {key: [one[key] for one in examples] for key in examples[0]}

    return Dataset.from_dict({"number": list(range(len(source.rows)))}).with_transform(transform)


def drop_long(source: RowSource, processor: Any, longest_prompt: int) -> tuple[list[Row], int]:
    """Rows whose prompt fits, and how many did not. TRL truncates no prompt, so this is the only guard.

    Args:
        longest_prompt: in tokens, image tokens included.
    """
    kept = [
        row
        for row, length in zip(source.rows, prompt_lengths(source, processor), strict=True)
        if length <= longest_prompt
    ]
    return kept, len(source.rows) - len(kept)


def prompt_lengths(source: RowSource, processor: Any) -> list[int]:
    """Tokens of each prompt, image tokens included, without opening a picture whose size is known."""
    tokenizer = getattr(processor, "tokenizer", processor)
    texts = [
        processor.apply_chat_template(messages_of(row, source), add_generation_prompt=True, tokenize=False)
        for row in source.rows
    ]
    if not texts:
        return []
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    if source.is_vision:
        # The placeholder is one token in the text and becomes as many as the image has.
        lengths = [
            length + sum(tokens - 1 for tokens in image_tokens(row, source, processor))
            for length, row in zip(lengths, source.rows, strict=True)
        ]
    return lengths


def image_tokens(row: Row, source: RowSource, processor: Any) -> list[int]:
    """Image tokens of each picture of a row, as this processor makes them."""
    names = row.get("images") or []
    if len(names) == 1 and row.get("width") and row.get("height"):
        return [_tokens_of_size(processor, row["height"], row["width"])]
    sizes = [open_image(str(source.folder / name)).size for name in names]
    return [_tokens_of_size(processor, height, width) for width, height in sizes]


def _tokens_of_size(processor: Any, height: int, width: int) -> int:
    counted = processor._get_num_multimodal_tokens(image_sizes=[(height, width)])
    return int(counted["num_image_tokens"][0])


def _assistant(text: str) -> Messages:
    return [{"role": "assistant", "content": text}]

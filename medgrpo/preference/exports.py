"""Preference pairs (or best completions) in the forms that other trainers load: TRL, LLaMA-Factory, ms-swift, plain JSON lines.

Each keeps question and pictures: TRL gets chat messages and the pictures themselves, the others `<image>` where the
picture stands and paths beside the file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.data.prepared import PreparedDataset
from medgrpo.data.prompts import PromptTemplate, build_messages
from medgrpo.errors import choice_error
from medgrpo.files import foreign_json, link_or_copy, write_json, write_lines
from medgrpo.locks import new_folder
from medgrpo.preference.card import write_card
from medgrpo.rows import Row

FORMATS = {
    "trl": "parquet with prompt, chosen, rejected as messages, and pictures inside",
    "llamafactory": "pairs.json in ShareGPT form with dataset_info.json",
    "swift": "pairs.jsonl with messages, rejected_response and images",
    "jsonl": "pairs.jsonl with prompt, chosen, rejected and images as they are",
}
NAME = "medgrpo_pairs"
IMAGE = "<image>"


@dataclass(frozen=True)
class Example:
    """One row to export: the prompt's messages, the answer that is learned, the one that is not."""

    messages: list[dict[str, Any]]
    chosen: str
    rejected: str | None
    images: list[str]
    """Paths relative to the exported folder."""
    row: Row


def export(
    output: Path,
    form: str,
    make: Callable[[Path], PreparedDataset],
    *,
    template: PromptTemplate,
    shows_title: bool = False,
    card: Mapping[str, Any] | None = None,
) -> dict[str, int]:
    """Write a dataset of pairs or best completions as another trainer loads it; rows by split.

    Args:
        output: new folder.
        form: a key of `FORMATS`.
        make: writes the dataset into the folder that it is given, as `write_pairs` or `write_best` does; it is in the way
            of nothing when the call is killed.
        template: the prompt that was answered.
        shows_title: whether the prompt names the picture's title.
        card: written beside it.
    Raises:
        UsageError: the form is not known, or the folder is in use.
    """
    if form not in FORMATS:
        raise choice_error("format", form, FORMATS)
    counts = {}
    writer = {"trl": _trl, "llamafactory": _llamafactory, "swift": _swift, "jsonl": _jsonl}[form]
    with new_folder(output, "export into") as partial:
        dataset = make(partial / ".pairs")
        for split in dataset.splits:
            examples = [_example(row, dataset, partial, template, shows_title) for row in dataset.rows(split)]
            writer(partial, split, examples)
            counts[split] = len(examples)
        if card is not None:
            write_card(partial, card)
        shutil.rmtree(dataset.path)
    return counts


def _example(
    row: Row, dataset: PreparedDataset, folder: Path, template: PromptTemplate, shows_title: bool
) -> Example:
    for image in row["images"]:
        target = folder / image
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(dataset.image_path(image), target)
    shown = row if shows_title else {**row, "image_title": None}
    return Example(
        build_messages(shown, template), str(row["chosen"]), row["rejected"], list(row["images"]), row
    )


def flat(content: str | Sequence[dict[str, Any]], *, image: str = IMAGE) -> str:
    """A message's content as one text, `image` for each picture."""
    if isinstance(content, str):
        return content
    return "".join(image if part.get("type") == "image" else str(part.get("text", "")) for part in content)


def _named(file: str, split: str) -> str:
    stem, dot, end = file.partition(".")
    return f"{stem}{dot}{end}" if split == "train" else f"{stem}_{split}{dot}{end}"


def _trl(folder: Path, split: str, examples: Sequence[Example]) -> None:
    """Messages of plain text: TRL puts the pictures of `images` before the first user's text by itself."""
    from datasets import Dataset, Image, List

    is_vision = any(one.images for one in examples)
    rows: list[dict[str, Any]] = []
    for one in examples:
        prompt = [
            {"role": message["role"], "content": flat(message["content"], image="").strip()}
            for message in one.messages
        ]
        row: dict[str, Any] = {"prompt": prompt} | {
            name: [{"role": "assistant", "content": text}]
            for name, text in (("chosen", one.chosen), ("rejected", one.rejected))
            if text is not None
        }
        if one.rejected is None:
            row["completion"] = row.pop("chosen")
        if is_vision:
            row["images"] = [
                {"bytes": (folder / image).read_bytes(), "path": Path(image).name} for image in one.images
            ]
        rows.append(row)
    table = Dataset.from_list(rows)
    if is_vision:
        table = table.cast_column("images", List(Image()))
    table.to_parquet(folder / f"{split}.parquet")


def _llamafactory(folder: Path, split: str, examples: Sequence[Example]) -> None:
    speaker = {"user": "human", "assistant": "gpt"}
    rows = []
    for one in examples:
        talk = [
            {"from": speaker[message["role"]], "value": flat(message["content"])}
            for message in one.messages
            if message["role"] != "system"
        ]
        row: dict[str, Any] = {"conversations": talk, "system": _system(one)}
        if one.rejected is None:
            talk.append({"from": "gpt", "value": one.chosen})
        else:
            row |= {
                name: {"from": "gpt", "value": text}
                for name, text in (("chosen", one.chosen), ("rejected", one.rejected))
            }
        if one.images:
            row["images"] = one.images
        rows.append(row)
    file = _named("pairs.json", split)
    write_json(folder / file, rows, is_data=True)
    columns = {"messages": "conversations", "system": "system"}
    is_ranking = any(one.rejected is not None for one in examples)
    if is_ranking:
        columns |= {"chosen": "chosen", "rejected": "rejected"}
    if any(one.images for one in examples):
        columns["images"] = "images"
    info_file = folder / "dataset_info.json"
    known = foreign_json(info_file) if info_file.is_file() else {}
    name = NAME if split == "train" else f"{NAME}_{split}"
    entry = {"file_name": file, "formatting": "sharegpt", "ranking": is_ranking, "columns": columns}
    write_json(info_file, {**known, name: entry})


def _swift(folder: Path, split: str, examples: Sequence[Example]) -> None:
    rows = []
    for one in examples:
        messages = [
            {"role": message["role"], "content": flat(message["content"])} for message in one.messages
        ]
        row: dict[str, Any] = {"messages": [*messages, {"role": "assistant", "content": one.chosen}]}
        if one.rejected is not None:
            row["rejected_response"] = one.rejected
        if one.images:
            row["images"] = one.images
        rows.append(row)
    write_lines(folder / _named("pairs.jsonl", split), rows)


def _jsonl(folder: Path, split: str, examples: Iterable[Example]) -> None:
    write_lines(
        folder / _named("pairs.jsonl", split),
        [
            {
                "id": one.row["id"],
                "prompt": one.messages,
                "chosen": one.chosen,
                "rejected": one.rejected,
                "images": one.images,
                "question": one.row["question"],
                "answer": one.row["answer"],
            }
            for one in examples
        ],
    )


def _system(one: Example) -> str:
    return "\n".join(flat(message["content"]) for message in one.messages if message["role"] == "system")

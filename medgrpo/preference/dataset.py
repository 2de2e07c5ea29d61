"""Write preference pairs as a prepared dataset, which `train --method dpo` reads like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from medgrpo.data.prepared import PreparedDataset, PreparedWriter
from medgrpo.data.schema import FILE_COLUMNS
from medgrpo.errors import MedgrpoError
from medgrpo.files import link_or_copy
from medgrpo.preference.card import write_card
from medgrpo.preference.pairs import Candidate, Pair, PairSet
from medgrpo.preference.review import pair_key
from medgrpo.rows import Row, as_row, columns

VALIDATION_SHARE = 0.1
LEAST_FOR_VALIDATION = 50


def write_pairs(
    output: Path,
    pairs: PairSet,
    dataset: PreparedDataset,
    rows: Mapping[str, Row],
    *,
    prompt_template: dict[str, Any] | None,
    made_from: list[str],
    card: Mapping[str, Any] | None = None,
) -> PreparedDataset:
    """Pairs as rows of a new prepared dataset, with their images and masks, and the card where there is one.

    From 50 pairs on, a tenth of the images goes to validation with all of their pairs.

    Raises:
        UsageError: the output exists.
        MedgrpoError: an image or mask of the dataset is gone.
    """
    made = [(pair.prompt_id, _pair_row(pair, rows[pair.prompt_id])) for pair in pairs.pairs]
    return _write(output, made, dataset, rows, _hash(pairs), prompt_template, made_from, card)


def write_best(
    output: Path,
    best: Sequence[Candidate],
    dataset: PreparedDataset,
    rows: Mapping[str, Row],
    *,
    prompt_template: dict[str, Any] | None,
    made_from: list[str],
    card: Mapping[str, Any] | None = None,
) -> PreparedDataset:
    """Best completions as rows of a new prepared dataset, which `train --method sft` learns word for word; and the card.

    Raises:
        UsageError: the output exists.
        MedgrpoError: an image or mask of the dataset is gone.
    """
    made = [(one.prompt_id, _best_row(one, rows[one.prompt_id])) for one in best]
    keys = "\n".join(sorted(f"{one.prompt_id} {one.text}" for one in best))
    digest = blake2b(keys.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return _write(output, made, dataset, rows, digest, prompt_template, made_from, card)


def _best_row(one: Candidate, row: Row) -> Row:
    return {**row, "id": one.prompt_id, "chosen": one.text, "rejected": None}


def _write(
    output: Path,
    made: Sequence[tuple[str, Row]],
    dataset: PreparedDataset,
    rows: Mapping[str, Row],
    digest: str,
    prompt_template: dict[str, Any] | None,
    made_from: list[str],
    card: Mapping[str, Any] | None,
) -> PreparedDataset:
    splits: dict[str, list[Row]] = {"train": [], "validation": []}
    with PreparedWriter(output) as writer:
        for prompt_id, row in made:
            held_out = len(made) >= LEAST_FOR_VALIDATION and _is_held_out(rows[prompt_id])
            splits["validation" if held_out else "train"].append(_brought(row, dataset, writer.folder))
        for split, own in splits.items():
            if own:
                writer.write(split, own)
        info = {
            "name": output.name,
            "task": dataset.info.get("task", "vqa"),
            "source": made_from,
            "hash": digest,
            "images": len({image for own in splits.values() for row in own for image in row["images"]}),
            "image_tokens": dataset.info.get("image_tokens"),
            "prompt_template": prompt_template,
            "made_from_dataset": dataset.info.get("hash"),
        }
        if card is not None:
            write_card(writer.folder, card)
        return writer.finish(info)


def _pair_row(pair: Pair, row: Row) -> Row:
    return {**row, "id": pair_key(pair), "chosen": pair.chosen.text, "rejected": pair.rejected.text}


def _is_held_out(row: Row) -> bool:
    group = row.get("patient_id") or row.get("image_id") or row["id"]
    draw = int.from_bytes(blake2b(str(group).encode(), digest_size=4).digest(), "big") / 2**32
    return draw < VALIDATION_SHARE


def _brought(row: Row, dataset: PreparedDataset, folder: Path) -> Row:
    """The row with every file that it names brought into the folder, and named as it is called there."""

    def bring(path: str) -> str:
        source, name = dataset.image_path(path), dataset.copied_name(path)
        target = folder / name
        if not target.exists():
            if not source.is_file():
                raise MedgrpoError(
                    f"{source} of the source dataset is gone", hint="prepare the dataset again"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(source, target)
        return name

    files = {column: bring(columns(row)[column]) for column in FILE_COLUMNS if row.get(column)}
    return as_row({**row, "images": [bring(image) for image in row["images"]], **files})


def _hash(pairs: PairSet) -> str:
    keys = sorted(f"{pair_key(pair)} {pair.chosen.text}" for pair in pairs.pairs)
    return blake2b("\n".join(keys).encode(), digest_size=16).hexdigest()

"""Human choice: pairs out to a CSV sheet, and the filled sheet back in.

The sheet does not say which completion the reward prefers: the order is drawn from the pair itself.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from medgrpo.errors import UsageError
from medgrpo.preference.pairs import Pair, PairSet
from medgrpo.records import BadRow, csv_rows, read_text
from medgrpo.sheets import write_sheet

COLUMNS = ("pair", "image", "question", "reference", "a", "b", "choice")
CHOICES = {"a", "b", "tie", "skip", ""}


def pair_key(pair: Pair) -> str:
    """A short name of the pair that another run of the same sources gives again."""
    texts = sorted((pair.chosen.text.strip(), pair.rejected.text.strip()))
    return hashlib.blake2b("\0".join([pair.prompt_id, *texts]).encode(), digest_size=8).hexdigest()


def export_review(path: Path, pairs: Sequence[Pair], rows: Mapping[str, Mapping[str, object]]) -> None:
    """Write the sheet: UTF-8 with a byte-order mark, which spreadsheets need for Chinese.

    Args:
        rows: dataset rows by id, for question, reference and image.
    """
    if path.exists():
        raise UsageError(f"{path} exists", hint="give another name, so that filled-in choices are not lost")
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        lines = []
        for pair in pairs:
            row = rows.get(pair.prompt_id, {})
            images = row.get("images") or [""]
            assert isinstance(images, list)
            first, second = _blind(pair)
            cells = [
                pair_key(pair),
                images[0],
                row.get("question", ""),
                row.get("answer", ""),
                first,
                second,
                "",
            ]
            lines.append([str(cell) for cell in cells])
        write_sheet(file, COLUMNS, lines)


def import_review(path: Path, pairs: PairSet) -> tuple[PairSet, float | None]:
    """The pairs in the order that people chose, and the share of choices that agree with the reward.

    Raises:
        UsageError: a choice is none of a, b, tie, skip; or no pair of the sheet is among the pairs.
    """
    choices = _read_choices(path)
    kept: list[Pair] = []
    dropped = Counter(pairs.dropped)
    agreed = 0
    for pair in pairs.pairs:
        choice = choices.get(pair_key(pair), "")
        if choice not in {"a", "b"}:
            dropped["not reviewed" if choice == "" else f"reviewed as {choice}"] += 1
            continue
        chosen_text = _blind(pair)[0 if choice == "a" else 1]
        agrees = chosen_text == pair.chosen.text
        agreed += agrees
        kept.append(pair if agrees else Pair(pair.prompt_id, pair.rejected, pair.chosen))
    if choices and not any(pair_key(pair) in choices for pair in pairs.pairs):
        raise UsageError(
            f"no pair of {path} is among the {len(pairs.pairs)} pairs of this call",
            hint="give the same sources, --margin and --per-prompt as for --export-review",
        )
    return PairSet(kept, dropped), agreed / len(kept) if kept else None


def _blind(pair: Pair) -> tuple[str, str]:
    texts = (pair.chosen.text, pair.rejected.text)
    return texts if int(pair_key(pair), 16) % 2 else (texts[1], texts[0])


def _read_choices(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise UsageError(f"no review sheet at {path}", hint="make one with --export-review FILE")
    choices = {}
    for number, row in csv_rows(read_text(path).text, str(path)):
        if isinstance(row, BadRow):
            raise UsageError(f"{path}, line {number}: {row.problem}", expected=row.expected)
        if "pair" not in row or "choice" not in row:
            raise UsageError(f"{path} has no columns pair and choice", expected=", ".join(COLUMNS))
        choice = (row["choice"] or "").strip().lower()
        if choice not in CHOICES:
            raise UsageError(
                f"{path}, line {number}, choice: {row['choice']!r}", expected="a, b, tie, skip or empty"
            )
        choices[row["pair"]] = choice
    return choices

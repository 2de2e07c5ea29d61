"""Human choice: pairs out to a CSV sheet, and the filled sheet back in.

The sheet does not say which completion the reward prefers: the order is drawn from the pair itself.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from medgrpo.errors import UsageError
from medgrpo.pictures import opened_picture
from medgrpo.preference.pairs import Pair, PairSet, are_alike, without
from medgrpo.records import BadRow, csv_rows, read_text
from medgrpo.sheets import for_people, write_sheet
from medgrpo.workbooks import is_workbook, read_workbook

COLUMNS = ("pair", "image", "question", "reference", "a", "b", "choice")
CHOICES = {"a", "b", "tie", "skip", ""}


def pair_key(pair: Pair) -> str:
    """A short name of the pair that another run of the same sources gives again.

    It begins with a letter of its own: a spreadsheet reads 16 digits, or digits with one e among them, as a number and rounds it.
    """
    texts = sorted((pair.chosen.text.strip(), pair.rejected.text.strip()))
    return "p" + hashlib.blake2b("\0".join([pair.prompt_id, *texts]).encode(), digest_size=8).hexdigest()


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
        write_sheet(file, COLUMNS, lines, shown=for_people)


def export_pictures(
    path: Path, pairs: Sequence[Pair], rows: Mapping[str, Mapping[str, object]], picture_of: Any
) -> None:
    """The same sheet as a page with the pictures in it, to look at while the CSV is filled in.

    Args:
        path: of the page.
        picture_of: an image's path as a dataset names it → its file.
    """
    from medgrpo.files import write_text
    from medgrpo.pages.document import document
    from medgrpo.pages.markup import quoted, text

    blocks = []
    for pair in pairs:
        row = rows.get(pair.prompt_id, {})
        images = row.get("images") or []
        assert isinstance(images, list)
        pictures = "".join(_thumbnail(picture_of(image)) for image in images)
        first, second = _blind(pair)
        blocks.append(
            f"<section><h2>{pair_key(pair)}</h2>{pictures}<p>{quoted(row.get('question', ''))}</p>"
            f"<p>{text('reference')}: {quoted(row.get('answer', ''))}</p>"
            f"<div class='two'><div><b>A</b> {quoted(first)}</div><div><b>B</b> {quoted(second)}</div></div></section>"
        )
    style = (
        "body{font:16px/1.45 system-ui,sans-serif;max-width:70rem;margin:auto;padding:1rem}img{max-width:20rem}"
        "section{border-bottom:1px solid #8886;padding:1rem 0}.two{display:grid;grid-template-columns:1fr 1fr;gap:1rem}"
        ".quoted{white-space:pre-wrap}h2{font-size:1rem;font-weight:normal;color:gray}"
    )
    write_text(path, document("Review", style, f"<h1>Which answer is better?</h1>{''.join(blocks)}"))


def _thumbnail(file: Path) -> str:
    from medgrpo.pages.pictures import thumbnail

    with opened_picture(file) as picture:
        return thumbnail(picture, 480)


def import_review(path: Path, pairs: PairSet) -> tuple[PairSet, float | None]:
    """The pairs in the order that people chose, and the share of choices that agree with the reward.

    Raises:
        UsageError: a choice is none of a, b, tie, skip; or no pair of the sheet is among the pairs.
    """
    reviewed, figures = import_reviews([path], pairs)
    return reviewed, figures["agreement_with_reward"]


def import_reviews(paths: Sequence[Path], pairs: PairSet) -> tuple[PairSet, dict[str, Any]]:
    """The pairs in the order that people chose, and how far people agree with the reward and with each other.

    Pairs on which two people chose differently are left out. Gives `agreement_with_reward` and `kappa_with_reward` (Cohen's
    kappa of side A or B, over pairs that were chosen), `reviewers`, `kappa_between_reviewers` (the mean over pairs of
    people) and `disagreements` (pair, question's id, what people chose, what the reward prefers).

    Raises:
        UsageError: a choice is none of a, b, tie, skip; or no pair of a sheet is among the pairs.
    """
    shown = {pair_key(pair): _blind(pair) for pair in pairs.pairs}
    keys = shown.keys()
    sheets = []
    unknown = 0
    for path in paths:
        choices = _read_choices(path, shown)
        unknown += len(choices.keys() - keys)
        if choices and not keys & set(choices):
            raise UsageError(
                f"no pair of {path} is among the {len(pairs.pairs)} pairs of this call",
                hint="give the same sources, --margin and --per-prompt as for --export-review",
            )
        sheets.append(choices)
    kept: list[Pair] = []
    left_out: list[tuple[Pair, str]] = []
    sides: list[tuple[str, str]] = []
    disagreements = []
    for pair in pairs.pairs:
        key = pair_key(pair)
        given = [choice for choice in (sheet.get(key, "") for sheet in sheets) if choice]
        chosen = {choice for choice in given if choice in ("a", "b")}
        preferred = "a" if _blind(pair)[0] == pair.chosen.text else "b"
        if len(chosen) != 1:
            left_out.append((pair, _why_not(given, chosen)))
        else:
            side = chosen.pop()
            sides.append((side, preferred))
            kept.append(pair if side == preferred else Pair(pair.prompt_id, pair.rejected, pair.chosen))
        if set(given) & {"a", "b"} - {preferred}:
            disagreements.append(
                {"pair": key, "prompt_id": pair.prompt_id, "people": given, "reward": preferred}
            )
    agreed = sum(side == preferred for side, preferred in sides)
    figures = {
        "reviewers": len(sheets),
        "rows_of_other_pairs": unknown,
        "reviewed": len(sides),
        "agreement_with_reward": agreed / len(sides) if sides else None,
        "kappa_with_reward": kappa(sides),
        "kappa_between_reviewers": _between(sheets, keys),
        "disagreements": disagreements,
    }
    dropped = Counter(reason for _, reason in left_out)
    counted = pairs
    for reason in dropped:
        counted = without(counted, [pair for pair, why in left_out if why == reason], reason)
    return PairSet(kept, counted.dropped, counted.completions, counted.prompts), figures


def _why_not(given: Sequence[str], chosen: set[str]) -> str:
    if len(chosen) > 1:
        return "reviewers disagree"
    return f"reviewed as {given[0]}" if given else "not reviewed"


def kappa(choices: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two judges' choices: agreement beyond chance; None without choices, or where chance alone agrees.

    Source: Cohen 1960, doi:10.1177/001316446002000104.
    """
    if not choices:
        return None
    count = len(choices)
    seen = sum(one == other for one, other in choices) / count
    first, second = (Counter(side) for side in zip(*choices, strict=True))
    chance = sum(first[name] * second[name] for name in first) / count**2
    return None if chance == 1 else (seen - chance) / (1 - chance)


def _between(sheets: Sequence[Mapping[str, str]], keys: Set[str]) -> float | None:
    found = []
    for place, one in enumerate(sheets):
        for other in sheets[place + 1 :]:
            both = [
                (one[key], other[key])
                for key in keys
                if one.get(key) in ("a", "b") and other.get(key) in ("a", "b")
            ]
            value = kappa(both)
            found += [] if value is None else [value]
    return sum(found) / len(found) if found else None


def _blind(pair: Pair) -> tuple[str, str]:
    texts = (pair.chosen.text, pair.rejected.text)
    return texts if int(pair_key(pair)[1:], 16) % 2 else (texts[1], texts[0])


def _sheet_rows(path: Path) -> Iterable[tuple[int, dict[str, Any] | BadRow]]:
    return read_workbook(path).rows if is_workbook(path) else csv_rows(read_text(path).text, str(path))


def _read_choices(path: Path, shown: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Pair → choice, as a spreadsheet may have left the sheet: columns in another order or case, rows sorted, rows twice.

    Args:
        shown: what stands under A and B of each pair.
    """
    if not path.is_file():
        raise UsageError(f"no review sheet at {path}", hint="make one with --export-review FILE")
    choices: dict[str, str] = {}
    for number, found in _sheet_rows(path):
        where = f"{path}, line {number}"
        if isinstance(found, BadRow):
            raise UsageError(f"{where}: {found.problem}", expected=found.expected)
        row = {_letters(name): "" if value is None else str(value) for name, value in found.items()}
        if "pair" not in row or "choice" not in row:
            raise UsageError(
                f"{path} has no columns pair and choice: its columns are {', '.join(found)}",
                expected=", ".join(COLUMNS),
            )
        key, choice = row["pair"].strip(), _letters(row["choice"])
        if not key and not choice:
            continue
        if choice not in CHOICES:
            raise UsageError(f"{where}, choice: {row['choice']!r}", expected="a, b, tie, skip or empty")
        key = key if key.startswith("p") else f"p{key}"  # sheets of before had no letter
        _refuse_swapped(row, shown.get(key), where)
        if choice and choices.get(key) not in (None, "", choice):
            raise UsageError(
                f"{where}: the pair {row['pair']} is there twice, with the choices {choices[key]} and {choice}",
                expected="one choice a pair and sheet; a sheet for each person",
            )
        choices[key] = choice or choices.get(key, "")
    return choices


def _letters(text: str) -> str:
    """In lower case and ASCII: a Chinese keyboard types ａ for a."""
    return unicodedata.normalize("NFKC", text).strip().lower()


def _refuse_swapped(row: Mapping[str, str], shown: tuple[str, str] | None, where: str) -> None:
    """The texts under A and B are those of the pair: a column that was sorted alone would turn choices round."""
    if shown is None or "a" not in row or "b" not in row:
        return
    if not all(
        are_alike(stands, text) or are_alike(stands, for_people(text)) or not text.strip()
        for stands, text in zip((row["a"], row["b"]), shown, strict=True)
    ):
        raise UsageError(
            f"{where}: under a and b are not the answers of the pair {row['pair']}",
            expected="the rows as they were exported: whole rows may be sorted, single columns not",
        )

"""`dataset.html`: what is in a prepared dataset and what is wrong with it, on one page that needs no network.

Everything from the data is escaped. Pictures are inlined as thumbnails, bars are plain HTML, so that the
page reads the same without JavaScript, of which it has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medgrpo.data.lint import conflicts
from medgrpo.data.prompts import PromptTemplate, build_example, build_messages
from medgrpo.data.schema import SPLITS
from medgrpo.files import write_text
from medgrpo.pages.document import document
from medgrpo.pages.markup import table, text
from medgrpo.pages.pictures import thumbnail
from medgrpo.pictures import opened_picture
from medgrpo.rows import Row, columns

CARDS = 24
THUMBNAIL_PX = 220

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5d6671; --line: #d9dee4; --bar: #3b6ea8; --card: #f6f8fa;
  --warn: #9a5b00; --page: #fff }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa4af; --line: #343b43; --bar: #6fa3dc;
  --card: #1e242b; --warn: #e0a34a; --page: #14181d } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 72rem;
  margin: 2rem auto; padding: 0 1.2rem }
h1 { margin: 0 0 .2rem } h2 { margin: 2.2rem 0 .6rem; font-size: 1.15rem }
p.soft, td.soft, small { color: var(--soft) }
table { border-collapse: collapse; margin: .4rem 0 } th, td { padding: .18rem .9rem .18rem 0; text-align: left }
th { font-weight: 600; border-bottom: 1px solid var(--line) } .num { text-align: right } .scroll { overflow-x: auto }
.bars { display: grid; grid-template-columns: minmax(6rem, max-content) minmax(6rem, 24rem) max-content; gap: .2rem .8rem;
  align-items: center } .bar { background: var(--bar); height: .8rem; border-radius: 2px; min-width: 1px }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 0 3rem }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .8rem; overflow: hidden }
.card img { max-width: 100%; border-radius: 4px; background: #000 } .card pre { white-space: pre-wrap;
  overflow-wrap: anywhere; font: 13px/1.4 ui-monospace, monospace; margin: .4rem 0; max-height: 14rem; overflow: auto }
ul.findings li { margin: .25rem 0 } .warn { color: var(--warn); font-weight: 600 }
.card small { display: block } .conflicts td { vertical-align: top; padding-right: 1rem } .conflicts ul { margin: .2rem 0; padding-left: 1.1rem }
summary { cursor: pointer } h1 { overflow-wrap: anywhere }
@media (max-width: 40rem) { body { margin: .8rem auto; padding: 0 .8rem } .columns, .cards { grid-template-columns: 1fr }
  .bars { grid-template-columns: 5.5rem 1fr max-content } }
@media print { @page { margin: 12mm } body { font-size: 8.5pt; margin: 0; max-width: none } h2 { margin: .7rem 0 .2rem; break-after: avoid }
  .cards { grid-template-columns: repeat(3, 1fr); gap: .4rem } .card { padding: .3rem; break-inside: avoid } .card:nth-of-type(n+7) { display: none }
  .card img { max-height: 2.4cm; width: auto } .card pre { max-height: none; font-size: 6.5pt } details:not([open]) { display: none } }
"""


def write_page(
    folder: Path,
    info: Mapping[str, Any],
    rows: Sequence[Row],
    splits: Sequence[str],
    template: PromptTemplate,
) -> Path:
    """Writes `dataset.html` into the dataset's folder and returns its path.

    Args:
        folder: the dataset's folder, pictures stored.
        info: as for `dataset.json`.
        rows: all rows.
        splits: split of each row.
        template: with which the sample prompts are rendered.
    """
    counts = Counter(splits)
    pictures = {
        split: len(
            {path for row, name in zip(rows, splits, strict=True) if name == split for path in row["images"]}
        )
        for split in SPLITS
    }
    body = [
        f"<h1>{text(info['name'])}</h1>",
        f'<p class="soft">{len(rows):,} rows, {info["images"]:,} images, {info["masks"]:,} masks · task '
        f"{text(info['task'])} · formats {text(', '.join(info['formats']))} · prompt "
        f"{text(template.name)} · hash <code>{text(info['hash'])}</code></p>",
        "<h2>Splits</h2>",
        _table(
            ("split", "rows", "share", "images"),
            [
                (
                    split,
                    f"{counts[split]:,}",
                    f"{counts[split] / max(len(rows), 1):.1%}",
                    f"{pictures[split]:,}",
                )
                for split in SPLITS
            ],
        ),
        "<h2>Findings</h2>",
        _findings(info),
        _all_conflicts(rows, splits, folder),
        '<div class="columns">',
        *(_section(title, _bars(counted)) for title, counted in _balances(rows)),
        _section("Image tokens (Qwen2.5-VL, uncapped)", _histogram(info["image_tokens"]["histogram"])),
        _section("Longest image side, pixels", _bars(_sides(rows))),
        "</div>",
        "<h2>What always giving the most frequent answer earns</h2>",
        _table(
            ("question type", "train rows", "answer", "share", "of rows"),
            [
                (
                    m["question_type"],
                    f"{m['train_rows']:,}",
                    m["answer"],
                    f"{m['share']:.1%}",
                    f"{m['rows']:,}",
                )
                for m in info["majority"]
            ],
        ),
        "<h2>Samples</h2>",
        '<div class="cards">',
        *(_card(row, split, folder, template) for row, split in _samples(rows, splits)),
        "</div>",
    ]
    path = folder / "dataset.html"
    write_text(path, document(str(info["name"]), STYLE, "\n".join(body)), durable=False)
    return path


def _section(title: str, content: str) -> str:
    return f"<section><h2>{text(title)}</h2>{content}</section>" if content else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return '<p class="soft">none</p>'
    numeric = [i for i in range(len(head)) if all(str(row[i])[:1].isdigit() for row in rows)]
    return table(
        [text(name) for name in head], [[text(cell) for cell in row] for row in rows], numeric=numeric
    )


def _bars(counted: Iterable[tuple[str, int]]) -> str:
    items = list(counted)
    if not items:
        return ""
    most = max(count for _, count in items)
    cells = [
        f'<span>{text(name)}</span><span class="bar" style="width:{100 * count / most:.1f}%"></span>'
        f"<small>{count:,}</small>"
        for name, count in items
    ]
    return f'<div class="bars">{"".join(cells)}</div>'


def _histogram(bins: Sequence[Mapping[str, int]]) -> str:
    return _bars((f"{entry['from']}–{entry['to']}", entry["rows"]) for entry in bins)


def _balances(rows: Sequence[Row]) -> Iterable[tuple[str, list[tuple[str, int]]]]:
    for title, column in (
        ("Answer type", "answer_type"),
        ("Question type", "question_type"),
        ("Plane", "plane"),
        ("Modality", "modality"),
        ("Organ", "organ"),
        ("Language", "language"),
    ):
        counted = Counter(str(columns(row)[column]) if columns(row)[column] else "unknown" for row in rows)
        if set(counted) != {"unknown"}:
            yield title, counted.most_common(12)
    closed = Counter(str(row["answer"]).lower() for row in rows if row["answer_type"] == "closed")
    if closed:
        yield "Answers of closed questions", closed.most_common(8)


def _sides(rows: Sequence[Row]) -> list[tuple[str, int]]:
    sides = Counter(max(row["width"], row["height"]) // 128 for row in rows if row["width"] and row["height"])
    return [(f"{step * 128}–{step * 128 + 127}", count) for step, count in sorted(sides.items())]


def _findings(info: Mapping[str, Any]) -> str:
    lines = [
        f'<span class="warn">leak</span>: {n:,} × {text(kind.replace("_", " "))}'
        for kind, n in info["leaks"].items()
    ]
    for example in info["leak_examples"][:3]:
        lines.append(f"<small>{text(example['question'])} → {text(example['answer'])}</small>")
    for pair, n in info["split"].get("official_overlap", {}).items():
        lines.append(f'<span class="warn">leak</span>: {n:,} groups are in both official splits {text(pair)}')
    found = info["conflicts"]
    if found["pairs"]:
        lines.append(
            f'<span class="warn">conflict</span>: {found["pairs"]:,} questions have different answers for the same '
            f"picture, {found['yes_against_no']:,} of them yes against no"
        )
        for example in info["conflict_examples"]:
            answers = " ≠ ".join(text(answer) for answer in example["answers"])
            lines.append(f"<small>{text(example['question'])} → {answers}</small>")
    near = info["near_duplicates"]
    if near["pairs"]:
        lines.append(f"{near['pairs']:,} pairs of nearly equal pictures; each pair is in one split")
    lines += [f"skipped: {n:,} × {text(reason)}" for reason, n in info["skipped"].items()]
    lines += [
        f"left out: field <code>{text(name)}</code> of {n:,} rows tells the answer"
        for name, n in info["leaked_fields"].items()
    ]
    lines += [
        f"not read: field <code>{text(name)}</code> of {n:,} rows"
        for name, n in info.get("unread_fields", {}).items()
    ]
    lines += [f"note: {n:,} × {text(note)}" for note, n in info["notes"].items()]
    letters = info["option_letters"]
    if letters:
        shares = ", ".join(f"{text(letter)} {count:,}" for letter, count in letters["counts"].items())
        lines.append(
            f"right option letters: {shares}; always naming the commonest earns {letters['share']:.0%}"
        )
    if not lines:
        return '<p class="soft">nothing was found</p>'
    return '<ul class="findings">' + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def _samples(rows: Sequence[Row], splits: Sequence[str]) -> list[tuple[Row, str]]:
    """Rows at even distances, so that all parts of the source are seen."""
    step = max(1, len(rows) // CARDS)
    return list(zip(rows[::step], splits[::step], strict=True))[:CARDS]


def _card(row: Row, split: str, folder: Path, template: PromptTemplate) -> str:
    picture = "".join(_thumbnail(folder / path) for path in row["images"][:2])
    return (
        f'<div class="card">{picture}<div><small>{text(row["id"])} · {text(split)}</small></div>'
        f"{_trained_on(row, template)}<small>reference</small><b>{text(row['answer'], limit=300)}</b></div>"
    )


def _trained_on(row: Row, template: PromptTemplate) -> str:
    """The very prompt that GRPO asks, and prompt and target of SFT: without the tags whose labels are not known."""
    asked = _chat(build_messages(row, template))
    prompt, target = build_example(row, template)
    taught = _chat(prompt)
    same = taught == asked
    parts = [("prompt of GRPO and SFT" if same else "prompt of GRPO", asked)]
    if not same:
        parts.append(("prompt of SFT, without the tags that no label fills", taught))
    parts.append(("target of SFT", target))
    return "".join(f"<small>{name}</small><pre>{text(words, limit=2500)}</pre>" for name, words in parts)


def _chat(messages: Sequence[Mapping[str, Any]]) -> str:
    """All messages, each under its role."""
    return "\n".join(f"[{message['role']}] {_plain(message['content'])}" for message in messages)


SHOWN_CONFLICTS = 500
"""Contradictions that the page shows one by one; all are counted."""
CONFLICT_PX = 96


def _all_conflicts(rows: Sequence[Row], splits: Sequence[str], folder: Path) -> str:
    """Every contradiction: picture, question, and each answer with its row."""
    found = conflicts(rows)
    if not found:
        return ""
    where = {row["id"]: (row, split) for row, split in zip(rows, splits, strict=True)}
    lines = []
    for one in found[:SHOWN_CONFLICTS]:
        picture = _thumbnail(folder / one["image"], CONFLICT_PX) if one["image"] else ""
        said = "".join(
            f"<li><b>{text(row['answer'], limit=200)}</b> <small>{text(row['source_file'])}, row {row['source_row']}, "
            f"{text(split)} ({text(name)})</small></li>"
            for name in one["rows"]
            for row, split in [where[name]]
        )
        mark = ' <span class="warn">yes against no</span>' if one["yes_against_no"] else ""
        lines.append([picture, f"{text(one['question'], limit=300)}{mark}<ul>{said}</ul>"])
    more = f" The first {SHOWN_CONFLICTS} are shown." if len(found) > SHOWN_CONFLICTS else ""
    return (
        f"<details><summary>All {len(found):,} contradictions, with row and picture.{more}</summary>"
        f"{table(['picture', 'question and answers'], lines, css='conflicts')}</details>"
    )


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def _thumbnail(path: Path, side_px: int = THUMBNAIL_PX) -> str:
    with opened_picture(path) as picture:
        return thumbnail(picture, side_px)

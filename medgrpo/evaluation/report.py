"""The evaluation as one offline page: figures, confusion, and the cases worth looking at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from medgrpo.errors import MedgrpoError
from medgrpo.evaluation.cases import nearly_right, uncertain_cases, worst_cases, worst_masks
from medgrpo.evaluation.evaluate import Evaluation
from medgrpo.evaluation.mask_files import MEASURED, overlay
from medgrpo.evaluation.metrics import METRICS
from medgrpo.figures import LESS, SHARE, figure
from medgrpo.pages.document import document as whole_page
from medgrpo.pages.markup import facts, table, text
from medgrpo.pages.pictures import thumbnail
from medgrpo.pictures import opened_picture

THUMBNAIL_PX = 224
OVERLAY_PX = 448
PRINTED_CASES = 4
"""Cases of a list that are printed (`report.css`), so that the page is four sheets at most."""
LONGEST_TEXT = 4000
"""Characters of a text that are shown."""


def report_html(result: Evaluation) -> str:
    """One self-contained page; every text from model or data is escaped; no script, nothing fetched."""
    document = result.document
    title = f"Evaluation of {document.get('model') or document['source']}"
    style = (files("medgrpo.evaluation") / "report.css").read_text(encoding="utf-8")
    parts = [
        f"<h1>{text(title)}</h1>",
        _facts(document),
        _warnings(result),
        _metrics(document),
        _targets(document),
        _counterfactual(document),
        _samples(document),
        _confusions(document),
        _groups(document),
        _cases(result),
    ]
    return whole_page(title, style, "<main>\n" + "\n".join(part for part in parts if part) + "\n</main>")


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def p_text(p_value: float | None) -> str:
    """A p-value as it is usually written: three digits, and below .001 only that."""
    return "–" if p_value is None else "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], css: str = "") -> str:
    """A table of ready cells whose first column heads its rows; caption and heads are escaped."""
    return table([text(cell) for cell in head], rows, caption=text(caption), css=css, row_heads=True)


def _facts(document: dict[str, Any]) -> str:
    shown = (
        "model",
        "base_model",
        "adapter",
        "data",
        "split",
        "data_hash",
        "prompt_template",
        "scored_as",
        "engine",
        "source",
        "clustered_by",
        "baseline_from",
        "evaluated",
        "versions",
        "seed",
    )
    items = facts((name.replace("_", " "), text(_fact(document[name]))) for name in shown if name in document)
    return f"<p>{document['n']} questions about {document['images']} images.</p>{items}"


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return "" if value is None else str(value)


def _warnings(result: Evaluation) -> str:
    lines = "".join(f"<li>{text(line)}</li>" for line in [*result.warnings, *result.predictions.notes])
    return f'<ul class="warnings">{lines}</ul>' if lines else ""


BESIDE = (("majority", "baseline"), ("blind", "blind_baseline"), ("observer 2", "observer"))
"""What stands beside a figure: heading and key of its entry."""


def _beside(entry: Any) -> str:
    """A baseline's value: a number, or the value of a measured one."""
    return _number(entry["value"] if isinstance(entry, dict) else entry)


def _metrics(document: dict[str, Any]) -> str:
    rows = []
    shown = [entry for metric in METRICS if (entry := document.get(metric.name)) is not None]
    beside = [pair for pair in BESIDE if any(pair[1] in entry for entry in shown)]
    for metric in METRICS:
        meaning = text(figure(metric.name).meaning)
        broken = metric.name.replace("_", "_<wbr>")  # where a narrow page may break it
        entry = document.get(metric.name)
        if entry is None or (not entry["n"] and "mask_failed" in document):
            continue
        interval = "–" if entry["low"] is None else f"{entry['low']:.3f} – {entry['high']:.3f}"
        rows.append(
            [
                f"<span>{broken}</span><small>{meaning}{text('; ' + entry['note']) if entry.get('note') else ''}</small>",
                f"<strong>{_number(entry['value'])}</strong>",
                interval,
                _bar(entry) if _is_share(metric.name, entry) else "",
                *(_beside(entry.get(key)) for _, key in beside),
                str(entry["n"]),
            ]
        )
    bar = "0 to 1; | majority" if any("baseline" in entry for entry in shown) else "0 to 1"
    head = ["metric", "value", "95 % interval", bar, *(title for title, _ in beside), "n"]
    return "<h2>Figures</h2>" + _table("Intervals are clustered by image", head, rows, "figures")


def _is_share(metric: str, entry: dict[str, Any]) -> bool:
    """Whether the value lies between 0 and 1 by its nature, or, where that is not known, with its interval."""
    bounds = figure(metric).bounds
    values = [entry[key] for key in ("value", "low", "high") if entry[key] is not None]
    return bounds == SHARE or (bounds is None and all(0 <= value <= 1 for value in values))


def _bar(entry: dict[str, Any]) -> str:
    """Value, interval and baseline on a line from 0 to 1, as an inline picture."""
    if entry["value"] is None:
        return ""
    x = {
        key: 2 + 156 * min(1.0, max(0.0, entry[key]))
        for key in ("value", "low", "high")
        if entry[key] is not None
    }
    lines = ['<line x1="2" x2="158" y1="9" y2="9" class="axis"/>']
    if {"low", "high"} <= x.keys():
        lines.append(f'<line x1="{x["low"]:.1f}" x2="{x["high"]:.1f}" y1="9" y2="9" class="interval"/>')
    if entry.get("baseline") is not None:
        at = 2 + 156 * min(1.0, max(0.0, entry["baseline"]))
        lines.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="1" y2="17" class="baseline"/>')
    lines.append(f'<circle cx="{x["value"]:.1f}" cy="9" r="4" class="value"/>')
    label = f"value {_number(entry['value'])}, interval {_number(entry['low'])} to {_number(entry['high'])}"
    return f'<svg viewBox="-3 0 166 18" width="166" height="18" role="img" aria-label="{label}">{"".join(lines)}</svg>'


def _targets(document: dict[str, Any]) -> str:
    if not document.get("targets"):
        return ""
    rows = [
        [text(one["metric"]), wanted_text(one), _number(one["value"]), text(one["verdict"])]
        for one in document["targets"]
    ]
    caption = "≥ the least value wanted of each, ≤ the largest where less is better"
    return "<h2>Targets</h2>" + _table(caption, ["metric", "wanted", "value", "verdict"], rows)


def wanted_text(target: dict[str, Any]) -> str:
    """`≥ 0.750`, or `≤ 2.000` where less is better."""
    return f"{'≤' if figure(target['metric']).direction == LESS else '≥'} {target['wanted']:.3f}"


def _counterfactual(document: dict[str, Any]) -> str:
    if "counterfactual" not in document:
        return ""
    rows = [
        [
            text(kind),
            _number(one["answer_match"]["value"]),
            _number(one["kept"]),
            f"{_number(one['difference']['difference'])} ({_number(one['difference']['low'])} – {_number(one['difference']['high'])})",
            p_text(one["difference"]["p_value"]),
            _number(one["changed"]["value"]),
        ]
        for kind, one in document["counterfactual"].items()
    ]
    head = ["pictures", "answer_match", "share kept", "lost (95 % interval)", "p", "answers changed"]
    return "<h2>With pictures that cannot help</h2>" + _table("Paired with the real pictures", head, rows)


def _samples(document: dict[str, Any]) -> str:
    found = document.get("samples")
    if not found or not found.get("k"):
        return ""
    rows = [
        [
            name,
            _number(found[name]["value"]),
            f"{_number(found[name]['low'])} – {_number(found[name]['high'])}",
        ]
        for name in ("mean", "majority", "best")
    ]
    bins = [
        [
            f"{one['from']:.1f} – {one['to']:.1f}",
            _number(one["confidence"]),
            _number(one["accuracy"]),
            str(one["n"]),
        ]
        for one in found["reliability"]
    ]
    return (
        f"<h2>{found['k'][0]} samples a question</h2>"
        + _table("answer_match", ["of samples", "value", "95 % interval"], rows)
        + _table(
            f"Agreement as certainty: ECE {found['ece']:.3f} (true certainties would show "
            f"{found['ece_by_chance']:.3f} by chance), Brier {found['brier']:.3f}",
            ["agreement", "mean", "majority right", "n"],
            bins,
        )
    )


def _confusions(document: dict[str, Any]) -> str:
    parts = []
    for name, matrix in document["confusion"].items():
        if not matrix["n"]:
            continue
        rows = []
        for label, counts in zip(matrix["labels"], matrix["counts"], strict=True):
            total = sum(counts) or 1
            cells = [
                f'<span class="shade" style="--share:{count / total:.2f}">{count}</span>' for count in counts
            ]
            rows.append([text(label), *cells])
        caption = f"{name.replace('_', '/')}: reference by row, model by column"
        parts.append(_table(caption, ["", *matrix["said"]], rows, "confusion"))
    return "<h2>Confusion</h2>" + "".join(parts) if parts else ""


def _groups(document: dict[str, Any]) -> str:
    parts = []
    for name, found in document["groups"].items():
        if len(found) < 2:
            continue
        rows = [
            [
                text(label),
                _number(one["value"]),
                f"{_number(one['low'])} – {_number(one['high'])}",
                _bar(one),
                str(one["n"]),
                text(one.get("note", "")),
            ]
            for label, one in found.items()
        ]
        parts.append(
            _table(
                f"answer_match by {name.replace('_', ' ')}",
                ["", "value", "95 % interval", "0 to 1", "n", ""],
                rows,
                "groups",
            )
        )
    return "<h2>By group</h2>" + "".join(parts) if parts else ""


def _cases(result: Evaluation) -> str:
    lists = [
        (
            "Worst",
            "wrong answers, those with the least in common with the reference first",
            worst_cases(result),
        ),
        ("Most uncertain", "answers whose samples agree least", uncertain_cases(result)),
        (
            "Worst masks",
            "the least Dice first; hits are white, what was missed orange, what is too much blue",
            worst_masks(result),
        ),
        (
            "Nearly right",
            "refused answers with the most in common with the reference: is the scorer too strict?",
            nearly_right(result),
        ),
    ]
    return "".join(
        f'<section class="cases"><h2>{name}</h2><p>{text(what)}; {len(chosen)} shown'
        f'<span class="printed"> on the screen, at most {PRINTED_CASES} in print</span>.</p>'
        + "".join(_case(result, index) for index in chosen)
        + "</section>"
        for name, what, chosen in lists
        if chosen
    )


def _case(result: Evaluation, index: int) -> str:
    scored, row = result.scored, result.scored.rows[index]
    completion = result.predictions.completions[index]
    if result.masks is not None and row.get("mask"):
        marks = [
            (name.replace("_", " "), _number(float(scored.scores[name][index])))
            for name in (*MEASURED, "mask_failed")
        ]
        lines = [("id", row.get("id")), *marks, ("completion", completion)]
        return _case_of(_picture(result, index), lines)
    lines = [
        ("question", row.get("question")),
        ("reference", row.get("answer")),
        ("answer", scored.answers[index]),
        ("completion", completion),
        ("rule", f"{scored.rules[index]} → {_number(float(scored.scores['answer_match'][index]))}"),
        (
            "labels",
            ", ".join(f"{name}: {row[name]}" for name in ("plane", "modality", "organ") if row.get(name)),
        ),
        ("id", row.get("id")),
    ]
    if result.sample_answers:
        counts = Counter(result.sample_answers[index]).most_common()
        lines.insert(4, ("samples", ", ".join(f"{answer[:200] or '–'} ×{count}" for answer, count in counts)))
    return _case_of(_picture(result, index), lines)


def _case_of(picture: str, lines: Sequence[tuple[str, Any]]) -> str:
    shown = ((name, "" if value is None else text(value, limit=LONGEST_TEXT)) for name, value in lines)
    return f'<article class="case">{picture}{facts(shown)}</article>'


def _picture(result: Evaluation, index: int) -> str:
    """The row's first picture as a small JPEG within the page, with its masks; a word where it cannot be read."""
    row = result.scored.rows[index]
    path = result.image_file(row) if result.image_file is not None else None
    if path is None:
        return ""
    try:
        with opened_picture(path) as image:
            picture = image.convert("RGB")
        size, css = THUMBNAIL_PX, ""
        if result.masks is not None and row.get("mask"):
            picture = overlay(row, result.predictions.completions[index], index, result.masks, picture)
            size, css = OVERLAY_PX, "mask"
        return thumbnail(picture, size, alt=f"image {row.get('image_id') or ''}", css=css)
    except (MedgrpoError, OSError, ImportError, ValueError):
        return '<p class="missing">picture not readable</p>'

"""What `medgrpo eval` prints: figures, groups, and whatever else was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medgrpo.cli.output import Output
    from medgrpo.evaluation.evaluate import Evaluation


BESIDES = {
    *("open_exact_match", "open_token_recall", "open_word_f1", "open_graded"),
    *("plane_match", "modality_match", "box_ap", "mask_iou"),
}
"""Measured in another way what a row above says; shown by --all."""
MAIN_ROWS = 14
"""Rows of the main table: with frame, title and the lines below it is a screen."""


def print_figures(out: Output, result: Evaluation, *, show_all: bool = False) -> None:
    """Tables and lines on stdout, the main table last.

    Args:
        show_all: also what is measured by group, the confusion, and every row of the main table.
    """
    from medgrpo.evaluation.metrics import METRICS
    from medgrpo.evaluation.report import BESIDE

    document = result.document
    found = [(metric.name, document[metric.name]) for metric in METRICS if metric.name in document]
    beside = [pair for pair in BESIDE if any(pair[1] in entry for _, entry in found)]
    rows = [
        [name, entry["value"], _interval(entry), *(_beside(entry.get(key)) for _, key in beside), entry["n"]]
        for name, entry in found
        if entry["n"] or "mask_failed" not in document
    ]
    unit = document["clustered_by"]
    title = f"{document['n']} questions about {document['images']} {unit}s; 95 % intervals by {unit}"
    if show_all:
        _print_groups(out, document)
    _print_extras(out, document)
    main = [row for row in rows if row[0] not in BESIDES]
    shown = rows if show_all else main[:MAIN_ROWS]
    out.table(title, ["metric", "value", "interval", *(title for title, _ in beside), "n"], shown)
    if not show_all:
        more = f"{len(rows) - len(shown)} more metrics, " if len(rows) > len(shown) else ""
        out.note(f"--all shows {more}groups and confusion too")


def _print_groups(out: Output, document: dict[str, Any]) -> None:
    for name, matrix in document["confusion"].items():
        if matrix["n"]:
            lines = [
                [label, *counts] for label, counts in zip(matrix["labels"], matrix["counts"], strict=True)
            ]
            out.table(f"{name}: reference by row, model by column", ["", *matrix["said"]], lines)
    for name, found in document["groups"].items():
        lines = [
            [label, one["value"], f"{one['low']:.3f} – {one['high']:.3f}" if one["n"] else "", one["n"]]
            for label, one in found.items()
        ]
        if len(lines) > 1:
            out.table(f"answer_match by {name}", [name, "value", "interval", "n"], lines)


def _interval(entry: dict[str, Any]) -> str:
    return "" if entry["low"] is None else f"{entry['low']:.3f} – {entry['high']:.3f}"


def _beside(entry: Any) -> Any:
    """A baseline's value: a number, or the value of a measured one."""
    return entry["value"] if isinstance(entry, dict) else entry


def _print_extras(out: Output, document: dict[str, Any]) -> None:
    if "detection" in document:
        lines = [
            [name, one["value"], one["low"], one["high"], one.get("blind_baseline"), one["n"]]
            for name, one in document["detection"].items()
        ]
        out.table("Detection", ["metric", "value", "low", "high", "blind", "n"], lines)
    if "samples" in document:
        found = document["samples"]
        lines = [
            [name, found[name]["value"], found[name]["low"], found[name]["high"]]
            for name in ("mean", "majority", "best")
        ]
        out.table("answer_match over samples", ["of samples", "value", "low", "high"], lines)
        if "ece" in found:
            out.text(f"agreement as certainty: ECE {found['ece']:.3f}, Brier {found['brier']:.3f}")
    if "stated_confidence" in document and document["stated_confidence"]["n"]:
        found = document["stated_confidence"]
        out.text(
            f"stated confidence: ECE {found['ece']:.3f}, Brier {found['brier']:.3f} over {found['n']} answers"
        )
    if "counterfactual" in document:
        from medgrpo.evaluation.report import p_text

        lines = [
            [
                kind,
                one["answer_match"]["value"],
                one["kept"],
                one["difference"]["difference"],
                p_text(one["difference"]["p_value"]),
                one["changed"]["value"],
            ]
            for kind, one in document["counterfactual"].items()
        ]
        out.table(
            "With pictures that cannot help",
            ["pictures", "answer_match", "kept", "lost", "p", "answers changed"],
            lines,
        )
    if document.get("targets"):
        from medgrpo.evaluation.report import wanted_text

        lines = [
            [one["metric"], wanted_text(one), one["value"], one["verdict"]] for one in document["targets"]
        ]
        out.table("Targets", ["metric", "wanted", "value", "verdict"], lines)
    if "judge" in document:
        found = document["judge"]
        out.text(
            f"judge {found['model']}: {_share(found['accuracy'])} right; agrees with answer_match on "
            f"{_share(found['agreement'])} of {found['n']} (kappa {_decimals(found['kappa'])})"
            + (f"; {found['unclear']} of its replies say neither right nor wrong" if found["unclear"] else "")
            + (
                f"; {found['unanswered']} rows got no reply ({found['unanswered_because']})"
                if found["unanswered"]
                else ""
            )
        )
    if "review" in document:
        found = document["review"]
        out.text(
            f"review: {found['n']} rows judged by a person; agreement {_share(found['agreement'])} "
            f"(kappa {_decimals(found['kappa'])})"
        )


def _share(entry: dict[str, Any]) -> str:
    if entry["value"] is None:
        return "–"
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"


def _decimals(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"

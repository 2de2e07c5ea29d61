"""Whether an accuracy is more than what is reached without looking: the warning that is missed most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ASKED = ("closed", "open", "choice")
"""Metrics that are held against their baselines."""
BASELINES = (
    ("baseline", "majority", "always giving the commonest answer"),
    ("blind_baseline", "blind", "the commonest answer to each wording, without the picture"),
)


def below_baseline(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The accuracies that are not above a baseline, each once, with the best baseline that they do not beat.

    Returns:
        For each `metric`, `value`, `low`, `baseline` (its name), `baseline_value`, `is_below` (the value itself is not
        above it; else only its interval is not) and `words`.
    """
    found = []
    for metric in ASKED:
        entry = document.get(metric)
        if not entry or not entry["n"] or entry["value"] is None:
            continue
        beside = [(name, words, _value(entry.get(key))) for key, name, words in BASELINES]
        name, words, best = max(beside, key=lambda one: -1.0 if one[2] is None else one[2])
        if best is None:
            continue
        is_below = entry["value"] <= best
        if not is_below and (entry["low"] is None or entry["low"] > best):
            continue
        found.append(
            {
                "metric": metric,
                "value": entry["value"],
                "low": entry["low"],
                "baseline": name,
                "baseline_value": best,
                "is_below": is_below,
                "words": _in_words(metric, entry, name, words, best, is_below=is_below),
            }
        )
    return found


def _value(entry: Any) -> float | None:
    """A baseline is a number, or a measured one with its interval."""
    value = entry.get("value") if isinstance(entry, Mapping) else entry
    return None if value is None else float(value)


def _in_words(
    metric: str, entry: Mapping[str, Any], name: str, words: str, best: float, *, is_below: bool
) -> str:
    accuracy = f"{metric} accuracy {entry['value']:.3f}"
    if is_below:
        return f"{accuracy} is not above its {name} baseline {best:.3f} ({words})"
    return (
        f"{accuracy} is not shown to be above its {name} baseline {best:.3f} ({words}): its interval begins at "
        f"{entry['low']:.3f}"
    )

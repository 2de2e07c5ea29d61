"""The card of a set of pairs: what it was made of, what was left out and why, and what DPO may learn by accident."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medgrpo.files import write_json, write_text
from medgrpo.pages.markup import number, quoted, table, text
from medgrpo.preference.pairs import Candidate, Pair, PairSet, hardness
from medgrpo.rows import Row

EXAMPLES = 8


def card_of(
    pairs: PairSet,
    rows: Mapping[str, Row],
    *,
    settings: Mapping[str, Any],
    sources: Sequence[str],
    left_out: Mapping[str, int],
    agreement: Mapping[str, Any] | None = None,
    review: Mapping[str, Any] | None = None,
    best: Sequence[Candidate] = (),
) -> dict[str, Any]:
    """All figures of a set of pairs, or of best completions, as JSON.

    Args:
        left_out: completions that never reached the choice, by reason.
        best: for rejection sampling, the completions chosen.
    """
    ids = [pair.prompt_id for pair in pairs.pairs] or [one.prompt_id for one in best]
    return {
        "kind": "sft" if best else "dpo",
        "sources": list(sources),
        "settings": dict(settings),
        "pairs": len(pairs.pairs),
        "best": len(best),
        "completions": {
            **dict(left_out),
            **{name: count for name, count in pairs.completions.items() if count},
        },
        "prompts": {name: count for name, count in pairs.prompts.items() if count},
        "dropped": dict(pairs.dropped),
        "margin": pairs.margin_quartiles(),
        "reward": None
        if not best
        else [float(np.quantile([one.reward for one in best], q)) for q in (0.25, 0.5, 0.75)],
        "length_bias": pairs.length_bias(),
        "truncation_bias": pairs.truncation_bias(),
        "hard_negatives": dict(_hardness(pairs.pairs)),
        "question_types": dict(Counter(type_of(rows.get(each, {})) for each in ids).most_common()),
        "sources_of_pairs": dict(_sources(pairs.pairs, best)),
        "agreement": agreement,
        "review": review,
        "examples": [_shown(pair, rows.get(pair.prompt_id, {})) for pair in _spread(pairs.pairs)],
    }


def type_of(row: Mapping[str, Any]) -> str:
    """The type of a row's question, else of its answer."""
    return str(row.get("question_type") or row.get("answer_type") or "unknown")


def warnings_of(card: Mapping[str, Any]) -> list[str]:
    """What DPO may learn besides being right, in sentences."""
    found = []
    longer = card["length_bias"]["chosen_longer"]
    if longer is not None and abs(longer - 0.5) > 0.2:
        found.append(
            f"chosen and rejected differ in length (the chosen one is longer in {longer:.0%}): DPO may learn length "
            "instead of content; --balance-length evens it out"
        )
    cut = card["truncation_bias"]
    if cut["rejected"] is not None and cut["rejected"] - (cut["chosen"] or 0.0) > 0.1:
        found.append(
            f"{cut['rejected']:.0%} of the rejected and {cut['chosen'] or 0:.0%} of the chosen completions were cut off: DPO may "
            "learn to stop instead of to be right; --truncated drop leaves them all out"
        )
    if cut["chosen"] is not None and cut["chosen"] > 0.05:
        found.append(
            f"{cut['chosen']:.0%} of the chosen completions were cut off: DPO may learn to go on without an end; --truncated drop "
            "leaves them out"
        )
    return found


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """`card.json` and `card.html`."""
    write_json(folder / "card.json", dict(card))
    write_text(folder / "card.html", _page(card))


def _hardness(pairs: Sequence[Pair]) -> Counter[str]:
    return Counter(hardness(pair.chosen, pair.rejected) or "other" for pair in pairs)


def _sources(pairs: Sequence[Pair], best: Sequence[Candidate]) -> Counter[str]:
    used = [one for pair in pairs for one in (pair.chosen, pair.rejected)] + list(best)
    return Counter(one.source.split(":")[0] for one in used)


def _spread(pairs: Sequence[Pair]) -> list[Pair]:
    """A few pairs from the widest to the narrowest margin."""
    ranked = sorted(pairs, key=lambda pair: (-pair.margin, pair.prompt_id))
    if len(ranked) <= EXAMPLES:
        return ranked
    return [ranked[round(place * (len(ranked) - 1) / (EXAMPLES - 1))] for place in range(EXAMPLES)]


def _shown(pair: Pair, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "prompt_id": pair.prompt_id,
        "question": row.get("question", ""),
        "answer": row.get("answer", ""),
        "chosen": pair.chosen.text,
        "rejected": pair.rejected.text,
        "margin": pair.margin,
        "kind": hardness(pair.chosen, pair.rejected),
    }


def _page(card: Mapping[str, Any]) -> str:
    def counts(title: str, values: Mapping[str, int]) -> str:
        rows = [(text(name), number(count)) for name, count in values.items()]
        total = [("<b>total</b>", f"<b>{number(sum(values.values()))}</b>")] if rows else []
        return table([title, "count"], [*rows, *total], numeric=(1,)) if rows else ""

    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.0%}"

    bias, cut = card["length_bias"], card["truncation_bias"]
    figures = [
        ("best completions" if card["best"] else "pairs", number(card["pairs"] or card["best"])),
        ("margin, 25 / 50 / 75 %", " / ".join(number(value) for value in card["margin"]) or "–"),
        ("chosen one is longer", share(bias["chosen_longer"])),
        ("cut off: chosen / rejected", f"{share(cut['chosen'])} / {share(cut['rejected'])}"),
    ]
    agreement = card["agreement"] or {}
    if agreement.get("all_agree") is not None:
        figures.append((f"all models agree ({agreement['prompts']} prompts)", share(agreement["all_agree"])))
    if card["review"]:
        figures += [
            (text(name), text(value)) for name, value in card["review"].items() if not isinstance(value, list)
        ]
    examples = [
        [
            quoted(one["question"]),
            quoted(one["answer"]),
            quoted(one["chosen"]),
            quoted(one["rejected"]),
            number(one["margin"]),
        ]
        for one in card["examples"]
    ]
    notes = "".join(f"<p class='warning'>{text(one)}</p>" for one in warnings_of(card))
    settings = [(text(name), text(value)) for name, value in card["settings"].items()]
    parts = [
        table(["figure", "value"], figures),
        notes,
        counts("completions", card["completions"]),
        counts("prompts", card["prompts"]),
        counts("question types", card["question_types"]),
        counts("hard negatives", card["hard_negatives"]),
        counts("sources", card["sources_of_pairs"]),
        table(["question", "reference", "chosen", "rejected", "margin"], examples, numeric=(4,))
        if examples
        else "",
        table(["setting", "value"], settings),
        f"<p>made from {text(', '.join(card['sources']))}</p>",
    ]
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Preference pairs</title><style>{_STYLE}</style><h1>Preference pairs</h1>{''.join(parts)}</html>"
    )


_STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:1.5rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{border-bottom:1px solid #8886;padding:.3rem .6rem;text-align:left;"
    "vertical-align:top}.num{text-align:right}.scroll{overflow-x:auto}.quoted{white-space:pre-wrap}"
    ".warning{border-left:4px solid #D55E00;padding:.3rem .8rem}"
)

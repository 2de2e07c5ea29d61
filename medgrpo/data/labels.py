"""Plane and modality of a picture, gathered from the questions that ask for them.

VQA-RAD has no column for either: they are known only where a sibling question of the same picture asks
for them. The classes are those of the reward core, so that what is trained is what is scored.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from typing import Any, Literal

from medgrpo.rows import Row

Kind = Literal["plane", "modality"]
KINDS: tuple[Kind, ...] = ("plane", "modality")

_NEGATED = re.compile(r"\b(not|no|except|without)\b|n't\b|不|非", re.IGNORECASE)
_IS_THIS = re.compile(
    r"^\s*(is|was) (this|the (image|film|picture|scan|x-ray|plane)( above)?)\b"
    r"(?!.*\b(contrast|or)\b)",
    re.IGNORECASE,
)
"""Questions whose "yes" names the class that the question names: "Is this an axial image?"."""


@cache
def canonical(kind: Kind, text: str | None) -> str | None:
    """The class of a plane or modality, however it is written; None if the text names none, or several.

    >>> canonical("plane", "transverse section"), canonical("modality", "MR - T2 weighted")
    ('axial', 'MRI T2')
    """
    if not text:
        return None
    from medgrpo import _reward_core as core

    stated = {meaning for _, meaning, negated in core.read_text(text) if not negated}
    named = {meaning for meaning in stated if meaning.startswith(f"{kind}.")}
    sequences = {meaning for meaning in stated if meaning.startswith("sequence.")}
    if kind == "modality" and sequences:
        if len(sequences) == 1 and named <= {"modality.mri"}:
            return f"MRI {_spelling(sequences.pop())}"
        return None
    return _spelling(named.pop()) if len(named) == 1 else None


@cache
def _spellings() -> dict[str, str]:
    from medgrpo.rewards.text import synonyms

    return {group["id"]: group["terms"][0] for group in synonyms()["groups"]}


def _spelling(concept: str) -> str:
    """How a class is written in rows: the first spelling of the reward core, abbreviations in capitals."""
    words = _spellings().get(concept, concept.partition(".")[2]).removesuffix(" view").split()
    return " ".join(word.upper() if word in _CAPITALS else word for word in words).replace("x-ray", "X-ray")


_CAPITALS = frozenset(
    (
        *("ct", "mri", "pet", "cta", "mra", "oct", "ivp", "ugi", "pa", "ap", "cc", "mlo", "xcc", "3d"),
        *("t1", "t2", "flair", "dwi", "adc", "pd", "stir", "gre", "swi", "fiesta", "spgr", "mrcp"),
    )
)


def label_of(kind: Kind, row: Row) -> str | None:
    """The class that one question and its answer tell about the picture; None if they tell none."""
    question, answer = str(row["question"]), str(row["answer"]).strip()
    if _NEGATED.search(question):
        return None
    if answer.lower() in ("yes", "no"):
        return canonical(kind, question) if answer.lower() == "yes" and _IS_THIS.match(question) else None
    return canonical(kind, answer)


def gather_labels(rows: Iterable[Row]) -> Counter[str]:
    """Fills in plane and modality of every row whose picture has them told by a sibling question.

    Rows need `image_id` and `question_type`; types PLANE and MODALITY are read. A picture whose
    questions disagree gets no label. Returns how many pictures got each label, and how many disagreed.
    """
    told: dict[tuple[str, Kind], set[str]] = defaultdict(set)
    by_image: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if not row["image_id"]:
            continue
        by_image[row["image_id"]].append(row)
        types = (row["question_type"] or "").upper().split(",")
        for kind in KINDS:
            if kind.upper() in types and (label := label_of(kind, row)):
                told[row["image_id"], kind].add(label)
    counts: Counter[str] = Counter()
    for (image_id, kind), labels in told.items():
        agreed = _agreed(kind, labels)
        counts[kind if agreed else f"{kind} disagrees"] += 1
        if agreed is None:
            continue
        for row in by_image[image_id]:
            if row[kind] is None:
                row[kind] = agreed
                row["label_source"] = "sibling question"
    return counts


def _agreed(kind: Kind, labels: set[str]) -> str | None:
    """The one label; of "MRI" and "MRI T2", or of "frontal" and "PA", the narrower; None where they differ."""
    if len(labels) == 1:
        return next(iter(labels))
    from medgrpo.rewards import text

    def entails(one: str, other: str) -> bool:
        columns: dict[str, Any] = {kind: [other]}
        return bool(
            text.score([f"{kind}_match"], [f"<{kind}>{one}</{kind}>"], tags=[kind], **columns)[0, 0] == 1
        )

    ordered = sorted(labels)
    narrowest = [one for one in ordered if all(entails(one, other) for other in ordered)]
    return narrowest[0] if narrowest else None

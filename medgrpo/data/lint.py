"""What is wrong with a dataset before any GPU time: leaks, contradictions, and what guessing would earn."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from medgrpo.data.schema import NO, SPLITS, YES
from medgrpo.data.splits import text_key
from medgrpo.json_in import json_value
from medgrpo.rows import Row

EXAMPLES = 10
"""Findings of a kind that are listed; all are counted."""
FREQUENT = 0.05
"""Question types whose most frequent answer has a smaller share are left out of the baselines."""
LEAK_LENGTH = 12
"""Letters, a Chinese character counting as three: shorter answers ("CT", "left lung") are found in many questions
and contexts by right, and are not called a leak."""
TITLE_LEAK_LENGTH = 4
"""The same for titles, which name what is to be found."""
_OFFERS_CHOICE = re.compile(r"\b(or|vs|versus|between)\b|还是|或|哪", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.?!])(?<!\bvs\.)\s+|(?<=[。？！])|\n")
_CHINESE = re.compile(r"[\u3400-\u9fff]")


@dataclass
class Findings:
    """What `lint` found."""

    leaks: dict[str, int] = field(default_factory=dict)
    """Kind of leak -> rows or groups concerned."""
    leak_examples: list[dict[str, Any]] = field(default_factory=list)
    conflicts: dict[str, int] = field(default_factory=dict)
    conflict_examples: list[dict[str, Any]] = field(default_factory=list)
    majority: list[dict[str, Any]] = field(default_factory=list)
    labels: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    near_duplicates: list[tuple[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For `dataset.json`."""
        return {
            "leaks": self.leaks,
            "leak_examples": self.leak_examples,
            "conflicts": self.conflicts,
            "conflict_examples": self.conflict_examples,
            "majority": self.majority,
            "labels": self.labels,
            "option_letters": self.options,
            "near_duplicates": {
                "pairs": len(self.near_duplicates),
                "examples": [list(pair) for pair in self.near_duplicates[:EXAMPLES]],
            },
        }


def lint(rows: Sequence[Row], splits: Sequence[str]) -> Findings:
    """Looks for leaks between the splits and inside the prompts, and for labels that contradict each other."""
    findings = Findings()
    _leaks(rows, splits, findings)
    found = conflicts(rows)
    findings.conflicts = {
        "pairs": len(found),
        "yes_against_no": sum(item["yes_against_no"] for item in found),
        "rows": sum(len(item["rows"]) for item in found),
    }
    findings.conflict_examples = found[:EXAMPLES]
    findings.majority = majority(rows, splits)
    findings.labels = label_coverage(rows)
    findings.options = option_letters(rows)
    return findings


def _leaks(rows: Sequence[Row], splits: Sequence[str], findings: Findings) -> None:
    images: dict[str, set[str]] = defaultdict(set)
    patients: dict[str, set[str]] = defaultdict(set)
    texts: dict[tuple[str, str], set[str]] = defaultdict(set)
    in_prompt: list[tuple[str, Row]] = []
    for row, split in zip(rows, splits, strict=True):
        for path in row["images"]:
            images[path].add(split)
        if row["patient_id"]:
            patients[row["patient_id"]].add(split)
        if not row["images"] and not row["image_id"]:
            asked = f"{row['question']} {row['context'] or ''}"
            texts[text_key(asked), text_key(row["answer"])].add(split)
        if place := answer_in_prompt(row):
            in_prompt.append((place, row))
    counts = {
        "image_in_several_splits": _shared(images.values()),
        "patient_in_several_splits": _shared(patients.values()),
        "question_and_answer_in_several_splits": _shared(texts.values()),
        "answer_in_prompt": len(in_prompt),
    }
    findings.leaks = {kind: count for kind, count in counts.items() if count}
    findings.leak_examples = [
        {
            "kind": "answer_in_prompt",
            "in": place,
            "id": row["id"],
            "question": row["question"],
            "answer": row["answer"],
        }
        for place, row in in_prompt[:EXAMPLES]
    ]


def _shared(places: Iterable[set[str]]) -> int:
    return sum(len(place) > 1 for place in places)


def answer_in_prompt(row: Row) -> str | None:
    """The column of the prompt that holds the whole answer, word for word; None if none does.

    Looked at are the question, the context and the title. An answer that is offered for choice is no leak:
    one of the `options`, or one side of "A or B?" ("A vs B", "between A and B", "A还是B") where the choice is
    offered by the very sentence that holds the answer. What a detection asks to find is offered too.
    """
    if row["question_type"] == "DETECTION":
        return None
    answer = text_key(str(row["answer"]))
    length = len(answer.replace(" ", "")) + 2 * len(_CHINESE.findall(answer))
    if length >= TITLE_LEAK_LENGTH and answer not in YES | NO and _holds(row["image_title"], answer):
        return "image_title"
    if length < LEAK_LENGTH:
        return None
    if _holds(row["context"], answer):
        return "context"
    if not _holds(row["question"], answer):
        return None
    sentences = _SENTENCE_END.split(str(row["question"]))
    offered = any(_OFFERS_CHOICE.search(sentence) and _holds(sentence, answer) for sentence in sentences)
    return None if offered else "question"


def _holds(text: str | None, answer: str) -> bool:
    """True if the answer is in the text; in Chinese, which sets no spaces, anywhere, else as whole words."""
    shown = text_key(str(text or ""))
    return answer in shown if _CHINESE.search(answer) else f" {answer} " in f" {shown} "


def conflicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Same picture (or context) and question, different answers; upper case and punctuation aside.

    Rows that accept each other's answers do not contradict.
    """
    asked: dict[tuple[str, ...], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        pictures = row["images"] or [row["image_id"] or ""]
        place = (*pictures, str(row["context"] or ""), str(row["options"] or ""))
        asked[(*place, text_key(row["question"]))][text_key(row["answer"])].append(row)
    found = []
    for answers in asked.values():
        shown = {group[0]["answer"] for group in answers.values()}
        if len(answers) < 2 or all(
            shown <= set(row["answers"]) for group in answers.values() for row in group
        ):
            continue
        said = {("yes" if a in YES else "no" if a in NO else "") for a in answers}
        members = [row for group in answers.values() for row in group]
        found.append(
            {
                "question": members[0]["question"],
                "image": members[0]["images"][0] if members[0]["images"] else None,
                "answers": [group[0]["answer"] for group in answers.values()],
                "rows": [row["id"] for row in members],
                "yes_against_no": {"yes", "no"} <= said,
            }
        )
    return found


def majority(rows: Sequence[Row], splits: Sequence[str]) -> list[dict[str, Any]]:
    """What always giving the most frequent training answer earns, per question type.

    The answer is the most frequent one of the training rows, the share is over the rows of the other
    splits (or of training, where those are empty): a model has to beat it. Rows that are answered with a mask say
    nothing of it: their words are the same in all.
    """
    training: dict[str, Counter[str]] = defaultdict(Counter)
    held_out: dict[str, Counter[str]] = defaultdict(Counter)
    for row, split in zip(rows, splits, strict=True):
        for kind in () if row.get("mask") else _kinds(row):
            (training if split == SPLITS[0] else held_out)[kind][text_key(row["answer"])] += 1
    table = []
    for kind, answers in sorted(training.items(), key=lambda pair: (-pair[1].total(), pair[0])):
        best = min(answers.items(), key=lambda pair: (-pair[1], pair[0]))[0]
        if answers.total() < 10 or answers[best] < FREQUENT * answers.total():
            continue  # open answers that hardly repeat: no answer is worth guessing
        judged = held_out.get(kind) or answers
        table.append(
            {
                "question_type": kind,
                "train_rows": answers.total(),
                "answer": best,
                "share": round(judged[best] / judged.total(), 4),
                "rows": judged.total(),
            }
        )
    return table


def _kinds(row: Row) -> list[str]:
    kinds = [f"all {row['answer_type']}"] if row["answer_type"] else ["all"]
    if row["question_type"] and len(row["question_type"]) <= 40:
        kinds.append(str(row["question_type"]))
    return kinds


def label_coverage(rows: Sequence[Row]) -> dict[str, Any]:
    """For plane and modality: share of rows with a label, and rows of each class."""
    table: dict[str, Any] = {}
    for kind in ("plane", "modality"):
        classes = Counter(str(row[kind]) for row in rows if row[kind])
        table[kind] = {
            "share": round(classes.total() / len(rows), 4) if rows else 0.0,
            "classes": dict(classes.most_common(30)),
        }
    return table


def option_letters(rows: Sequence[Row]) -> dict[str, Any]:
    """How often each option letter is the right one: always naming the first of them earns `share`."""
    letters: Counter[str] = Counter()
    for row in rows:
        if not row["options"]:
            continue
        for letter, text in json_value(row["options"]).items():
            if text == row["answer"]:
                letters[letter] += 1
                break
    if not letters:
        return {}
    return {
        "counts": dict(sorted(letters.items())),
        "share": round(max(letters.values()) / letters.total(), 4),
    }

"""Several models' answers to the same questions, and how much better one is than another: plain data for a page.

`medgrpo.evaluation.side_by_side` fills these in; here they are only kept and turned into JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelScore:
    """One metric of one model, with its interval."""

    model: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Difference:
    """How much better a model is than the baseline, on the questions that both answered."""

    model: str
    baseline: str
    metric: str
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    """Two-sided mid-p of a sign flip per image; not corrected for the number of comparisons."""
    n: int
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the note only where there is one."""
        return {key: value for key, value in self.__dict__.items() if key != "note" or value is not None}


@dataclass(frozen=True)
class Answer:
    """What a model said to a question."""

    completion: str
    score: float | None
    """1 right, 0 wrong, None not judged."""
    rule: str = ""


@dataclass(frozen=True)
class Question:
    """A question and every model's answer, in the order of the models."""

    question: str
    reference: str
    image: str
    answers: list[Answer]

    @property
    def disagreement(self) -> float:
        """0 where all models are equally right, up to 1."""
        scores = [answer.score for answer in self.answers if answer.score is not None]
        return max(scores) - min(scores) if scores else 0.0


@dataclass(frozen=True)
class SideBySide:
    """The comparison of predictions: per model, per pair, per question."""

    models: list[str]
    scores: list[ModelScore]
    differences: list[Difference]
    questions: list[Question]
    """Those that tell most first: where the models disagree, then where all are wrong."""
    matched_by: str = ""
    notes: list[str] = field(default_factory=list)

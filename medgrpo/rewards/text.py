"""Rewards on the text of completions, in TRL's form: `f(completions, **columns) -> list[float | None]`.

A completion is a string or a list of chat messages; columns are lists with one entry a completion. A row that
cannot be judged (no reference, no label) scores `None`. By default an answer is the content of
`<answer>…</answer>`; with `plain=True` a completion without that tag is the answer itself.

Every function is at module level, so it can be pickled into a worker, and loops over the batch in Rust.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from medgrpo import _reward_core as core
from medgrpo.json_in import json_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Completion: TypeAlias = str | Sequence[Mapping[str, Any]]
Scores: TypeAlias = list[float | None]

COLUMNS = ("answer", "answers", "question", "options", "plane", "modality", "language")
"""The columns that text rewards compare with."""

DEFAULT_TAGS = ("think", "answer", "plane", "modality")
"""The tags of a completion, in their order."""


def completion_text(completion: Completion) -> str:
    """The text that the model wrote: the string itself, or the text parts of the assistant's messages."""
    if isinstance(completion, str):
        return completion
    return "".join(
        _content_text(message.get("content"))
        for message in completion
        if message.get("role", "assistant") == "assistant"
    )


def _content_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))


def _texts(completions: Sequence[Completion]) -> list[str]:
    if type(completions) is list and set(map(type, completions)) <= {str}:
        return completions
    return [completion_text(completion) for completion in completions]


def parse_options(value: Any) -> list[tuple[str, str]] | None:
    """Options as (letter, text): from an object letter → text, its JSON, or a list of texts."""
    if isinstance(value, str):
        if not value.strip():
            return None
        value = json_value(value)
    if not value:
        return None
    if isinstance(value, Mapping):
        pairs = [(str(letter).strip(), str(text)) for letter, text in value.items() if text is not None]
    else:
        pairs = [(chr(ord("A") + index), str(text)) for index, text in enumerate(value)]
    return [(letter[:1].upper(), text) for letter, text in pairs if letter]


@lru_cache(maxsize=4096)
def _options_in(text: str) -> list[tuple[str, str]] | None:
    return parse_options(text)


def _columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that text rewards compare with, options parsed."""
    asked = {name: columns[name] for name in COLUMNS if columns.get(name) is not None}
    if "options" in asked:
        asked["options"] = [
            _options_in(value) if isinstance(value, str) else parse_options(value)
            for value in asked["options"]
        ]
    return asked


def score(
    rewards: Sequence[str],
    completions: Sequence[Completion],
    /,
    *,
    tags: Sequence[str] = DEFAULT_TAGS,
    plain: bool = False,
    **columns: Any,
) -> NDArray[np.float64]:
    """Several text rewards at once: each completion is read once, however many rewards look at it.

    The functions of this module are the same with one name.

    Args:
        rewards: names of functions of this module (`core.TEXT_REWARDS`).
        completions: strings or chat messages, (batch,).
        tags: the tag set of a completion.
        plain: score a completion without an answer tag as the answer itself.
        columns: `answer`, `answers`, `question`, `options`, `plane`, `modality`, `language`, as the functions
            take them; others are ignored.
    Returns:
        (batch, rewards), NaN where a reward cannot judge the row.
    Raises:
        ValueError: an unknown reward, a column of another length, or a tag set without `answer` where it is judged.
    """
    return core.score_texts(list(rewards), _texts(completions), _columns(columns), list(tags), plain)


def _one(reward: str, completions: Sequence[Completion], **settings: Any) -> Scores:
    values = score([reward], completions, **settings)[:, 0]
    scores: Scores = values.tolist()
    if math.isnan(values.sum()):  # for it alone each value is looked at
        return [None if math.isnan(value) else value for value in values.tolist()]
    return scores


def parse_tags(completions: Sequence[Completion], tags: Sequence[str] = DEFAULT_TAGS) -> list[dict[str, Any]]:
    """Content and state of each tag in each completion.

    Returns:
        one dict a completion, tag → {"content": str or None, "state": one of `core.TAG_STATES`}; the content
        is None unless the state is "found".
    """
    contents, states = core.parse_tags(_texts(completions), list(tags))
    rows = zip(contents, states.tolist(), strict=True)
    return [
        {
            tag: {"content": content, "state": core.TAG_STATES[state]}
            for tag, content, state in zip(tags, row, row_states, strict=True)
        }
        for row, row_states in rows
    ]


def format(completions: Sequence[Completion], *, tags: Sequence[str] = DEFAULT_TAGS, **_: Any) -> Scores:
    """1 where every tag stands once, in order, closed and filled, with nothing outside the tags; else 0."""
    return _one("format", completions, tags=tags)


def format_graded(
    completions: Sequence[Completion], *, tags: Sequence[str] = DEFAULT_TAGS, **_: Any
) -> Scores:
    """Share of what `format` asks for: one part a filled tag, one for order, one for nothing outside."""
    return _one("format_graded", completions, tags=tags)


def answer_match(
    completions: Sequence[Completion],
    *,
    answer: Sequence[Any] | None = None,
    answers: Sequence[Any] | None = None,
    question: Sequence[Any] | None = None,
    options: Sequence[Any] | None = None,
    tags: Sequence[str] = DEFAULT_TAGS,
    plain: bool = False,
    **_: Any,
) -> Scores:
    """1 where a careful reader would accept the answer as complete and uncontradicted, else 0.

    Args:
        completions: strings or chat messages, (batch,).
        answer: accepted reference of each row, a string or a list; `a#b` accepts a or b.
        answers: lists of accepted references; where a row has any, they win over `answer`.
        question: decides polarity ("异常吗"), alternatives and what need not be repeated.
        options: letter → text (object, its JSON, or a list), for multiple choice.
        tags: the tag set; the answer is the content of `answer`.
        plain: score a completion without an answer tag as the answer itself.
    Returns:
        (batch,) of 1.0, 0.0, or None where the row has no reference.
    """
    columns = {"answer": answer, "answers": answers, "question": question, "options": options}
    return _one("answer_match", completions, tags=tags, plain=plain, **columns)


def answer_match_graded(
    completions: Sequence[Completion],
    *,
    answer: Sequence[Any] | None = None,
    answers: Sequence[Any] | None = None,
    question: Sequence[Any] | None = None,
    options: Sequence[Any] | None = None,
    tags: Sequence[str] = DEFAULT_TAGS,
    plain: bool = False,
    **_: Any,
) -> Scores:
    """`answer_match` with part marks: 1 for accepted answers, below .5 for incomplete ones, 0 for vetoed ones."""
    columns = {"answer": answer, "answers": answers, "question": question, "options": options}
    return _one("answer_match_graded", completions, tags=tags, plain=plain, **columns)


accuracy = answer_match
"""The name that text-only medical QA uses for `answer_match`."""


def exact_match(
    completions: Sequence[Completion],
    *,
    answer: Sequence[Any] | None = None,
    answers: Sequence[Any] | None = None,
    tags: Sequence[str] = DEFAULT_TAGS,
    plain: bool = False,
    **_: Any,
) -> Scores:
    """1 where answer and reference have the same words after normalisation (case, width, articles), else 0."""
    return _one("exact_match", completions, answer=answer, answers=answers, tags=tags, plain=plain)


def token_recall(
    completions: Sequence[Completion],
    *,
    answer: Sequence[Any] | None = None,
    answers: Sequence[Any] | None = None,
    tags: Sequence[str] = DEFAULT_TAGS,
    plain: bool = False,
    **_: Any,
) -> Scores:
    """Share of the reference's words that the answer has; the best over the accepted references."""
    return _one("token_recall", completions, answer=answer, answers=answers, tags=tags, plain=plain)


def token_f1(
    completions: Sequence[Completion],
    *,
    answer: Sequence[Any] | None = None,
    answers: Sequence[Any] | None = None,
    tags: Sequence[str] = DEFAULT_TAGS,
    plain: bool = False,
    **_: Any,
) -> Scores:
    """SQuAD 2.0's token F1 to the letter: punctuation deleted, articles dropped, split at blanks.

    A Chinese sentence without blanks is one token; `word_f1` splits it. A completion without an answer earns 0.

    Source: Rajpurkar et al. 2018, arXiv:1806.03822, `evaluate-v2.0.py`.
    """
    return _one("token_f1", completions, answer=answer, answers=answers, tags=tags, plain=plain)


def word_f1(
    completions: Sequence[Completion],
    *,
    answer: Sequence[Any] | None = None,
    answers: Sequence[Any] | None = None,
    tags: Sequence[str] = DEFAULT_TAGS,
    plain: bool = False,
    **_: Any,
) -> Scores:
    """F1 over words as medgrpo reads them: split at punctuation, full width folded, a Chinese character is a word."""
    return _one("word_f1", completions, answer=answer, answers=answers, tags=tags, plain=plain)


def levenshtein(
    completions: Sequence[Completion],
    *,
    answer: Sequence[Any] | None = None,
    answers: Sequence[Any] | None = None,
    tags: Sequence[str] = DEFAULT_TAGS,
    plain: bool = False,
    **_: Any,
) -> Scores:
    """1 - edit distance / length of the longer text, over normalised characters, in [0, 1]."""
    return _one("levenshtein", completions, answer=answer, answers=answers, tags=tags, plain=plain)


def plane_match(
    completions: Sequence[Completion],
    *,
    plane: Sequence[Any] | None = None,
    tags: Sequence[str] = DEFAULT_TAGS,
    **_: Any,
) -> Scores:
    """1 where `<plane>` names the labelled plane, .5 for its broader class ("frontal" for "PA"), else 0.

    None where the row has no plane label, and where the tag set does not ask for the plane.
    """
    return _one("plane_match", completions, plane=plane, tags=tags)


def modality_match(
    completions: Sequence[Completion],
    *,
    modality: Sequence[Any] | None = None,
    tags: Sequence[str] = DEFAULT_TAGS,
    **_: Any,
) -> Scores:
    """1 where `<modality>` names the labelled modality, .5 where it is right but coarser, else 0.

    "MRI" for "T2-weighted MRI" is .5, "T2-weighted" for "MRI" is 1, "T1" for "T2" is 0. None without a label.
    """
    return _one("modality_match", completions, modality=modality, tags=tags)


def fluency(completions: Sequence[Completion], *, language: Sequence[Any] | None = None, **_: Any) -> Scores:
    """Variety × language × length × cleanness of the whole completion, each in [0, 1], without a model.

    Variety is the share of word trigrams that are new, language the share of letters in the expected script
    (`language`: "en" or "zh"), length 1 from 2 to 512 words and 0 at 1,024, cleanness the share of ordinary
    characters.
    """
    return _one("fluency", completions, language=language)


def synonyms() -> dict[str, Any]:
    """The table of synonyms that the matcher uses: `version` and `groups` (id, terms, source)."""
    return core.synonyms()


def claims_text(explained: Mapping[str, Any]) -> str:
    """The claims of one row of `explain` in a line: `left lung [beside the point] · right lung abnormal`."""
    return " · ".join(
        words if standing == "stands" else f"{words} [{standing}]"
        for words, _, standing in explained["claims"]
    )


def explain(
    completions: Sequence[Completion],
    *,
    answer: Sequence[Any] | None = None,
    answers: Sequence[Any] | None = None,
    question: Sequence[Any] | None = None,
    options: Sequence[Any] | None = None,
    tags: Sequence[str] = DEFAULT_TAGS,
    plain: bool = False,
    **_: Any,
) -> list[dict[str, Any]]:
    """Why each answer scores what it scores.

    Returns:
        one dict a row: `rule` (one of `core.ANSWER_RULES`), `answer_match`, `answer_match_graded`, `field` (the
        text that was scored), `tags` (state of each), `reference` (the nearest accepted one), `claims` (each clause:
        its words, what it says, and whether the answer stands by it), `read` (spelling, meaning and negation of each
        token). Both scores are None where the row has no reference.
    """
    columns = {"answer": answer, "answers": answers, "question": question, "options": options}
    return core.explain_answers(_texts(completions), _columns(columns), list(tags), plain)

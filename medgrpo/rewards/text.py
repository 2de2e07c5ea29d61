"""Rewards on the text of completions, in TRL's form: `f(completions, **columns) -> list[float | None]`.

A completion is a string or a list of chat messages; columns are lists with one entry a completion. A row that
cannot be judged (no reference, no label) scores `None`. By default an answer is the content of
`<answer>…</answer>`; with `plain=True` a completion without that tag is the answer itself.

Every function is at module level, so it can be pickled into a worker, and loops over the batch in Rust.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from medgrpo import _reward_core as core

Completion: TypeAlias = str | Sequence[Mapping[str, Any]]
Scores: TypeAlias = list[float | None]

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
    if type(completions) is list and all(type(completion) is str for completion in completions):
        return completions
    return [completion_text(completion) for completion in completions]


def _scores(values: Any) -> Scores:
    return [None if math.isnan(value) else value for value in values.tolist()]


def _reference_row(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, float) and math.isnan(value):
        return []
    if isinstance(value, Sequence) or hasattr(value, "tolist"):
        return [text for item in value for text in _reference_row(item)]
    return [str(value)]


def references(
    count: int, answer: Sequence[Any] | None, answers: Sequence[Any] | None
) -> list[str] | list[list[str]]:
    """Accepted references of each row: `answers` where it has any, else `answer`; a string stands for one."""
    is_plain = type(answer) is list and all(type(value) is str for value in answer)
    if is_plain and answers is None and len(cast(list[str], answer)) == count:
        return cast(list[str], answer)
    rows: list[list[str]] = [[] for _ in range(count)]
    for column in (answers, answer):
        if column is None:
            continue
        if len(column) != count:
            raise ValueError(f"answer has {len(column)} rows, completions has {count}")
        for index, value in enumerate(column):
            if not any(text.strip() for text in rows[index]):
                rows[index] = _reference_row(value)
    return rows


def parse_options(value: Any) -> list[tuple[str, str]] | None:
    """Options as (letter, text): from an object letter → text, its JSON, or a list of texts."""
    if isinstance(value, str):
        if not value.strip():
            return None
        value = json.loads(value)
    if not value:
        return None
    if isinstance(value, Mapping):
        pairs = [(str(letter).strip(), str(text)) for letter, text in value.items() if text is not None]
    else:
        pairs = [(chr(ord("A") + index), str(text)) for index, text in enumerate(value)]
    return [(letter[:1].upper(), text) for letter, text in pairs if letter]


def _labels(column: Sequence[Any] | None, count: int) -> list[str | None]:
    if column is None:
        return [None] * count
    return [
        None if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)
        for value in column
    ]


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
    return _scores(core.format_scores(_texts(completions), list(tags)))


def format_graded(
    completions: Sequence[Completion], *, tags: Sequence[str] = DEFAULT_TAGS, **_: Any
) -> Scores:
    """Share of what `format` asks for: one part a filled tag, one for order, one for nothing outside."""
    return _scores(core.format_scores(_texts(completions), list(tags), True))


def _judge(
    completions: Sequence[Completion],
    answer: Sequence[Any] | None,
    answers: Sequence[Any] | None,
    question: Sequence[Any] | None,
    options: Sequence[Any] | None,
    tags: Sequence[str],
    plain: bool,
) -> tuple[Any, Any, Any, Any]:
    texts = _texts(completions)
    return core.match_answers(
        texts,
        references(len(texts), answer, answers),
        None if question is None else _labels(question, len(texts)),
        None if options is None else [parse_options(value) for value in options],
        list(tags),
        plain,
    )


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
    return _scores(_judge(completions, answer, answers, question, options, tags, plain)[0])


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
    return _scores(_judge(completions, answer, answers, question, options, tags, plain)[1])


accuracy = answer_match
"""The name that text-only medical QA uses for `answer_match`."""


def _overlap(
    measure: str,
    completions: Sequence[Completion],
    answer: Sequence[Any] | None,
    answers: Sequence[Any] | None,
    tags: Sequence[str],
    plain: bool,
) -> Scores:
    texts = _texts(completions)
    return _scores(
        core.overlap_scores(measure, texts, references(len(texts), answer, answers), list(tags), plain)
    )


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
    return _overlap("exact_match", completions, answer, answers, tags, plain)


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
    return _overlap("token_recall", completions, answer, answers, tags, plain)


def token_f1(
    completions: Sequence[Completion],
    *,
    answer: Sequence[Any] | None = None,
    answers: Sequence[Any] | None = None,
    tags: Sequence[str] = DEFAULT_TAGS,
    plain: bool = False,
    **_: Any,
) -> Scores:
    """Harmonic mean of token precision and recall, as SQuAD defines it; a Chinese character is a token."""
    return _overlap("token_f1", completions, answer, answers, tags, plain)


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
    return _overlap("levenshtein", completions, answer, answers, tags, plain)


def plane_match(
    completions: Sequence[Completion],
    *,
    plane: Sequence[Any] | None = None,
    tags: Sequence[str] = DEFAULT_TAGS,
    plain: bool = False,
    **_: Any,
) -> Scores:
    """1 where `<plane>` names the labelled plane, .5 for its broader class ("frontal" for "PA"), else 0.

    None where the row has no plane label, and where the tag set does not ask for the plane.
    """
    texts = _texts(completions)
    if "plane" not in tags:
        return [None] * len(texts)
    return _scores(core.match_labels("plane", texts, _labels(plane, len(texts)), list(tags), plain))


def modality_match(
    completions: Sequence[Completion],
    *,
    modality: Sequence[Any] | None = None,
    tags: Sequence[str] = DEFAULT_TAGS,
    plain: bool = False,
    **_: Any,
) -> Scores:
    """1 where `<modality>` names the labelled modality, .5 where it is right but coarser, else 0.

    "MRI" for "T2-weighted MRI" is .5, "T2-weighted" for "MRI" is 1, "T1" for "T2" is 0. None without a label.
    """
    texts = _texts(completions)
    if "modality" not in tags:
        return [None] * len(texts)
    return _scores(core.match_labels("modality", texts, _labels(modality, len(texts)), list(tags), plain))


def fluency(completions: Sequence[Completion], *, language: Sequence[Any] | None = None, **_: Any) -> Scores:
    """Variety × language × length × cleanness of the whole completion, each in [0, 1], without a model.

    Variety is the share of word trigrams that are new, language the share of letters in the expected script
    (`language`: "en" or "zh"), length 1 from 2 to 512 words and 0 at 1,024, cleanness the share of ordinary
    characters.
    """
    texts = _texts(completions)
    languages = None if language is None else _labels(language, len(texts))
    return _scores(core.fluency_parts(texts, languages)[:, 0])


def synonyms() -> dict[str, Any]:
    """The table of synonyms that the matcher uses: `version` and `groups` (id, terms, source)."""
    return core.synonyms()


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
        text that was scored), `tags` (state of each), `reference` (the nearest accepted one), `read` (spelling,
        meaning and negation of each token).
    """
    texts = _texts(completions)
    binary, graded, rules, nearest = _judge(texts, answer, answers, question, options, tags, plain)
    rows = [[row] if isinstance(row, str) else row for row in references(len(texts), answer, answers)]
    states = core.parse_tags(texts, list(tags))[1]
    explained: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        accepted = [part for reference in rows[index] for part in reference.split("#") if part.strip()]
        field = core.scored_field(text, list(tags), "answer", plain)[0]
        explained.append(
            {
                "rule": core.ANSWER_RULES[rules[index]],
                "answer_match": None if math.isnan(binary[index]) else float(binary[index]),
                "answer_match_graded": None if math.isnan(graded[index]) else float(graded[index]),
                "field": field,
                "tags": {
                    tag: core.TAG_STATES[state]
                    for tag, state in zip(tags, states[index].tolist(), strict=True)
                },
                "reference": accepted[nearest[index]] if nearest[index] >= 0 else None,
                "read": core.read_text(field or ""),
            }
        )
    return explained

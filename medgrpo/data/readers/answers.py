"""Reference answers and options: letters, numbers of options, and the answer inside of a reasoning."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from medgrpo.data.fields import Fields
from medgrpo.data.readers.base import BadRow
from medgrpo.data.readers.values import peeked, required, text_of, texts_of
from medgrpo.records import json_cell, lines

ANSWER = (
    *("answer", "answers", "gt_answer", "solution", "ground-true answer", "ground_truth", "gt"),
    *(
        "completion",
        "label",
        "output",
        "response",
        "答案",
        "回答",
        "标准答案",
        "参考答案",
        "正确答案",
        "答案文本",
        "target",
        "reference",
        "reference_answer",
    ),
    *("correct_answer", "final_answer", "expected_answer", "cop", "correct_option", "answer_idx"),
    *("correct_answers", "ra"),
)
INDEX = (
    "cop",
    "answer_idx",
    "answer_index",
    "correct_index",
    "correct_option",
    "correct_choice",
    "gold",
    "ra",
)
"""Fields that hold the number or letter of an option."""
OPTIONS = ("options", "choices", "candidates")
OPTIONS_IF_MANY = ("option", "choice", "answer_choices", "answer_options", "possible_answers", "answers")
"""Fields of options where they hold several, and for `answers` where another field says which is right (FrenchMedMCQA, HEAD-QA)."""
LETTERED = ("choice {}", "option_{}", "option {}", "op{}", "opt_{}", "{}")
"""Columns of options, one for each letter, as in PMC-VQA, OmniMedVQA, MedMCQA and C-Eval."""

_OF_ANSWER = "answer|final_answer|conclusion"
_ANSWER_TAG = re.compile(rf"<({_OF_ANSWER})>(.*?)(?:</\1>|$)", re.DOTALL | re.IGNORECASE)
_OPENS = (
    r"<(?:think|thinking|reasoning|reason|thought|analysis|summary|caption|seed:think)>|\[THINK\]|◁think▷"
    r"|<\|begin_of_thought\|>|<unused94>|<\|channel\|>analysis"
)
_CLOSES = (
    r"</(?:think|thinking|reasoning|reason|thought|analysis|summary|caption|seed:think)>|\[/THINK\]|◁/think▷"
    r"|<\|end_of_thought\|>|<unused95>|<\|channel\|>final<\|message\|>|^#{2,3} *final (?:response|answer)s?:? *$"
)
"""How models mark where reasoning begins and ends: R1, LLaVA-CoT, Seed, Magistral, Kimi, OpenThoughts, MedGemma, gpt-oss,
HuatuoGPT-o1."""
_THINK = re.compile(_OPENS, re.IGNORECASE)
_AFTER_THINK = re.compile(rf"^.*(?:{_CLOSES})", re.DOTALL | re.IGNORECASE | re.MULTILINE)
_AROUND = re.compile(r"^<\|begin_of_solution\|>(.*?)(?:<\|end_of_solution\|>)?$", re.DOTALL | re.IGNORECASE)
_BOXED = re.compile(r"^(?:\$\s*)?\\boxed\{(?:\\text\{)?([^{}]*)\}{1,2}\s*\$?\.?$")
BOXED = "\\boxed{"
_HASHES = re.compile(r"\n####\s*(.+)\s*$")
_OPTION_LINE = re.compile(r"\s*\(?([A-H])[\s).:：、.]+(\S.*?)\s*$")
_MARKED = re.compile(r"^\s*\(?([A-Z])\s*[).:：、]\s*")


def answer_part(text: str, field: str = "answer") -> str:
    r"""The answer in a reply that reasons first: inside `<answer>`, after `</think>`, in `\boxed{}`, after `####`.

    Raises:
        BadRow: there are reasoning tags and no one answer.

    >>> answer_part("<think>Denser on the left.</think>\n<answer>yes</answer>")
    'yes'
    """
    tagged = [match[1].strip() for match in _ANSWER_TAG.findall(text)]
    if tagged:
        if len(set(tagged)) > 1 or not tagged[0]:
            found = ", ".join(map(repr, tagged))
            raise BadRow("no one answer in the reply", field, f"<answer> holds {found}", "one answer")
        return _unboxed(tagged[0])
    if _AFTER_THINK.match(text):
        text = _AFTER_THINK.sub("", text).strip()
        text = (around[1] if (around := _AROUND.match(text)) else text).strip()
        if not text:
            raise BadRow("reasoning without an answer", field, "nothing after the reasoning", "an answer")
        return _unboxed(text)
    if _THINK.search(text):
        raise BadRow(
            "reasoning without an answer", field, "the reasoning is not closed", "</think> and an answer"
        )
    hashes = _HASHES.search(text)
    return hashes[1].strip() if hashes else _unboxed(text)


def _unboxed(text: str) -> str:
    boxed = _BOXED.match(text.strip())
    return boxed[1].strip() if boxed and boxed[1].strip() else _last_boxed(text) or text


def _last_boxed(text: str) -> str | None:
    r"""What the last `\boxed{…}` of a reasoning holds, braces inside of it included (MATH); None where there is none.

    >>> _last_boxed(r"Since $2x = 1$, $x = \boxed{\frac{1}{2}}$.")
    '\\frac{1}{2}'
    """
    start = text.rfind(BOXED)
    depth, place = 1, start + len(BOXED)
    while start >= 0 and place < len(text):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + len(BOXED) : place].strip() or None
        place += 1
    return None


def full_reply(text: str | None, answer: str) -> str | None:
    """The whole reply where it reasons before its answer: what SFT learns word for word; else None."""
    reasons = text and (
        _THINK.search(text) or _AFTER_THINK.match(text) or (BOXED in text and not _BOXED.match(text))
    )
    return text if reasons and text != answer else None


def answers_of(fields: Mapping[str, Any], options: Mapping[str, str]) -> list[str]:
    """The accepted answers, the main one first; an option's letter or number becomes its text, reasoning is peeled off.

    Raises:
        BadRow: there is no answer, or it is none of the options.
    """
    name = answer_field(fields)
    value = fields.get(name)
    if isinstance(value, Mapping) and isinstance(value.get("text"), list) and "answer_start" in value:
        value = value["text"]  # SQuAD: each of them is right
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        raise BadRow("answer that is no text", name, f"{value!r:.60}", "a text, or a list of texts")
    if isinstance(value, list) and name != "answers" and len(value) > 1 and all(map(_is_number, value)):
        raise BadRow(
            "answer that is no text",
            name,
            f"{value!r:.60} are numbers: a box, a series, or answers of equal right",
            "a text or one number; `answers` for several that are all right; boxes in a format of boxes",
        )
    if (
        isinstance(value, list)
        and name != "answers"
        and len(texts_of(value)) > 1
        and isinstance(fields, Fields)
    ):
        fields.notes.append(f"several texts in {name}: each of them counts as right")
    answers = [peeled for text in texts_of(value) if (peeled := answer_part(text, name))]
    if not answers:
        if isinstance(fields.get(name), list):
            raise BadRow(
                "no answer", name, f"{fields[name]!r:.60} holds no text", "a text, or a list of texts"
            )
        required({name: fields[name]} if name in fields else fields, name)  # raises, and says what is there
    if not options:
        return answers
    if len(answers) > 1 and name != "answers":
        raise BadRow("several right options", name, f"{answers!r:.60}", "one right option")
    by_text = {text.casefold(): text for text in options.values()}.get(answers[0].casefold())
    if by_text is not None and name not in INDEX:
        _refuse_other_letter(fields, by_text, options)
        return [by_text]
    return [option_text(answers[0], options, name, letter=_letter(fields, name, options))]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse_other_letter(fields: Mapping[str, Any], text: str, options: Mapping[str, str]) -> None:
    for name in INDEX:
        letter = (text_of(fields[name]) or "").strip("(). ").upper() if name in fields else ""
        if letter in options and options[letter] != text:
            raise BadRow(
                "answer and letter disagree",
                name,
                f"{letter} is {options[letter]!r}, the answer {text!r}",
                "one answer",
            )


def answer_field(fields: Mapping[str, Any]) -> str:
    """The field that holds the reference answer: the first name of `ANSWER` that is there, those that are true or
    false last (a `label` beside a completion says whether it is wanted)."""
    there = [name for name in ANSWER if name in fields]
    if options_field(fields) == "answers":
        there.remove("answers")
    said = [name for name in there if not isinstance(peeked(fields, name), bool)]
    return (said or there or [ANSWER[0]])[0]


def _letter(fields: Mapping[str, Any], answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the right option, where a field holds it or its number."""
    for name in dict.fromkeys((*INDEX, answer)):
        value = text_of(fields.get(name)) if name in fields else None
        if value is None:
            continue
        value = value.strip("(). ")
        if not value.isdigit():
            if value.upper() in options:
                return value.upper()
            continue
        if value in options:  # keyed by number
            return value
        base = fields.index_base if isinstance(fields, Fields) else None
        if base is None:
            raise BadRow(
                "number of an option that may count from 0 or 1",
                name,
                f"{value} among {len(options)} options, and no row of the file tells where it counts from",
                "letters, texts, or a file in which the number 0 or the number of the last option occurs",
            )
        place = int(value) - base
        if not 0 <= place < len(options):
            raise BadRow(
                "answer not among the options",
                name,
                f"{value} of {len(options)} options from {base}",
                "a number of one",
            )
        return list(options)[place]
    return None


def may_number_options(fields: Fields) -> bool:
    """Whether a record has options and a field that may hold the number of one."""
    numbers = (text_of(fields.peek(name)) for name in (*INDEX, *ANSWER))
    try:
        return any(text is not None and text.isdigit() for text in numbers) and bool(named_options(fields))
    except BadRow:
        return False


def index_base(records: Iterable[Mapping[str, Any]]) -> int | None:
    """Whether the answers of a file number its options from 0 or from 1: 0 where a 0 occurs, 1 where the number
    of the last option does; None where neither or both do."""
    zero = last = False
    for record in records:
        fields = record if isinstance(record, Fields) else Fields(record)
        names = [name for name in (*INDEX, *ANSWER) if name in fields]
        if not names:
            continue
        value = next((text for name in names if (text := text_of(fields[name])) and text.isdigit()), None)
        if value is None:
            continue
        try:
            count = len(named_options(fields))
        except BadRow:
            continue
        zero |= count > 0 and value == "0"
        last |= count > 0 and int(value) == count
    return None if zero == last else 0 if zero else 1


def option_text(answer: str, options: Mapping[str, str], field: str, letter: str | None = None) -> str:
    """The text of the option that an answer means, by its text or its letter.

    Raises:
        BadRow: it is none of the options.
    """
    texts = {text.casefold(): text for text in options.values()}
    if answer.casefold() in texts:
        return texts[answer.casefold()]
    marked = _MARKED.match(answer)
    written = texts.get(answer[marked.end() :].strip().casefold()) if marked else None
    if marked and written and options.get(marked[1], written) != written:
        raise BadRow(
            "answer and letter disagree",
            field,
            f"{answer!r:.80}: {marked[1]} is {options[marked[1]]!r}",
            "the text beside the letter that stands for it",
        )
    for candidate in (letter, answer.strip("(). "), marked.group(1) if marked else None):
        if candidate and candidate.strip().upper() in options:
            return options[candidate.strip().upper()]
    raise BadRow(
        "answer not among the options",
        field,
        f"{answer!r} is none of the options {json.dumps(dict(options), ensure_ascii=False)[:80]}",
        "the letter or the text of an option",
    )


def named_options(fields: Mapping[str, Any]) -> dict[str, str]:
    """The options of a record, in one field or in one column each.

    Raises:
        BadRow: there is a field of options, and what it holds is none.
    """
    name = options_field(fields)
    value = None if name is None else fields[name]
    if value is None and (wrong := _distractors(fields)):
        return wrong
    for column in LETTERED if value is None else ():
        names = [column.format(letter) for letter in "abcdefgh"]
        if names[0] in fields and names[1] in fields:
            value = [text for name in names if name in fields and (text := text_of(fields[name]))]
            break
    found = _in_capitals(options_of(value))
    if not found and name is not None and value not in (None, "", [], {}):
        raise BadRow(
            "options not understood",
            name,
            f"{value!r:.60}",
            "an object letter → text, a list of texts, or one marked option a line",
        )
    return found


def options_field(fields: Mapping[str, Any]) -> str | None:
    """The field that holds all options; None where there is none, or each has a column of its own."""
    return next((name for name in OPTIONS if name in fields), None) or next(
        (name for name in OPTIONS_IF_MANY if name in fields and _holds_options(fields, name)), None
    )


def _holds_options(fields: Mapping[str, Any], name: str) -> bool:
    value = peeked(fields, name)
    if name == "answers" and (
        not any(other in fields for other in ANSWER if other != name)
        or not (isinstance(value, Mapping) or (isinstance(value, list) and _are_objects(value)))
    ):
        return False  # several that are right
    if not isinstance(value, Mapping | list):
        return False
    found = options_of(value)
    return len(found) > 1 and all(len(key) <= 2 for key in found)


def _are_objects(value: list[Any]) -> bool:
    return all(isinstance(item, Mapping) for item in value)


def _in_capitals(options: dict[str, str]) -> dict[str, str]:
    """Options keyed `a`, `b`, … as `A`, `B`, …"""
    is_small = options and all(len(key) == 1 and key.islower() for key in options)
    return {key.upper(): text for key, text in options.items()} if is_small else options


def _distractors(fields: Mapping[str, Any]) -> dict[str, str]:
    """Options of which a file names the right one apart (SciQ): in the order of the alphabet, which tells nothing."""
    names = [
        name
        for name in fields
        if re.fullmatch(r"(distractors?|incorrect_answers?|wrong_answers?)_?\d*", name)
    ]
    wrong = [text for name in names for text in texts_of(fields[name])]
    right = texts_of(fields.get(answer_field(fields))) if wrong else []
    if not wrong or len(right) != 1:
        return {}
    if isinstance(fields, Fields):
        fields.notes.append("the right option stands apart from the wrong ones: put in alphabetical order")
    texts = sorted({*wrong, *right}, key=lambda text: (text.casefold(), text))
    return {chr(ord("A") + place): text for place, text in enumerate(texts)}


def options_of(value: Any) -> dict[str, str]:
    """Letter -> text from an object, a list of texts or of objects, a JSON text of either, or a text with one marked
    option a line (CMExam); empty if there are none."""
    if isinstance(value, str):
        if value.strip()[:1] not in ("[", "{"):
            return {match[1]: match[2] for line in lines(value) if (match := _OPTION_LINE.match(line))}
        with suppress(ValueError, SyntaxError):
            value = (
                json_cell(value, "options") if '"' in value else ast.literal_eval(value)
            )  # MMMU writes Python's lists
    if isinstance(value, Mapping):
        if isinstance(value.get("text"), list) and isinstance(value.get("label"), list):  # ARC
            return dict(zip(map(str, value["label"]), texts_of(value["text"]), strict=False))
        return {str(key).strip(): text for key, item in value.items() if (text := text_of(item)) is not None}
    if not isinstance(value, Sequence) or isinstance(value, str):
        return {}
    if value and all(isinstance(item, Mapping) for item in value):  # MedQA: key and value
        return _keyed(value)
    texts = [_MARKED.sub("", text) for text in texts_of(list(value))]
    return {chr(ord("A") + index): text for index, text in enumerate(texts)}


def _keyed(items: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    found = {}
    for item in items:
        key = next(
            (text for name in ("key", "label", "id", "letter", "aid") if (text := text_of(item.get(name)))),
            None,
        )
        text = next(
            (
                text
                for name in ("value", "text", "content", "option", "atext")
                if (text := text_of(item.get(name)))
            ),
            None,
        )
        if key is None or text is None:
            return {}
        found[key] = text
    return found

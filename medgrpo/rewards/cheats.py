"""Completions that deserve no reward: what a model finds when the reward has a hole."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medgrpo.json_in import json_value

Row = Mapping[str, Any]

LISTED_ANSWERS = 30
"""So many of the dataset's answers are listed by `all_answers`."""

SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"), ("左", "右"))
PLANES = {
    "axial": re.compile("axial|trans|横|轴", re.IGNORECASE),
    "coronal": re.compile("coron|冠", re.IGNORECASE),
    "sagittal": re.compile("sagit|矢", re.IGNORECASE),
}
MODALITIES = {
    "CT": re.compile(r"\bct|tomogra|断层", re.IGNORECASE),
    "MRI": re.compile(r"\bmr|magnet|磁", re.IGNORECASE),
    "ultrasound": re.compile("ultraso|sono|echo|超声", re.IGNORECASE),
}
"""A label that a cheat may put in place of another → what that label looks like."""
PLANE_WORDS = re.compile(
    r"axial|coronal|sagittal|transverse|\bpa\b|\bap\b|posteroanterior|anteroposterior|横断|冠状|矢状",
    re.IGNORECASE,
)
YES = {"yes", "true", "是", "有", "是的", "对"}
NO = {"no", "false", "否", "没有", "无", "不是", "不"}


@dataclass(frozen=True)
class Knowledge:
    """What a cheat may know of the dataset without looking at a picture: its frequent answers and labels."""

    answers: list[str]
    """The distinct answers, the most frequent first."""
    plane: str
    modality: str
    tags: tuple[str, ...]
    """Tags of a completion; empty for plain answers."""


@dataclass(frozen=True)
class Cheat:
    """A way to write a completion that should not be rewarded.

    `write` gives the completion for a row, or None where the cheat does not apply to it.
    """

    name: str
    description: str
    write: Callable[[Row, Knowledge], str | None]
    measure: str = "total"
    """What it is measured by: the total, or the component that it attacks while the rest is right."""
    columns: tuple[str, ...] = field(default=("answer",))
    """A row needs one of these for the cheat to apply."""


def knowledge(rows: Sequence[Row], tags: Sequence[str]) -> Knowledge:
    """The frequent answers and labels of the rows."""

    def ranked(values: Sequence[str]) -> list[str]:
        counts = Counter(value.strip().casefold() for value in values if value.strip())
        return [value for value, _ in counts.most_common()]

    return Knowledge(
        answers=ranked([truth(row) for row in rows]) or ["no"],
        plane=next(iter(ranked([str(row.get("plane") or "") for row in rows])), "axial"),
        modality=next(iter(ranked([str(row.get("modality") or "") for row in rows])), "CT"),
        tags=tuple(tags),
    )


def truth(row: Row) -> str:
    """The main reference answer; "" where there is none."""
    for name in ("answers", "answer"):
        value = row.get(name)
        if value is not None and not isinstance(value, str) and hasattr(value, "__iter__"):
            value = next((item for item in value if not _absent(item)), None)
        first = "" if _absent(value) else str(value).split("#", 1)[0].strip()
        if first:
            return first
    return ""


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or not str(value).strip()


def is_chinese(row: Row) -> bool:
    """True where the question, or else the answer, has Chinese characters."""
    return bool(re.search("[\u4e00-\u9fff]", str(row.get("question") or truth(row))))


def form(known: Knowledge, answer: str, *, plane: str | None = None, modality: str | None = None) -> str:
    """The completion in the prompt's form: all tags filled, labels guessed unless given; or the bare answer."""
    if not known.tags:
        return answer
    content = {
        "think": "The image was read with care.",
        "answer": answer,
        "plane": plane or known.plane,
        "modality": modality or known.modality,
        "boxes": "[]",
    }
    return "".join(f"<{tag}>{content.get(tag, '.')}</{tag}>" for tag in known.tags)


def honest(row: Row, known: Knowledge) -> str:
    """The completion that a perfect model would write."""
    completion = form(known, truth(row), plane=_label(row, "plane"), modality=_label(row, "modality"))
    boxes = row.get("boxes")
    if boxes is None:
        return completion
    return _with_boxes(known, boxes if isinstance(boxes, str) else json.dumps(boxes, default=list))


def negated(answer: str, *, chinese: bool) -> str:
    """The opposite of an answer: yes ↔ no, none → several, `no x` → `x`, `x` → `no x`."""
    bare = answer.strip().rstrip(".。!?！？").strip()
    folded = bare.casefold()
    if folded in YES:
        return "否" if chinese else "no"
    if folded in NO:
        return "是" if chinese else "yes"
    if folded in ("0", "none", "nothing", "zero"):
        return "几个" if chinese else "several"
    if chinese:
        opened = re.sub(r"^(没有|无|未见|不是|不)", "", bare)
        return opened if opened != bare else f"没有{bare}"
    stated = re.match(r"(there (?:is|are) )(?!no )(?:an? )?(.+)", bare, flags=re.IGNORECASE)
    if stated:
        return f"{stated[1]}no {stated[2]}"
    opened = re.sub(r"^(no|not|without|none of)\s+", "", bare, flags=re.IGNORECASE)
    return (
        opened if opened != bare else "no " + re.sub(r"^(the|a|an|it is)\s+", "", bare, flags=re.IGNORECASE)
    )


def side_flipped(text: str) -> str | None:
    """The text with left and right exchanged; None where it names no side, or both."""
    flipped = text
    for left, right in SIDES:
        flipped = flipped.replace(left, "\0").replace(right, left).replace("\0", right)
    names_both = any(left in text and right in text for left, right in SIDES)
    return None if flipped == text or names_both else flipped


def _label(row: Row, name: str) -> str | None:
    value = row.get(name)
    return None if _absent(value) else str(value)


def _other(label: str, choices: Mapping[str, re.Pattern[str]]) -> str:
    """The first of the choices that is not what the label says."""
    return next(choice for choice, looks in choices.items() if not looks.search(label))


def _question(row: Row, known: Knowledge) -> str | None:
    question = str(row.get("question") or "").strip()
    return form(known, question) if question else None


def _constant(english: str, chinese: str) -> Callable[[Row, Knowledge], str]:
    return lambda row, known: form(known, chinese if is_chinese(row) else english)


def _all_answers(row: Row, known: Knowledge) -> str:
    from medgrpo.rewards.text import parse_options

    options = parse_options(row.get("options"))
    if options:
        return form(known, ", ".join(f"{letter}. {text}" for letter, text in options))
    if truth(row).casefold() in YES | NO:
        return form(known, "是，否" if is_chinese(row) else "yes, no")
    return form(known, ("、" if is_chinese(row) else ", ").join(known.answers[:LISTED_ANSWERS]))


def _letters(joint: str, most: int | None) -> Callable[[Row, Knowledge], str | None]:
    """Names option letters without choosing: the first `most`, or all."""

    def write(row: Row, known: Knowledge) -> str | None:
        from medgrpo.rewards.text import parse_options

        letters = [letter for letter, _ in parse_options(row.get("options")) or []]
        return form(known, joint.join(letters[:most])) if len(letters) > 1 else None

    return write


def _unclaimed(row: Row, known: Knowledge) -> str:
    """Names the truth and claims nothing: what a reward for shared words pays."""
    right = truth(row)
    if is_chinese(row):
        return form(known, f"需要判断是否为{right}。请仔细观察图像。")
    return form(known, f"We have to find out whether it is {right}. Please look at the image carefully.")


def _taken_back(row: Row, known: Knowledge) -> str:
    """Says the truth first and another answer in the end."""
    right = truth(row)
    wrong = next((answer for answer in known.answers if answer != right.casefold()), "something else")
    if right.casefold() in YES | NO:
        wrong = negated(right, chinese=is_chinese(row))
    return form(known, f"{right}。更正：{wrong}。" if is_chinese(row) else f"{right}. Correction: {wrong}.")


def _hedge(row: Row, known: Knowledge) -> str:
    right = truth(row)
    wrong = [answer for answer in known.answers if answer != right.casefold()][:2] or ["something else"]
    if is_chinese(row):
        return form(
            known, f"可能是{right}，也可能是{wrong[0]}，不能排除{wrong[-1]}，需要结合临床进一步检查。"
        )
    return form(
        known,
        f"It may be {right}, but it could also be {wrong[0]}; {wrong[-1]} cannot be excluded, and clinical "
        "correlation with further imaging is advised.",
    )


def _negated(row: Row, known: Knowledge) -> str | None:
    return form(known, negated(truth(row), chinese=is_chinese(row)))


def _flipped(row: Row, known: Knowledge) -> str | None:
    flipped = side_flipped(truth(row))
    return None if flipped is None else form(known, flipped)


def _wrong_plane_answer(row: Row, known: Knowledge) -> str | None:
    right = truth(row)
    if not PLANE_WORDS.search(right) or len(right) > 40:
        return None
    chinese = {"横断": "矢状面", "冠状": "横断面", "矢状": "冠状面"}
    wrong = next((swap for word, swap in chinese.items() if word in right), None)
    if wrong is None:
        folded = right.casefold()
        wrong = "coronal" if "axial" in folded or "transverse" in folded else "axial"
    return form(known, wrong, plane=wrong)


def _wrong_plane_tag(row: Row, known: Knowledge) -> str | None:
    plane = _label(row, "plane")
    if plane is None or "plane" not in known.tags:
        return None
    return form(known, truth(row), plane=_other(plane, PLANES), modality=_label(row, "modality"))


def _wrong_modality_tag(row: Row, known: Knowledge) -> str | None:
    modality = _label(row, "modality")
    if modality is None or "modality" not in known.tags:
        return None
    return form(known, truth(row), plane=_label(row, "plane"), modality=_other(modality, MODALITIES))


def _with_boxes(known: Knowledge, boxes: str) -> str:
    if not known.tags:
        return boxes
    return "".join(
        f"<{tag}>{boxes if tag == 'boxes' else 'The image was read with care.'}</{tag}>" for tag in known.tags
    )


def _boxes_of(row: Row) -> list[dict[str, Any]]:
    value = row.get("boxes")
    return json_value(value) if isinstance(value, str) else list(value or [])


def _frame(row: Row) -> tuple[float, float]:
    corners = [box["box"] if isinstance(box, Mapping) else box for box in _boxes_of(row)]
    width = row.get("width") or max((corner[2] for corner in corners), default=1000)
    height = row.get("height") or max((corner[3] for corner in corners), default=1000)
    return float(width), float(height)


def _box_text(row: Row, known: Knowledge, boxes: Sequence[Sequence[float]]) -> str:
    label = next((str(box.get("label", "")) for box in _boxes_of(row) if isinstance(box, Mapping)), "")
    return _with_boxes(known, json.dumps([{"box": [round(v) for v in box], "label": label} for box in boxes]))


def _whole_frame(row: Row, known: Knowledge) -> str:
    width, height = _frame(row)
    return _box_text(row, known, [(0, 0, width, height)])


def _grid(row: Row, known: Knowledge) -> str:
    width, height = _frame(row)
    steps = range(5)
    cells = [
        (i * width / 5, j * height / 5, (i + 1) * width / 5, (j + 1) * height / 5)
        for i in steps
        for j in steps
    ]
    return _box_text(row, known, cells)


def _truth_repeated(row: Row, known: Knowledge) -> str | None:
    boxes = _boxes_of(row)
    return _with_boxes(known, json.dumps(boxes * 10)) if boxes else None


TEXT_CHEATS = (
    Cheat("empty", "writes nothing", lambda row, known: ""),
    Cheat("tags_only", "writes the tags with nothing in them", lambda row, known: _tags_with(known, "")),
    Cheat("filler", "fills every tag with a full stop", lambda row, known: _tags_with(known, ".")),
    Cheat("question_repeated", "answers with the question", _question),
    Cheat(
        "majority_answer",
        "always gives the most frequent answer",
        lambda row, known: form(known, known.answers[0]),
    ),
    Cheat("always_no", "always says no", _constant("no", "没有")),
    Cheat("always_yes", "always says yes", _constant("yes", "是")),
    Cheat("all_answers", "lists every option, or the most frequent answers", _all_answers),
    Cheat("two_letters", "names the first two option letters", _letters(" or ", 2)),
    Cheat("letters_with_or", "names every option letter, joined by or", _letters(" or ", None)),
    Cheat("unclaimed_truth", "names the truth without claiming it", _unclaimed),
    Cheat("taken_back", "says the truth and takes it back", _taken_back),
    Cheat("verbose_hedge", "names the truth among other possibilities", _hedge),
    Cheat("negated_truth", "says the opposite of the truth", _negated),
    Cheat("side_flipped", "the truth with left and right exchanged", _flipped),
    Cheat("wrong_plane", "names another plane where the answer is a plane", _wrong_plane_answer),
    Cheat("wrong_plane_tag", "all right but the plane", _wrong_plane_tag, "plane_match", ("plane",)),
    Cheat(
        "wrong_modality_tag",
        "all right but the modality",
        _wrong_modality_tag,
        "modality_match",
        ("modality",),
    ),
)

BOX_CHEATS = (
    Cheat("empty", "writes nothing", lambda row, known: "", columns=("boxes",)),
    Cheat(
        "no_boxes", "always an empty list", lambda row, known: _with_boxes(known, "[]"), columns=("boxes",)
    ),
    Cheat("whole_frame", "one box around the whole picture", _whole_frame, columns=("boxes",)),
    Cheat("grid", "a grid of 5×5 boxes", _grid, columns=("boxes",)),
    Cheat("truth_repeated", "every right box ten times", _truth_repeated, columns=("boxes",)),
)


def _tags_with(known: Knowledge, content: str) -> str:
    return "".join(f"<{tag}>{content}</{tag}>" for tag in known.tags or ("answer",))

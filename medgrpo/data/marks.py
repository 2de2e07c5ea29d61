"""Marks inside texts that stand for something else: `<image>`, `<bbox>`, ends of turns.

A prepared row shows its pictures before the question. A mark that stands there anyway is taken out; one inside the
text is written as "image 2", so that it still says which picture is meant. Other marks are not understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from medgrpo.records import BadRow
from medgrpo.rows import Row, columns

IMAGE = re.compile(
    r"<image>|<ImageHere>|<image_placeholder>|\[image\]|<\|image(?:_\d+)?\|>|<start_of_image>|<image_soft_token>|<IMG_CONTEXT>"
    r"|<\|vision_start\|>(?:<\|image_pad\|>)+<\|vision_end\|>|<image[ _](?P<number>\d+)>",
    re.IGNORECASE,
)
"""How a picture is marked: LLaVA, LLaMA-Factory, ms-swift, InternLM, Qwen, Phi, Gemma, InternVL; MMMU numbers them."""
NOT_UNDERSTOOD: tuple[tuple[str, str], ...] = (
    (
        r"<bbox>|<ref-object>|<\|box_start\|>|<\|object_ref_start\|>|<box>|<ref>|<loc_?\d+>",
        "a place in the picture",
    ),
    (r"<video>|<\|video_pad\|>|<audio>|<\|audio_pad\|>", "a video or sound"),
    (
        r"<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|\[INST\]|<\|(?:user|assistant|system)\|>",
        "a turn of a chat template: the text is a prompt ready for one model",
    ),
)
"""Marks (patterns) that change what a text means -> what they stand for."""
END = re.compile(r"(?:\s*(?:<\|im_end\|>|<\|endoftext\|>|<\|eot_id\|>|<end_of_turn>|</s>|<eos>))+\s*$")
"""The end of a turn as chat templates write it; it is no word of an answer."""
SPECIAL = re.compile(
    r"<image>|<video>|<audio>|<\|(?:im_start|im_end|image_pad|video_pad|audio_pad|vision_start|vision_end|endoftext|eot_id"
    r"|start_header_id|end_header_id)\|>|<(?:start|end)_of_(?:turn|image)>|<image_soft_token>|<IMG_CONTEXT>|<IMG>|</IMG>"
)
"""What tokenizers and other trainers read as a turn or a picture, wherever it stands in a text."""
NAMED_PICTURE = (
    r"<img\b[^>]*>|!\[[^\]]*\]\([^)\s]+\)",
    "a picture that the text names itself, which is not read",
)
"""Such a mark in a question (Qwen-VL, Markdown); in an answer it may be the web page that was asked for."""
PLACE = re.compile(
    r"[\[(]\s*(?:\d+(?:\.\d+)?\s*,\s*){3}\d+(?:\.\d+)?\s*[\])]"
    r"|\(\s*\d+(?:\.\d+)?\s*,\s*\d+(?:\.\d+)?\s*\)\s*,\s*\(\s*\d+(?:\.\d+)?\s*,\s*\d+(?:\.\d+)?\s*\)"
)
"""A box in numbers, as in "the region [10, 20, 30, 40]"; such numbers are left as they are."""
ASKING, ANSWERING = ("context", "question"), ("answer", "chosen", "rejected")


def settle_marks(row: Row, pictures: int) -> list[str]:
    """Takes the marks out of a row's texts; what was changed beyond that, to be told.

    Args:
        pictures: how many the row has.
    Raises:
        BadRow: the marks and the pictures differ in number, or a mark is not understood.
    """
    notes: list[str] = []
    _place_images(row, pictures, notes)
    for column in ANSWERING:
        text = columns(row)[column]
        if isinstance(text, str):
            cut = END.sub("", text)
            if cut != text:
                notes.append("an end of turn was taken off the answer")
                columns(row)[column] = cut
    row["answers"] = [END.sub("", text) for text in row["answers"]]
    for column in (*ASKING, *ANSWERING, "options"):
        text = columns(row)[column]
        _refuse(column, text)
        if pictures and text and PLACE.search(text):
            notes.append(f"{column} has a box in numbers: it does not move with a picture that is resized")
    return notes


def _refuse(column: str, text: str | None) -> None:
    if not text or not ("<" in text or "[" in text):
        return
    for pattern, meaning in (*NOT_UNDERSTOOD, *((NAMED_PICTURE,) if column in ASKING else ())):
        if found := re.search(pattern, text):
            raise BadRow(
                "a mark in the text is not understood",
                column,
                f"{found[0]} stands for {meaning}",
                "plain text, or a format that reads such marks (docs/data.md lists them)",
            )
    if column not in ASKING and IMAGE.search(text):
        raise BadRow(
            "picture inside the answer", column, f"{text[:60]!r} marks a picture", "pictures in the question"
        )


def _place_images(row: Row, pictures: int, notes: list[str]) -> None:
    texts = {column: columns(row)[column] for column in ASKING if columns(row)[column]}
    marks = [mark for text in texts.values() for mark in IMAGE.finditer(text)]
    if not marks:
        return
    numbers = [mark["number"] for mark in marks]
    fits = (
        all(number is not None and 1 <= int(number) <= pictures for number in numbers)
        if any(numbers)
        else len(marks) == pictures
    )
    if not fits:
        raise BadRow(
            "image marks and pictures differ",
            "question",
            f"{len(marks)} marks like {marks[0][0]} and {pictures} pictures",
            "a mark for each picture, in their order, or none",
        )
    if any(numbers):
        replaced = {column: _numbered(text, int, row["language"]) for column, text in texts.items()}
    else:
        replaced = _in_order(texts, pictures, row["language"])
    for column, text in replaced.items():
        if re.search(r"\bimage \d|图\d", text) and text != columns(row)[column]:
            notes.append("the place of a picture in the text is written as its number; pictures come first")
        columns(row)[column] = text
    if not row["question"]:
        raise BadRow("no question", "question", "the question is only a picture", "a text that is not empty")


def _numbered(text: str, number_of: Callable[[str], int], language: str) -> str:
    name = "图" if language == "zh" else "image "
    return IMAGE.sub(lambda mark: f"{name}{number_of(mark['number'])}", text).strip()


def _in_order(texts: dict[str, str], pictures: int, language: str) -> dict[str, str]:
    """The texts without marks, where they stand before or after all words; else with the pictures' numbers."""
    around = re.compile(rf"^\s*(?:(?:user|human):\s*)?(?:(?:{IMAGE.pattern})\s*)+", re.IGNORECASE)
    counted = 0

    def numbered(mark: re.Match[str]) -> str:
        nonlocal counted
        counted += 1
        return f"图{counted}" if language == "zh" else f"image {counted}"

    found = {}
    is_first = True
    for column, text in texts.items():
        leading = around.match(text) if is_first else None
        lead = 0
        if leading:
            counted += len(IMAGE.findall(leading[0]))
            lead = leading.end()
        head = re.match(r"^\s*(?:user|human):\s*", text, re.IGNORECASE) if leading else None
        rest = text[lead:]
        if pictures == 1 or counted == pictures - 1:
            rest = re.sub(rf"\s*(?:{IMAGE.pattern})\s*$", "", rest, flags=re.IGNORECASE)
        found[column] = (head[0] if head and column == "context" else "") + IMAGE.sub(numbered, rest).strip()
        is_first = False
    return found

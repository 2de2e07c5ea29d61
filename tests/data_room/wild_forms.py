"""More file forms, met in public files of other tools; see `forms.py`.

`python -m tests.data_room.wild_forms` prints the table of docs/data.md, "Forms that are tried".
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from PIL import Image

from tests.data_room.forms import BOXED, FORMS, Form, Q, both, lines, pictures, text

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels><label><name>cyst</name><type>rectangle</type></label></labels></task></meta>
{}</annotations>"""
MAY, JUNE = date(2024, 5, 31), date(2024, 6, 1)
BOX = '<box label="cyst" occluded="0" xtl="12.00" ytl="6.00" xbr="20.00" ybr="18.00" z_order="0"></box>'


def cvat(*shapes: str) -> str:
    """CVAT's file with a picture for each text of shapes: a.png, b.png, …"""
    images = (
        f'<image id="{number}" name="{chr(97 + number)}.png" width="32" height="24">{shape}</image>\n'
        for number, shape in enumerate(shapes)
    )
    return CVAT.format("".join(images))


def labelme(*shapes: dict[str, Any], **more: Any) -> str:
    """LabelMe's file of a.png."""
    return json.dumps(
        {"imagePath": "a.png", "imageWidth": 32, "imageHeight": 24, "shapes": list(shapes), **more}
    )


def png(value: int = 90, kind: str = "PNG") -> bytes:
    """The file of a small picture of one grey."""
    buffer = io.BytesIO()
    Image.new("L", (32, 24), value).save(buffer, kind)
    return buffer.getvalue()


def encoded(value: int = 90, kind: str = "PNG") -> str:
    """The same as base64."""
    return base64.b64encode(png(value, kind)).decode()


def parts(part: dict[str, Any]) -> dict[str, Any]:
    """A conversation whose question begins with a part."""
    asked = [part, {"type": "text", "text": Q}]
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "yes"}]}


def workbook(sheets: dict[str, list[list[Any]]], merged: str = "") -> Callable[[Path], None]:
    """A file a.xlsx with these sheets; cells of the first are merged."""

    def write(folder: Path) -> None:
        from openpyxl import Workbook

        folder.mkdir(parents=True, exist_ok=True)
        made = Workbook()
        made.remove(made.active)
        for name, rows in sheets.items():
            sheet = made.create_sheet(name)
            for row in rows:
                sheet.append(row)
        if merged:
            made.worksheets[0].merge_cells(merged)
        made.save(folder / "a.xlsx")

    return write


def table_parts(picture: dict[str, Any]) -> dict[str, Any]:
    """The same as a table holds it: every part has every field."""
    asked = [{"type": "image", "image": picture, "text": None}, {"type": "text", "image": None, "text": Q}]
    says = [{"type": "text", "image": None, "text": "yes"}]
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": says}]}


URL = "data:image/png;base64," + encoded()
INSIDE = "note: picture read out of the data file, where it stands as base64 or within a text"
WILD = (
    Form(
        "a picture as base64 in a field of its own: a data URL, bare, cut off, no picture, no base64",
        lines(
            "a.jsonl",
            *({"question": Q, "answer": "yes", "image": image} for image in (URL, encoded(kind="JPEG"))),
            {"question": Q, "answer": "yes", "image": "data:image/png;base64,iVBORw0KGgo="},
            {"question": Q, "answer": "yes", "image": "data:image/svg+xml;base64,PHN2Zz48L3N2Zz4="},
            {"question": Q, "answer": "yes", "image": "data:image/png;base64,iVBOR*w0KGgo="},
        ),
        {"question": Q, "images": 1},
        (
            INSIDE,
            "skipped: image damaged",
            "skipped: picture of an unknown kind",
            "skipped: picture that is no base64",
        ),
    ),
    Form(
        "OpenAI parts with a picture as base64 (image_url, input_image)",
        lines(
            "a.jsonl",
            parts({"type": "image_url", "image_url": {"url": URL, "detail": "high"}}),
            parts({"type": "input_image", "image_url": URL}),
        ),
        {"question": Q, "images": 1},
        (INSIDE,),
    ),
    Form(
        "Anthropic's and Gemini's parts with a picture as base64",
        lines(
            "a.jsonl",
            parts(
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": encoded()}}
            ),
            parts({"inline_data": {"mime_type": "image/png", "data": encoded()}}),
        ),
        {"question": Q, "images": 1},
        (INSIDE,),
    ),
    Form(
        "Hugging Face pictures in JSON: bytes as base64, path",
        lines("a.json", {"question": Q, "answer": "yes", "image": {"bytes": encoded(), "path": None}}),
        {"question": Q, "images": 1},
        (INSIDE,),
        rows=1,
    ),
    Form(
        "VLMEvalKit: a TSV with the picture as base64 and options",
        lines(
            "a.tsv",
            "index\timage\tquestion\tA\tB\tanswer\tcategory",
            f"0\t{encoded()}\tWhich?\told\tnew\tB\tage",
        ),
        {"answer": "new", "options": {"A": "old", "B": "new"}, "images": 1},
        (INSIDE,),
        rows=1,
    ),
    Form(
        "parquet: pictures within the parts of a conversation, and as base64 in a column",
        both(
            lines("a.parquet", table_parts({"bytes": png(), "path": "elsewhere.png"})),
            lines("b.parquet", {"question": Q, "answer": "yes", "image": encoded()}),
        ),
        {"question": Q, "images": 1},
        (INSIDE,),
    ),
    Form(
        "a picture at a web address: never loaded unasked",
        lines("a.jsonl", parts({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}})),
        {},
        ("skipped: picture is no file",),
        rows=0,
    ),
    Form(
        "LabelMe: the picture inside of the file (imageData)",
        text(
            "a.json",
            labelme(
                {"label": "cyst", "shape_type": "rectangle", "points": [[12, 6], [20, 18]]},
                imageData=encoded(),
            ),
        ),
        {"boxes": BOXED},
        (INSIDE,),
        rows=1,
    ),
    Form(
        "ms-swift, older: turns before the question (history)",
        lines("a.jsonl", {"query": Q, "response": "yes", "history": [["Hi", "Hello"]], "system": "Short."}),
        {"question": Q, "answer": "yes", "context": "user: Hi\nassistant: Hello"},
        ("note: system prompt not used: the prompt template has its own (--prompt)",),
        rows=1,
    ),
    Form(
        "the history of a patient, a text",
        lines("a.jsonl", {"question": Q, "answer": "yes", "history": "Fall from a ladder."}),
        {"question": Q, "context": "Fall from a ladder."},
        rows=1,
    ),
    Form(
        "ms-swift, ShareGPT: conversation of human and assistant",
        lines(
            "a.jsonl",
            {"conversation": [{"human": "Hi", "assistant": "Hello"}, {"human": Q, "assistant": "yes"}]},
        ),
        {"question": Q, "answer": "yes", "context": "user: Hi\nassistant: Hello"},
        rows=1,
    ),
    Form(
        "a conversation with a difficulty and a ground truth (ROLL)",
        lines(
            "a.jsonl",
            {
                "messages": json.dumps([{"role": "user", "content": Q}]),
                "ground_truth": "1",
                "difficulty": "4.5",
            },
        ),
        {"answer": "1", "difficulty": 4.5},
        rows=1,
    ),
    Form(
        "CVAT for images: box, polygon, ellipse, mask, a box that is turned",
        both(
            pictures("a.png", "b.png"),
            text(
                "annotations.xml",
                cvat(
                    BOX,
                    '<polygon label="cyst" points="2.0,3.0;12.0,3.0;12.0,15.0"></polygon>'
                    '<ellipse label="cyst" cx="10" cy="10" rx="4" ry="2"></ellipse>'
                    '<mask label="cyst" rle="2, 2" left="1" top="2" width="2" height="2"></mask>'
                    '<box label="cyst" xtl="8" ytl="6" xbr="16" ybr="10" rotation="90"></box>'
                    '<points label="tip" points="1,1"></points>',
                ),
            ),
        ),
        {"answer": "cyst", "boxes": BOXED},
        (
            "note: box taken around a polygon",
            "note: box taken around an ellipse",
            "note: box taken around a mask",
            "note: box taken around a turned box",
            "note: points of CVAT has no area: left out",
        ),
    ),
    Form(
        "CVAT: a picture with points only, and one without anything",
        both(
            pictures("a.png", "b.png"),
            text("annotations.xml", cvat('<points label="tip" points="1,1"></points>', "")),
        ),
        {"answer": "none", "boxes": []},
        ("note: points of CVAT has no area: left out", "skipped: picture marked without an area"),
        rows=1,
    ),
    Form(
        "CVAT for video: tracks",
        both(
            pictures("a.png"),
            text(
                "annotations.xml",
                CVAT.format(
                    '<track id="0" label="cyst"><box frame="3" xtl="1" ytl="1" xbr="9" ybr="9"/></track>'
                ),
            ),
        ),
        {},
        ("skipped: annotations of a video",),
        rows=0,
    ),
    Form(
        "LabelMe: a brush mask, labels that stand for nothing",
        both(
            pictures("a.png"),
            text(
                "a.json",
                labelme(
                    {"label": "cyst", "shape_type": "mask", "points": [[12, 6], [19, 17]], "mask": "iVBOR"},
                    {"label": "__ignore__", "shape_type": "rectangle", "points": [[1, 1], [4, 4]]},
                    flags={"blurred": True},
                ),
            ),
        ),
        {"question": "Find every cyst in this image and give a box for each.", "boxes": BOXED},
        (
            "note: box taken around a mask",
            "note: shape left out: its label is __ignore__",
            "note: flags of a picture or a shape are not read",
        ),
        rows=1,
    ),
    Form(
        "LabelMe: a picture that is classified by flags",
        both(pictures("a.png"), text("a.json", labelme(flags={"cat": True, "dog": False}))),
        {},
        ("skipped: picture that is classified, not marked",),
        rows=0,
    ),
    Form(
        "LabelMe: a picture with lines and points only",
        both(
            pictures("a.png"),
            text("a.json", labelme({"label": "tip", "shape_type": "line", "points": [[1, 1], [3, 3]]})),
        ),
        {},
        ("skipped: picture marked without an area",),
        rows=0,
    ),
)

OPTIONS: tuple[Form, ...] = (
    Form(
        "FrenchMedMCQA: answers are the options, correct_answers the letters of the right ones",
        lines(
            "a.jsonl",
            {"question": "Which?", "answers": {"a": "old", "b": "new"}, "correct_answers": ["b"]},
            {"question": "Which?", "answers": {"a": "old", "b": "new"}, "correct_answers": ["a", "b"]},
        ),
        {"answer": "new", "options": {"A": "old", "B": "new"}, "answer_type": "choice"},
        ("skipped: several right options",),
        rows=1,
    ),
    Form(
        "HEAD-QA: qtext, answers with aid and atext, ra",
        lines(
            "a.jsonl",
            {"qtext": "Which?", "ra": 2, "answers": [{"aid": 1, "atext": "old"}, {"aid": 2, "atext": "new"}]},
        ),
        {"question": "Which?", "answer": "new", "options": {"1": "old", "2": "new"}},
        ("note: numbers of options count from 1, as the whole file shows",),
        rows=1,
    ),
    Form(
        "HALT-MedVQA: option, answer_id",
        lines(
            "a.json",
            {"question": "Which?", "option": {"A": "old", "B": "new"}, "answer": "new", "answer_id": "B"},
        ),
        {"answer": "new", "options": {"A": "old", "B": "new"}},
        ("answer_id not read",),
        rows=1,
    ),
)

MORE: tuple[Form, ...] = (
    Form(
        "SQuAD: answers with text and answer_start",
        lines(
            "a.jsonl",
            {"question": Q, "context": "None.", "answers": {"text": ["no", "none"], "answer_start": [0, 0]}},
            {"question": Q, "context": "None.", "answers": {"text": [], "answer_start": []}},
        ),
        {"answer": "no", "answers": ["no", "none"], "context": "None."},
        ("skipped: no answers",),
        rows=1,
    ),
    Form(
        "an answer whose letter and text are of different options; a cell that pandas left as NaN",
        lines(
            "a.jsonl",
            {"question": "Which?", "options": {"A": "old", "B": "new"}, "answer": "B. new"},
            {"question": "Which?", "options": {"A": "old", "B": "new"}, "answer": "B. old"},
            {"question": "Which?", "options": {"A": "old", "B": "new"}, "answer": "NaN"},
        ),
        {"answer": "new"},
        ("skipped: answer and letter disagree", "skipped: no answer"),
        rows=1,
    ),
)

WORKBOOKS: tuple[Form, ...] = (
    Form(
        "Excel: one sheet, options, a number, a date",
        workbook(
            {"Cases": [["question", "A", "B", "answer"], ["Which?", 5, 7, "B"], ["When?", MAY, JUNE, "A"]]},
        ),
        {"question": "Which?", "answer": "7", "options": {"A": "5", "B": "7"}},
        ("note: a.xlsx: date or time: written like 2024-05-31 or 13:05:00",),
    ),
    Form(
        "Excel: a title above, a second sheet, a patient merged over rows",
        workbook(
            {
                "2024": [["Radiology"], ["patient_id", "question", "answer"], [7, Q, "yes"], [None, Q, "no"]],
                "2023": [["patient_id", "question", "answer"], [8, Q, "no"]],
            },
            merged="A3:A4",
        ),
        {"question": Q, "patient_id": "7"},
        (
            "note: a.xlsx: row 1 stands above the names of the columns: not read",
            "note: a.xlsx: cell merged over several rows: its value is that of each",
            "note: a.xlsx: row of sheet '2023' left out: '2024', the first, is read",
            "note: a.xlsx: sheet '2024' is read",
        ),
    ),
    Form(
        "Excel: a sheet for each split",
        workbook(
            {"train": [["question", "answer"], [Q, "yes"]], "test": [["question", "answer"], [Q, "no"]]}
        ),
        {"question": Q, "split": "train"},
        (
            "note: a.xlsx: sheet 'train' is read as the split train",
            "note: a.xlsx: sheet 'test' is read as the split test",
        ),
    ),
    Form(
        "Excel: formulas never computed, cells that show an error or are merged over columns",
        workbook(
            {"A": [["question", "answer"], [Q, "=A1"], [Q, "#N/A"], [Q, None], [Q, "yes"]]}, merged="A4:B4"
        ),
        {"question": Q, "answer": "yes"},
        (
            "skipped: formula without a value",
            "skipped: error in a cell",
            "skipped: cell merged over columns",
        ),
        rows=1,
    ),
)

ALL = (*FORMS, *WILD, *OPTIONS, *MORE, *WORKBOOKS)


def table() -> str:
    """The forms as a Markdown table: form, what is read of the example, what is said."""
    lines_of = ["| form | read | left out, and said |", "| --- | --- | --- |"]
    for form in ALL:
        read = ", ".join(f"{name} {_shown(value)}" for name, value in form.reads.items())
        said = "; ".join(words.removeprefix("note: ") for words in form.says)
        lines_of.append(f"| {form.name} | {read or '–'} | {said or '–'} |".replace("\\boxed", "`\\boxed`"))
    return "\n".join(lines_of)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return f"`{text}`".replace("\n", "↵").replace("|", "¦")


if __name__ == "__main__":
    print(table())

"""File forms of other tools, each written small with content of our own, and what must come out of it.

`wild_forms.py` has more of them, and prints the table of docs/data.md, "Forms that are tried"; a test compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REFUSED = "refused: "


@dataclass(frozen=True)
class Form:
    """One form: its files, what is read of its first row, and what is said of the rest."""

    name: str
    write: Callable[[Path], None]
    reads: Mapping[str, Any] = field(default_factory=dict)
    """Columns of the first row (by source row); `split`, `images`, `mask` and `boxes` (as lists) too."""
    says: tuple[str, ...] = ()
    """Fields not read, notes, reasons of skipped rows; all of them."""
    rows: int = 2
    """How many rows are read."""


def picture(path: Path, size: tuple[int, int] = (32, 24), value: int = 90, **options: Any) -> None:
    """A picture of some grey."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path, **options)


def lines(name: str, *rows: Any, pictures: int = 0) -> Callable[[Path], None]:
    """A JSON lines file (or a JSON list, a CSV text, by its suffix) and pictures p0.png, p1.png, …"""

    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(pictures):
            picture(folder / f"p{number}.png", value=40 + 30 * number)
        if name.endswith(".parquet"):
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist(list(rows)), folder / name)
        elif name.endswith(".jsonl"):
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / name).write_text(text, encoding="utf-8")
        elif isinstance(rows[0], str):
            (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
        else:
            (folder / name).write_text(json.dumps(list(rows), ensure_ascii=False, indent=1), encoding="utf-8")

    return write


def both(*writers: Callable[[Path], None]) -> Callable[[Path], None]:
    """Several files."""

    def write(folder: Path) -> None:
        for writer in writers:
            writer(folder)

    return write


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _chat(question: str, reply: str, **more: Any) -> dict[str, Any]:
    return {"messages": [_user(question), _says(reply)], **more}


def _human(question: str, reply: str, **more: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": reply}]
    return {"conversations": turns, **more}


def _both_sides(one: Mapping[str, Any], other: Mapping[str, Any], **same: Any) -> tuple[dict[str, Any], ...]:
    return {**one, **same}, {**other, **same}


Q, Q2 = "Is there a fracture?", "Is there an effusion?"
THINK = "<think>The line is broken.</think>\n<answer>yes</answer>"
INFO = "dataset_info.json"


def blob(
    path: Path, *boxes: tuple[int, int, int, int], size: tuple[int, int] = (32, 24), value: int = 255
) -> None:
    """A mask of rectangles."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", size, 0)
    for box in boxes:
        mask.paste(value, box)
    mask.save(path)


def text(name: str, content: str, encoding: str = "utf-8") -> Callable[[Path], None]:
    """A text file."""

    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding=encoding)

    return write


def pictures(*names: str, **options: Any) -> Callable[[Path], None]:
    """Pictures of 32 x 24 px."""
    return lambda folder: (
        [picture(folder / name, value=30 + 20 * n, **options) for n, name in enumerate(names)] and None
    )


def masks(*names: str) -> Callable[[Path], None]:
    """Masks with one spot each."""
    return lambda folder: [blob(folder / name, (4, 4, 12, 12)) for name in names] and None


def exif(name: str, orientation: int, size: tuple[int, int] = (32, 24)) -> Callable[[Path], None]:
    """A JPEG that says how it is to be turned."""

    def write(folder: Path) -> None:
        from PIL import Image

        options = Image.Exif()
        options[0x0112] = orientation
        picture(folder / name, size, exif=options)

    return write


def coco(
    name: str,
    picture_names: tuple[str, ...],
    size: tuple[int, int],
    *annotations: dict[str, Any],
    categories: Any = None,
) -> Callable[[Path], None]:
    """A COCO file; annotations have image_id 0 and category 1 unless they say other."""
    listed = [
        {"id": n, "file_name": file, "width": size[0], "height": size[1]}
        for n, file in enumerate(picture_names)
    ]
    found = [
        {"id": n, "image_id": 0, "category_id": 1, **annotation} for n, annotation in enumerate(annotations)
    ]
    content = {
        "images": listed,
        "annotations": found,
        "categories": categories or [{"id": 1, "name": "cyst"}],
    }
    return text(name, json.dumps(content))


RECORDS = (
    Form(
        "question, answer (JSON lines)",
        lines("a.jsonl", {"question": Q, "answer": "yes", "mood": "x"}, {"question": Q2, "answer": "no"}),
        {"question": Q, "answer": "yes", "answer_type": "closed"},
        ("mood not read",),
    ),
    Form(
        "question, answer (CSV)",
        lines("a.csv", "question,answer", f'"{Q}",yes', f"{Q2},no"),
        {"question": Q, "answer": "yes"},
    ),
    Form(
        "CSV in Windows-1252, semicolons",
        text("a.csv", "question;answer\nWo ist das Ödem?;Größe 5 mm\n", "cp1252"),
        {"question": "Wo ist das Ödem?", "answer": "Größe 5 mm"},
        ("note: a.csv: read as Windows-1252, as it is no UTF-8",),
        rows=1,
    ),
    Form(
        "CSV in GB18030",
        text("a.csv", "问题,答案\n右肺有结节吗？,有\n", "gb18030"),
        {"question": "右肺有结节吗？", "answer": "有", "language": "zh"},
        ("note: a.csv: read as GB18030, as it is no UTF-8",),
        rows=1,
    ),
    Form(
        "a context of paragraphs, a caption that is an object",
        lines(
            "a.jsonl", {"question": Q, "answer": "yes", "context": ["One.", "Two."], "caption": {"en": "x"}}
        ),
        {"question": Q, "context": "One.\nTwo."},
        ("caption not read",),
        rows=1,
    ),
    Form(
        "a context that is an object; answers that are objects (VQA v2)",
        lines(
            "a.jsonl",
            {"question": Q, "answer": "yes", "context": {"text": "One."}},
            {"question": Q2, "answers": [{"answer": "yes"}]},
            {"question": Q, "answer": "no"},
        ),
        {"question": Q, "answer": "no"},
        ("skipped: a field that changes the meaning is not read", "skipped: answer that is no text"),
        rows=1,
    ),
    Form(
        "image, mask and question in a table",
        both(
            pictures("a.png"),
            masks("m.png"),
            lines(
                "a.jsonl", {"image": "a.png", "mask": "m.png", "question": "Segment it.", "answer": "[SEG]"}
            ),
        ),
        {"question": "Segment it.", "images": 1, "mask": "m.png"},
        rows=1,
    ),
    Form(
        "JSON lines named .json, with pictures",
        both(
            pictures("p0.png"),
            text(
                "a.json",
                "".join(
                    json.dumps({"images": ["p0.png"], "problem": f"<image>{q}", "answer": "yes"}) + "\n"
                    for q in (Q, Q2)
                ),
            ),
        ),
        {"question": Q, "images": 1},
    ),
    Form(
        "one JSON object with a list for each split",
        text(
            "a.json",
            json.dumps(
                {"train": [{"question": Q, "answer": "yes"}], "val": [{"question": Q2, "answer": "no"}]}
            ),
        ),
        {"question": Q, "split": "train"},
    ),
    Form(
        "a table beside files of kinds that are not read",
        both(lines("a.csv", "question,answer", f"{Q},yes"), text("more.xls", "x"), text("scans.npz", "x")),
        {"question": Q},
        ("note: file of a kind that is not read (.xls)", "note: file of a kind that is not read (.npz)"),
        rows=1,
    ),
    Form(
        "questions beside a COCO file",
        both(
            pictures("images/a.png"),
            coco("b.json", ("a.png",), (32, 24), {"bbox": [2, 3, 10, 12]}),
            lines("q.jsonl", {"question": Q, "answer": "yes"}),
        ),
        {"answer": "cyst"},
        ("note: q.jsonl was left out: the folder was read as coco",),
        rows=1,
    ),
    Form(
        "EasyR1: problem with <image>, answer, images",
        lines(
            "a.jsonl",
            *_both_sides(
                {"problem": f"<image>{Q}"}, {"problem": f"<image>{Q2}"}, answer="yes", images=["p0.png"]
            ),
            pictures=1,
        ),
        {"question": Q, "answer": "yes", "images": 1},
    ),
    Form(
        "two pictures, marks inside the question",
        lines(
            "a.jsonl",
            {"question": "Is <image> older than <image>?", "answer": "yes", "images": ["p0.png", "p1.png"]},
            pictures=2,
        ),
        {"question": "Is image 1 older than image 2?", "images": 2},
        ("note: the place of a picture in the text is written as its number; pictures come first",),
        rows=1,
    ),
    Form(
        "MMMU: image_1, image_2, <image 2> in the question",
        lines(
            "a.jsonl",
            {
                "question": "What shows <image 2>?",
                "answer": "B",
                "options": "['a', 'b']",
                "image_1": "p0.png",
                "image_2": "p1.png",
            },
            pictures=2,
        ),
        {"question": "What shows image 2?", "images": 2, "answer": "b", "options": {"A": "a", "B": "b"}},
        ("note: the place of a picture in the text is written as its number; pictures come first",),
        rows=1,
    ),
    Form(
        "a mark and no picture",
        lines("a.jsonl", {"question": f"<image>{Q}", "answer": "yes"}, {"question": Q2, "answer": "no"}),
        {"question": Q2},
        ("skipped: image marks and pictures differ",),
        rows=1,
    ),
    Form(
        "a picture that the question names itself (<img>, Markdown)",
        lines(
            "a.jsonl",
            {"query": f"<img>p0.png</img>{Q}", "response": "yes"},
            {"query": f"![scan](p0.png) {Q}", "response": "yes"},
            {"query": Q2, "response": "no"},
            pictures=1,
        ),
        {"question": Q2},
        ("skipped: a mark in the text is not understood",),
        rows=1,
    ),
    Form(
        "a box in numbers inside the question or the answer",
        lines(
            "a.jsonl",
            {"question": "What is in [3, 4, 9, 9]?", "answer": "cyst", "image": "p0.png"},
            {"question": "Where is the cyst?", "answer": "(3, 4), (9, 9)", "image": "p0.png"},
            {"question": "Is 1, 2, 3, 4 a rising row?", "answer": "yes", "image": "p0.png"},
            pictures=1,
        ),
        {"question": "What is in [3, 4, 9, 9]?", "answer": "cyst"},
        (
            "note: question has a box in numbers: it does not move with a picture that is resized",
            "note: answer has a box in numbers: it does not move with a picture that is resized",
        ),
        rows=3,
    ),
    Form(
        "pairs of pictures: rejected_images beside messages",
        lines(
            "a.jsonl", _chat(f"<image>{Q}", "yes", images=["p0.png"], rejected_images=["p1.png"]), pictures=2
        ),
        {},
        ("skipped: a field that changes the meaning is not read",),
        rows=0,
    ),
    Form(
        "a second picture in a field that is not read",
        lines(
            "a.jsonl",
            {"question": Q, "answer": "yes", "image": "p0.png", "prior_film": "p1.png"},
            {"question": Q2, "answer": "no", "image": "p0.png"},
            pictures=2,
        ),
        {"question": Q2},
        ("skipped: a field that changes the meaning is not read",),
        rows=1,
    ),
    Form(
        "R1 reference: solution with <think> and <answer>",
        lines(
            "a.jsonl", {"problem": Q, "solution": THINK}, {"problem": Q2, "solution": "<answer>no</answer>"}
        ),
        {"question": Q, "answer": "yes", "answer_type": "closed", "chosen": THINK},
    ),
    Form(
        "reference in \\boxed{} or after ####",
        lines(
            "a.jsonl",
            {"question": "How many?", "answer": "Two and one.\n#### 3"},
            {"question": "How many?", "answer": "$\\boxed{3}$"},
        ),
        {"answer": "3"},
    ),
    Form(
        "MedMCQA: opa … opd, cop from 1",
        lines(
            "a.jsonl",
            *(
                {
                    "question": f"Q{n}",
                    "opa": "lung",
                    "opb": "heart",
                    "opc": "liver",
                    "opd": "skin",
                    "cop": n,
                    "exp": "x",
                    "choice_type": "single",
                }
                for n in (1, 4)
            ),
        ),
        {"answer": "lung", "options": {"A": "lung", "B": "heart", "C": "liver", "D": "skin"}},
        (
            "choice_type not read",
            "exp not read",
            "note: numbers of options count from 1, as the whole file shows",
        ),
    ),
    Form(
        "MMLU: choices, answer from 0",
        lines(
            "a.jsonl",
            *({"question": f"Q{n}", "choices": ["lung", "heart", "liver"], "answer": n} for n in (0, 2)),
        ),
        {"answer": "lung", "answer_type": "choice"},
        ("note: numbers of options count from 0, as the whole file shows",),
    ),
    Form(
        "numbers of options that may count from 0 or 1",
        lines(
            "a.jsonl",
            *({"question": f"Q{n}", "choices": ["lung", "heart", "liver"], "answer": n} for n in (1, 2)),
        ),
        {},
        ("skipped: number of an option that may count from 0 or 1",),
        rows=0,
    ),
    Form(
        "MedQA: options as a list of key and value",
        lines(
            "a.jsonl",
            {
                "question": Q,
                "options": [{"key": "A", "value": "old"}, {"key": "B", "value": "new"}],
                "answer_idx": "B",
                "answer": "new",
            },
        ),
        {"answer": "new", "options": {"A": "old", "B": "new"}},
        rows=1,
    ),
    Form(
        "ARC: choices {label, text}, answerKey",
        lines(
            "a.jsonl",
            {"question": Q, "choices": {"label": ["A", "B"], "text": ["old", "new"]}, "answer": "B"},
        ),
        {"answer": "new", "options": {"A": "old", "B": "new"}},
        rows=1,
    ),
    Form(
        "Alpaca: instruction, input, output, history, system",
        lines(
            "a.json",
            {
                "instruction": "Read the report.",
                "input": "No fracture.",
                "output": "normal",
                "history": [["Hello", "Hi"]],
                "system": "Be brief.",
            },
        ),
        {
            "question": "Read the report.\nNo fracture.",
            "answer": "normal",
            "context": "user: Hello\nassistant: Hi",
        },
        ("note: system prompt not used: the prompt template has its own (--prompt)",),
        rows=1,
    ),
    Form(
        "Dolly: instruction, context, response",
        lines(
            "a.jsonl",
            {"instruction": "Is it normal?", "context": "No fracture.", "response": "yes", "category": "qa"},
        ),
        {"question": "Is it normal?\nNo fracture.", "answer": "yes"},
        ("category not read",),
        rows=1,
    ),
    Form(
        "a label that is the answer (BoolQ)",
        lines(
            "a.jsonl",
            {"question": Q, "passage": "The line is broken.", "label": True},
            {"question": Q2, "label": False},
        ),
        {"question": Q, "answer": "yes", "context": "The line is broken."},
    ),
    Form(
        "options that are pictures (MMMU)",
        lines(
            "a.jsonl",
            {
                "question": f"<image 1>{Q}",
                "options": ["<image 1>", "none"],
                "answer": "B",
                "image_1": "p0.png",
            },
            pictures=1,
        ),
        {},
        ("skipped: picture inside the answer",),
        rows=0,
    ),
    Form(
        "the address that a picture is from",
        lines(
            "a.jsonl",
            {"question": Q, "answer": "yes", "image": "p0.png", "flickr_url": "http://x.org/7.jpg"},
            pictures=1,
        ),
        {"question": Q, "images": 1},
        ("flickr_url not read",),
        rows=1,
    ),
    Form(
        "Alpaca pairs: instruction, input, chosen, rejected",
        lines(
            "a.json",
            {"instruction": "Benign?", "input": "Spiculated mass.", "chosen": "no", "rejected": "yes"},
        ),
        {"question": "Benign?\nSpiculated mass.", "chosen": "no", "rejected": "yes"},
        rows=1,
    ),
    Form(
        "ShareGPT: conversations",
        lines("a.json", _human(Q, "yes", id="7"), _human(Q2, "no", id="8")),
        {"question": Q, "answer": "yes"},
    ),
    Form(
        "LLaVA: image, conversations with <image>",
        lines("a.json", _human(f"<image>\n{Q}", "yes", image="p0.png"), pictures=1),
        {"question": Q, "images": 1},
        rows=1,
    ),
    Form(
        "LLaMA-Factory pairs: chosen and rejected as {from, value}",
        lines(
            "a.json",
            {
                "conversations": [{"from": "human", "value": Q}],
                "chosen": {"from": "gpt", "value": "yes"},
                "rejected": {"from": "gpt", "value": "no"},
            },
        ),
        {"question": Q, "chosen": "yes", "rejected": "no"},
        rows=1,
    ),
    Form(
        "LLaMA-Factory KTO: kto_tag",
        lines("a.json", _human(Q, "yes", kto_tag=True), _human(Q2, "never", kto_tag=False)),
        {"question": Q, "answer": "yes"},
        ("skipped: answer that is not wanted",),
        rows=1,
    ),
    Form(
        "LLaMA-Factory dataset_info.json: columns renamed",
        both(
            lines("mine.json", {"frage": Q, "antwort": "yes", "input": "x"}, {"frage": Q2, "antwort": "no"}),
            lambda folder: (folder / INFO).write_text(
                json.dumps(
                    {
                        "mine": {
                            "file_name": "mine.json",
                            "columns": {"prompt": "frage", "response": "antwort"},
                        },
                        "else": {"hf_hub_url": "a/b"},
                    }
                )
            ),
        ),
        {"question": Q, "answer": "yes"},
        (
            "input (not in dataset_info.json) not read",
            "note: entry of dataset_info.json that names no file that is here",
        ),
    ),
    Form(
        "LLaMA-Factory dataset_info.json: sharegpt with tags",
        both(
            lines("mine.json", {"talk": [{"who": "patient", "says": Q}, {"who": "md", "says": "yes"}]}),
            lambda folder: (folder / INFO).write_text(
                json.dumps(
                    {
                        "mine": {
                            "file_name": "mine.json",
                            "formatting": "sharegpt",
                            "columns": {"messages": "talk"},
                            "tags": {
                                "role_tag": "who",
                                "content_tag": "says",
                                "user_tag": "patient",
                                "assistant_tag": "md",
                            },
                        }
                    }
                )
            ),
        ),
        {"question": Q, "answer": "yes"},
        rows=1,
    ),
    Form(
        "LLaMA-Factory dataset_info.json: ranking with two outputs",
        both(
            lines("mine.json", {"instruction": Q, "input": "", "output": ["yes", "no"]}),
            lambda folder: (folder / INFO).write_text(
                json.dumps({"mine": {"file_name": "mine.json", "ranking": True}})
            ),
        ),
        {"question": Q, "chosen": "yes", "rejected": "no"},
        rows=1,
    ),
    Form(
        "ms-swift SFT: messages, images",
        lines("a.jsonl", _chat(f"<image>{Q}", "yes", images=["p0.png"]), pictures=1),
        {"question": Q, "answer": "yes", "images": 1},
        rows=1,
    ),
    Form(
        "ms-swift, older: query, response, history",
        lines("a.jsonl", {"query": Q, "response": "yes", "history": []}),
        {"question": Q, "answer": "yes"},
        rows=1,
    ),
    Form(
        "ms-swift GRPO: messages without a reply, solution",
        lines("a.jsonl", {"messages": [_user(Q)], "solution": "<answer>yes</answer>"}),
        {"question": Q, "answer": "yes", "answer_type": "closed"},
        rows=1,
    ),
    Form(
        "ms-swift DPO: rejected_response",
        lines("a.jsonl", _chat(Q, "yes", rejected_response="no")),
        {"question": Q, "chosen": "yes", "rejected": "no"},
        rows=1,
    ),
    Form(
        "ms-swift DPO: rejected_messages",
        lines("a.jsonl", _chat(Q, "yes", rejected_messages=[_user(Q), _says("no")])),
        {"question": Q, "chosen": "yes", "rejected": "no"},
        rows=1,
    ),
    Form(
        "ms-swift DPO: rejected_images",
        lines(
            "a.jsonl",
            _chat(Q, "yes", rejected_response="no", rejected_images=["p1.png"], images=["p0.png"]),
            pictures=2,
        ),
        {},
        ("skipped: a field that changes the meaning is not read",),
        rows=0,
    ),
    Form(
        "ms-swift grounding: objects, <ref-object>, <bbox>",
        lines(
            "a.jsonl",
            _chat(
                "<image>Find the <ref-object>.",
                "<bbox>",
                images=["p0.png"],
                objects={"ref": ["cyst"], "bbox": [[2, 3, 12, 15]]},
            ),
            pictures=1,
        ),
        {"question": "Find the cyst.", "answer": "cyst", "boxes": [[2, 3, 12, 15]]},
        rows=1,
    ),
    Form(
        "ms-swift grounding: bbox_type norm1",
        lines(
            "a.jsonl",
            _chat(
                "<image>Find the <ref-object>.",
                "<bbox><bbox>",
                images=["p0.png"],
                objects={
                    "ref": ["cyst"],
                    "bbox": [[0.25, 0.25, 0.5, 0.5], [0, 0, 0.5, 1]],
                    "bbox_type": "norm1",
                },
            ),
            pictures=1,
        ),
        {"boxes": [[8, 6, 16, 12], [0, 0, 16, 24]]},
        rows=1,
    ),
    Form(
        "ms-swift grounding: a box in the question",
        lines(
            "a.jsonl",
            _chat(
                "<image>What is at <bbox>?",
                "a cyst",
                images=["p0.png"],
                objects={"ref": [], "bbox": [[2, 3, 12, 15]]},
            ),
            pictures=1,
        ),
        {},
        ("skipped: boxes inside the question",),
        rows=0,
    ),
    Form(
        "R1 cold start: the reply reasons in <think>",
        lines("a.jsonl", _chat(Q, THINK), _chat(Q2, "<think>Clear.</think>no")),
        {"answer": "yes", "answer_type": "closed", "chosen": THINK},
    ),
    Form(
        "LLaMA-Factory v1: messages of parts with value, reasoning parts",
        lines(
            "a.jsonl",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "value": Q}], "loss_weight": 0.0},
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "reasoning", "value": "Broken."},
                            {"type": "text", "value": "yes"},
                        ],
                        "loss_weight": 1.0,
                    },
                ]
            },
        ),
        {"question": Q, "answer": "yes", "chosen": "<think>Broken.</think>\nyes"},
        rows=1,
    ),
    Form(
        "OpenAI chat with parts",
        lines(
            "a.jsonl",
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": Q},
                            {"type": "image_url", "image_url": {"url": "p0.png"}},
                        ],
                    },
                    _says("yes"),
                ]
            },
            pictures=1,
        ),
        {"question": Q, "images": 1},
        rows=1,
    ),
    Form(
        "OpenAI chat: weight 0 on the last reply",
        lines("a.jsonl", {"messages": [_user(Q), {**_says("never"), "weight": 0}]}, _chat(Q2, "no")),
        {"question": Q2},
        ("skipped: reply that is not to be learned",),
        rows=1,
    ),
    Form(
        "OpenAI chat: a tool is called",
        lines(
            "a.jsonl",
            {
                "messages": [
                    _user(Q),
                    {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
                    _says("yes"),
                ]
            },
            _chat(Q2, "no"),
        ),
        {"question": Q2},
        ("skipped: turn that is not understood",),
        rows=1,
    ),
    Form(
        "OpenAI pairs: input, preferred_output, non_preferred_output",
        lines(
            "a.jsonl",
            {
                "input": {"messages": [_user(Q)]},
                "preferred_output": [_says("yes")],
                "non_preferred_output": [_says("no")],
            },
        ),
        {"question": Q, "chosen": "yes", "rejected": "no"},
        rows=1,
    ),
    Form(
        "TRL: prompt, completion",
        lines("a.jsonl", {"prompt": Q, "completion": "yes"}, {"prompt": Q2, "completion": "no"}),
        {"question": Q, "answer": "yes"},
    ),
    Form(
        "TRL: prompt, completion as turns",
        lines("a.jsonl", {"prompt": [_user(Q)], "completion": [_says("yes")]}),
        {"question": Q, "answer": "yes"},
        rows=1,
    ),
    Form(
        "TRL: unpaired preference (label)",
        lines(
            "a.jsonl",
            {"prompt": Q, "completion": "yes", "label": True},
            {"prompt": Q2, "completion": "never", "label": False},
        ),
        {"question": Q, "answer": "yes"},
        ("skipped: answer that is not wanted",),
        rows=1,
    ),
    Form(
        "TRL: preference with an implicit prompt",
        lines("a.jsonl", {"chosen": [_user(Q), _says("yes")], "rejected": [_user(Q), _says("no")]}),
        {"question": Q, "chosen": "yes", "rejected": "no"},
        rows=1,
    ),
    Form(
        "TRL: prompt only, or stepwise supervision",
        lines("a.jsonl", {"prompt": Q, "completions": ["a", "b"], "labels": [True, False]}),
        {},
        ("no known format",),
        rows=0,
    ),
    Form(
        "verl: prompt, reward_model.ground_truth, extra_info",
        lines(
            "train.parquet",
            {
                "data_source": "x",
                "prompt": [_user(Q)],
                "ability": "med",
                "reward_model": {"style": "rule", "ground_truth": "yes"},
                "extra_info": {"split": "train", "index": 0, "need": "tools"},
            },
        ),
        {"question": Q, "answer": "yes", "split": "train"},
        ("extra_info.need not read",),
        rows=1,
    ),
    Form(
        "XTuner: conversation of input and output",
        lines("a.json", {"conversation": [{"system": "Be brief.", "input": Q, "output": "yes"}]}),
        {"question": Q, "answer": "yes"},
        ("note: system prompt not used: the prompt template has its own (--prompt)",),
        rows=1,
    ),
    Form(
        "a prompt ready for one model",
        lines(
            "a.jsonl",
            {"prompt": f"<|im_start|>user\n{Q}<|im_end|>", "response": "yes<|im_end|>"},
            {"prompt": Q2, "response": "no</s>"},
        ),
        {"question": Q2, "answer": "no"},
        ("note: an end of turn was taken off the answer", "skipped: a mark in the text is not understood"),
        rows=1,
    ),
)


YOLO_LINE = "0 0.5 0.5 0.25 0.5\n"  # 12 6 20 18 of 32 x 24
BOXED = [[12, 6, 20, 18]]
GROUPS = [
    {"id": 0, "name": "findings", "supercategory": "none"},
    {"id": 1, "name": "cyst", "supercategory": "findings"},
]


def nifti(name: str, *, oblique: bool = False, volumes: int = 1, intent: int = 0) -> Callable[[Path], None]:
    """A small NIfTI volume of 4 x 4 x 4."""

    def write(folder: Path) -> None:
        import nibabel
        import numpy as np

        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shape = (4, 4, 4) if volumes == 1 else (4, 4, 4, volumes)
        affine = np.eye(4)
        if oblique:
            affine[:2, :2] = [[0.7071, -0.7071], [0.7071, 0.7071]]
        image = nibabel.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), affine)
        image.header["intent_code"] = intent
        nibabel.save(image, folder / name)

    return write


FOLDERS = (
    Form(
        "COCO: boxes",
        both(
            pictures("images/a.png"), coco("instances.json", ("a.png",), (32, 24), {"bbox": [2, 3, 10, 12]})
        ),
        {"answer": "cyst", "boxes": [[2, 3, 12, 15]]},
        rows=1,
    ),
    Form(
        "COCO: picture turned by EXIF, boxes not",
        both(exif("images/a.jpg", 6), coco("instances.json", ("a.jpg",), (32, 24), {"bbox": [20, 2, 8, 6]})),
        {"boxes": [[16, 20, 22, 28]]},
        ("note: boxes turned with their picture, as its EXIF orientation says",),
        rows=1,
    ),
    Form(
        "COCO: picture turned by 180 degrees",
        both(exif("images/a.jpg", 3), coco("instances.json", ("a.jpg",), (32, 24), {"bbox": [20, 2, 8, 6]})),
        {},
        ("skipped: boxes of a turned picture",),
        rows=0,
    ),
    Form(
        "COCO: another size in the JSON than in the file",
        both(
            pictures("images/a.png"),
            coco("instances.json", ("a.png",), (320, 240), {"bbox": [20, 30, 100, 120]}),
        ),
        {"boxes": [[2, 3, 12, 15]]},
        ("note: boxes scaled from the size that the annotation states to that of the picture",),
        rows=1,
    ),
    Form(
        "COCO: another shape in the JSON than in the file",
        both(
            pictures("images/a.png"),
            coco("instances.json", ("a.png",), (320, 320), {"bbox": [20, 30, 100, 120]}),
        ),
        {},
        ("skipped: size of the picture differs",),
        rows=0,
    ),
    Form(
        "COCO: crowds, ignored regions, annotations of no picture",
        both(
            pictures("images/a.png"),
            coco(
                "instances.json",
                ("a.png",),
                (32, 24),
                {"bbox": [2, 3, 10, 12], "iscrowd": 1},
                {"bbox": [2, 3, 10, 12], "ignore": 1},
                {"bbox": [2, 3, 10, 12], "image_id": 7},
            ),
        ),
        {"boxes": []},
        (
            "note: box left out: iscrowd is set",
            "note: box left out: ignore is set",
            "note: annotation of a picture that the file does not list",
        ),
        rows=1,
    ),
    Form(
        "COCO: polygons without boxes",
        both(
            pictures("images/a.png"),
            coco("instances.json", ("a.png",), (32, 24), {"segmentation": [[2, 3, 12, 3, 12, 15]]}),
        ),
        {"boxes": [[2, 3, 12, 15]]},
        ("note: box taken around the polygon: the annotation has none of its own",),
        rows=1,
    ),
    Form(
        "Roboflow COCO: train/_annotations.coco.json, a group above the classes",
        both(
            *(
                step
                for split in ("train", "valid")
                for step in (
                    pictures(f"{split}/a.png"),
                    coco(
                        f"{split}/_annotations.coco.json",
                        ("a.png",),
                        (32, 24),
                        {"bbox": [2, 3, 10, 12]},
                        categories=GROUPS,
                    ),
                )
            )
        ),
        {"question": "Find every cyst in this image and give a box for each.", "split": "train"},
        ("note: category 'findings' stands above others and has no box: not asked for",),
    ),
    Form(
        "Roboflow COCO: a picture that lies only in the other split",
        both(
            pictures("train/a.png"),
            coco("valid/_annotations.coco.json", ("a.png",), (32, 24), {"bbox": [2, 3, 10, 12]}),
        ),
        {},
        ("skipped: image missing",),
        rows=0,
    ),
    Form(
        "YOLO: images, labels, data.yaml",
        both(
            pictures("images/a.png"),
            text("labels/a.txt", YOLO_LINE),
            text("data.yaml", "nc: 2\nnames: [cyst, 'no']\n"),
        ),
        {"answer": "cyst", "boxes": BOXED},
        rows=1,
    ),
    Form(
        "YOLO: names over several lines, numbered, with remarks",
        both(
            pictures("images/a.png"),
            text("labels/a.txt", "3 0.5 0.5 0.25 0.5\n"),
            text("data.yaml", "names:  # four\n  0: {a: 1}\n  1: no\n  2: b  # x\n  3: 'a: cyst'\n"),
        ),
        {"answer": "a: cyst"},
        rows=1,
    ),
    Form(
        "YOLO: images/train and labels/train, the same names in both splits",
        both(
            pictures("images/train/a.png", "images/val/a.png"),
            text("labels/train/a.txt", YOLO_LINE),
            text("labels/val/a.txt", "1 0.5 0.5 0.25 0.5\n"),
            text("data.yaml", "names: [cyst, mass]\ntrain: images/train\nval: images/val\n"),
        ),
        {"answer": "cyst", "split": "train"},
    ),
    Form(
        "YOLO: polygons and turned boxes",
        both(
            pictures("images/a.png"),
            text("labels/a.txt", "0 0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.75 0.25 0.5\n"),
        ),
        {"boxes": [[8, 6, 16, 18]]},
        ("note: box taken around a polygon",),
        rows=1,
    ),
    Form(
        "YOLO: keypoints (kpt_shape)",
        both(
            pictures("images/a.png"),
            text("labels/a.txt", "0 0.5 0.5 0.25 0.5 0.4 0.4 2\n"),
            text("data.yaml", "names: [cyst]\nkpt_shape: [1, 3]\n"),
        ),
        {"boxes": BOXED},
        ("note: keypoints are not read",),
        rows=1,
    ),
    Form(
        "YOLO: pixels instead of shares",
        both(pictures("images/a.png"), text("labels/a.txt", "0 16 12 8 12\n")),
        {},
        ("skipped: box outside the picture",),
        rows=0,
    ),
    Form(
        "Darknet: text files beside the pictures",
        both(pictures("obj/a.png", "obj/b.png"), text("obj/a.txt", YOLO_LINE), text("obj.names", "cyst\n")),
        {"answer": "cyst", "boxes": BOXED},
        ("note: picture without a file of labels: taken as one where nothing is to be found",),
    ),
    Form(
        "YOLO: labels without a picture",
        both(pictures("images/a.png"), text("labels/a.txt", YOLO_LINE), text("labels/b.txt", YOLO_LINE)),
        {"boxes": BOXED},
        ("skipped: labels without a picture",),
        rows=1,
    ),
    Form(
        "Pascal VOC: JPEGImages, Annotations/*.xml",
        both(
            pictures("JPEGImages/a.png"),
            text(
                "Annotations/a.xml",
                "<annotation><filename>a.png</filename><size><width>32</width><height>24</height></size><object><name>cyst</name><difficult>1</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>12</xmax><ymax>15</ymax></bndbox></object></annotation>",
            ),
        ),
        {"answer": "cyst", "boxes": [[2, 3, 12, 15]]},
        ("note: box marked as difficult: kept",),
        rows=1,
    ),
    Form(
        "LabelMe: a JSON file a picture",
        both(
            pictures("a.png"),
            text(
                "a.json",
                json.dumps(
                    {
                        "imagePath": "..\\\\x\\\\a.png",
                        "imageWidth": 32,
                        "imageHeight": 24,
                        "shapes": [
                            {"label": "cyst", "shape_type": "polygon", "points": [[2, 3], [12, 3], [12, 15]]},
                            {"label": "tip", "shape_type": "point", "points": [[1, 1]]},
                        ],
                    }
                ),
            ),
        ),
        {"answer": "cyst", "boxes": [[2, 3, 12, 15]]},
        ("note: box taken around a polygon", "note: shape of the kind point has no area: left out"),
        rows=1,
    ),
    Form(
        "mmseg: images/training, annotations/training",
        both(
            pictures("images/training/a.png", "images/validation/b.png"),
            masks("annotations/training/a.png", "annotations/validation/b.png"),
        ),
        {"mask": "annotations/training/a.png", "split": "train"},
    ),
    Form(
        "images/train, masks/train",
        both(
            pictures("images/train/a.png", "images/val/a.png"), masks("masks/train/a.png", "masks/val/a.png")
        ),
        {"mask": "masks/train/a.png", "split": "train"},
    ),
    Form(
        "nnU-Net: imagesTr, labelsTr, imagesTs, dataset.json",
        both(
            pictures("imagesTr/v_001_0000.png", "imagesTs/v_002_0000.png"),
            masks("labelsTr/v_001.png"),
            text(
                "dataset.json",
                json.dumps(
                    {"channel_names": {"0": "R"}, "labels": {"background": 0, "vessel": 1}, "numTraining": 1}
                ),
            ),
        ),
        {"mask": "labelsTr/v_001.png", "split": "train"},
        (
            "note: dataset.json was left out: the folder was read as masks",
            "skipped: picture of a set without masks",
        ),
        rows=1,
    ),
    Form(
        "BUSI: x_mask.png, x_mask_1.png",
        both(
            pictures("benign/b (1).png", "benign/b (2).png"),
            masks("benign/b (1)_mask.png", "benign/b (1)_mask_1.png", "benign/b (2)_mask.png"),
        ),
        {"mask": "benign/b (1)_mask.png#with:benign/b (1)_mask_1.png"},
    ),
    Form(
        "masks of the parts of one picture in a folder (7_1.png, 7_2.png)",
        both(
            pictures("images/7.png", "images/8.png"), masks("masks/7_1.png", "masks/7_2.png", "masks/8.png")
        ),
        {"mask": "masks/7_1.png#with:masks/7_2.png"},
    ),
    Form(
        "one folder per picture with all its masks (Data Science Bowl)",
        both(
            pictures("k1/images/k1.png", "k2/images/k2.png"),
            masks("k1/masks/aa.png", "k1/masks/bb.png", "k2/masks/cc.png", "k2/masks/dd.png"),
        ),
        {"mask": "k1/masks/aa.png#with:k1/masks/bb.png"},
    ),
    Form(
        "NIfTI: several series and a map of labels per case (BraTS)",
        both(*(nifti(f"case_{n}/case_{n}_{kind}.nii.gz") for n in (1, 2) for kind in ("t1", "t2", "seg"))),
        {"patient_id": "volume-0001", "answer": "sagittal"},
        ("note: NIfTI file left out: a map of labels",),
        rows=48,
    ),
    Form(
        "NIfTI: several visits of a patient (BraTS 2023)",
        both(
            *(
                nifti(f"BraTS-GLI-0000{p}-00{v}/BraTS-GLI-0000{p}-00{v}-t1n.nii.gz")
                for p in (1, 2)
                for v in (0, 1)
            )
        ),
        {"patient_id": "volume-0001"},
        rows=48,
    ),
    Form(
        "NIfTI: sub-01/anat (BIDS)",
        both(
            nifti("sub-01/anat/sub-01_T1w.nii"),
            nifti("sub-01/ses-2/anat/sub-01_ses-2_T1w.nii"),
            nifti("sub-02/anat/sub-02_T1w.nii"),
            nifti("sub-02/anat/sub-02_dseg.nii"),
        ),
        {"patient_id": "volume-0001"},
        ("note: NIfTI file left out: a map of labels",),
        rows=36,
    ),
    Form(
        "NIfTI: imagesTr, labelsTr (nnU-Net, Medical Segmentation Decathlon)",
        both(
            nifti("imagesTr/la_003_0000.nii.gz"),
            nifti("imagesTr/la_003_0001.nii.gz"),
            nifti("labelsTr/la_003.nii.gz"),
        ),
        {"patient_id": "volume-0001"},
        ("note: NIfTI file left out: a map of labels",),
        rows=24,
    ),
    Form(
        "NIfTI: oblique",
        nifti("a.nii", oblique=True),
        {"answer": "axial"},
        ("note: oblique NIfTI volume: planes that are none are not asked about",),
        rows=4,
    ),
    Form(
        "NIfTI: four dimensions",
        nifti("a.nii", volumes=3),
        {"answer": "sagittal"},
        ("note: NIfTI file of several volumes: the first is shown",),
        rows=12,
    ),
)

SECTIONS = "<SUMMARY>Look.</SUMMARY><CAPTION>A wrist.</CAPTION><REASONING>Broken.</REASONING><CONCLUSION>yes</CONCLUSION>"
HUATUO = "## Thinking\n\nThe line is broken.\n\n## Final Response\n\nyes"
VOC = """<annotation><filename>{0}.png</filename><size><width>32</width><height>24</height></size><object><name>cyst</name>
<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>12</xmax><ymax>15</ymax></bndbox></object></annotation>"""
MORE = (
    Form(
        "VLM-R1: solution is a list of numbers, a box",
        lines("a.jsonl", {"image": "p0.png", "problem": Q, "solution": [2, 3, 12, 15]}, pictures=1),
        {},
        ("skipped: answer that is no text",),
        rows=0,
    ),
    Form(
        "MATH: the solution reasons and boxes its answer",
        lines(
            "a.jsonl", {"problem": Q, "solution": "It is $x = \\boxed{\\frac{1}{2}}$, so half.", "level": "1"}
        ),
        {"answer": "\\frac{1}{2}", "chosen": "It is $x = \\boxed{\\frac{1}{2}}$, so half."},
        ("level not read",),
        rows=1,
    ),
    Form(
        "several texts as the answer (MIMIC-CXR-VQA)",
        lines("a.jsonl", {"question": Q, "answer": ["left lung", "right lung"]}),
        {"answer": "left lung", "answers": ["left lung", "right lung"]},
        ("note: several texts in answer: each of them counts as right",),
        rows=1,
    ),
    Form(
        "LLaVA-CoT: sections, the answer in <CONCLUSION>",
        lines("a.jsonl", _human(Q, SECTIONS), _human(Q2, SECTIONS)),
        {"answer": "yes", "answer_type": "closed", "chosen": SECTIONS},
    ),
    Form(
        "HuatuoGPT-o1: headings Thinking and Final Response",
        lines("a.jsonl", _human(Q, HUATUO), _chat(Q2, HUATUO)),
        {"answer": "yes", "chosen": HUATUO},
    ),
    Form(
        "Kimi, Magistral, MedGemma, gpt-oss, OpenThoughts: other marks around the reasoning",
        lines(
            "a.jsonl",
            _chat(Q, "◁think▷Broken.◁/think▷yes"),
            _chat(Q, "[THINK]Broken.[/THINK]yes"),
            _chat(Q, "<unused94>thought Broken.<unused95>yes"),
            _chat(Q, "<|channel|>analysis<|message|>Broken.<|end|><|channel|>final<|message|>yes"),
            _chat(Q, "<|begin_of_thought|>B.<|end_of_thought|><|begin_of_solution|>yes<|end_of_solution|>"),
        ),
        {"answer": "yes", "answer_type": "closed"},
        rows=5,
    ),
    Form(
        "MM-Eureka, Open-R1: a conversation as JSON text in a table",
        lines("a.parquet", {"messages": json.dumps([_user(Q), _says("yes")])}),
        {"question": Q, "answer": "yes"},
        rows=1,
    ),
    Form(
        "HH-RLHF: two whole conversations as texts",
        lines(
            "a.jsonl",
            {
                "chosen": f"\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: {Q}\n\nAssistant: yes",
                "rejected": f"\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: {Q}\n\nAssistant: no",
            },
            {
                "chosen": f"\n\nHuman: {Q}\n\nAssistant: yes",
                "rejected": f"\n\nHuman: {Q2}\n\nAssistant: no",
            },
        ),
        {"question": Q, "context": "user: Hi\nassistant: Hello", "chosen": "yes", "rejected": "no"},
        ("skipped: sides with other questions",),
        rows=1,
    ),
    Form(
        "UltraFeedback: prompt, messages, chosen and rejected as turns, scores",
        lines(
            "a.jsonl",
            {
                "prompt": Q,
                **_chat(Q, "yes"),
                "chosen": [_user(Q), _says("yes")],
                "rejected": [_user(Q), _says("no")],
                "score_chosen": 8.0,
                "score_rejected": 2.0,
            },
        ),
        {"question": Q, "chosen": "yes", "rejected": "no"},
        ("prompt not read",),
        rows=1,
    ),
    Form(
        "pairs whose scores say the other side is the better one",
        lines(
            "a.jsonl",
            {"prompt": Q, "chosen": "yes", "rejected": "no", "chosen_score": 1, "rejected_score": 9},
            {"prompt": Q2, "chosen": "yes", "rejected": "no", "chosen_score": 9, "rejected_score": 1},
        ),
        {"question": Q2},
        ("skipped: scores that turn the pair round",),
        rows=1,
    ),
    Form(
        "SciQ: correct_answer, distractor1 … distractor3",
        lines(
            "a.jsonl",
            {"question": Q, "distractor1": "skin", "distractor2": "heart", "correct_answer": "lung"},
        ),
        {"answer": "lung", "answer_type": "choice", "options": {"A": "heart", "B": "lung", "C": "skin"}},
        ("note: the right option stands apart from the wrong ones: put in alphabetical order",),
        rows=1,
    ),
    Form(
        "options keyed a, b",
        lines("a.jsonl", {"question": Q, "options": {"a": "old", "b": "new"}, "answer": "b"}),
        {"answer": "new", "options": {"A": "old", "B": "new"}},
        rows=1,
    ),
    Form(
        "flags: is_correct, deleted",
        lines(
            "a.jsonl",
            {"question": Q, "answer": "yes", "is_correct": False},
            {"question": Q, "answer": "yes", "deleted": True},
            {"question": Q2, "answer": "no", "is_correct": True, "deleted": False},
        ),
        {"question": Q2},
        ("skipped: answer that is not wanted",),
        rows=1,
    ),
    Form(
        "a region of the picture in numbers, and one by its name",
        lines(
            "a.jsonl",
            {"question": Q, "answer": "yes", "image": "p0.png", "region": [1, 2, 3, 4]},
            {"question": Q2, "answer": "no", "image": "p0.png", "region": "wrist"},
            pictures=1,
        ),
        {"question": Q2},
        ("skipped: a field that changes the meaning is not read", "region not read"),
        rows=1,
    ),
    Form(
        "Chinese names of fields",
        lines("a.jsonl", {"问题": "右肺有结节吗？", "答案": "有", "图片": "p0.png", "解析": "x"}, pictures=1),
        {"question": "右肺有结节吗？", "answer": "有", "images": 1, "language": "zh"},
        ("解析 not read",),
        rows=1,
    ),
    Form(
        "COCO: a box over the border",
        both(pictures("a.png"), coco("c.json", ("a.png",), (32, 24), {"bbox": [-3, -2, 20, 20]})),
        {"boxes": [[0, 0, 17, 18]]},
        ("note: box cut at the border of its picture",),
        rows=1,
    ),
    Form(
        "COCO: x1 y1 x2 y2 in place of x y width height",
        both(
            pictures("a.png"),
            coco("c.json", ("a.png",), (32, 24), {"bbox": [20, 10, 30, 20]}, {"bbox": [2, 3, 12, 15]}),
        ),
        {},
        ("skipped: boxes look like corners",),
        rows=0,
    ),
    Form(
        "YOLO: a picture without a file of labels",
        both(pictures("images/a.png", "images/b.png"), text("labels/b.txt", YOLO_LINE)),
        {"boxes": []},
        ("note: picture without a file of labels: taken as one where nothing is to be found",),
    ),
    Form(
        "Pascal VOC: splits in ImageSets/Main",
        both(
            pictures("JPEGImages/a.png", "JPEGImages/b.png"),
            text("Annotations/a.xml", VOC.format("a")),
            text("Annotations/b.xml", VOC.format("b")),
            text("ImageSets/Main/test.txt", "a\n"),
            text("ImageSets/Main/trainval.txt", "b\n"),
            text("ImageSets/Main/train.txt", "b\n"),
        ),
        {"boxes": [[2, 3, 12, 15]], "split": "test"},
    ),
)

FORMS = (*RECORDS, *FOLDERS, *MORE)

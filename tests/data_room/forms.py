"""File forms of other tools, each written small with content of our own, and what must come out of it.

`python tests/data_room/forms.py` prints the table of docs/data.md, "Forms that are tried"; a test compares the two.
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
        {},
        ("skipped: options not understood",),
        rows=0,
    ),
    Form(
        "a mark and no picture",
        lines("a.jsonl", {"question": f"<image>{Q}", "answer": "yes"}, {"question": Q2, "answer": "no"}),
        {"question": Q2},
        ("skipped: image marks and pictures differ",),
        rows=1,
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
            "note: the entry 'else' of dataset_info.json names no file that is here: not read",
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
        "OpenAI chat with a picture as base64",
        lines(
            "a.jsonl",
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                            {"type": "text", "text": Q},
                        ],
                    },
                    _says("yes"),
                ]
            },
        ),
        {},
        ("skipped: picture is no file",),
        rows=0,
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

FORMS = (*RECORDS,)


def table() -> str:
    """The forms as a Markdown table: form, what is read of the example, what is said."""
    lines_of = ["| form | read | left out, and said |", "| --- | --- | --- |"]
    for form in FORMS:
        read = ", ".join(f"{name} {_shown(value)}" for name, value in form.reads.items())
        said = "; ".join(words.removeprefix("note: ") for words in form.says)
        lines_of.append(f"| {form.name} | {read or '–'} | {said or '–'} |".replace("\\boxed", "`\\boxed`"))
    return "\n".join(lines_of)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return f"`{text}`".replace("\n", "↵").replace("|", "¦")


if __name__ == "__main__":
    print(table())

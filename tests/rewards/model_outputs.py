"""Real model answers, joined with their questions and references; run this file for the table of scores."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One answer of a model: where it is, what was asked, what is accepted, what the model said."""

    file: str
    row: int
    question: str
    reference: str
    prediction: str
    answer_type: str


def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _fm_medvqa(folder: Path) -> Iterator[Answer]:
    outputs = folder / "model_outputs/fm_medvqa"
    sources = {
        "llavamed_slake": "eval_llavamed_slake",
        "llavamed_vqa_rad": "eval_llavamed_vqa_rad",
        "tinyllava_slake": "eval_llavamed_slake",
        "tinyllava_vqa_rad": "eval_tinyllava_vqa_rad",
        "vilt_vqa_rad": "eval_vilt_vqa_rad",
    }
    for name, source in sources.items():
        truth = [row["original_gt"] for row in _load(outputs / f"{source}.json")]
        yield from _rows(f"model_outputs/fm_medvqa/{name}.jsonl", _load(outputs / f"{name}.jsonl"), truth)
    for name in ("tinyllava_ft_slake", "tinyllava_ft_vqa_rad", "tinyllava_ft_pathvqa"):
        rows = _load(outputs / f"{name}.jsonl")
        yield from _rows(f"model_outputs/fm_medvqa/{name}.jsonl", rows, [row["answer_gt"] for row in rows])
    truth = [row["answer_gt"] for row in _load(outputs / "tinyllava_ft_pathvqa.jsonl")]
    name = "model_outputs/fm_medvqa/llavamed_pathvqa.jsonl"
    yield from _rows(name, _load(folder / name), truth)


def _rows(file: str, rows: list[dict[str, Any]], truth: list[Any]) -> Iterator[Answer]:
    for index, (row, reference) in enumerate(zip(rows, truth, strict=True)):
        kind = str(row.get("answer_type") or row.get("asnwer_type") or "").strip().lower()
        prediction = str(row["answer_pred"])
        yield Answer(file, index, str(row["question"]), str(reference), prediction, kind)


def _llava_med(folder: Path) -> Iterator[Answer]:
    test = _load(folder / "vqa_rad/testset.json")
    for name in ("answer-file", "answer-file-1epoch", "answer-file-llava-zeorshot"):
        file = f"model_outputs/llava_med/{name}.jsonl"
        lines = (folder / file).read_text(encoding="utf-8").splitlines()
        for index, (row, line) in enumerate(zip(test, lines, strict=True)):
            kind = row["answer_type"].strip().lower()
            yield Answer(file, index, row["question"], str(row["answer"]), json.loads(line)["text"], kind)


def _blip2(folder: Path) -> Iterator[Answer]:
    file = "model_outputs/blip2_zeroshot/predictions_zeroshot.csv"
    with (folder / file).open(encoding="utf-8-sig", newline="") as stream:
        for index, row in enumerate(csv.DictReader(stream)):
            yield Answer(file, index, row["question"], row["ground_truth"], row["pred_answer"] or "", "")


def load_answers(folder: Path) -> list[Answer]:
    """Every answer that has a reference; `closed` is filled in for yes/no references where a file has no type."""
    answers = [*_fm_medvqa(folder), *_llava_med(folder), *_blip2(folder)]
    closed = ("yes", "no")
    return [
        a
        if a.answer_type
        else Answer(
            a.file,
            a.row,
            a.question,
            a.reference,
            a.prediction,
            "closed" if a.reference.strip().lower() in closed else "open",
        )
        for a in answers
    ]


def print_table(folder: Path) -> None:
    """Mean of answer_match beside exact match and token F1, by file and by closed or open."""
    from medgrpo.rewards import text

    groups: dict[tuple[str, str], list[Answer]] = {}
    for answer in load_answers(folder):
        groups.setdefault((answer.file, answer.answer_type), []).append(answer)
    print("| file | type | rows | answer_match | exact match | token F1 | token recall |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for (file, kind), rows in sorted(groups.items()):
        completions = [row.prediction for row in rows]
        columns = {"answer": [row.reference for row in rows], "question": [row.question for row in rows]}
        scores = [
            text.answer_match(completions, plain=True, **columns),
            text.exact_match(completions, plain=True, **columns),
            text.token_f1(completions, plain=True, **columns),
            text.token_recall(completions, plain=True, **columns),
        ]
        means = " | ".join(f"{sum(s or 0 for s in column) / len(column):.3f}" for column in scores)
        print(f"| {Path(file).name} | {kind} | {len(rows)} | {means} |")


if __name__ == "__main__":
    print_table(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("../shared/data"))

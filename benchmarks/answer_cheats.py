"""The best cheat on bare answers, on every set of questions with references: pictures, text, options, English and Chinese.

    python benchmarks/answer_cheats.py ../shared/data

prints a line for each set: what the best cheat of `medgrpo score --audit` earns from `answer_match` and from
`answer_match_graded`. Run in another checkout, the same command gives the figures of that version. Takes 5 s.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medgrpo.rewards.audit import audit
from medgrpo.rewards.composite import CompositeReward

Rows = list[dict[str, Any]]


def main(data: Path) -> None:
    print("| data | rows | best cheat | answer_match | best cheat | graded |")
    print("| --- | ---: | --- | ---: | --- | ---: |")
    for name, rows in sets(data):
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        cells = [name, str(len(rows))]
        for reward in ("answer_match", "answer_match_graded"):
            best = audit(columns, CompositeReward({reward: 1.0}, settings={"plain": True})).best
            cells += [best.name, f"{best.mean:.3f}"]
        print(f"| {' | '.join(cells)} |")


def sets(data: Path) -> Iterator[tuple[str, Rows]]:
    """Name and rows of each set."""
    for part in ("train", "test"):
        yield f"VQA-RAD {part}", picked(read(data / f"vqa_rad/{part}set.json"), "question", "answer")
    slake = read(data / "slake/test.json")
    for language in ("en", "zh"):
        rows = [row for row in slake if row["q_lang"] == language]
        yield f"SLAKE test, {language}", picked(rows, "question", "answer")
    table = data / "vqa_med_2019/VQAMed2019_Test_Questions_w_Ref_Answers.txt"
    cells = [line.split("|") for line in table.read_text(encoding="utf-8").splitlines()]
    yield "VQA-Med 2019 test", [{"question": row[2], "answer": row[3]} for row in cells if len(row) > 3]
    text = data / "text_qa"
    pubmed = list(read(text / "pubmedqa/ori_pqal_400.json").values())
    yield "PubMedQA", picked(pubmed, "QUESTION", "final_decision")
    exams = [
        row
        for name in ("afrimedqa", "medmcqa", "medqa")
        for row in lines(text / f"medagents/{name}_sampled_50.jsonl")
    ]
    options = picked(exams, "question", "answer_idx")
    yield (
        "exams, options",
        [{**row, "options": exam["options"]} for row, exam in zip(options, exams, strict=True)],
    )
    yield "exams, open", picked(exams, "question", "answer")
    yield "Chinese, short", picked(lines(text / "medicalgpt/grpo_sample.jsonl"), "question", "answer")
    yield "Chinese, long", picked(lines(text / "huatuo/llama_data_1500.json")[:600], "instruction", "output")
    for name in ("X-Ray_test_400", "DeepDRiD_filtered_test", "DRIMDB_filtered_test"):
        rows = picked(read(data / f"omnimedvqa/{name}.json"), "problem", "solution")
        for row in rows:
            row["answer"] = re.sub(r"</?answer>", "", row["answer"]).strip()
        yield f"OmniMedVQA {name.split('_')[0]}", rows
    for name in ("vqa_rad", "slake"):
        rows = read(data / f"model_outputs/fm_medvqa/tinyllava_ft_{name}.jsonl")
        yield f"TinyLLaVA's rows of {name}", picked(rows, "question", "answer_gt")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def lines(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def picked(rows: Rows, question: str, answer: str) -> Rows:
    """The two columns under the names that rewards take."""
    return [{"question": str(row[question]), "answer": str(row[answer])} for row in rows]


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Scores LLaVA-Med's three published VQA-RAD answer files twice: by its own script's rule and by ours.

Usage: python examples/rescore_llava_med.py ANSWERS_FOLDER TESTSET.json

docs/llava_med_rescored.md explains the result.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from medgrpo.evaluation.evaluate import evaluate_predictions
from medgrpo.evaluation.predictions import read_predictions

FILES = ("answer-file.jsonl", "answer-file-1epoch.jsonl", "answer-file-llava-zeorshot.jsonl")


def original_hits(rows: list[dict], texts: list[str]) -> dict[int, int]:
    """Row -> hit as `llava/eval/run_eval.py` counts closed questions; rows that it forgets are missing.

    Its text normalisation is left out: it changes none of these hits but for outer blanks.
    """
    hits = {}
    for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
        if row["answer_type"] != "CLOSED":
            continue
        reference, said = str(row["answer"]).strip().lower(), text.lower()
        if "yes" in said or "no" in said:
            if reference in said:
                hits[index] = 1
            # here `else: hit = 0` is missing
        else:
            hits[index] = 0
    return hits


def main(folder: Path, testset: Path) -> None:
    rows = json.loads(testset.read_text(encoding="utf-8"))
    for name in FILES:
        result = evaluate_predictions(read_predictions(folder / name, references=testset, join="row"))
        scored, closed = result.scored, result.document["closed"]
        texts = list(scored.completions)
        hits = original_hits(rows, texts)
        asked = [index for index, kind in enumerate(scored.kinds) if kind == "closed"]
        strictly = [index for index in asked if rows[index]["answer_type"] == "CLOSED"]
        print(f"\n{name}")
        print(
            f"  original rule:          {sum(hits.values())}/{len(hits)} = {sum(hits.values()) / len(hits):.3f}"
        )
        print(
            f"  wrong ones counted too: {sum(hits.values())}/{len(strictly)} = {sum(hits.values()) / len(strictly):.3f}"
        )
        print(f"  answer_match:           {closed['value'] * closed['n']:.0f}/{closed['n']} = {closed['value']:.3f} "
              f"({closed['low']:.3f} – {closed['high']:.3f}); majority {closed['baseline']:.3f}")  # fmt: skip
        ours = {index: int(scored.scores["answer_match"][index]) for index in asked}
        for better, label in ((1, "theirs right, ours wrong"), (0, "theirs wrong or forgotten, ours right")):
            differing = [i for i in asked if hits.get(i, 0) == better and ours[i] != better]
            rules = Counter(scored.rules[index] for index in differing)
            print(f"  {label}: {len(differing)} {dict(rules)}")
            for index in differing[: 60 if "-v" in sys.argv else 4]:
                print(
                    f"    {scored.rules[index]:22} {rows[index]['question']!r} / {rows[index]['answer']!r} / {texts[index][:110]!r}"
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

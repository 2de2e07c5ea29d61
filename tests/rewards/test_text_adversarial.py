"""The adversarial corpus: hand-written answers with the verdict of a careful reader.

`tests/data/adversarial_text.jsonl` has one case a line: `question`, `answer` (accepted references), `options`,
`completion`, `expected` (1 accepted, 0 rejected), `reason`. Other projects may use it.
"""

import json
from collections import Counter
from pathlib import Path

from medgrpo.rewards import text

CORPUS = Path(__file__).parents[1] / "data" / "adversarial_text.jsonl"
CASES = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]


def columns(cases):
    return {
        "answer": [case["answer"] for case in cases],
        "question": [case["question"] for case in cases],
        "options": [case["options"] for case in cases],
    }


def test_every_case_is_decided_as_a_careful_reader_would():
    rows = text.explain([case["completion"] for case in CASES], plain=True, **columns(CASES))
    wrong = [
        f"{case['id']} wanted {case['expected']} by {row['rule']}: {case['question']} | {case['answer']} | "
        f"{case['completion']} ({case['reason']})"
        for case, row in zip(CASES, rows, strict=True)
        if row["answer_match"] != case["expected"]
    ]
    assert not wrong, "\n".join(wrong)


def test_tagged_completions_are_decided_like_plain_ones():
    completions = [f"<think>…</think>\n<answer>\n{case['completion']}\n</answer>" for case in CASES]
    scores = text.answer_match(completions, **columns(CASES))
    assert scores == [case["expected"] for case in CASES]


def test_rejected_answers_stay_below_one_half_when_graded():
    graded = text.answer_match_graded([case["completion"] for case in CASES], plain=True, **columns(CASES))
    for case, score in zip(CASES, graded, strict=True):
        assert score == 1 if case["expected"] else score < 0.5, case


def test_the_corpus_is_large_bilingual_and_balanced():
    languages = Counter(case["language"] for case in CASES)
    verdicts = Counter(case["expected"] for case in CASES)
    assert len(CASES) >= 600
    assert languages["en"] >= 300
    assert languages["zh"] >= 200
    assert min(verdicts.values()) >= len(CASES) / 4
    assert len({case["id"] for case in CASES}) == len(CASES)
    assert all(case["reason"] for case in CASES)

"""Answers judged by what they claim: hand-written cases by kind, realistic completions, and a grammar of cases."""

import importlib.util
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medgrpo.rewards import text

DATA = Path(__file__).parents[1] / "data"
CASES = 20_000
SEED = 20


def load_module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def read_cases(path: Path) -> list[dict[str, Any]]:
    """The cases of a file in the form that `claim_cases.txt` describes."""
    cases: list[dict[str, Any]] = []
    kind = question = reference = ""
    options = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        mark, rest = line[:2].strip(), line[2:].strip()
        if not line.strip() or mark == "#":
            continue
        if mark == "==":
            kind = rest
        elif mark == "?":
            question, _, reference = rest.rpartition(" = ")
            options = None
        elif mark == "@":
            options = dict(part.strip().split(": ", 1) for part in rest.split(";"))
        else:
            assert mark in {"+", "-"}, f"{path.name}:{number}: {line}"
            completion = rest.replace("\\n", "\n")
            cases.append(
                {
                    "line": number,
                    "kind": kind,
                    "question": question,
                    "answer": reference,
                    "options": options,
                    "completion": completion,
                    "expected": int(mark == "+"),
                }
            )
    return cases


def wrong(cases: list[dict[str, Any]], **settings: Any) -> list[str]:
    columns = {name: [case[name] for case in cases] for name in ("question", "answer", "options")}
    rows = text.explain([case["completion"] for case in cases], plain=True, **columns, **settings)
    return [
        f"line {case['line']} wanted {case['expected']} by {row['rule']}: {case['question']} = {case['answer']} | "
        f"{case['completion']!r} | {text.claims_text(row)}"
        for case, row in zip(cases, rows, strict=True)
        if row["answer_match"] != case["expected"]
    ]


@pytest.mark.parametrize(
    "name",
    [
        "claim_cases.txt",
        "fresh_wordings.txt",
        "mended_wordings.txt",
        "letter_wordings.txt",
        "realistic_completions.txt",
    ],
)
def test_every_written_case_is_decided_as_a_careful_reader_would(name):
    found = wrong(read_cases(DATA / name))
    assert not found, "\n".join(found)


def test_blind_wordings_are_decided_no_worse_than_they_were():
    """Written and judged by someone who had not seen the rules; BENCHMARKS.md says how many were wrong at first sight."""
    cases = [json.loads(line) for line in (DATA / "blind_wordings.jsonl").read_text("utf-8").splitlines()]
    scores = text.answer_match(
        [case["answer"] for case in cases],
        answer=[case["reference"] for case in cases],
        question=[case["question"] for case in cases],
        options=[case.get("options") for case in cases],
        plain=True,
    )
    wrong = [(case, score) for case, score in zip(cases, scores, strict=True) if score != case["verdict"]]
    paid = [case["id"] for case, score in wrong if score]
    assert len(cases) == 1197
    assert len(paid) <= 3, paid
    assert len(wrong) <= 139


def test_every_kind_of_fault_has_at_least_twenty_cases():
    kinds = Counter(case["kind"][0] for case in read_cases(DATA / "claim_cases.txt"))
    assert set(kinds) == set("ABCDEFGHI")
    assert min(kinds.values()) >= 20


def test_the_grammar_is_decided_as_it_was_constructed():
    grammar = load_module("claim_grammar")
    cases = [{**vars(case), "line": index} for index, case in enumerate(grammar.cases(CASES, SEED))]
    found = wrong(cases)
    assert not found, f"{len(found)} of {CASES}\n" + "\n".join(found[:20])
    languages = Counter(case["language"] for case in cases)
    assert min(languages["en"], languages["zh"]) >= CASES / 5
    assert CASES / 4 <= sum(case["expected"] for case in cases) <= 3 * CASES / 4


def full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isalnum() else c for c in text)


WRAPPERS: dict[str, Callable[[str], str]] = {
    "a thought before": lambda text: f"<think>I look at the picture first.</think>\n{text}",
    "tags": lambda text: f"<answer>{text}</answer>",
    "blanks": lambda text: "\n  " + text.replace(" ", "  ") + " \n",
    "full width": full_width,
    "upper case": str.upper,
    "bold": lambda text: f"**{text}**",
    "announced": lambda text: f"Answer: {text}",
    "announced at length": lambda text: f"The final answer is: {text}",
    "announced in Chinese": lambda text: f"答案：{text}",
    "an object": lambda text: json.dumps({"answer": text}),
    "quotes": lambda text: '"' + text.strip('"') + '"',
    "a stop token": lambda text: text + "<|im_end|>",
}


@pytest.fixture(scope="module")
def plain_cases():
    cases = [case for name in ("claim_cases.txt", "fresh_wordings.txt") for case in read_cases(DATA / name)]
    return [
        case
        for case in cases
        if not set(case["completion"]) & set("<`{\\") and ".png" not in case["completion"]
    ]


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_stands_around_an_answer_changes_no_verdict(name, plain_cases):
    wrapped = [{**case, "completion": WRAPPERS[name](case["completion"])} for case in plain_cases]
    found = wrong(wrapped)
    assert len(wrapped) > 2000
    assert not found, "\n".join(found[:20])


SIDES = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "左": "右", "右": "左"}


def test_an_accepted_side_is_refused_once_left_and_right_are_swapped(plain_cases):
    def swapped(text: str) -> str:
        return re.sub("|".join(SIDES), lambda match: SIDES[match.group()], text)

    names_no_other = re.compile(
        "not|n't |不|whereas|rather|nor|patient|image|图像|患者|coronary|both|左右|left and right"
    )
    cases = [
        {**case, "completion": swapped(case["completion"]), "expected": 0}
        for case in plain_cases
        if case["expected"]
        and case["options"] is None
        and re.search("left|right|左|右", case["answer"])
        and not names_no_other.search(case["completion"].lower() + case["answer"])
        and swapped(case["completion"]) != case["completion"]
    ]
    found = wrong(cases)
    assert len(cases) > 100
    assert not found, "\n".join(found)


def test_claims_show_what_decided():
    row = text.explain(
        ["The left lung is normal. The right lung is abnormal."],
        answer=["right lung"],
        question=["Which lung is abnormal?"],
        plain=True,
    )[0]
    assert [(words, standing) for words, _, standing in row["claims"]] == [
        ("the left lung is normal", "contrast"),
        ("the right lung is abnormal", "stands"),
    ]


def test_rules_name_what_happened_to_the_tags():
    completions = [
        "<answer>yes</answer><answer>no</answer>",
        "<think>yes",
        "liver abscess",
        "<answer>yes</answer><answer>Yes</answer>",
    ]
    rows = text.explain(
        completions,
        answer=["yes", "yes", "liver", "yes"],
        question=["Is it?", "Is it?", "Which organ is affected?", "Is it?"],
        plain=True,
    )
    assert [row["rule"] for row in rows[:3]] == ["several_answer_tags", "unfinished_thought", "too_specific"]
    assert rows[3]["answer_match"] == 1
    assert text.format(completions[3:], tags=["answer"]) == [0]  # the form is still wrong


def test_a_stop_token_is_no_word_and_no_fault_of_form():
    completion = "<think>x</think><answer>left lung</answer><|im_end|>"
    assert text.format([completion], tags=["think", "answer"]) == [1]
    assert text.answer_match([completion], answer=["left lung<|im_end|>\n"]) == [1]


def test_a_pair_of_levels_after_a_sentence_is_read():
    for completion in ("椎体完好。L3-4", "The disc bulges. L3-4", "<|>"):
        assert text.answer_match([completion], answer=["L3/4"], plain=True)[0] in (0, 1)


FLIPS = {
    "en": ("Is there {}?", "There is {}.", "There is no {}.", "It is not true that there is no {}."),
    "zh": ("是否有{}？", "可见{}。", "未见{}。", "不能说没有{}。"),
}


def test_a_denial_flips_every_finding_of_the_table_and_two_of_them_do_not():
    findings = [g["terms"] for g in text.synonyms()["groups"] if g["id"].startswith("finding.")]
    cases = []
    for terms in findings:
        for language, (question, stated, denied, twice) in FLIPS.items():
            named = next((t for t in terms if t.isascii() == (language == "en") and " " not in t), None)
            if named is None or named.endswith(("ed", "ing", "ive", "al", "ous", "ic")):
                continue  # adjectives make no sentence of this form
            for sentence, truth in ((stated, "yes"), (denied, "no"), (twice, "yes")):
                cases += [
                    (question.format(named), sentence.format(named), truth, answer)
                    for answer in ("yes", "no")
                ]
    questions, sentences, _, answers = map(list, zip(*cases, strict=True))
    scores = text.answer_match(sentences, answer=answers, question=questions, plain=True)
    wrong = [case for case, score in zip(cases, scores, strict=True) if score != (case[2] == case[3])]
    assert len(cases) > 500
    assert {case[1] for case in wrong} <= {"不能说没有病变。"}, wrong[
        :20
    ]  # "没有病变" is one term for normal; a known limit

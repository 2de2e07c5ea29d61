"""Texts that are far longer than any answer: bounded work, and no whole that is taken for another."""

import random
import time

import pytest

from medgrpo.rewards import text

LIMIT_S = 5.0
"""Of CPU: an order of magnitude above what a row takes; by the square of its length it would be minutes."""
LONG = 600_000


def judged(question: str, reference: str, answer: str) -> dict:
    return text.explain([answer], question=[question], answer=[reference], plain=True)[0]


@pytest.mark.parametrize("atom", ["w ", "肺", "½", "CT MRI ", "A. x\n", "(", "not a mass ", "ab cd "])
@pytest.mark.parametrize("field", ["question", "reference", "answer", "all"])
def test_a_text_without_end_is_bounded_work(field, atom):
    row = {"question": "Is there a mass in the left lung?", "reference": "left lung", "answer": "left lung"}
    long = (atom * LONG)[:LONG]
    row |= dict.fromkeys(row, long) if field == "all" else {field: long}
    began = time.process_time()
    judged(**row)
    assert time.process_time() - began < LIMIT_S


def long_report(middle: str) -> str:
    chance = random.Random(1)
    words = ("lung", "clear", "heart", "normal", "no", "effusion", "left", "seen")
    half = " ".join(chance.choices(words, k=6000))
    return f"{half} {middle} {half}"


def test_long_texts_are_the_same_only_where_their_middles_are():
    question, reference = "What does the report say?", long_report("a mass")
    assert judged(question, reference, reference)["answer_match"] == 1
    other = judged(question, reference, long_report("no mass"))
    assert (other["answer_match"], other["rule"]) == (0, "incomplete")
    assert judged(question, reference, "a mass")["answer_match"] == 0


@pytest.mark.parametrize("filler", ["Let me look at the picture. ", "我再看一看图像。", "\U0001f600 "])
def test_the_end_of_a_long_answer_is_read(filler):
    said = filler * (100_000 // len(filler)) + "\nSo the answer is the left lung."
    assert judged("Which lung is affected?", "left lung", said)["answer_match"] == 1
    assert judged("Which lung is affected?", "right lung", said)["answer_match"] == 0


def test_a_distance_of_long_texts_is_bounded_and_never_flatters():
    chance = random.Random(2)
    one, other = ("".join(chance.choices("abcdef", k=900_000)) for _ in range(2))
    began = time.process_time()
    value = text.levenshtein([f"<answer>{one}</answer>"], answer=[other])[0]
    assert time.process_time() - began < 4 * LIMIT_S
    assert 0 <= value < 0.5
    assert text.levenshtein(["<answer>abc</answer>"], answer=["abd"])[0] == pytest.approx(2 / 3)

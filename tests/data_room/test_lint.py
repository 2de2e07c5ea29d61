"""What is wrong with a dataset: leaks, contradictions, guessable answers."""

import json

import pytest

from medgrpo.data.lint import answer_in_prompt, lint
from medgrpo.data.schema import new_row


def row(question="What is shown?", answer="a fracture", number=1, **fields):
    origin = {"source": "s", "source_file": "rows.json", "source_row": number, "id": f"rows:{number}"}
    return new_row(question=question, answer=answer, **origin, **fields)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"question": "This is a pleural effusion. What is it?", "answer": "Pleural effusion"}, "question"),
        (
            {"question": "What is it?", "answer": "Pleural effusion", "context": "CT: pleural effusion."},
            "context",
        ),
        ({"question": "What is it?", "answer": "COPD", "image_title": "Known COPD"}, "image_title"),
        ({"question": "确诊为酒精性肝硬化，诊断是什么？", "answer": "酒精性肝硬化"}, "question"),
        # a choice in one sentence does not excuse what another one tells
        (
            {"question": "A pleural effusion was seen. CT or MRI?", "answer": "pleural effusion"},
            "question",
        ),
        (
            {
                "question": "Is it pneumonia or pleural effusion?",
                "answer": "pleural effusion",
                "image_title": "Large pleural effusion",
            },
            "image_title",
        ),
    ],
)
def test_an_answer_that_the_prompt_tells_is_a_leak(fields, place):
    assert answer_in_prompt(row(**fields)) == place


@pytest.mark.parametrize(
    "fields",
    [
        {"question": "Is it pneumonia or pleural effusion?", "answer": "pleural effusion"},
        {"question": "Is this a pneumonia vs. pleural effusion?", "answer": "pleural effusion"},
        {"question": "是肝硬化腹水还是酒精性肝硬化？", "answer": "酒精性肝硬化"},
        {"question": "Is the left lung clear?", "answer": "left lung"},  # short, and no wonder
        {"question": "Is it a yes?", "answer": "yes", "image_title": "Yes"},
        {"question": "What is it?", "answer": "pleural effusions", "context": "A pleural effusion."},
        {"question": "Describe this image.", "answer": "A pleural effusion", "caption": "A pleural effusion"},
        {
            "question": "What is it?",
            "answer": "pleural effusion",
            "options": json.dumps({"A": "pleural effusion", "B": "pneumothorax"}),
        },
    ],
)
def test_what_is_offered_for_choice_or_never_shown_is_no_leak(fields):
    assert answer_in_prompt(row(**fields)) is None


def test_leaks_are_counted_by_kind_with_examples():
    rows = [
        row(number=1, images=["images/a.jpg"], patient_id="p1"),
        row(number=2, images=["images/a.jpg"], patient_id="p2"),
        row(number=3, images=["images/b.jpg"], patient_id="p1"),
        row(number=4, question="What helps?", answer="Rest."),
        row(number=5, question="what helps", answer="rest"),
        row(number=6, question="A pleural effusion is what?", answer="pleural effusion"),
    ]
    found = lint(rows, ["train", "test", "validation", "train", "test", "train"])
    assert found.leaks == {
        "image_in_several_splits": 1,
        "patient_in_several_splits": 1,
        "question_and_answer_in_several_splits": 1,
        "answer_in_prompt": 1,
    }
    assert [(e["in"], e["id"]) for e in found.leak_examples] == [("question", "rows:6")]


def test_rows_that_accept_each_other_s_answers_do_not_contradict():
    apart = [
        row("Is it there?", "Yes", 1, images=["a"]),
        row("is it there", "no", 2, images=["a"]),
        row("Is it there?", "no", 3, images=["b"]),
        row("Where?", "left", 4, images=["a"]),
        row("Where?", "right", 5, images=["a"]),
        row("What?", "lung", 6, images=["a"], answers=["lung", "chest"]),
        row("What?", "chest", 7, images=["a"], answers=["chest", "lung"]),
    ]
    found = lint(apart, ["train"] * len(apart))
    assert found.conflicts == {"pairs": 2, "yes_against_no": 1, "rows": 4}


def test_guessing_is_judged_on_held_out_rows_and_letters_are_counted():
    options = json.dumps({"A": "lung", "B": "liver"})
    rows = [
        row("Which organ?", "lung" if n % 4 else "liver", n, answer_type="choice", options=options)
        for n in range(40)
    ]
    splits = ["train"] * 20 + ["test"] * 20
    found = lint(rows, splits)
    assert (
        found.majority[0] | {"train_rows": 20, "answer": "lung", "share": 0.75, "rows": 20}
        == found.majority[0]
    )
    assert found.options == {"counts": {"A": 30, "B": 10}, "share": 0.75}

"""The review sheet: what is written for a person, and the agreement that comes back."""

import csv
import io

import numpy as np
import pytest

from medgrpo.errors import UsageError
from medgrpo.evaluation.review import cohens_kappa, read_review, review_sheet
from medgrpo.evaluation.score import score_predictions


@pytest.fixture
def scored():
    rows = [
        {"id": f"q{i}", "question": "Is it?", "answer": "yes", "image_id": f"i{i}", "answer_type": "closed"}
        for i in range(40)
    ]
    return score_predictions(rows, ["yes" if i % 4 else "no" for i in range(40)])


def sheet_rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def fill(tmp_path, text, verdict):
    rows = sheet_rows(text)
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, rows[0].keys())
    writer.writeheader()
    for number, row in enumerate(rows):
        writer.writerow(row | {"human_verdict": verdict(number, row)})
    file = tmp_path / "filled.csv"
    file.write_text("\ufeff" + stream.getvalue(), encoding="utf-8")
    return file


def test_the_sheet_has_right_and_wrong_answers_and_hides_the_verdict(scored):
    rows = sheet_rows(review_sheet(scored, 20))
    assert len(rows) == 20
    assert sum(row["completion"] == "no" for row in rows) == 10
    assert all(row["human_verdict"] == "" for row in rows)
    assert "rule" not in rows[0]


def test_the_sheet_takes_what_there_is(scored):
    assert len(sheet_rows(review_sheet(scored, 500))) == 40


def test_the_sheet_of_a_seed_is_the_same(scored):
    assert review_sheet(scored, 10, seed=3) == review_sheet(scored, 10, seed=3)
    assert review_sheet(scored, 10, seed=3) != review_sheet(scored, 10, seed=4)


def test_a_reviewer_who_agrees_agrees_fully(scored, tmp_path):
    file = fill(
        tmp_path, review_sheet(scored, 20), lambda _, row: "right" if row["completion"] == "yes" else "错"
    )
    found = read_review(file, scored)
    assert found["n"] == 20
    assert found["agreement"]["value"] == 1
    assert found["kappa"] == 1
    assert found["disagreements"] == []


def test_agreement_by_hand(scored, tmp_path):
    # 20 rows, half right by the scorer. The reviewer calls all right: agreement 1/2, and no kappa beyond chance.
    found = read_review(fill(tmp_path, review_sheet(scored, 20), lambda *_: "1"), scored)
    assert found["agreement"]["value"] == 0.5
    assert found["kappa"] == 0
    assert found["human_accuracy"]["value"] == 1
    assert len(found["disagreements"]) == 10


def test_rows_left_empty_are_not_judged(scored, tmp_path):
    found = read_review(
        fill(tmp_path, review_sheet(scored, 20), lambda n, _: "wrong" if n < 5 else " "), scored
    )
    assert found["n"] == 5


@pytest.mark.parametrize(
    ("verdict", "words"), [("perhaps", "human_verdict is 'perhaps'"), ("", "has no verdicts")]
)
def test_a_sheet_that_cannot_be_used_says_why(scored, tmp_path, verdict, words):
    with pytest.raises(UsageError, match=words):
        read_review(fill(tmp_path, review_sheet(scored, 5), lambda *_: verdict), scored)


def test_a_sheet_of_other_predictions_is_refused(scored, tmp_path):
    file = tmp_path / "other.csv"
    file.write_text("key,human_verdict\nelsewhere,right\n")
    with pytest.raises(UsageError, match="'elsewhere' is not among"):
        read_review(file, scored)


def test_a_formula_is_made_harmless_and_its_key_still_found(tmp_path):
    rows = [{"id": "=1+1", "question": "=cmd()", "answer": "yes"}]
    scored = score_predictions(rows, ["@sum(a1)"])
    text = review_sheet(scored, 5)
    cells = sheet_rows(text)[0]
    assert cells["question"] == "'=cmd()"
    assert cells["completion"] == "'@sum(a1)"
    assert read_review(fill(tmp_path, text, lambda *_: "wrong"), scored)["n"] == 1


def test_kappa_by_hand():
    # 3 of 4 agree; first says yes 2/4, second 3/4: expected .5·.75 + .5·.25 = .5; (.75 - .5)/.5 = .5
    assert cohens_kappa(np.array([1, 1, 0, 0]), np.array([1, 1, 1, 0])) == pytest.approx(0.5)
    assert cohens_kappa(np.array([1.0]), np.array([1.0])) is None
    assert cohens_kappa(np.array([]), np.array([])) is None

import csv

import pytest

from medgrpo.errors import UsageError
from medgrpo.preference.pairs import Candidate, Pair, PairSet
from medgrpo.preference.review import export_pictures, export_review, import_review, import_reviews, kappa


def pair(number):
    prompt = f"row {number}"
    return Pair(
        prompt, Candidate(prompt, f"good {number}", 0.9, "s"), Candidate(prompt, f"=bad {number}", 0.1, "s")
    )


PAIRS = PairSet([pair(number) for number in range(20)])
ROWS = {
    p.prompt_id: {"question": "哪一侧？", "answer": "左", "images": [f"images/{p.prompt_id}.png"]}
    for p in PAIRS.pairs
}


def filled(path, choose):
    """The exported sheet with a choice in each line."""
    export_review(path, PAIRS.pairs, ROWS)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["choice"] = choose(row)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_people_see_the_question_and_not_which_side_the_reward_prefers(tmp_path):
    rows = filled(tmp_path / "sheet.csv", lambda row: "")
    assert rows[0]["question"] == "哪一侧？"
    assert rows[0]["image"] == "images/row 0.png"
    good_first = sum(row["a"].startswith("good") for row in rows)
    assert 0 < good_first < len(rows)


def test_a_text_that_a_spreadsheet_would_run_is_made_inert(tmp_path):
    rows = filled(tmp_path / "sheet.csv", lambda row: "")
    assert all("'=bad" in row["a"] + row["b"] for row in rows)


def test_human_choices_turn_pairs_round_and_agreement_is_told(tmp_path):
    path = tmp_path / "sheet.csv"
    # The person prefers the reward's choice in even rows and the other one in odd rows.
    filled(
        path, lambda row: "a" if ("good" in row["a"]) == (int(row["image"].split()[1][:-4]) % 2 == 0) else "b"
    )
    pairs, agreement = import_review(path, PAIRS)
    assert agreement == 0.5
    assert [p.chosen.text.startswith("good") for p in pairs.pairs] == [
        number % 2 == 0 for number in range(20)
    ]


def test_ties_and_empty_choices_are_dropped_and_counted(tmp_path):
    path = tmp_path / "sheet.csv"
    filled(path, lambda row: "tie" if "row 1." in row["image"] else "")
    pairs, agreement = import_review(path, PAIRS)
    assert pairs.pairs == []
    assert agreement is None
    assert pairs.dropped == {"reviewed as tie": 1, "not reviewed": 19}


def test_a_wrong_choice_names_file_line_and_what_was_expected(tmp_path):
    path = tmp_path / "sheet.csv"
    filled(path, lambda row: "left")
    with pytest.raises(UsageError, match=r"sheet.csv, line 2, choice: 'left'"):
        import_review(path, PAIRS)


def test_a_sheet_of_other_pairs_is_refused(tmp_path):
    path = tmp_path / "sheet.csv"
    filled(path, lambda row: "a")
    other = PairSet([Pair("x", Candidate("x", "1", 1, ""), Candidate("x", "2", 0, ""))])
    with pytest.raises(UsageError, match="no pair of"):
        import_review(path, other)


def test_an_existing_sheet_is_never_overwritten(tmp_path):
    path = tmp_path / "sheet.csv"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        export_review(path, PAIRS.pairs, ROWS)
    assert path.read_text() == "mine"


def test_kappa_is_agreement_beyond_chance():
    # 3 of 4 the same; both say a in half of the cases: chance is .5, kappa (.75 - .5) / .5
    assert kappa([("a", "a"), ("a", "a"), ("b", "b"), ("b", "a")]) == pytest.approx((0.75 - 0.5) / 0.5)
    assert kappa([("a", "b"), ("b", "a")]) == -1
    assert kappa([]) is None
    assert kappa([("a", "a")]) is None  # chance alone agrees


def test_two_reviewers_are_compared_and_their_disagreements_left_out(tmp_path):
    first, second = tmp_path / "one.csv", tmp_path / "two.csv"
    number = lambda row: int(row["image"].split()[1][:-4])  # noqa: E731
    right = lambda row: "a" if "good" in row["a"] else "b"  # noqa: E731
    wrong = lambda row: "b" if right(row) == "a" else "a"  # noqa: E731
    filled(first, right)
    filled(second, lambda row: wrong(row) if number(row) < 5 else right(row))
    pairs, figures = import_reviews([first, second], PAIRS)
    assert len(pairs.pairs) == 15
    assert pairs.dropped == {"reviewers disagree": 5}
    assert figures["agreement_with_reward"] == 1.0
    assert figures["reviewers"] == 2
    assert 0.3 < figures["kappa_between_reviewers"] < 0.6  # 15 of 20 the same
    assert len(figures["disagreements"]) == 5


def test_the_page_shows_pictures_and_hides_which_one_the_reward_prefers(tmp_path):
    from PIL import Image

    Image.new("RGB", (900, 300), "red").save(tmp_path / "p.png")
    export_pictures(tmp_path / "sheet.html", PAIRS.pairs, ROWS, lambda name: tmp_path / "p.png")
    page = (tmp_path / "sheet.html").read_text()
    assert page.count("data:image/jpeg;base64,") == len(PAIRS.pairs)
    sides = [block.index("good") < block.index("=bad") for block in page.split("<section>")[1:]]
    assert 0 < sum(sides) < len(sides)

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


def spreadsheet(path, change=lambda rows: rows, *, delimiter=",", encoding="utf-8-sig", header=str):
    """The sheet as a spreadsheet saves it again, all choices those of the reward."""
    rows = filled(path, lambda row: "a" if "good" in row["a"] else "b")
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow([header(name) for name in rows[0]])
        writer.writerows(list(row.values()) for row in change(rows))
    return path


@pytest.mark.parametrize(
    "saved",
    [
        {"delimiter": ";"},
        {"delimiter": "\t", "encoding": "utf-16"},
        {"encoding": "utf-8", "header": str.upper},
        {"header": lambda name: f" {name.title()} "},
        {"change": lambda rows: rows[::-1]},
        {"change": lambda rows: rows + rows[:3]},
        {"change": lambda rows: [row | {"choice": {"a": " Ａ", "b": "B "}[row["choice"]]} for row in rows]},
        {"change": lambda rows: [row | {"pair": row["pair"][1:]} for row in rows]},  # as before the letter
        {"change": lambda rows: [row | {"a": row["a"].replace(" ", "\r\n")} for row in rows]},
        {"change": lambda rows: [*rows, dict.fromkeys(rows[0], "")]},
    ],
)
def test_a_sheet_means_the_same_after_a_spreadsheet_had_it(tmp_path, saved):
    pairs, agreement = import_review(spreadsheet(tmp_path / "sheet.csv", **saved), PAIRS)
    assert agreement == 1.0
    assert len(pairs.pairs) == 20


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda rows: [*rows, rows[0] | {"choice": "b" if rows[0]["choice"] == "a" else "a"}],
            "is there twice",
        ),
        (
            lambda rows: [row | {"a": row["b"], "b": row["a"]} for row in rows],
            "under a and b are not the answers",
        ),
        (lambda rows: [row | {"a": rows[-1]["a"]} for row in rows], "under a and b are not the answers"),
        (lambda rows: [row | {"choice": "a b"} for row in rows], "choice: 'a b'"),
        (lambda rows: [row | {"choice": "x"} for row in rows], "choice: 'x'"),
        (lambda rows: [row | {"choice": "1"} for row in rows], "choice: '1'"),
    ],
)
def test_a_sheet_that_says_two_things_is_refused(tmp_path, change, words):
    with pytest.raises(UsageError, match=words):
        import_review(spreadsheet(tmp_path / "sheet.csv", change), PAIRS)


def test_no_spreadsheet_takes_the_name_of_a_pair_for_a_number():
    from medgrpo.preference.review import pair_key

    assert {pair_key(one)[0] for one in PAIRS.pairs} == {"p"}


def test_a_sheet_gives_a_terminal_no_orders_and_comes_back(tmp_path):
    texts = ("good \x1b]0;t\x07", "=bad\x1b[2J")
    odd = Pair("row", Candidate("row", texts[0], 0.9, "s"), Candidate("row", texts[1], 0.1, "s"))
    path = tmp_path / "sheet.csv"
    export_review(path, [odd], {"row": ROWS["row 0"]})
    written = path.read_text("utf-8-sig")
    assert "\x1b" not in written
    assert "\x07" not in written
    first = next(csv.DictReader(written.splitlines()))
    path.write_text(
        written.rstrip("\r\n").removesuffix('""') + ('"a"' if "good" in first["a"] else '"b"') + "\n"
    )
    pairs, agreement = import_review(path, PairSet([odd]))
    assert agreement == 1.0
    assert pairs.pairs[0].chosen.text == texts[0]

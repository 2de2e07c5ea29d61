"""No CSV that is written runs in a spreadsheet."""

import csv
import io
import json

import pytest

from medgrpo.cli.main import main
from medgrpo.sheets import for_people, harmless, write_sheet

FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1+1",
    "＋1",
    "－1+1",
    "＠x",
]


@pytest.mark.parametrize("cell", FORMULAS)
def test_what_starts_like_a_formula_is_text(cell):
    assert harmless(cell) == f"'{cell}"


def test_no_cell_for_people_gives_a_terminal_orders_and_lines_stay():
    assert for_people("\x1b]0;t\x07 a\r\nb\tc") == "␛]0;t␇ a\r\nb\tc"
    assert for_people("\x1b=1") == "␛=1"
    assert for_people("=\x1b") == "'=␛"


@pytest.mark.parametrize("cell", ["-1.5", "+3", "1e-3", "-12", "yes", "", "a=b", -1.5, None])
def test_numbers_and_words_stay(cell):
    assert harmless(cell) == cell


def test_a_cell_is_one_cell_whatever_parts_the_list():
    stream = io.StringIO()
    write_sheet(stream, ["=head", "n"], [["x;=1+1", -2.0], ['say "=1"', None]])
    text = stream.getvalue()
    assert '"x;=1+1",-2.0' in text
    assert next(csv.reader(io.StringIO(text))) == ["'=head", "n"]


def test_scores_are_written_without_formulas(tmp_path, capsys):
    rows = [
        {"id": f"={i}", "completion": cell, "answer": "yes", "@column": cell}
        for i, cell in enumerate(FORMULAS)
    ]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SystemExit):
        main(["score", str(tmp_path / "said.jsonl"), "--output", str(tmp_path / "scored.csv"), "--quiet"])
    with (tmp_path / "scored.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert cells
    assert not [cell for cell in cells if harmless(cell) != cell]

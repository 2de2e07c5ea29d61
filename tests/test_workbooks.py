"""Workbooks of Excel: values as the sheet shows them, or a bad row, or words."""

import base64
import datetime
import io
import zipfile

import pytest
from openpyxl import Workbook
from openpyxl.drawing.image import Image as SheetPicture
from PIL import Image

from medgrpo.data.cells import read_bytes
from medgrpo.data.readers import Problems, Source, read_source
from medgrpo.data.source import split_word
from medgrpo.errors import MedgrpoError
from medgrpo.records import BadRow
from medgrpo.rewards.completions_file import read_completions
from medgrpo.workbooks import read_workbook

HEAD = ("question", "answer", "patient")
ROWS = (HEAD, ("Is there a fracture?", "yes", 7), ("Is it old?", "no", 8))


def book(path, rows=ROWS, then=None, title="Cases"):
    """A workbook with one sheet, changed by `then(workbook, sheet)`."""
    made = Workbook()
    sheet = made.active
    sheet.title = title
    for row in rows:
        sheet.append(row)
    if then:
        then(made, sheet)
    made.save(path)
    return path


def read(path):
    """Rows that can be used, reasons of the others, what is said."""
    found = read_workbook(path, split_word)
    good = [row for _, row in found.rows if not isinstance(row, BadRow)]
    return good, [row.reason for _, row in found.rows if isinstance(row, BadRow)], dict(found.notes)


def changed(path, part, change):
    """The workbook with one part of its archive changed."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts[part])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


SHEET = "xl/worksheets/sheet1.xml"


def test_numbers_dates_and_formats_are_read_as_the_sheet_shows_them(tmp_path):
    values = [
        0.1 + 0.2,
        3.0,
        True,
        datetime.date(2024, 5, 31),
        datetime.datetime(2024, 5, 31, 13, 5),
        datetime.time(9, 0),
    ]
    shown = [0.3, 3, True, "2024-05-31", "2024-05-31 13:05:00", "09:00:00"]
    formats = [
        (7, "0000", "0007"),
        (0.355, "0.0%", "35.5%"),
        (5, '0" mm"', "5 mm"),
        (1234.5, "#,##0.00", 1234.5),
    ]
    values.append(datetime.timedelta(hours=30))
    shown.append("30:00:00")

    def formatted(_, sheet):
        for place, (value, pattern, _) in enumerate(formats, start=2 + len(values)):
            sheet.cell(place, 2, value).number_format = pattern
            sheet.cell(place, 1, "Q")

    rows, bad, notes = read(
        book(tmp_path / "a.xlsx", [HEAD[:2], *(("Q", value) for value in values)], formatted)
    )
    assert [row["answer"] for row in rows] == [*shown, *(wanted for *_, wanted in formats)]
    assert not bad
    assert sorted(notes.values()) == [1, 1, 1, 4]  # four dates and times; zeros, percent, words


def test_merged_cells_are_a_value_for_each_row_and_never_for_two_columns(tmp_path):
    def merge(_, sheet):
        sheet.merge_cells("C2:C3")
        sheet.merge_cells("A4:B4")

    rows, bad, notes = read(
        book(tmp_path / "a.xlsx", [*ROWS[:2], ("Is it old?", "no"), ("x", None, 9)], merge)
    )
    assert [row["patient"] for row in rows] == [7, 7]
    assert bad == ["cell merged over columns"]
    assert notes == {"cell merged over several rows: its value is that of each": 1}


@pytest.mark.parametrize("merged", ["A1:B1", "C1:C2"])
def test_names_of_columns_over_two_rows_are_refused(tmp_path, merged):
    file = book(tmp_path / "a.xlsx", then=lambda _, sheet: sheet.merge_cells(merged))
    with pytest.raises(MedgrpoError, match="one row with a name of its own"):
        read(file)


def test_what_cannot_be_read_of_a_cell_is_a_bad_row(tmp_path):
    def spoil(_, sheet):
        sheet.append(("Sure?", "=B2", 1))
        sheet.append(("Sure?", "#REF!", 1))
        sheet.append(('=DISPIMG("ID_1",1)', "yes", 1))  # a formula too
        picture = io.BytesIO()
        Image.new("L", (8, 8)).save(picture, "PNG")
        sheet.add_image(SheetPicture(picture), "D3")

    rows, bad, _ = read(book(tmp_path / "a.xlsx", then=spoil))
    assert [row["patient"] for row in rows] == [7]
    assert bad == [
        "picture on the sheet",
        "formula without a value",
        "error in a cell",
        "formula without a value",
    ]


def test_a_formula_whose_value_is_stored_is_read_also_where_that_is_empty(tmp_path):
    file = book(tmp_path / "a.xlsx", [HEAD, ("Is it?", "=1", "=2"), ("Is it?", "no", 1)])
    # as Excel writes them
    stored = {b"<f>1</f><v></v>": b"<f>1</f><v>5</v>", b"<f>1</f><v />": b"<f>1</f><v>5</v>"}
    empty = {
        b'<c r="C2"><f>2</f><v></v>': b'<c r="C2" t="str"><f>2</f><v></v>',
        b'<c r="C2"><f>2</f><v />': b'<c r="C2" t="str"><f>2</f><v></v>',
    }

    def compute(content):
        for before, after in (stored | empty).items():
            content = content.replace(before, after)
        return content

    rows, bad, _ = read(changed(file, SHEET, compute))
    assert (rows[0]["answer"], rows[0]["patient"], bad) == (5, None, [])


def test_other_sheets_titles_and_hidden_rows_are_said(tmp_path):
    def more(made, sheet):
        sheet.row_dimensions[5].hidden = True
        for name, state in (("2022", "visible"), ("old", "hidden")):
            other = made.create_sheet(name)
            other.sheet_state = state
            for row in ROWS:
                other.append(row)

    file = book(tmp_path / "a.xlsx", [("Radiology",), (None,), *ROWS], more)
    rows, _, notes = read(file)
    assert len(rows) == 2
    assert [number for number, _ in read_workbook(file, split_word).rows] == [4, 5]  # as in the margin
    assert notes == {
        "sheet 'Cases' is read": 1,
        "row of sheet '2022' left out: 'Cases', the first, is read": 2,
        "sheet 'old' is hidden: left out": 1,
        "row 1 stands above the names of the columns: not read": 1,
        "row that the sheet hides: read": 1,
    }


def test_sheets_named_after_splits_are_all_read(tmp_path):
    def split_sheet(made, sheet):
        other = made.create_sheet("Test")
        for row in ROWS[:2]:
            other.append(row)

    rows, _, notes = read(book(tmp_path / "a.xlsx", then=split_sheet, title="train"))
    assert [row["split"] for row in rows] == ["train", "train", "test"]
    assert len(notes) == 2


def test_the_size_that_a_sheet_claims_is_not_believed(tmp_path):
    file = changed(book(tmp_path / "a.xlsx"), SHEET, lambda content: content.replace(b"A1:C3", b"A1"))
    assert len(read(file)[0]) == 2


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:2000]), "damaged, or no workbook"),
        (lambda f: changed(f, SHEET, lambda c: c[: len(c) // 2]), "damaged, or no workbook"),
        (lambda f: changed(f, SHEET, lambda c: b'<!DOCTYPE a [<!ENTITY b "c">]>' + c), "declares entities"),
        (lambda f: changed(f, SHEET, lambda c: c + b" " * 300 * 2**20), "unfolds to"),
        (lambda f: changed(f, "docProps/app.xml", lambda c: c) and zipfile.ZipFile(f, "a").writestr("xl/workbook.bin", ""), "binary workbook"),
        (lambda f: book(f, [("question", "question"), (1, 2)]), "as another column is"),
        (lambda f: book(f, [HEAD]), "no sheet with rows"),
    ],
    ids=["cut", "xml cut", "entities", "bomb", "xlsb", "two of a name", "no rows"],
)  # fmt: skip
def test_a_workbook_that_is_none_is_refused_in_words(tmp_path, spoil, words):
    spoil(book(tmp_path / "a.xlsx"))
    with pytest.raises(MedgrpoError, match=words):
        read(tmp_path / "a.xlsx")


def test_columns_are_named_and_excels_lock_is_no_data(tmp_path):
    book(tmp_path / "a.xlsx", [("Frage", "Antwort"), ("Ist das neu?", "ja")])
    (tmp_path / "~$a.xlsx").write_bytes(b"\x05lock" * 33)
    source = Source(tmp_path)
    source.columns = {"question": "Frage", "answer": "Antwort"}
    items, _ = read_source(source, Problems())
    assert [(item.row["answer"], item.row["source_row"]) for item in items] == [("ja", 2)]


def test_a_picture_as_base64_in_a_cell_is_read_where_it_lies(tmp_path):
    picture = io.BytesIO()
    Image.new("L", (32, 24), 90).save(picture, "PNG")
    text = base64.b64encode(picture.getvalue()).decode()
    book(tmp_path / "a.xlsx", [("question", "answer", "image"), ("Is it?", "yes", text)])
    items, _ = read_source(Source(tmp_path), Problems())
    assert read_bytes(tmp_path, items[0].images[0]) == picture.getvalue()


def test_score_reads_the_sheet_of_results_that_vlmevalkit_writes(tmp_path):
    head = ("index", "question", "A", "B", "answer", "prediction")
    file = book(tmp_path / "r.xlsx", [head, (0, "Which?", "lung", "heart", "B", "The answer is B.")])
    found = read_completions(file)
    assert (found.format, found.completions, found.columns["answer"]) == (
        "workbook",
        ["The answer is B."],
        ["B"],
    )

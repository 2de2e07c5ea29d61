"""Rows out of text files: where lines end, what is broken, in which encoding."""

import json
import re

import pytest

from medgrpo.errors import MedgrpoError
from medgrpo.records import BadRow, csv_rows, decoded, json_lines, json_objects, lines, read_text

SEPARATORS = ("\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
"""What `str.splitlines` takes for the end of a line and JSON and CSV do not."""


@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_line_ends_at_a_line_feed_only(separator):
    assert lines(f"a{separator}b\nc\r\nd") == [f"a{separator}b", "c", "d"]


def test_the_end_of_the_last_line_begins_no_other():
    assert lines("a\n") == ["a"]
    assert lines("a\n\n") == ["a", ""]
    assert lines("") == []


@pytest.mark.parametrize("separator", ["\x85", "\u2028", "\u2029"])
def test_a_json_string_keeps_its_line_separators(separator, tmp_path):
    row = {"completion": f"first{separator}second"}
    text = json.dumps(row, ensure_ascii=False) + "\n"
    assert list(json_lines(text)) == [(1, row)]
    file = tmp_path / "spool.jsonl"
    file.write_text(text + '{"completion": "cut o', encoding="utf-8")
    assert json_objects(file) == [row]


def test_a_broken_line_is_one_bad_row_with_its_number():
    found = list(json_lines('{"a": 1}\n\n{"a": \n{"a": 3}'))
    assert found[0] == (1, {"a": 1})
    assert found[1][0] == 3
    assert isinstance(found[1][1], BadRow)
    assert found[2] == (4, {"a": 3})


def test_an_object_with_two_values_for_a_name_is_broken_and_with_one_value_twice_is_not():
    (_, twice), (_, same) = json_lines('{"answer": "yes", "answer": "no"}\n{"id": 1, "id": 1}')
    assert isinstance(twice, BadRow)
    assert "'answer'" in twice.problem
    assert same == {"id": 1}


@pytest.mark.parametrize("separator", [*SEPARATORS, "\n", "\r\n"])
def test_a_cell_is_not_torn_into_two_rows(separator):
    text = f'question,answer\n"what{separator}is it","a mass"\nwhere,left\n'
    rows = [row for _, row in csv_rows(text, "x.csv")]
    assert rows == [
        {"question": f"what{separator}is it", "answer": "a mass"},
        {"question": "where", "answer": "left"},
    ]


def test_line_numbers_of_a_csv_count_the_lines_inside_its_cells():
    assert [line for line, _ in csv_rows('a,b\n"x\ny",1\nz,2\n', "x.csv")] == [3, 4]


def test_a_quote_that_is_never_closed_would_take_in_the_rest_of_the_file():
    with pytest.raises(MedgrpoError, match="begins in line 3 opens a quote"):
        list(csv_rows('question,answer\na,b\n"c,d\ne,f\ng,h\n', "x.csv"))


def test_a_quote_inside_a_plain_cell_is_a_quote():
    assert [row for _, row in csv_rows('a,b\n5" lesion,2\n', "x.csv")] == [{"a": '5" lesion', "b": "2"}]


def test_a_header_with_one_name_twice_is_refused():
    with pytest.raises(MedgrpoError, match="two columns called 'answer'"):
        list(csv_rows("answer,answer\nyes,no\n", "x.csv"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_header_tells_the_separator(separator):
    text = f"question{separator}answer\nwhat is it{separator}a mass\n"
    assert [row for _, row in csv_rows(text, "x.csv")] == [{"question": "what is it", "answer": "a mass"}]


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("右肺有结节吗？有。", "utf-8", "UTF-8"),
        ("右肺有结节吗？有。", "utf-8-sig", "UTF-8"),
        ("右肺有结节吗？有。", "utf-16", "UTF-16"),
        ("question,answer\n右肺有结节吗？,有。\n", "gb18030", "GB18030"),
        ("Ödem im linken Oberlappen, Größe 5 mm; à gauche, lésion", "cp1252", "Windows-1252"),
        ("Is the size 5 µm? é", "cp1252", "Windows-1252"),
        ("Größe und Ödem", "cp1252", "Windows-1252"),
    ],
)
def test_the_encoding_is_told_from_the_bytes(text, encoding, name):
    found = decoded(text.encode(encoding), "x")
    assert (found.text, found.encoding) == (text, name)
    assert (found.note is None) == (name in ("UTF-8", "UTF-16"))


def test_utf_8_with_a_damaged_place_is_not_taken_for_another_encoding():
    content = "右肺有结节吗？有。\n左肺有积液吗？".encode()
    broken = content[:40] + content[41:]
    with pytest.raises(MedgrpoError, match=re.compile("line 2")):
        decoded(broken, "x")


def test_a_text_is_read_as_it_is_written(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b'a,b\r\n"x\r\ny",1\r\n')
    assert [row for _, row in csv_rows(read_text(file).text, "a.csv")] == [{"a": "x\r\ny", "b": "1"}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04....xl/workbook.xml...\x8f", "workbook of Excel(.|\n)*name that ends in .xlsx"),
        (b"PK\x03\x04....rows.jsonl...\x8f", "zip archive(.|\n)*unpack it"),
        (b"\x1f\x8b\x08\x00", "compressed by gzip(.|\n)*gunzip"),
        (b"PAR1....", "parquet(.|\n)*ends in .parquet"),
        (b"SQLite format 3\x00", "database of SQLite"),
    ],
)
def test_a_file_that_is_no_text_is_called_what_it_is(content, words):
    with pytest.raises(MedgrpoError, match=words):
        decoded(content, "rows")

"""All of Unicode through every form that is written and read: no row is lost, torn or changed.

A lone surrogate cannot be stored in UTF-8 and becomes a question mark; a form feed or U+2028 is no end of a line.
"""

import json

import pytest

from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.data.prepared import PreparedWriter
from medgrpo.data.schema import new_row
from medgrpo.evaluation.predictions import read_predictions, write_predictions
from medgrpo.files import append_lines, read_json, read_toml, write_json, write_lines, write_text
from medgrpo.records import csv_rows, json_objects, read_text
from medgrpo.rewards.completions_file import read_rows
from medgrpo.rewards.score_file import write_rows
from medgrpo.sheets import harmless, write_sheet

A_ROW = 128
PLANES = 0x30000
"""Planes 0 to 2; the others hold variation selectors, tags and private use, of which every 997th is taken."""


def stored(text):
    return text.encode("utf-8", "replace").decode("utf-8")


@pytest.fixture(scope="module")
def texts():
    """Every code point, 128 to a text, each text begun by a letter so that its number shows."""
    points = [*range(PLANES), *range(PLANES, 0x110000, 997), 0x10FFFF]
    return [
        f"t{start}" + "".join(map(chr, points[start : start + A_ROW]))
        for start in range(0, len(points), A_ROW)
    ]


def test_json_and_json_lines_keep_every_text(texts, tmp_path):
    wanted = [stored(text) for text in texts]
    write_json(tmp_path / "a.json", {"texts": texts})
    assert read_json(tmp_path / "a.json")["texts"] == wanted
    for write in (
        lambda file, rows: append_lines(file, rows, is_data=True),
        write_lines,
    ):
        file = tmp_path / "a.jsonl"
        file.unlink(missing_ok=True)
        write(file, [{"text": text} for text in texts])
        assert [row["text"] for row in json_objects(file)] == wanted
    write_text(tmp_path / "a.txt", "\x00".join(texts))
    assert (tmp_path / "a.txt").read_bytes().decode("utf-8").split("\x00", 1)[1] == "\x00".join(wanted).split(
        "\x00", 1
    )[1]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_rows_of_completions_keep_every_text(texts, tmp_path, suffix):
    file = tmp_path / f"rows{suffix}"
    write_rows([{"id": str(n), "completion": text} for n, text in enumerate(texts)], file)
    rows, _ = read_rows(file)
    assert [row["id"] for row in rows] == [str(n) for n in range(len(texts))]
    for row, text in zip(rows, texts, strict=True):
        assert row["completion"] == stored(text)


def test_sheets_keep_every_text(texts, tmp_path):
    with (tmp_path / "a.csv").open("w", encoding="utf-8", errors="replace", newline="") as file:
        write_sheet(file, ["number", "text"], list(enumerate(texts)))
    rows = [row for _, row in csv_rows(read_text(tmp_path / "a.csv").text, "a.csv")]
    assert [row["text"] for row in rows] == [harmless(stored(text)) for text in texts]


def test_a_prepared_dataset_keeps_every_text(texts, tmp_path):
    with PreparedWriter(tmp_path / "set") as writer:
        writer.write("train", [new_row(id=str(n), question=text, answer="yes", language="en", source="s", source_file="f", source_row=n) for n, text in enumerate(texts)])  # fmt: skip
        dataset = writer.finish({"name": "all"})
    assert [row["question"] for row in dataset.rows("train")] == [stored(text) for text in texts]


def test_predictions_keep_every_text(texts, tmp_path):
    wanted = [stored(text) for text in texts]
    columns = {
        "id": [str(n) for n in range(len(texts))],
        "completion": wanted,
        "answer": ["yes"] * len(texts),
    }
    write_predictions(tmp_path / "p.parquet", columns)
    assert list(read_predictions(tmp_path / "p.parquet").completions) == wanted


def test_settings_keep_every_text(texts, tmp_path):
    import tomli_w

    wanted = [stored(text) for text in texts]
    (tmp_path / "a.toml").write_text(tomli_w.dumps({"texts": wanted}), encoding="utf-8", newline="")
    assert read_toml(tmp_path / "a.toml")["texts"] == wanted


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_what_is_prepared_loses_no_row_to_any_character(texts, tmp_path, suffix):
    few = [
        texts[n]
        for n in sorted(
            {*range(0, 8), *range(8, len(texts), 29), 0x2000 // A_ROW, 0xD800 // A_ROW, 0xDFFF // A_ROW}
        )
    ]
    rows = [{"id": str(n), "question": text, "answer": "yes"} for n, text in enumerate(few)]
    file = tmp_path / f"rows{suffix}"
    lines = [json.dumps(row, ensure_ascii=number % 2 == 0) for number, row in enumerate(rows)]
    text = "\n".join(lines) if suffix == ".jsonl" else f"[{','.join(lines)}]"
    file.write_bytes(text.encode("utf-8", "replace"))
    dataset, _ = prepare(file, tmp_path / "out", PrepareOptions(missing_image="text"), workers=1)
    found = [row for split in dataset.splits for row in dataset.rows(split)]
    assert len(found) + sum(dataset.info.get("skipped", {}).values()) == len(rows)
    assert not dataset.info.get("skipped")

"""The prepared dataset on disk."""

import json
import pickle
import subprocess
import sys

import pytest

from medgrpo.data.demo import DemoSize, write_demo_dataset
from medgrpo.data.prepared import INFO_NAME, PreparedDataset, PreparedWriter
from medgrpo.data.schema import ROW_SCHEMA, arrow_schema, new_row
from medgrpo.errors import MedgrpoError, UsageError


def rows(count, **fields):
    base = {"question": "q", "answer": "a", "source": "s", "source_file": "f"}
    return [new_row(id=str(i), source_row=i, **base | fields) for i in range(count)]


@pytest.fixture
def dataset(tmp_path):
    with PreparedWriter(tmp_path / "set") as writer:
        writer.write("train", rows(1000, answers=["a", "b"]))
        writer.write("test", rows(3))
        return writer.finish({"hash": "h", "name": "n"})


def test_rows_come_back_as_written_and_in_order(dataset):
    read = list(dataset.rows("train"))
    assert [row["id"] for row in read] == [str(i) for i in range(1000)]
    assert read[0] == rows(1, answers=["a", "b"])[0]


def test_splits_and_counts_leave_out_what_is_empty(dataset):
    assert dataset.splits == ["train", "test"]
    assert dataset.count("validation") == 0
    assert dataset.hash == "h"


def test_a_limit_stops_reading(dataset):
    assert len(list(dataset.rows("train", 300))) == 300


def test_rows_can_be_reached_by_index_in_any_order(dataset):
    view = dataset.view("train")
    assert len(view) == 1000
    assert [view[i]["id"] for i in (999, 0, 256, 255, -1)] == ["999", "0", "256", "255", "999"]
    assert [row["id"] for row in view[2:4]] == ["2", "3"]
    with pytest.raises(IndexError):
        view[1000]


def test_a_view_can_be_sent_to_a_worker(dataset):
    assert pickle.loads(pickle.dumps(dataset.view("train")))[5]["id"] == "5"


def test_the_table_has_all_columns_or_those_asked_for(dataset):
    assert dataset.table("test").schema.equals(arrow_schema())
    assert dataset.table("test", ["id", "answer"]).column_names == ["id", "answer"]


def test_every_column_has_a_place_in_the_arrow_schema():
    assert arrow_schema().names == list(ROW_SCHEMA)


def test_a_missing_split_names_those_there_are(dataset):
    with pytest.raises(UsageError, match="train, test"):
        list(dataset.rows("validation"))


def test_a_folder_that_is_no_dataset_says_to_preprocess_it(tmp_path):
    with pytest.raises(UsageError, match="medgrpo preprocess"):
        PreparedDataset.open(tmp_path)
    with pytest.raises(UsageError, match="medgrpo preprocess"):
        PreparedDataset.open(tmp_path / "nothing")


def test_a_newer_schema_is_refused(tmp_path, dataset):
    info = json.loads((dataset.path / INFO_NAME).read_text())
    (dataset.path / INFO_NAME).write_text(json.dumps(info | {"schema_version": 99}))
    with pytest.raises(UsageError, match="99"):
        PreparedDataset.open(dataset.path)


def test_a_broken_info_file_is_an_error_not_a_trace(dataset):
    (dataset.path / INFO_NAME).write_text("{")
    with pytest.raises(MedgrpoError, match="cannot be read"):
        PreparedDataset.open(dataset.path)


@pytest.mark.parametrize("rows", [None, [], "x", {"train": "x"}, {"train": -1}, {"train": True}])
def test_counts_of_rows_that_are_none_are_named(dataset, rows):
    info = json.loads((dataset.path / INFO_NAME).read_text())
    (dataset.path / INFO_NAME).write_text(json.dumps(info | {"rows": rows}))
    with pytest.raises(MedgrpoError, match="rows is"):
        PreparedDataset.open(dataset.path)


def test_a_path_out_of_the_dataset_is_refused(dataset):
    with pytest.raises(MedgrpoError, match="leads out"):
        dataset.image_path("../secret.png")


def test_what_is_no_path_is_said_of_the_dataset(dataset):
    with pytest.raises(MedgrpoError, match="is no path"):
        dataset.image_path("a\0b")


def test_an_error_while_writing_leaves_nothing_behind(tmp_path):
    def write_and_fail():
        with PreparedWriter(tmp_path / "set") as writer:
            writer.write("train", rows(2))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_content_is_refused(tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        PreparedWriter(tmp_path)


def test_an_empty_folder_may_be_the_output(tmp_path):
    (tmp_path / "set").mkdir()
    with PreparedWriter(tmp_path / "set") as writer:
        writer.write("train", rows(1))
        assert writer.finish({}).count("train") == 1


def test_a_row_without_an_answer_is_not_written(tmp_path):
    with PreparedWriter(tmp_path / "set") as writer, pytest.raises(ValueError, match="no answer"):
        writer.write("train", [rows(1)[0] | {"answer": None}])


def test_an_unknown_column_is_a_mistake_in_the_reader():
    with pytest.raises(KeyError, match="anser"):
        new_row(anser="x")


def test_two_processes_cannot_write_one_folder(tmp_path):
    with PreparedWriter(tmp_path / "set", keep_partial=True) as writer:
        writer.write("train", rows(1))
        for keep in (True, False):
            with (
                pytest.raises(UsageError, match="another process is preparing"),
                PreparedWriter(tmp_path / "set", keep_partial=keep),
            ):
                raise AssertionError
        assert writer.finish({}).count("train") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
    assert not list((tmp_path / "set").glob(".*"))


def test_the_lock_of_a_killed_process_does_not_stop_the_next_one(tmp_path):
    script = (
        "import os; from medgrpo.data.prepared import PreparedWriter; "
        f"PreparedWriter({str(tmp_path / 'set')!r}, keep_partial=True).__enter__(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert (tmp_path / ".set.partial" / ".lock").is_file()
    with PreparedWriter(tmp_path / "set", keep_partial=True) as writer:
        writer.write("train", rows(1))
        writer.finish({})
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_that_was_finished_meanwhile_is_not_replaced(tmp_path):
    late = PreparedWriter(tmp_path / "set")
    with PreparedWriter(tmp_path / "set") as writer:
        writer.write("train", rows(1))
        writer.finish({})
    with pytest.raises(UsageError, match="not empty"), late:
        raise AssertionError
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("name", [".", ""])
def test_the_working_directory_is_named_where_it_is_no_dataset(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is not a prepared dataset") as caught:
        PreparedDataset.open(name)
    assert caught.value.hint.endswith(f"{tmp_path}-prepared")


@pytest.mark.parametrize("column", ["question", "answers", "images", "width", "mask_area", "patient_id"])
def test_a_column_of_another_type_is_named_by_every_reader(tmp_path, column):
    import pyarrow as pa
    from pyarrow import parquet

    write_demo_dataset(tmp_path / "data", size=DemoSize(train=2, validation=1, test=1))
    file = tmp_path / "data" / "train.parquet"
    table = parquet.read_table(file)
    place = table.column_names.index(column)
    for odd in ({"a": 1}, [{"a": 1}], b"\xff", [[1]], True):
        values = pa.array([odd] * len(table))
        parquet.write_table(table.set_column(place, column, values), file)
        opened = PreparedDataset.open(tmp_path / "data")
        for read in (opened.table, opened.view, lambda split, one=opened: list(one.rows(split))):
            with pytest.raises(MedgrpoError, match=f"train.parquet: the column '{column}' holds") as refused:
                read("train")
            assert refused.value.expected.endswith("as `medgrpo preprocess` writes it")


def test_columns_as_other_tools_write_them_are_read(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    write_demo_dataset(tmp_path / "data", size=DemoSize(train=2, validation=1, test=1))
    file = tmp_path / "data" / "train.parquet"
    before = parquet.read_table(file)
    kinds = {"question": pa.large_string(), "width": pa.float64(), "images": pa.large_list(pa.large_string())}
    table = before
    for name, kind in kinds.items():
        table = table.set_column(table.column_names.index(name), name, before[name].cast(kind))
    language = before["language"].combine_chunks().dictionary_encode()
    table = table.set_column(table.column_names.index("language"), "language", language)
    parquet.write_table(table.append_column("own", pa.array([{"a": 1}] * len(table))), file)
    read = list(PreparedDataset.open(tmp_path / "data").rows("train"))
    assert [{**row, "own": 0} for row in read] == [{**row, "own": 0} for row in before.to_pylist()]

"""Pictures as base64 inside of data files, through the whole preparation."""

import base64
import json

import pytest
from PIL import Image

from medgrpo.data import embedded
from medgrpo.data.embedded import picture_text, unpacked
from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.data.prepared import PreparedDataset
from medgrpo.errors import MedgrpoError
from tests.data_room.wild_forms import URL, encoded, parts, png, table_parts


def prepared(folder, *rows, name="a.jsonl", dump=json.dumps, **options):
    """The rows, prepared; and their dataset."""
    source = folder / "src"
    source.mkdir(parents=True, exist_ok=True)
    (source / name).write_text("".join(dump(row) + "\n" for row in rows), encoding="utf-8")
    prepare(source, folder / "out", PrepareOptions(split="1,0,0", **options), workers=1)
    dataset = PreparedDataset.open(folder / "out")
    return dataset, list(dataset.rows("train"))


def grey(dataset, row):
    """The grey value of a row's picture."""
    with Image.open(dataset.image_path(row["images"][0])) as picture:
        return picture.getpixel((3, 3))


def asked(image, question="Is it dark?"):
    return {"question": question, "answer": "yes", "image": image}


def test_each_row_gets_its_own_picture_and_a_repeated_one_is_stored_once(tmp_path):
    pictures = [encoded(20), encoded(120), encoded(20), encoded(220)]
    dataset, rows = prepared(tmp_path, *(asked(image, f"Number {n}?") for n, image in enumerate(pictures)))
    found = {row["question"]: grey(dataset, row) for row in rows}
    assert [found[f"Number {n}?"] for n in range(4)] == [20, 120, 20, 220]
    assert len(list((tmp_path / "out" / "images").iterdir())) == 3


@pytest.mark.parametrize(
    "dump",
    [
        lambda row: json.dumps(row).replace("/", "\\/"),
        lambda row: json.dumps(row, indent=None, separators=(",", ":")),
    ],
    ids=["slashes escaped", "without spaces"],
)
def test_pictures_are_found_however_json_writes_them(tmp_path, dump):
    lines_of_76 = base64.encodebytes(png(70)).decode()
    dataset, rows = prepared(tmp_path, asked(lines_of_76), asked(URL), dump=dump)
    assert sorted(grey(dataset, row) for row in rows) == [70, 90]


def test_a_row_of_another_format_says_what_it_lacks(tmp_path):
    with pytest.raises(
        MedgrpoError, match=r"row 2, field 'question': the field is missing; the row has messages"
    ):
        prepared(tmp_path, asked(URL), parts({"image": URL}))


def test_hashes_do_not_change_when_a_row_in_front_does(tmp_path):
    one, _ = prepared(tmp_path / "one", asked("missing.png", "?"), asked(encoded(50)), on_bad_row="skip")
    other, _ = prepared(
        tmp_path / "two", asked("missing, with a longer name.png", "?"), asked(encoded(50)), on_bad_row="skip"
    )
    assert one.hash == other.hash


def test_pictures_deep_in_a_table_are_those_of_their_rows(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [table_parts({"bytes": png(value), "path": f"{value}.png"}) for value in (30, 130, 230)]
    tmp_path.joinpath("src").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "src" / "a.parquet", row_group_size=2)
    prepare(tmp_path / "src", tmp_path / "out", PrepareOptions(split="1,0,0"), workers=1)
    dataset = PreparedDataset.open(tmp_path / "out")
    assert sorted(grey(dataset, row) for row in dataset.rows("train")) == [30, 130, 230]


def test_a_picture_that_is_cut_off_stops_with_file_row_and_field(tmp_path):
    with pytest.raises(MedgrpoError, match=r"a.jsonl, row 2, field 'image'"):
        prepared(tmp_path, asked(encoded(20)), asked(URL[: len(URL) // 2] + "*"))


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "LARGEST", 40)
    with pytest.raises(MedgrpoError, match="of base64"):
        prepared(tmp_path, asked(encoded(20)))


@pytest.mark.parametrize(
    "text", ["/9j/ is how a JPEG begins", "iVBORw0KGgo", "data:text/plain;base64,SGk=", "yes"]
)
def test_words_are_no_pictures(text):
    assert picture_text(text) is None


def test_base64_of_urls_and_without_padding_is_read():
    content = bytes(range(250, 256)) * 3 + b"?>"
    text = base64.urlsafe_b64encode(content).rstrip(b"=")
    assert unpacked(text) == content

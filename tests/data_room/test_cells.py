"""Pictures inside parquet and Arrow files."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from medgrpo.data.images import ImageSettings
from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.errors import UsageError


def picture_bytes(value):
    noise = np.random.default_rng(value).integers(0, 255, (20, 30), np.uint8)
    noise[0, 0] = value
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_each_row_gets_the_picture_of_its_own_cell(tmp_path, kind):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "source").mkdir()
    table = pa.table(
        {
            "question": [f"value {i}?" for i in range(150)],
            "answer": [str(i) for i in range(150)],
            "image": [{"bytes": picture_bytes(i), "path": "x.png"} for i in range(150)],
        }
    )
    if kind == "parquet":
        pq.write_table(table, tmp_path / "source" / "train-00000-of-00001.parquet", row_group_size=40)
    else:
        with (
            pa.OSFile(str(tmp_path / "source" / "data.arrow"), "wb") as sink,
            pa.ipc.new_stream(sink, table.schema) as w,
        ):
            w.write_table(table, max_chunksize=32)
    dataset, _ = prepare(tmp_path / "source", tmp_path / "out", PrepareOptions(), workers=1)
    rows = [row for split in dataset.splits for row in dataset.rows(split)]
    assert len(rows) == 150
    for row in rows:
        with Image.open(dataset.image_path(row["images"][0])) as picture:
            assert picture.getpixel((0, 0)) == int(row["answer"])
    assert not prepare(tmp_path / "source", tmp_path / "out", PrepareOptions(), workers=1)[1]


def test_several_pictures_in_a_row_keep_their_order(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "source").mkdir()
    images = [
        [{"bytes": picture_bytes(i), "path": None}, {"bytes": picture_bytes(i + 100), "path": None}]
        for i in range(3)
    ]
    pq.write_table(
        pa.table({"question": ["q"] * 3, "answer": ["0", "1", "2"], "images": images}),
        tmp_path / "source" / "r.parquet",
    )
    dataset, _ = prepare(
        tmp_path / "source", tmp_path / "out", PrepareOptions(images=ImageSettings()), workers=1
    )
    for row in dataset.rows("train"):
        values = []
        for path in row["images"]:
            with Image.open(dataset.image_path(path)) as picture:
                values.append(picture.getpixel((0, 0)))
        assert values == [int(row["answer"]), int(row["answer"]) + 100]


def test_a_dataset_written_by_hugging_face_datasets_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {
        "question": ["a?", "b?"],
        "answer": ["1", "2"],
        "image": [Image.open(io.BytesIO(picture_bytes(i))) for i in (1, 2)],
    }
    saved = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    saved.save_to_disk(tmp_path / "source")
    dataset, _ = prepare(tmp_path / "source", tmp_path / "out", PrepareOptions(), workers=1)
    found = [row for split in dataset.splits for row in dataset.rows(split)]
    assert sorted(row["answer"] for row in found) == ["1", "2"]
    assert dataset.info["images"] == 2


def test_a_hub_name_without_a_network_is_one_clear_error(tmp_path):
    with pytest.raises(UsageError, match="could not be loaded from the hub"):
        prepare("someone/no-such-dataset-here", tmp_path / "out", PrepareOptions())


def test_a_mistyped_folder_is_said_and_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    (tmp_path / "data" / "vqa_rad").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="the folder data has nothing called vqa_rd") as refused:
        prepare("data/vqa_rd", tmp_path / "out", PrepareOptions())
    assert "did you mean data/vqa_rad?" in refused.value.hint
    assert "call from a directory without data/" in refused.value.hint  # where the hub was meant


def test_what_comes_from_the_hub_is_kept_in_the_cache_that_was_named(tmp_path, monkeypatch):
    import huggingface_hub

    from medgrpo.data.prepare import local_source

    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **options: asked.append(options))
    monkeypatch.setenv("MEDGRPO_CACHE", str(tmp_path / "kept"))
    assert local_source("someone/some-set") == tmp_path / "kept" / "hub" / "someone--some-set"
    assert asked[0]["local_dir"] == tmp_path / "kept" / "hub" / "someone--some-set"


def test_parquet_that_is_none_says_so(tmp_path):
    from medgrpo.errors import MedgrpoError

    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "r.parquet").write_text(json.dumps({"a": 1}))
    with pytest.raises(MedgrpoError, match=r"r\.parquet is not a readable parquet file"):
        prepare(tmp_path / "source", tmp_path / "out", PrepareOptions())

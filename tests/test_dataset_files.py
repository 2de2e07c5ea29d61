"""Pictures and masks that a row of a dataset names: in the dataset, on a disk, of a size that pictures have; every reader."""

import os
import shutil
import struct
import zlib

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from medgrpo.data.demo import DemoSize, write_demo_dataset
from medgrpo.data.prepared import PreparedDataset
from medgrpo.errors import MedgrpoError
from medgrpo.evaluation.mask_files import read_mask
from medgrpo.pictures import check_names, stored_file

SIDE = 40


def bomb() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture
def outside(tmp_path):
    Image.new("L", (SIDE, SIDE), 255).save(tmp_path / "secret.png")
    return tmp_path / "secret.png"


PLANTS = {
    "up": lambda folder, outside: "../secret.png",
    "up and down": lambda folder, outside: "masks/../../secret.png",
    "absolute": lambda folder, outside: str(outside),
    "a link upward": lambda folder, outside: (folder / "far.png").symlink_to(outside) or "far.png",
    "a folder linked upward": lambda folder, outside: (
        (folder / "far").symlink_to(outside.parent) or "far/secret.png"
    ),
    "a link to itself": lambda folder, outside: (folder / "me.png").symlink_to("me.png") or "me.png",
    "a pipe": lambda folder, outside: os.mkfifo(folder / "pipe.png") or "pipe.png",
    "a device": lambda folder, outside: (folder / "zero.png").symlink_to("/dev/zero") or "zero.png",
    "a zero": lambda folder, outside: "a\0.png",
    "nothing": lambda folder, outside: "gone.png",
    "a folder": lambda folder, outside: ".",
    "a bomb": lambda folder, outside: (folder / "bomb.png").write_bytes(bomb()) and "bomb.png",
    "a hole": lambda folder, outside: os.truncate(folder / "good.png", 2**36) or "good.png",
    "a long name": lambda folder, outside: "x" * 5000,
}


def segmented(folder, row):
    from medgrpo.segmentation.examples import Examples

    Examples([row], folder).whole(0)


def thin(folder, row):
    from medgrpo.training.before.curriculum import thin_shares

    thin_shares([row], folder)


def rewarded(folder, row):
    from medgrpo.rewards.written_masks import _read

    _read(row["mask"], str(folder))


def scored(folder, row):
    try:
        read_mask(PreparedDataset(folder.resolve(), {}).image_path(row["mask"]))
    except (OSError, ValueError) as error:
        raise MedgrpoError(str(error)) from error


def trained_on(folder, row):
    from medgrpo.training.before.datasets import RowSource, images_of

    images_of({"images": [row["mask"]]}, RowSource([row], folder, None, is_vision=True))


def as_a_dataset_hands_it_out(folder, row, read):
    check_names(folder, [row["mask"]])
    read(folder, row)


READERS = (segmented, thin, rewarded, scored, trained_on)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_file_of_a_row_is_in_the_dataset_and_on_a_disk(tmp_path, outside, plant, read):
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (SIDE, SIDE)).save(folder / "good.png")
    shutil.copy(folder / "good.png", folder / "picture.png")
    row = {"id": "a", "images": ["picture.png"], "mask": PLANTS[plant](folder, outside)}
    with pytest.raises(MedgrpoError):
        as_a_dataset_hands_it_out(folder, row, read)


@pytest.mark.parametrize("read", READERS)
def test_a_file_in_the_dataset_is_read(tmp_path, read):
    folder = tmp_path / "data"
    (folder / "masks").mkdir(parents=True)
    Image.new("L", (SIDE, SIDE), 255).save(folder / "masks" / "a..b.png")
    (folder / "linked.png").symlink_to("masks/a..b.png")
    for name in ("masks/a..b.png", "linked.png", "masks/./a..b.png"):
        check_names(folder, [name])
        read(folder, {"id": "a", "images": [name], "mask": name})


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../../x", "C:\\x", "..\\x", "\\\\host\\x", "C:/x"]
)
@pytest.mark.parametrize("column", ["images", "mask", "fov", "mask2"])
def test_a_row_that_names_files_elsewhere_is_not_handed_out(tmp_path, name, column):
    write_demo_dataset(tmp_path / "data", size=DemoSize(train=2, validation=1, test=1))
    file = tmp_path / "data" / "train.parquet"
    table = parquet.read_table(file)
    field = table.schema.field(column)
    value = [name] if column == "images" else name
    column_of = pa.array([value] * len(table), field.type)
    parquet.write_table(table.set_column(table.schema.get_field_index(column), field, column_of), file)
    dataset = PreparedDataset.open(tmp_path / "data")
    for read in (lambda: list(dataset.rows("train")), lambda: dataset.view("train")[0]):
        with pytest.raises(MedgrpoError, match="leads out of the dataset"):
            read()


def test_a_mixture_names_files_of_its_parts(tmp_path, outside):
    from medgrpo.data.mixture import open_data

    for part in ("one", "two"):
        write_demo_dataset(tmp_path / part, size=DemoSize(train=2, validation=1, test=1))
    mixture = open_data(f"{tmp_path / 'one'},{tmp_path / 'two'}")
    for row in mixture.rows("train"):
        for name in row["images"]:
            assert stored_file(mixture.path, name).is_file()
            assert mixture.image_path(name).is_file()
    picture = tmp_path / "two" / next(iter(PreparedDataset.open(tmp_path / "two").rows("train")))["images"][0]
    picture.unlink()
    picture.symlink_to(outside)
    with pytest.raises(MedgrpoError, match="leads out"):
        list(mixture.rows("train"))

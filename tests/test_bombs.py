"""Small files that claim to be large, and patterns made to take for ever: refused by what they claim."""

import gzip
import io
import json
import os
import struct
import time
import tracemalloc
import warnings
import zipfile
import zlib

import nibabel
import numpy as np
import pytest

from medgrpo.data.decode import open_picture
from medgrpo.data.nifti import read_nifti_header
from medgrpo.data.opened import Unusable
from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.data.source import ImageRef
from medgrpo.data.volumes import open_volume_slice
from medgrpo.errors import MedgrpoError


def bomb_of_zeros(path, shape, *, size):
    """A .nii.gz with a header of this shape, and `size` zeros packed behind it."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.int16)
    header.set_sform(np.eye(4), code=1)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = packer.compress(bytes(header.binaryblock) + bytes(4))
    block = bytes(2**20)
    data += b"".join(packer.compress(block) for _ in range(size // len(block))) + packer.flush()
    path.write_bytes(data)
    return path


def peak_of(call):
    tracemalloc.start()
    try:
        call()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def test_a_volume_over_the_limit_is_refused_by_its_header(tmp_path):
    file = bomb_of_zeros(tmp_path / "bomb.nii.gz", (2000, 2000, 2000), size=2**26)
    content = file.read_bytes()

    def look():
        with pytest.raises(
            Unusable, match=r"claims 2000 × 2000 × 2000 voxels, over the limit of 536 million"
        ):
            read_nifti_header(file)
        with pytest.raises(Unusable, match="over the limit of 536 million"):
            open_volume_slice(content, ImageRef("bomb.nii.gz", "slice:axial/3"))

    assert peak_of(look) < 2**23


def test_of_a_packed_volume_no_more_is_unpacked_than_its_header_says(tmp_path):
    file = bomb_of_zeros(tmp_path / "long.nii.gz", (40, 40, 40), size=2**28)
    content = file.read_bytes()
    assert peak_of(lambda: read_nifti_header(file)) < 2**22
    assert peak_of(lambda: open_volume_slice(content, ImageRef("long.nii.gz", "slice:axial/3"))) < 2**25


def test_a_source_with_a_bomb_is_read_without_it(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    bomb_of_zeros(source / "bomb.nii.gz", (2000, 2000, 2000), size=2**22)
    volume = np.random.default_rng(0).integers(0, 99, (30, 30, 30)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), source / "fine.nii.gz")
    dataset, _ = prepare(source, tmp_path / "out", PrepareOptions(on_bad_row="skip"), workers=1)
    assert dataset.info["skipped"] == {"image too large": 1}


@pytest.mark.parametrize("packed", [False, True])
def test_scaled_several_and_oblique_volumes_are_read_as_before(tmp_path, packed):
    rng = np.random.default_rng(1)
    data = rng.integers(0, 900, (7, 8, 9, 3)).astype(np.int16)
    affine = np.array([[0, 0, 2, 1], [0, -1, 0.1, 2], [1.5, 0, 0, 3], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_slope_inter(0.5, -3)
    file = tmp_path / ("a.nii.gz" if packed else "a.nii")
    nibabel.save(image, file)
    whole = nibabel.as_closest_canonical(nibabel.load(file))
    assert read_nifti_header(file).shape == whole.shape[:3]
    from medgrpo.data.nifti import _volume

    volume, _, _ = _volume(file.read_bytes())
    np.testing.assert_allclose(volume, np.asarray(whole.dataobj)[..., 0], rtol=1e-6)


def png_of(width, height):
    """A PNG of one grey value and this size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + width)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_the_limit_of_a_picture_is_the_one_that_is_documented():
    assert open_picture(png_of(10_000, 19_000), ImageRef("a.png")).size == (10_000, 19_000)  # 190 megapixels
    with pytest.raises(Unusable, match="over the limit of 200 megapixels"):
        open_picture(png_of(10_000, 20_001), ImageRef("a.png"))


def test_a_pattern_of_an_adapter_that_never_ends_says_so(tmp_path, monkeypatch):
    from medgrpo.models import adapters

    monkeypatch.setattr(adapters, "PATTERN_S", 0.3)
    names = [f"model.layers.{n}.self_attn.q_proj" + "a" * 40 for n in range(4)]
    file = tmp_path / "adapter_config.json"
    for key in ("target_modules", "exclude_modules", "layers_pattern"):
        file.write_text(json.dumps({"peft_type": "LORA", key: r".*(a+)+b"}))
        started = time.monotonic()
        with pytest.raises(MedgrpoError, match=f"the pattern {key} in .* takes longer than 0.3 s"):
            adapters.check_patterns(tmp_path, names)
        assert time.monotonic() - started < 10
    for key in ("rank_pattern", "alpha_pattern"):
        file.write_text(json.dumps({"peft_type": "LORA", key: {"(a+)+b": 4}}))
        with pytest.raises(MedgrpoError, match=f"the pattern {key} in .* takes longer than 0.3 s"):
            adapters.check_patterns(tmp_path, ["a" * 60])
    file.write_text(json.dumps({"peft_type": "LORA", "target_modules": "(unclosed"}))
    with pytest.raises(MedgrpoError, match="no regular expression"):
        adapters.check_patterns(tmp_path, names)
    file.write_text(json.dumps({"peft_type": "LORA", "target_modules": ["q_proj"]}))
    adapters.check_patterns(tmp_path, names)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "9" * 50_000, '[{"question": 1e999}]'])
def test_deep_json_and_long_numbers_are_worded(tmp_path, text, capsys):
    from medgrpo.cli.main import main

    file = tmp_path / "rows.json"
    file.write_text(text)
    for words in (
        ["preprocess", str(file), str(tmp_path / "out")],
        ["score", str(file)],
        ["health", str(file)],
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code in (1, 2), words
        assert "bug" not in capsys.readouterr().err, words


def test_a_long_cell_of_a_table_is_read(tmp_path):
    from medgrpo.rewards.completions_file import read_rows

    file = tmp_path / "rows.csv"
    file.write_text("id,completion,answer\n1," + "x" * (10 * 2**20) + ",yes\n")
    rows, _ = read_rows(file)
    assert len(rows[0]["completion"]) == 10 * 2**20


def test_a_packed_picture_is_not_taken_for_small(tmp_path):
    """A gzip of many members is unpacked as far as the header says."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((4, 4, 4))
    header.set_data_dtype(np.uint8)
    members = [bytes(header.binaryblock) + bytes(4), bytes(range(64)), bytes(2**24)]
    content = b"".join(gzip.compress(one) for one in members)
    assert peak_of(lambda: open_volume_slice(content, ImageRef("a.nii.gz", "slice:axial/1"))) < 2**22


class Tokenizer:
    """Renders as Transformers does, with Jinja in its sandbox."""

    def __init__(self, template):
        self.chat_template = template

    def apply_chat_template(self, messages, **_):
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        return ImmutableSandboxedEnvironment().from_string(self.chat_template).render(messages=messages)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ 'x' * 10000000000 }}", "multiplies by more than 1000"),
        ("{% set a = 'x' * 999 * 999 %}{{ a }}", "multiplies products"),
        ("{{ 9 ** 9 ** 9 }}", "takes powers"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "takes longer"),
        (
            "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
            "MiB of memory|takes longer",
        ),
        (
            "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
            "MiB of memory|takes longer",
        ),
        (
            "{% set n = namespace(s=7) %}{% for i in range(60) %}{% set n.s = n.s * n.s %}{% endfor %}",
            "takes longer",
        ),
        ("{{ 'x'|center(10000000000) }}", "MiB of memory"),
        ("{{ 'x'.ljust(2000000) }}", "writes 2,000,000 characters"),
        (
            "{% for m in messages %}{% if m.role == 'system' %}{{ 'x'.zfill(10000000000) }}{% endif %}{% endfor %}",
            "MiB of memory",
        ),
        (
            "{% if messages[0].content is not string %}{{ 'x'.ljust(10000000000) }}{% endif %}",
            "MiB of memory",
        ),
    ],
)
def test_a_chat_template_that_explodes_is_refused(template, words, monkeypatch):
    from medgrpo.models import chat_templates

    monkeypatch.setattr(chat_templates, "TEMPLATE_S", 0.4)
    monkeypatch.setattr(chat_templates, "TEMPLATE_BYTES", 2**26)  # so that it is full before the time is up
    with pytest.raises(MedgrpoError, match=words):
        chat_templates.check_template(Tokenizer(template), "model")


@pytest.mark.parametrize(
    "template", ["{{ '-' * 20 }}{{ messages[0].content }}", "{{ messages[9].x.y }}", "{{"]
)
def test_a_chat_template_that_is_only_odd_is_not(template):
    from medgrpo.models.chat_templates import check_template

    check_template(Tokenizer(template), "model")


@pytest.mark.parametrize("name", ["mask.npy", "mask.npz"])
def test_an_array_is_refused_by_what_its_header_claims(tmp_path, name):
    from medgrpo.evaluation.mask_files import read_mask

    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|u1", "fortran_order": False, "shape": (100_000, 100_000)}
    )
    file = tmp_path / name
    if name.endswith("npz"):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("a.npy", stream.getvalue() + bytes(2**24))
    else:
        file.write_bytes(stream.getvalue())

    def look():
        with pytest.raises(ValueError, match="claims 10,000,000,000 values"):
            read_mask(file)

    assert peak_of(look) < 2**22


def test_every_bomb_that_needs_no_model_is_contained():
    """One of the bombs in a process of its own; `python -m tests.bombs` tries all of them."""
    from tests.bombs import exploded, is_contained

    for name in ("YAML that names itself nine times", "XML entities in entities"):
        result = exploded(name)
        assert is_contained(*result), (name, result)


def test_a_deflated_dicom_is_unpacked_no_further_than_the_limit(tmp_path, monkeypatch):
    from medgrpo.data import dicom
    from tests.bombs import dicom as written

    file = written(tmp_path, deflated=True, rows=2048, data=bytes(2 * 2048**2))
    assert file.stat().st_size < 2**16
    assert dicom.read_dicom_header(file).frames == 1
    monkeypatch.setattr(dicom, "MOST_UNPACKED", 2**20)

    def look():
        for read in (
            lambda: dicom.read_dicom_header(file),
            lambda: dicom.dicom_frame(file.read_bytes(), "a.dcm", ""),
        ):
            with pytest.raises(Unusable, match="unpacks to more than 1 MiB"):
                read()

    look()  # imports
    assert peak_of(look) < 2**22


def test_a_table_that_repeats_one_long_text_is_read_no_further_than_is_fair(tmp_path, monkeypatch):
    import pyarrow as pa
    from pyarrow import parquet

    from medgrpo import tables

    column = pa.array(["x" * 10**5]).take(pa.array([0] * 2000))
    parquet.write_table(pa.table({"completion": column, "n": list(range(2000))}), tmp_path / "a.parquet")
    assert tables.read_table(tmp_path / "a.parquet", ["n"]).column("n").to_pylist() == list(range(2000))
    assert tables.read_table(tmp_path / "a.parquet").equals(parquet.read_table(tmp_path / "a.parquet"))
    monkeypatch.setattr(tables, "FLOOR", 2**24)
    with pytest.raises(MedgrpoError, match="unfolds to more than 16 MiB"):
        tables.read_table(tmp_path / "a.parquet")


@pytest.mark.parametrize("rows", [[], [{"a": None, "b": [1]}], [{"a": {"c": "x"}, "b": None}] * 700])
def test_tables_are_read_as_pyarrow_reads_them(tmp_path, rows):
    import pyarrow as pa
    from pyarrow import parquet

    from medgrpo.tables import read_table

    kinds = pa.schema(
        {
            "a": pa.null() if rows and rows[0]["a"] is None else pa.struct({"c": pa.string()}),
            "b": pa.list_(pa.int64()),
        },
        {"k": "v"},
    )
    parquet.write_table(pa.Table.from_pylist(rows, schema=kinds), tmp_path / "a.parquet")
    wanted = parquet.read_table(tmp_path / "a.parquet")
    found = read_table(tmp_path / "a.parquet")
    assert found.to_pylist() == wanted.to_pylist()
    assert found.schema.metadata[b"k"] == wanted.schema.metadata[b"k"] == b"v"


@pytest.mark.parametrize("content", ["{", "[]", '{"version": "9"}', "\ud800", '{"normalizer": ' + "[" * 5000])
def test_a_tokenizer_that_is_none_is_named_before_a_dataset_is_prepared(tmp_path, content):
    """The tokenizer's own errors are of no class that says so."""
    from medgrpo.cli.main import _as_medgrpo_error
    from medgrpo.data.chat import ModelText

    (tmp_path / "tokenizer.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    (tmp_path / "chat_template.jinja").write_text("x")
    with pytest.raises(Exception) as raised:  # noqa: PT011 - worded where the command ends
        ModelText.load(tmp_path)
    assert "cannot be used" in _as_medgrpo_error(raised.value).problem


@pytest.mark.parametrize(
    "template",
    ["{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}"],
)
def test_preprocess_tries_a_models_chat_template_apart_too(tmp_path, template, shared_data):
    import shutil

    from medgrpo.data.chat import ModelText

    shutil.copytree(shared_data / "qwen2_5_vl", tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text(template)
    with pytest.raises(MedgrpoError, match=r"the chat template of .* takes"):
        ModelText.load(tmp_path / "model")


def weights_of(path, claimed, size):
    """A safetensors file whose first eight bytes claim a header of so many bytes."""
    with path.open("wb") as file:
        file.write(struct.pack("<Q", claimed) + b"{")
    os.truncate(path, size)
    return path


@pytest.mark.parametrize(
    ("claimed", "size", "words"),
    [
        (2**63, 4096, "do not hold the header"),
        (5000, 4096, "do not hold the header"),
        (1, 4096, "do not hold the header"),
        (30_000_000, 40_000_000, "its header takes 30,000,000 bytes, the limit is 25,000,000"),
        (100, 2**35, "is a hole"),
    ],
)
def test_a_header_of_weights_is_bounded_before_it_is_read(claimed, size, words, tmp_path):
    from medgrpo.models.tensor_files import read_header

    file = weights_of(tmp_path / "model.safetensors", claimed, size)

    def look():
        with pytest.raises(MedgrpoError, match=words):
            read_header(file)

    assert peak_of(look) < 2**20


def test_a_header_at_the_limit_is_read_in_fair_memory(tmp_path):
    """A quarter of a million tensors, far more than any model has in one file."""
    from medgrpo.models.tensor_files import LONGEST_HEADER, read_header

    each = json.dumps({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})
    header = "{" + ",".join(f'"model.layers.{n:07d}.weight_of_it": {each}' for n in range(250_000)) + "}"
    assert 0.9 * LONGEST_HEADER < len(header) <= LONGEST_HEADER
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(4))
    assert peak_of(lambda: read_header(file)) < 20 * LONGEST_HEADER


@pytest.mark.parametrize(
    "name", ["config.json", "medgrpo.json", "adapter_config.json", "model.safetensors.index.json"]
)
def test_settings_of_others_are_small(name, tmp_path):
    from medgrpo.files import LONGEST_SETTINGS, foreign_json

    (tmp_path / name).write_bytes(b"[" + b"1," * (LONGEST_SETTINGS // 2) + b"1]")

    def look():
        with pytest.raises(MedgrpoError, match="is larger than 64 MiB"):
            foreign_json(tmp_path / name)

    assert peak_of(look) < 2 * LONGEST_SETTINGS
    os.truncate(tmp_path / name, 2**36)
    with pytest.raises(MedgrpoError, match=r"is larger than 64 MiB|is a hole"):
        foreign_json(tmp_path / name)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "hole", "folder", "loop", "nothing"])
def test_what_is_opened_is_what_is_looked_at(kind, tmp_path):
    """A file that is put in the place of another between the look and the opening is looked at again: no waiting for a pipe."""
    import socket

    from medgrpo.files import foreign_json
    from medgrpo.models.tensor_files import read_header

    file = tmp_path / "model.safetensors"
    plants = {
        "pipe": lambda: os.mkfifo(file),
        "socket": lambda: socket.socket(socket.AF_UNIX).bind(str(file)),
        "device": lambda: file.symlink_to("/dev/zero"),
        "hole": lambda: weights_of(file, 100, 2**36),
        "folder": file.mkdir,
        "loop": lambda: file.symlink_to(file.name),
        "nothing": lambda: None,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        plants[kind]()
    for read in (foreign_json, read_header):
        with pytest.raises((MedgrpoError, OSError)) as raised:
            read(file)
        if kind in ("pipe", "device", "hole"):
            assert f"is a {kind}" in str(raised.value)


@pytest.mark.parametrize("names", [("a.npy", "a"), ("a", "a.npy"), ("a.npy", "a.npy")])
def test_the_array_that_is_looked_at_is_the_one_that_is_read(names, tmp_path):
    """NumPy takes the member `a` where it is asked for `a`, though `a.npy` stands first."""
    from medgrpo.evaluation.mask_files import read_mask

    def header(*shape):
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(stream, {"descr": "|b1", "fortran_order": False, "shape": shape})
        return stream.getvalue()

    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as members:
        warnings.simplefilter("ignore")
        members.writestr(names[0], header(4, 4) + bytes(16))
        members.writestr(names[1], header(8192, 16_384) + bytes(2**27))

    def look():
        with pytest.raises(ValueError, match="two arrays of one name"):
            read_mask(tmp_path / "a.npz")

    assert peak_of(look) < 2**22


@pytest.mark.parametrize(
    "name", ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
)
def test_a_hole_in_a_model_is_named_before_a_library_reads_it(name, tmp_path):
    from medgrpo.data.chat import ModelText
    from medgrpo.models.loading import check_model

    (tmp_path / "config.json").write_text('{"model_type": "qwen2", "hidden_size": 8}')
    weights_of(tmp_path / name, 100, 2**36)
    with pytest.raises(MedgrpoError, match="is a hole"):
        check_model(str(tmp_path))
    if name == "tokenizer.json":
        with pytest.raises(MedgrpoError, match="is a hole"):
            ModelText.load(tmp_path)


def test_a_hole_in_the_place_of_a_runs_settings_is_named(tmp_path):
    from medgrpo.files import foreign_toml
    from medgrpo.training.run.resume import resume_config

    weights_of(tmp_path / "config.toml", 100, 2**36)
    for read in (lambda: foreign_toml(tmp_path / "config.toml"), lambda: resume_config(tmp_path)):
        with pytest.raises(MedgrpoError, match="is a hole"):
            read()

"""`medgrpo doctor --share FOLDER`: what would identify a person or a machine."""

import gzip
import io
import json
import os
import pickle
import socket
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, PngImagePlugin
from pyarrow import parquet

from medgrpo import binaries
from medgrpo.cli.main import main
from medgrpo.errors import UsageError
from medgrpo.sharing import identifying


def kinds(folder):
    return {(one.file, one.kind) for one in identifying(folder)}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"data": "/home/alice/vqa"}', "absolute path"),
        (r'{"data": "C:\\Users\\alice\\x"}', "absolute path"),
        ("see DOE_JANE_1957.dcm", "name of a DICOM file"),
        ("DOE^JANE", "person name as DICOM writes it"),
        ("mail alice@clinic.org", "e-mail address"),
    ],
)
def test_what_identifies_is_found_in_texts_tables_and_names(tmp_path, text, kind):
    (tmp_path / "medgrpo.json").write_text(text)
    parquet.write_table(pa.table({"note": [text], "more": [[{"deep": text}]]}), tmp_path / "rows.parquet")
    assert kinds(tmp_path) == {("medgrpo.json", kind), ("rows.parquet", kind)}


def test_a_harmless_folder_has_no_findings(tmp_path, capsys):
    (tmp_path / "a.json").write_text(json.dumps({"a/b": "no/path 1/2 and/or", "x": "2^3", "t": "</answer>"}))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert identifying(tmp_path) == []
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--share", str(tmp_path)])
    assert not ended.value.code
    assert "nothing found" in capsys.readouterr().out


def test_names_of_the_machine_dicom_headers_and_metadata_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "ward7-ct")
    (tmp_path / "events.out.tfevents.170.ward7-ct.1").write_bytes(b"\0\1")
    (tmp_path / "raw").write_bytes(b"\0" * 128 + b"DICM")
    exif = Image.Exif()
    exif[0x9286] = "JANE DOE"
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "link").symlink_to("/home/alice/x")
    assert kinds(tmp_path) == {
        ("events.out.tfevents.170.ward7-ct.1", "name of this machine"),
        ("raw", "DICOM file with its header"),
        ("a.jpg", "picture with EXIF data"),
        ("link", "absolute path"),
    }


def test_a_secret_is_found_and_not_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    (tmp_path / "notes.txt").write_text("token hf_0123456789")
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--share", str(tmp_path), "--json"])
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert json.loads(printed)["findings"][0]["kind"] == "secret"
    assert "hf_0123456789" not in printed


def test_no_folder_is_said(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        identifying(tmp_path / "nowhere")


WHO = "see DOE^JANE on /home/alice/scan, alice@clinic.org"
WHAT = {"person name as DICOM writes it", "absolute path", "e-mail address"}


def picture(form, **options):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (300, 300, 3), np.uint8)).save(
        stream, form, **options
    )
    return stream.getvalue()


def text_chunk(kind, *, behind=False):
    """A PNG with words in a chunk of this kind, before or behind its 270 KB of pixels."""
    packed = kind == "zTXt"
    notes = PngImagePlugin.PngInfo()
    if kind == "iTXt":
        notes.add_itxt("Author", WHO, zip=True)
    else:
        notes.add_text("Author", WHO, zip=packed)
    whole = picture("PNG", pnginfo=notes)
    place = whole.index(kind.encode()) - 4
    size = 12 + struct.unpack(">I", whole[place : place + 4])[0]
    chunk, rest = whole[place : place + size], whole[:place] + whole[place + size :]
    end = rest.index(b"IEND") - 4
    return rest[:end] + chunk + rest[end:] if behind else whole


def arrays(**named):
    stream = io.BytesIO()
    np.savez_compressed(stream, **named)
    return stream.getvalue()


def zipped(name, content):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def tarred():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        member = tarfile.TarInfo("notes.txt")
        member.size = len(WHO)
        archive.addfile(member, io.BytesIO(WHO.encode()))
    return stream.getvalue()


def safetensors():
    header = json.dumps(
        {"__metadata__": {"from": WHO}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    )
    return struct.pack("<Q", len(header)) + header.encode() + bytes(4)


def torch_file():
    import torch

    stream = io.BytesIO()
    torch.save({"args": WHO, "weights": torch.zeros(3)}, stream)
    return stream.getvalue()


def pdf(text, *, packed=True, author="()"):
    body = zlib.compress(text) if packed else text
    return (
        b"%PDF-1.7\n1 0 obj <</Length 9>>\nstream\n"
        + body
        + b"\nendstream\nendobj\n2 0 obj <</Author "
        + author.encode()
        + b">>\nendobj"
    )


def parquet_notes():
    stream = io.BytesIO()
    parquet.write_table(pa.table({"a": [1]}).replace_schema_metadata({"from": WHO}), stream)
    return stream.getvalue()


def volume():
    import nibabel

    one = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4))
    one.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", WHO.encode()))
    return gzip.compress(one.to_bytes())


def table_of_pictures():
    stream = io.BytesIO()
    parquet.write_table(pa.table({"image": [{"bytes": text_chunk("tEXt"), "path": None}]}), stream)
    return stream.getvalue()


CARRIERS = {
    "notes.npz": lambda: arrays(who=np.array([WHO])),
    "objects.npz": lambda: arrays(who=np.array([{"deep": WHO}], dtype=object)),
    "record.npy": lambda: arrays(who=np.array([(1, WHO.encode())], dtype=[("n", "i4"), ("s", "S80")])),
    "model.safetensors": safetensors,
    "optimizer.pt": torch_file,
    "bytes.pkl": lambda: pickle.dumps([WHO]),
    "notes.parquet": parquet_notes,
    "cell.parquet": table_of_pictures,
    "packed.json.gz": lambda: gzip.compress(json.dumps(WHO).encode()),
    "packed.tar.gz": tarred,
    "report.docx": lambda: zipped("word/document.xml", f"<w:t>{WHO}</w:t>"),
    "nested.zip": lambda: zipped("inner.zip", zipped("a.npz", arrays(who=np.array([WHO])))),
    "volume.nii.gz": volume,
    "a.pdf": lambda: pdf(f"BT ({WHO}) Tj ET".encode()),
    "spaced.pdf": lambda: pdf(b"[" + b"-3".join(f"({letter})".encode() for letter in WHO) + b"] TJ"),
    "wide.pdf": lambda: pdf(b"<" + ("\ufeff" + WHO).encode("utf-16-be").hex().encode() + b"> Tj"),
    "wide.bin": lambda: bytes(9) + WHO.encode("utf-16-le") + bytes(9),
    "unknown.dat": lambda: bytes(range(256)) + WHO.encode() + bytes(9),
    "utf16.txt": lambda: WHO.encode("utf-16"),
    "database.sqlite": lambda: b"SQLite format 3\0" + bytes(200_000) + WHO.encode(),
}


@pytest.mark.parametrize("name", CARRIERS)
def test_words_inside_binary_files_are_found(tmp_path, name):
    (tmp_path / name).write_bytes(CARRIERS[name]())
    assert {kind for _, kind in kinds(tmp_path)} == WHAT


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.png", lambda: text_chunk("tEXt"), "picture with text data"),
        ("b.png", lambda: text_chunk("zTXt", behind=True), "picture with text data"),
        ("c.png", lambda: text_chunk("iTXt", behind=True), "picture with text data"),
        ("a.jpg", lambda: picture("JPEG", comment=WHO.encode()), "picture with text data (comment)"),
        ("a.tif", lambda: picture("TIFF", description=WHO), "picture with text data"),
        ("a.webp", lambda: picture("WEBP", xmp=WHO.encode()), "picture with XMP data"),
        ("a.pdf", lambda: pdf(b"", author=f"({WHO})"), "PDF with document information"),
    ],
)  # fmt: skip
def test_what_pictures_and_documents_carry_is_found(tmp_path, name, content, kind):
    (tmp_path / name).write_bytes(content())
    found = {one.kind: one.example for one in identifying(tmp_path)}
    assert set(found) == {*WHAT, kind}
    assert "JANE" in found[kind]


def test_numbers_and_pixels_give_no_findings(tmp_path):
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, 4_000_000, np.uint8).tobytes()
    (tmp_path / "weights.bin").write_bytes(noise)
    (tmp_path / "a.npz").write_bytes(arrays(a=np.frombuffer(noise, np.float32), b=np.arange(3)))
    (tmp_path / "a.png").write_bytes(picture("PNG"))
    (tmp_path / "a.webp").write_bytes(picture("WEBP"))
    header = b'{"a":{"dtype":"U8","shape":[4000000],"data_offsets":[0,4000000]}}'
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + noise)
    assert identifying(tmp_path) == []


def test_a_broken_or_endless_file_is_named_and_the_others_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(binaries, "LIMIT", 2**22)
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 nothing")
    (tmp_path / "b.npz").write_bytes(arrays(who=np.array([WHO]))[:-30])
    (tmp_path / "c.gz").write_bytes(gzip.compress(bytes(10**6))[:-12])
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with (tmp_path / "e.gz").open("wb") as file:
        for _ in range(20):
            file.write(packer.compress(bytes(2**20)))
        file.write(packer.flush())
    (tmp_path / "z.json").write_text(WHO)
    found = kinds(tmp_path)
    assert {file for file, kind in found if "cannot be read" in kind} == {
        "a.zip",
        "b.npz",
        "c.gz",
        "d.parquet",
    }
    assert ("e.gz", "not looked at to its end") in found
    assert {kind for file, kind in found if file == "z.json"} == WHAT


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"host": "gpu-node-3"}', "name of a machine"),
        ("ssh to pacs01.radiology.lan", "name of a machine"),
        ("served at 10.12.0.7:8000", "name of a machine"),
        ('{"username": "alice"}', "name of a user"),
        ('"PatientName": "Jane Doe"', "name of a patient"),
        ("file:///home/alice/a.png", "absolute path"),
        ("/nobackup/alice/x", "absolute path"),
    ],
)
def test_names_of_other_machines_and_persons_are_found(tmp_path, text, kind):
    (tmp_path / "a.json").write_text(text)
    assert kinds(tmp_path) == {("a.json", kind)}


def test_a_hole_and_a_pipe_are_named_and_not_read(tmp_path):
    (tmp_path / "log.jsonl").touch()
    os.truncate(tmp_path / "log.jsonl", 2**36)
    os.mkfifo(tmp_path / "pipe")
    found = {one.file: (one.kind, one.example) for one in identifying(tmp_path)}
    assert found["pipe"] == ("file that cannot be read", "a pipe")
    assert found["log.jsonl"][0] == "file that cannot be read"
    assert found["log.jsonl"][1].startswith("a hole (its size says 64 GiB")

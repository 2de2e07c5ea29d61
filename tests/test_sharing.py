"""`medgrpo doctor --share FOLDER`: what would identify a person or a machine."""

import json
import socket

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

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

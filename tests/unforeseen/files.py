"""Sources, datasets, pictures, logs: doubled keys, encodings, names with line ends, links, lying headers."""

import io
import json
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.planted import Artefacts
from tests.unforeseen.plants import Make, Plants, changed, dry, evaluate, one_step, prepare, put

ROW = {"id": "1", "question": "Is it?", "answer": "yes", "image": "a.png"}
TEXT = json.dumps([ROW])
ESCAPE = "\x1b]0;owned\x07\x1b[2J"
DOCUMENTS: dict[str, bytes | str] = {
    "keys twice.json": '[{"question": "a", "question": "b", "answer": "c", "answer": ["d"]}]', "deep.json": '[{"question": "q", "answer": "a", "x": ' + "[" * 900 + "]" * 900 + "}]",
    "surrogates.json": '[{"question": "\\ud800 q", "answer": "a\\udfff"}]', "mark.json": b"\xef\xbb\xbf" + TEXT.encode(), "utf16.json": TEXT.encode("utf-16"), "utf16 bare.json": TEXT.encode("utf-16-le"),
    "utf32.json": TEXT.encode("utf-32"), "gbk.json": json.dumps([{"question": "有病变吗", "answer": "有"}], ensure_ascii=False).encode("gbk"), "page.json": "<!doctype html><html>no</html>",
    "old mac.jsonl": (json.dumps(ROW) + "\r" + json.dumps(ROW) + "\r").encode(), "marks.jsonl": ("\ufeff" + json.dumps(ROW) + "\n") * 3, "half.jsonl": json.dumps(ROW) + "\n" + json.dumps(ROW)[:20],
    "records.jsonl": "\x1e" + json.dumps(ROW) + "\n", "commas.jsonl": json.dumps(ROW) + ",\n" + json.dumps(ROW) + ",\n", "list lines.jsonl": "[1]\n[2]\n", "infinite.json": '[{"question": "q", "answer": 1e999, "difficulty": NaN}]',
    "names.json": [{**ROW, "image": "a\nb.png"}], "turned.json": [{**ROW, "image": "\u202egnp.a"}], "zero.json": [{**ROW, "image": "a\0.png"}], "above.json": [{**ROW, "image": "../" * 40 + "etc/passwd"}],
    "page image.json": [{**ROW, "image": "http://127.0.0.1:9/a.png"}], "file image.json": [{**ROW, "image": "file:///etc/passwd"}], "windows.json": [{**ROW, "image": "C:\\data\\a.png"}], "long name.json": [{**ROW, "image": "a" * 5000}],
    "image list.json": [{**ROW, "image": [{"a": 1}, 3, True, None]}], "image folder.json": [{**ROW, "image": "."}], "image device.json": [{**ROW, "image": "/dev/zero"}], "escape.json": [{**ROW, "id": ESCAPE, "question": ESCAPE, "image": ESCAPE}],
    "ids.json": [{**ROW, "id": value} for value in (None, [], {}, True, 1e300, "", "x" * 10**5)], "empty.json": [{}] * 5, "blank.json": [{**ROW, "question": " ", "answer": "\u200b"}], "long.json": [{**ROW, "question": "why " * 10**6}],
    "wide.json": [{**ROW, **{f"c{n}": n for n in range(5000)}}], "options.json": [{**ROW, "options": value} for value in ({}, [], {"A": None}, {"\u202e": "x"}, "A) x B) y", 3, [[1]])],
    "boxes.json": [{**ROW, "boxes": value} for value in ([[1, 2]], [[5, 5, 1, 1]], [["nan", 0, 1, 1]], [[1e999, 0, 1, 1]], {"box": 3}, "[[", [{"box": [True, False, 1, 1], "label": []}])],
    "image bytes.json": [{**ROW, "image": {"bytes": "x", "path": "../../a"}}], "data.json": [{**ROW, "image": "data:image/svg+xml;base64,PHN2Zz4="}], "data long.json": [{**ROW, "image": "data:image/png;base64," + "A" * 10**6}],
    "zeros.csv": b"question,answer\n\0q\0,\0a\n", "wide.csv": ",".join(f"c{n}" for n in range(20000)) + "\n" + "," * 19999 + "\n", "same names.csv": "question,question,answer\na,b,c\n", "head.csv": "question,answer\n",
    "open quote.csv": 'question,answer\n"never, closed\n' * 3, "semicolons.csv": "question;answer\nq, r;a\n", "ragged.csv": "question,answer\na\nb,c,d,e\n", "sheet.csv": b"PK\x03\x04" + bytes(500), "database.csv": b"SQLite format 3\0" + bytes(500),
    "mark.tsv": "\ufeffquestion\tanswer\nq\ta\n", "formula.csv": "question,answer\n=cmd|' /C calc'!A0,@SUM(1)\n", "escape.csv": f"question,answer\n{ESCAPE},{ESCAPE}\n", "no head.csv": "q,yes\nr,no\n", "nothing.csv": "\n\n\n",
    "broken.parquet": b"PAR1" + bytes(40) + b"PAR1", "arrow.parquet": b"ARROW1\0\0" + bytes(90), "a.yaml": "a: &a [*a]\n", "a.xml": '<?xml version="1.0"?><!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
    "include.xml": '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation><filename>&b;</filename></annotation>',
}  # fmt: skip


def sources() -> Plants:
    for name, content in DOCUMENTS.items():

        def make(a: Artefacts, name: str = name, content: Any = content) -> tuple[str, ...]:
            shutil.copy(next((a.data / "images").glob("*")), put(a.folder / "source" / "a.png", b""))
            return prepare(a, put(a.folder / "source" / name, content))

        yield f"source {name}: preprocess", make
    for name, act in PLACES.items():

        def place(a: Artefacts, act: Callable = act) -> tuple[str, ...]:
            put(a.folder / "source" / "rows.json", TEXT)
            act(a.folder / "source")
            return prepare(a, a.folder / "source")

        yield f"source with {name}: preprocess", place
    for name, content in {**{one: DOCUMENTS[one] for one in ("keys twice.json", "utf16.json", "old mac.jsonl", "wide.csv", "ragged.csv", "escape.csv", "ids.json", "broken.parquet", "half.jsonl")},
                          "scores.json": [{"completion": "a", "answer": "a", "scores": float("nan"), "reward": "x"}], "turns.json": [{"completion": [{"role": "assistant", "content": None}], "answer": {}}],
                          "lists.json": [{"completion": ["a", None, 3], "answer": ["b", None]}], "escape.json": [{"id": ESCAPE, "completion": ESCAPE, "answer": ESCAPE, "question": ESCAPE}]}.items():  # fmt: skip
        yield (
            f"predictions {name}: eval",
            lambda a, name=name, content=content: (
                "eval",
                "--predictions",
                put(a.folder / name, content),
                "--output",
                str(a.folder / "eval"),
            ),
        )
        yield (
            f"completions {name}: score",
            lambda a, name=name, content=content: (
                "score",
                put(a.folder / name, content),
                "--output",
                str(a.folder / "s.csv"),
            ),
        )


def _many(folder: Path) -> None:
    for n in range(3000):
        (folder / f"{n}.txt").touch()


def _deep(folder: Path) -> None:
    here = folder
    for _ in range(300):
        here = here / "aaaaaaaa"
        os.mkdir(here) if len(str(here)) < 3900 else None


def _archive(folder: Path) -> None:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("../../../slipped.json", TEXT)
        archive.writestr("/slipped.json", TEXT)


def _no_rights(folder: Path) -> None:
    put(folder / "closed" / "a.json", TEXT)
    os.chmod(folder / "closed", 0)


PLACES = {
    "a name with a line end": lambda folder: put(folder / "a\nb.json", TEXT), "a name turned round": lambda folder: put(folder / "\u202enosj.json", TEXT), "a name of no encoding": lambda folder: put(Path(os.fsdecode(bytes(folder) + b"/\xff\xfe.json")), TEXT),
    "a name that is an option": lambda folder: put(folder / "--output.json", TEXT), "a name with a terminal's orders": lambda folder: put(folder / f"{ESCAPE.replace('/', '')}.json", "["), "a link to above": lambda folder: (folder / "up").symlink_to(".."),
    "a link to itself": lambda folder: (folder / "me.json").symlink_to("me.json"), "a link to all": lambda folder: (folder / "all").symlink_to("/"), "3,000 files": _many, "folders in folders": _deep, "an archive that slips": _archive,
    "a folder without rights": _no_rights, "a pipe": lambda folder: os.mkfifo(folder / "p.json"), "a device": lambda folder: (folder / "z.json").symlink_to("/dev/zero"), "a module": lambda folder: put(folder / "json.py", "raise SystemExit('planted')"),
    "a huge hole": lambda folder: os.truncate(put(folder / "hole.json", b""), 2**36), "a hole of pixels": lambda folder: os.truncate(put(folder / "a.png", b"\x89PNG\r\n\x1a\n"), 2**36), "conftest": lambda folder: put(folder / "conftest.py", "raise SystemExit('planted')"),
}  # fmt: skip


# --- prepared datasets


def datasets() -> Plants:
    texts = {"keys twice": '{"name": "a", "name": 3, "schema_version": 1}', "rows below zero": {"rows": {"train": -4}}, "rows far": {"rows": {"train": 10**18}}, "rows texts": {"rows": {"train": "x"}}, "a split that is a path": {"rows": {"../../x": 4}},
             "a split with a line": {"rows": {"a\nb": 3}}, "name escapes": {"name": ESCAPE}, "version 99": {"schema_version": 99}, "version a text": {"schema_version": "1"}, "template a path": {"prompt_template": "/dev/zero"}, "template a mapping": {"prompt_template": {"tags": 3}},
             "tokens texts": {"image_tokens": {"max": "x"}}, "hash a list": {"hash": [1]}, "task unknown": {"task": "tea"}}  # fmt: skip
    for number, (what, values) in enumerate(texts.items()):

        def about(a: Artefacts, values: Any = values, number: int = number) -> tuple[str, ...]:
            file = a.data / "dataset.json"
            file.write_text(values) if isinstance(values, str) else changed(file, **values)
            return (dry(a), evaluate(a), ("score", str(a.data), "--audit"))[number % 3]

        yield f"dataset.json, {what}: {('train', 'eval', 'score')[number % 3]}", about
    for what, act in IN_FOLDER.items():
        for command in (dry, evaluate):
            yield (
                f"dataset, {what}: {command.__name__}",
                lambda a, act=act, command=command: (act(a.data), command(a))[1],
            )
    values: dict[str, list[Any]] = {
        "images": [["/etc/passwd"], ["../../../etc/passwd"], ["a\nb"], ["a\0b"], [""], ["."], [None], ["/dev/zero"], ["images"], ["x"] * 3000],
        "question": ["", ESCAPE, "\0", "<|image_pad|>" * 50, "<image>" * 9, "w " * 200_000, None], "answer": ["", None, ESCAPE, "x" * 10**6], "answers": [[], [None], [""], ["a"] * 20_000],
        "options": ["{", "[]", '{"A": null}', "3", "null"], "boxes": ["[[", '[{"box": [1]}]', '[{"box": [1, NaN, 3, 4]}]', '[{"box": "x"}]', "3"], "difficulty": [float("nan"), float("inf"), -1e308],
        "language": ["xx", "", None, "\u202e"], "answer_type": ["other", "", None], "width": [0, -5, 2**31 - 1], "image_tokens": [-1, 2**31 - 1], "id": ["", None, "same", ESCAPE], "patient_id": [ESCAPE, ""], "mask": ["..", "a\0", "/dev/zero"],
    }  # fmt: skip
    number = 0
    for column, all_values in values.items():
        for value in all_values:
            number += 1

            def row(
                a: Artefacts, column: str = column, value: Any = value, number: int = number
            ) -> tuple[str, ...]:
                import pyarrow as pa
                from pyarrow import parquet

                for split in ("train", "test"):
                    table = parquet.read_table(a.data / f"{split}.parquet")
                    field = table.schema.field(column).with_nullable(True)
                    column_of = pa.array([value] * len(table), field.type)
                    table = table.set_column(table.schema.get_field_index(column), field, column_of)
                    parquet.write_table(table, a.data / f"{split}.parquet")
                return (evaluate(a), one_step(a), ("score", str(a.data), "--audit"), prepare(a, a.data))[
                    number % 4
                ]

            yield (
                f"rows whose {column} is {str(value)[:20]!r}: {('eval', 'train', 'score', 'preprocess')[number % 4]}",
                row,
            )


def _typed(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def act(data: Path) -> None:
        from pyarrow import parquet

        for split in ("train", "test"):
            parquet.write_table(
                change(parquet.read_table(data / f"{split}.parquet")), data / f"{split}.parquet"
            )

    return act


def _cast(column: str, kind: str) -> Callable[[Any], Any]:
    def change(table: Any) -> Any:
        import pyarrow as pa

        to = {
            "binary": pa.binary(),
            "large": pa.large_string(),
            "words": pa.dictionary(pa.int32(), pa.string()),
            "struct": None,
            "numbers": None,
        }[kind]
        before = table[column]
        after = (
            before.cast(to)
            if to is not None
            else pa.array([{"a": 1} if kind == "struct" else n for n in range(len(table))])
        )
        return table.set_column(table.schema.get_field_index(column), column, after)

    return change


def _twice(table: Any) -> Any:
    return table.append_column("question", table["answer"])


IN_FOLDER = {
    "its rows a pipe": lambda data: ((data / "train.parquet").unlink(), (data / "test.parquet").unlink(), os.mkfifo(data / "train.parquet"), os.mkfifo(data / "test.parquet")),
    "its rows a device": lambda data: [((data / f"{s}.parquet").unlink(), (data / f"{s}.parquet").symlink_to("/dev/zero")) for s in ("train", "test")],
    "its rows a folder": lambda data: [((data / f"{s}.parquet").unlink(), (data / f"{s}.parquet").mkdir()) for s in ("train", "test")],
    "its rows a link that ends nowhere": lambda data: [((data / f"{s}.parquet").unlink(), (data / f"{s}.parquet").symlink_to("gone")) for s in ("train", "test")],
    "its pictures a link elsewhere": lambda data: (shutil.move(data / "images", data.parent / "far"), (data / "images").symlink_to("../far")), "itself a link": lambda data: (shutil.move(data, data.parent / "far"), data.symlink_to("far")),
    "its pictures pipes": lambda data: [(file.unlink(), os.mkfifo(file)) for file in list((data / "images").iterdir())], "questions as bytes": _typed(_cast("question", "binary")), "questions as large texts": _typed(_cast("question", "large")),
    "questions as words": _typed(_cast("question", "words")), "questions as structures": _typed(_cast("question", "struct")), "questions as numbers": _typed(_cast("question", "numbers")), "images as one text": _typed(_cast("id", "numbers")),
    "a column twice": _typed(_twice), "no rows": _typed(lambda table: table.slice(0, 0)), "2,000 columns": _typed(lambda table: __import__("functools").reduce(lambda t, n: t.append_column(f"c{n}", t["id"]), range(2000), table)),
}  # fmt: skip


# --- pictures


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, *, depth: int = 8, kind: int = 0, data: bytes = b"", extra: bytes = b""
) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + _chunk(b"IDAT", zlib.compress(data)) + _chunk(b"IEND", b"")


def drawn(mode: str, form: str, size: tuple[int, int] = (40, 40), **more: Any) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new(mode, size).save(stream, form, **more)
    return stream.getvalue()


def _moving(form: str) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(
        stream, form, save_all=True, append_images=[Image.new("RGB", (20, 20), (n, 0, 0)) for n in range(60)]
    )
    return stream.getvalue()


def _exif(body: bytes) -> bytes:
    plain = drawn("RGB", "JPEG")
    block = b"Exif\0\0" + body
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]


def _ring() -> bytes:
    """A TIFF whose second page is its first."""
    tags = [
        (256, 3, 4),
        (257, 3, 4),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 3, 4),
        (279, 4, 16),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return (
        b"II*\0"
        + struct.pack("<I", 24)
        + bytes(16)
        + struct.pack("<H", len(tags))
        + entries
        + struct.pack("<I", 24)
    )


IFD = b"II*\0\x08\0\0\0"
PICTURES: dict[str, Callable[[], bytes]] = {
    "header larger than its data": lambda: png(5000, 5000, data=b"\0" * 41), "no width": lambda: png(0, 10), "2**31 wide": lambda: png(2**31 - 1, 2**31 - 1), "a bomb of zeros": lambda: png(13000, 15000, data=bytes(15000 * 13001)),
    "16 bits of colour": lambda: png(4, 4, depth=16, kind=2, data=(b"\0" + bytes(24)) * 4), "3 bits": lambda: png(4, 4, depth=3, data=bytes(20)), "a packed profile": lambda: png(4, 4, data=bytes(20), extra=_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**26)))),
    "orders as text": lambda: png(4, 4, data=bytes(20), extra=_chunk(b"tEXt", b"Comment\0" + ESCAPE.encode())), "no palette": lambda: png(4, 4, kind=3, data=bytes(20)), "CMYK": lambda: drawn("CMYK", "JPEG"), "YCbCr TIFF": lambda: drawn("YCbCr", "TIFF"), "Lab": lambda: drawn("LAB", "TIFF"),
    "JPEG of 65535": lambda: drawn("L", "JPEG").replace(b"\xff\xc0\x00\x0b\x08\x00\x28\x00\x28", b"\xff\xc0\x00\x0b\x08\xff\xff\xff\xff"), "half a JPEG": lambda: drawn("RGB", "JPEG", (400, 400))[:2000], "turned 9": lambda: _exif(IFD + struct.pack("<HHHIII", 1, 274, 3, 1, 9, 0)),
    "EXIF in a ring": lambda: _exif(IFD + struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8, 8)), "EXIF that counts 2**31": lambda: _exif(IFD + struct.pack("<HHHIII", 1, 270, 2, 2**31 - 1, 8, 0)), "EXIF of nothing": lambda: _exif(b"II*\0"),
    "a moving GIF": lambda: _moving("GIF"), "a moving PNG": lambda: _moving("PNG"), "a moving WebP": lambda: _moving("WEBP"), "pages of a TIFF": lambda: _moving("TIFF"), "a TIFF in a ring": _ring,
    "a TIFF of 100 samples": lambda: _ring().replace(struct.pack("<HHII", 277, 3, 1, 1), struct.pack("<HHII", 277, 3, 1, 100)), "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch marker) (w) file\n%%EOF\n",
    "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', "PDF": lambda: b"%PDF-1.4\n1 0 obj<<>>endobj\n", "an icon": lambda: drawn("RGBA", "ICO"), "ICNS": lambda: b"icns" + struct.pack(">I", 2**31 - 1) + bytes(99),
    "BMP from above": lambda: drawn("RGB", "BMP")[:22] + struct.pack("<i", -40) + drawn("RGB", "BMP")[26:], "BMP of 2**31": lambda: drawn("RGB", "BMP")[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + drawn("RGB", "BMP")[26:], "JPEG 2000": lambda: drawn("RGB", "JPEG2000"),
    "PSD": lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30000, 30000, 8, 3) + bytes(20), "PCX": lambda: drawn("L", "PCX"), "TGA": lambda: drawn("RGB", "TGA"), "PPM of 10**9": lambda: b"P6 1000000000 1000000000 255\n", "PPM of words": lambda: b"P3 4 4 255\nx y z", "FITS": lambda: b"SIMPLE  = T" + bytes(3000),
    "DDS": lambda: b"DDS " + struct.pack("<II", 124, 0) + struct.pack("<II", 2**31 - 1, 2**31 - 1) + bytes(108), "HEIC": lambda: b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(50), "AVIF": lambda: b"\0\0\0\x18ftypavif\0\0\0\0" + bytes(50), "floats": lambda: drawn("F", "TIFF"), "one bit": lambda: drawn("1", "PNG"), "32 bits": lambda: drawn("I", "TIFF"),
}  # fmt: skip


def pictures() -> Plants:
    for number, (name, picture) in enumerate(PICTURES.items()):

        def make(a: Artefacts, picture: Callable[[], bytes] = picture) -> tuple[str, ...]:
            put(a.folder / "source" / "a.png", picture())
            put(a.folder / "source" / "rows.json", TEXT)
            return prepare(a, a.folder / "source")

        yield f"picture, {name}: preprocess", make

        def shown(
            a: Artefacts, picture: Callable[[], bytes] = picture, number: int = number
        ) -> tuple[str, ...]:
            content = picture()
            for file in (a.data / "images").iterdir():
                file.write_bytes(content)
            asked = (
                "ask",
                str(a.model),
                str(next((a.data / "images").iterdir())),
                "what?",
                "--max-new-tokens",
                "2",
            )
            return (asked, evaluate(a), one_step(a))[number % 3]

        yield f"picture, {name}: {('ask', 'eval', 'train')[number % 3]}", shown
    for name, change in DICOM.items():
        yield (
            f"DICOM, {name}: preprocess",
            _volume("a.dcm", lambda folder, change=change: _dicom(folder, change)),
        )
    yield "DICOM, deep: preprocess", _volume("a.dcm", _deep)
    for name, change in NIFTI.items():
        yield (
            f"NIfTI, {name}: preprocess",
            _volume("a.nii", lambda folder, change=change: _nifti(folder, change)),
        )


def _volume(name: str, write: Callable[[Path], object]) -> Make:
    def make(a: Artefacts) -> tuple[str, ...]:
        put(a.folder / "source" / "rows.json", [{**ROW, "image": name}])
        write(a.folder / "source")
        return prepare(a, a.folder / "source")

    return make


NO_NUMBER = "7654321"
"""Becomes letters in the file: pydicom writes no text where a number belongs."""


def _dicom(folder: Path, change: Callable[[Any], object]) -> None:
    import warnings

    import pydicom

    from tests.bombs import dicom

    file = dicom(folder, deflated=False, rows=8, data=bytes(128))
    one = pydicom.dcmread(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        change(one)
        one.save_as(file, enforce_file_format=False)
    file.write_bytes(file.read_bytes().replace(NO_NUMBER.encode(), b"x" * len(NO_NUMBER)))


def _set(**values: object) -> Callable[[Any], object]:
    def change(one: Any) -> None:
        for name, value in values.items():
            setattr(one, name, value)

    return change


def _deep(folder: Path) -> None:
    """Sequences in sequences, written by hand: pydicom takes gigabytes to fail at writing them."""
    from tests.bombs import dicom

    file = dicom(folder, deflated=False, rows=8, data=bytes(128))
    content = file.read_bytes()
    end_of_meta = 144 + int.from_bytes(content[140:144], "little")
    opened = b"\x08\x00\x40\x11SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    closed = b"\xfe\xff\x0d\xe0" + bytes(4) + b"\xfe\xff\xdd\xe0" + bytes(4)
    file.write_bytes(content[:end_of_meta] + opened * 400 + closed * 400 + content[end_of_meta:])


def _packed(one: Any) -> None:
    from pydicom.encaps import encapsulate

    one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"
    one.PixelData = encapsulate([b"\xff\xd8\xff garbage"])
    one["PixelData"].is_undefined_length = True


DICOM: dict[str, Callable[[Any], object]] = {
    "no pixels": lambda one: one.__delattr__("PixelData"), "window 0": _set(WindowCenter=0, WindowWidth=0), "many windows": _set(WindowCenter=[1, 2], WindowWidth=[3]), "slope not a number": _set(RescaleSlope="nan", RescaleIntercept=NO_NUMBER), "slope 0": _set(RescaleSlope="0", RescaleIntercept="0"),
    "slope 1e300": _set(RescaleSlope="1e300", RescaleIntercept="1e300"), "no rows": _set(Rows=0), "bits 1": _set(BitsAllocated=1, BitsStored=1, HighBit=0), "bits 64": _set(BitsAllocated=64, BitsStored=64), "bits that contradict": _set(BitsStored=40, HighBit=3), "palette without colours": _set(PhotometricInterpretation="PALETTE COLOR"),
    "3 samples": _set(SamplesPerPixel=3, PhotometricInterpretation="RGB"), "unknown colours": _set(PhotometricInterpretation="TEA"), "frames below zero": _set(NumberOfFrames="-3"), "frames a text": _set(NumberOfFrames="1"), "letters of nobody": _set(SpecificCharacterSet="TEA", PatientName="\udcff"), "packed garbage": _packed,
    "modality orders": _set(Modality="\x1b[2J"), "spacing": _set(PixelSpacing=["nan", NO_NUMBER]), "a syntax of nobody": lambda one: setattr(one.file_meta, "TransferSyntaxUID", "1.2.3.4"), "dates": _set(StudyDate="99999999", PatientAge="-1Y"), "orientation": _set(ImageOrientationPatient=[0, 0, 0, 0, 0, 0], ImagePositionPatient=["nan"] * 3),
}  # fmt: skip


def _nifti(folder: Path, change: Callable[[Any], Any]) -> None:
    import nibabel
    import numpy as np

    image = nibabel.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.eye(4))
    made = change(image) or image
    nibabel.save(made, folder / "a.nii") if not isinstance(made, bytes) else (folder / "a.nii").write_bytes(
        made
    )


def _patched(place: int, form: str, *values: Any) -> Callable[[Any], bytes]:
    def change(image: Any) -> bytes:
        content = bytearray(image.to_bytes())
        struct.pack_into(form, content, place, *values)
        return bytes(content)

    return change


def _of(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def change(_: Any) -> Any:
        import nibabel
        import numpy as np

        return nibabel.Nifti1Image(make(np), np.eye(4))

    return change


NIFTI: dict[str, Callable[[Any], Any]] = {
    "no axes": _patched(40, "<h", 0), "7 axes": _patched(40, "<8h", 7, 4, 4, 1, 1, 2, 1, 2), "99 axes": _patched(40, "<h", 99), "axes below zero": _patched(40, "<8h", 3, -4, 4, 4, 1, 1, 1, 1), "axes of 32767": _patched(40, "<8h", 4, 32767, 32767, 32767, 9, 1, 1, 1), "type 0": _patched(70, "<h", 0), "type 9999": _patched(70, "<h", 9999),
    "complex": _of(lambda np: np.ones((4, 4, 4), np.complex64)), "colours": _of(lambda np: np.ones((4, 4, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))), "128 bits": _of(lambda np: np.ones((4, 4, 4), np.float64) * np.nan), "infinite": _of(lambda np: np.full((4, 4, 4), np.inf, np.float32)), "steps 0": _patched(76, "<8f", 0, 0, 0, 0, 0, 0, 0, 0),
    "steps not numbers": _patched(76, "<8f", *[float("nan")] * 8), "offset far": _patched(108, "<f", 1e30), "offset below zero": _patched(108, "<f", -5.0), "slope not a number": _patched(112, "<ff", float("nan"), float("inf")), "slope 0": _patched(112, "<ff", 0, 0), "no direction": _patched(280, "<12f", *[0.0] * 12), "direction not numbers": _patched(280, "<12f", *[float("nan")] * 12),
    "size of header": _patched(0, "<i", 7), "one slice": _of(lambda np: np.ones((4, 4, 1), np.int16)), "a line": _of(lambda np: np.ones((4,), np.int16)), "no voxels": _patched(40, "<8h", 3, 0, 4, 4, 1, 1, 1, 1),
}  # fmt: skip


# --- logs and evaluations of others


def logs() -> Plants:
    ours = {"stage": "grpo", "step": 1, "loss": 0.1, "reward": 0.5}
    texts: dict[str, str] = {
        "half a line": json.dumps(ours) + "\n" + json.dumps(ours)[:19], "no line end": json.dumps(ours), "steps as texts": json.dumps({**ours, "step": "1"}) + "\n", "steps below zero": json.dumps({**ours, "step": -1}) + "\n", "steps far": json.dumps({**ours, "step": 10**30}) + "\n",
        "steps not numbers": json.dumps({**ours, "step": float("nan")}) + "\n", "steps back": "".join(json.dumps({**ours, "step": n}) + "\n" for n in range(9, 0, -1)), "the same step": (json.dumps(ours) + "\n") * 50, "infinite": json.dumps({**ours, "loss": float("inf"), "reward": float("-inf")}) + "\n",
        "1e308": "".join(json.dumps({**ours, "step": n, "reward": 1e308 * (-1) ** n}) + "\n" for n in range(30)), "true": json.dumps({**ours, "loss": True, "reward": False}) + "\n", "texts": json.dumps({**ours, "loss": "0.5", "reward": "nan"}) + "\n", "nested": json.dumps({**ours, "reward": {"mean": [1]}}) + "\n",
        "names with orders": json.dumps({**ours, ESCAPE: 1.0}) + "\n", "names with markup": json.dumps({**ours, "<script>x</script>": 1.0}) + "\n", "names of 1 MB": json.dumps({**ours, "x" * 10**6: 1.0}) + "\n", "9,000 names": json.dumps({**ours, **{f"m{n}": n for n in range(9000)}}) + "\n",
        "stage a list": json.dumps({**ours, "stage": [1]}) + "\n", "stage with orders": json.dumps({**ours, "stage": ESCAPE}) + "\n", "stage a path": json.dumps({**ours, "stage": "../../x"}) + "\n", "keys twice": '{"step": 1, "step": 2, "loss": 1, "loss": "x"}\n', "times below zero": json.dumps({**ours, "time/rollout": -5, "s_per_prompt": 0}) + "\n",
        "zeros": "\0" * 5000, "zeros within": json.dumps(ours) + "\n" + "\0" * 500 + "\n" + json.dumps(ours) + "\n", "two on a line": json.dumps(ours) * 2 + "\n",
    }  # fmt: skip
    for number, (what, content) in enumerate(texts.items()):
        for command in (
            ("health", "compare", "runs", "estimate-time")
            if number % 2
            else ("health", "compare", "make-dpo", "resume")
        ):

            def make(a: Artefacts, content: str = content, command: str = command) -> tuple[str, ...]:
                put(a.run / "log.jsonl", content)
                return {
                    "health": ("health", str(a.run)), "compare": ("compare", str(a.run), "--html", "--output", str(a.folder / "page")), "runs": ("runs", str(a.folder)), "estimate-time": ("estimate-time", "--from-run", str(a.run)),
                    "make-dpo": ("make-dpo", str(a.run), "--output", str(a.folder / "pairs"), "--margin", "0"), "resume": ("train", "--resume", str(a.run), "--set=training.max_steps=3"),
                }[command]  # fmt: skip

            yield f"log.jsonl, {what}: {command}", make
    for what, act in RUNS.items():
        for command in ("health", "runs", "compare"):

            def run(a: Artefacts, act: Callable = act, command: str = command) -> tuple[str, ...]:
                act(a.run)
                more = ("--html", "--output", str(a.folder / "page")) if command == "compare" else ()
                return (command, str(a.folder if command == "runs" else a.run), *more)

            yield f"a run, {what}: {command}", run
    yield (
        "40 runs, one a link to all: runs",
        lambda a: (
            (
                [shutil.copytree(a.run, a.folder / "many" / f"r{n}\n") for n in range(40)],
                (a.folder / "many" / "all").symlink_to(".."),
            )[1]
            or ("runs", str(a.folder / "many"))
        ),
    )
    yield (
        "a page asked for in a file: compare",
        lambda a: ("compare", str(a.run), "--html", "--output", put(a.folder / "there", "x")),
    )
    yield (
        "a folder of everything: doctor --share",
        lambda a: (
            (put(a.folder / "x" / "a\n\x1b[2J.json", ESCAPE), os.mkfifo(a.folder / "x" / "p"))
            and ("doctor", "--share", str(a.folder))
        ),
    )
    yield (
        "masks in an archive that slips: eval",
        lambda a: (_archive(a.folder), ("eval", str(a.data), "--masks", str(a.folder / "a.zip")))[1],
    )


RUNS = {
    "its log a pipe": lambda run: ((run / "log.jsonl").unlink(), os.mkfifo(run / "log.jsonl")), "its log a device": lambda run: ((run / "log.jsonl").unlink(), (run / "log.jsonl").symlink_to("/dev/zero")), "its log a folder": lambda run: ((run / "log.jsonl").unlink(), (run / "log.jsonl").mkdir()),
    "its log a link to itself": lambda run: ((run / "log.jsonl").unlink(), (run / "log.jsonl").symlink_to("log.jsonl")), "a hole of 64 GB as its log": lambda run: os.truncate(run / "log.jsonl", 2**36), "its completions a hole": lambda run: os.truncate(run / "completions" / "part-00001.parquet", 2**36),
    "its spool of halves": lambda run: put(run / "completions" / "spool.jsonl", '{"step": 1, "comp'), "its spool of numbers": lambda run: put(run / "completions" / "spool.jsonl", "1\n2\n"), "parts with odd numbers": lambda run: put(run / "completions" / "part-x.parquet", "x"),
    "its environment a list": lambda run: put(run / "environment.json", "[1]"), "its stages a file": lambda run: put(run / "stages", "x"), "its end not a number": lambda run: changed(run / "training_info.json", best={"value": float("nan")}, stages=[3], seconds="x"),
}  # fmt: skip

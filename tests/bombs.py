"""Small files that unfold: each is given to the command that would read it, in a process whose memory and time are measured.

`python -m tests.bombs` prints a line for each.
"""

import io
import json
import os
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

MEMORY_GIB = 1.5
"""Peak that a command may reach on a bomb; torch alone takes a third of it."""
TIME_S = 60.0
"""CPU seconds."""


def zeros(size: int, level: int = 31) -> bytes:
    """So many zeros, packed: 31 as gzip, 15 as zlib, -15 bare."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, level), bytes(2**20)
    return b"".join(packer.compress(block) for _ in range(size // len(block))) + packer.flush()


def dicom(place: Path, *, deflated: bool, rows: int, frames: int = 1, data: bytes = b"\0\0") -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

    one = Dataset()
    one.file_meta = FileMetaDataset()
    syntax = DeflatedExplicitVRLittleEndian if deflated else ExplicitVRLittleEndian
    one.file_meta.TransferSyntaxUID = syntax
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = "1.2.3"
    one.Modality, one.Rows, one.Columns, one.NumberOfFrames = "CT", rows, rows, frames
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation, one.SamplesPerPixel = 15, 0, 1
    one.PhotometricInterpretation, one.PixelData = "MONOCHROME2", data
    file = place / "a.dcm"
    one.save_as(file, enforce_file_format=True)
    return file


def source(make: Callable[[Path], object]) -> Callable[[Path], list[str]]:
    """A folder of images with this among them, prepared."""

    def words(place: Path) -> list[str]:
        folder = place / "source"
        folder.mkdir()
        make(folder)
        rows = [
            {"image": file.name, "question": "what?", "answer": "yes"}
            for file in folder.iterdir()
            if file.suffix != ".json"
        ]
        (folder / "rows.json").write_text(json.dumps(rows or [{"question": "q?", "answer": "a"}]))
        return [
            "preprocess",
            str(folder),
            str(place / "out"),
            "--on-bad-row",
            "skip",
            "--missing-image",
            "bad",
            "--workers",
            "1",
        ]

    return words


def predictions(content: bytes, name: str = "rows.json") -> Callable[[Path], list[str]]:
    def words(place: Path) -> list[str]:
        (place / name).write_bytes(content)
        return ["eval", "--predictions", str(place / name)]

    return words


def parquet_of_zeros(place: Path) -> list[str]:
    import pyarrow as pa
    from pyarrow import parquet

    column = pa.array(["x" * 10**6]).take(pa.array([0] * 2000))  # 2 GB of text in one dictionary entry
    parquet.write_table(
        pa.table({"completion": column, "answer": ["yes"] * 2000}), place / "rows.parquet", compression="zstd"
    )
    return ["eval", "--predictions", str(place / "rows.parquet")]


def yaml_laughs(folder: Path) -> None:
    lines = ["a0: &a0 [lol, lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (folder / "data.yaml").write_text("\n".join([*lines, "names: *a11", "train: images", "nc: 1"]))
    (folder / "images").mkdir()
    (folder / "labels").mkdir()


def xml_laughs(folder: Path) -> None:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    text = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l0 "lol">{entities}]><annotation><filename>&l11;</filename></annotation>'
    (folder / "a.xml").write_text(text)


def tiff_of(folder: Path) -> None:
    """A TIFF of one strip that claims 60,000 × 60,000 pixels."""
    strip = zeros(2**26, 15)
    tags = [
        (256, 4, 60000),
        (257, 4, 60000),
        (258, 3, 8),
        (259, 3, 8),
        (262, 3, 1),
        (273, 4, 0),
        (277, 3, 1),
        (278, 4, 60000),
        (279, 4, len(strip)),
    ]
    head = b"II*\0" + struct.pack("<I", 8 + len(strip))
    tags[5] = (273, 4, 8)
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    (folder / "a.tif").write_bytes(head + strip + struct.pack("<H", len(tags)) + entries + bytes(4))


def png_with_text(folder: Path) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "PNG")
    packed = b"a\0\0" + zeros(2**30, 15)
    chunk = b"zTXt" + packed
    text = struct.pack(">I", len(packed)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    whole = stream.getvalue()
    (folder / "a.png").write_bytes(whole[:33] + text + whole[33:])


def model(change: Callable[[Path], object]) -> Callable[[Path], list[str]]:
    """A model of the demo with something planted, asked a question."""

    def words(place: Path) -> list[str]:
        from medgrpo.data.demo import demo_texts
        from medgrpo.models.demo import build_demo_model

        build_demo_model(place / "model", demo_texts(), seed=3)
        change(place / "model")
        return ["ask", str(place / "model"), "-", "what?", "--max-new-tokens", "2"]

    return words


def header(length: int, text: bytes) -> Callable[[Path], object]:
    return lambda place: (place / "model.safetensors").write_bytes(struct.pack("<Q", length) + text)


def of_text(**values: object) -> Callable[[Path], object]:
    """Settings of the language model changed."""

    def change(place: Path) -> None:
        file = place / "config.json"
        config = json.loads(file.read_text())
        inner = config.get("text_config", config)
        inner.update(values)
        file.write_text(json.dumps(config))

    return change


def template(text: str) -> Callable[[Path], object]:
    return lambda place: (place / "chat_template.jinja").write_text(text)


def packed_dicom(folder: Path) -> None:
    file = dicom(folder, deflated=True, rows=64, data=bytes(64 * 64 * 2))
    from pydicom.filereader import read_file_meta_info

    size = 132 + 12 + read_file_meta_info(file).FileMetaInformationGroupLength
    head = file.read_bytes()
    inside = zlib.decompress(head[size:], -15)
    place = inside.rfind(struct.pack("<HH", 0x7FE0, 0x0010))
    long = inside[:place] + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 2**32 - 2)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(2**20)
    body = packer.compress(long) + b"".join(packer.compress(block) for _ in range(4095)) + packer.flush()
    file.write_bytes(head[:size] + body)


DEEP = b"[" * 2_000_000
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
BOMBS: dict[str, Callable[[Path], list[str]]] = {
    "DICOM, deflated, 4 GiB of pixels": source(packed_dicom),
    "DICOM that claims 60,000 × 60,000": source(lambda folder: dicom(folder, deflated=False, rows=60_000)),
    "DICOM that claims 100,000 frames": source(lambda folder: dicom(folder, deflated=False, rows=512, frames=100_000)),
    "TIFF that claims 60,000 × 60,000": source(tiff_of),
    "PNG with 1 GiB of packed text": source(png_with_text),
    "YAML that names itself nine times": source(yaml_laughs),
    "XML entities in entities": source(xml_laughs),
    "JSON, 2 million brackets": predictions(DEEP),
    "JSON, a number of 2 million digits": predictions(b'[{"completion": "a", "answer": ' + b"9" * 2_000_000 + b"}]"),
    "JSON lines, deep in one row": predictions(b'{"completion": ' + DEEP[:200_000] + b"}\n", "rows.jsonl"),
    "CSV, a field of 50 MB": predictions(b"completion,answer\n" + b"x" * 50_000_000 + b",yes\n", "rows.csv"),
    "gzip in the place of text": predictions(zeros(2**30)),
    "parquet, 2 GB of text in one entry": parquet_of_zeros,
    "safetensors, header of 2**62 bytes": model(header(2**62, b"{}")),
    "safetensors, header of brackets": model(header(len(DEEP), DEEP)),
    "safetensors, a tensor of 2**60 values": model(header(58, b'{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,4]}}  0000' % 2**40)),
    "config.json, 10 million layers": model(of_text(num_hidden_layers=10**7)),
    "config.json, vocabulary of 10**12": model(of_text(vocab_size=10**12)),
    "tokenizer.json of brackets": model(lambda place: (place / "tokenizer.json").write_bytes(DEEP)),
    "chat template, loop in a loop": model(template(LOOP)),
    "chat template, 10 GB of text": model(template("{{ 'x' * 10000000000 }}")),
    "chat template, text of text": model(template("{% set a = 'x' * 99999 %}{{ a * 99999 }}")),
    "chat template, a power": model(template("{{ 9 ** 9 ** 9 }}")),
}  # fmt: skip


def _peak_kib(process: int) -> int:
    """The most memory that a process had since it was begun; 0 while it is this program still, or has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        if b"medgrpo.cli.main" not in Path(f"/proc/{process}/cmdline").read_bytes():
            return 0
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def exploded(name: str) -> tuple[int, float, float, str]:
    """Exit code, CPU seconds, peak memory in GiB and the last words of the command that meets this bomb."""
    with tempfile.TemporaryDirectory() as folder:
        words = BOMBS[name](Path(folder))
        said = Path(folder) / "said"
        child = os.fork()
        if child == 0:
            import resource

            resource.setrlimit(resource.RLIMIT_CPU, (int(4 * TIME_S), int(4 * TIME_S)))
            resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))
            file = os.open(said, os.O_WRONLY | os.O_CREAT)
            os.dup2(file, 1)
            os.dup2(file, 2)
            os.chdir(folder)
            os.execv(sys.executable, [sys.executable, "-m", "medgrpo.cli.main", *words, "--quiet"])
        peak = 0
        while True:  # not ru_maxrss: it begins with the size of this process
            peak = max(peak, _peak_kib(child))
            ended, status, used = os.wait4(child, os.WNOHANG)
            if ended:
                break
            time.sleep(0.02)
        last = said.read_text(errors="replace").strip()[-300:]
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, peak / 2**20, last


def is_contained(code: int, seconds: float, gib: float, said: str) -> bool:
    """Whether the command ended by itself, in words, with bounded time and memory."""
    if code == 2 and "called" in said:
        raise ValueError(f"no such call: {said}")
    return code in (0, 1, 2) and seconds <= TIME_S and gib <= MEMORY_GIB and "looks like a bug" not in said


if __name__ == "__main__":
    wrong = 0
    for bomb in sys.argv[1:] or BOMBS:
        began = time.monotonic()
        result = exploded(bomb)
        wrong += not is_contained(*result)
        print(
            f"{'ok  ' if is_contained(*result) else 'FAIL'} {bomb}: exit {result[0]}, {result[1]:.1f} s CPU, {result[2]:.2f} GiB: {result[3][-160:]!r}",
            flush=True,
        )
    print(f"{len(sys.argv[1:] or BOMBS)} bombs, {wrong} not contained")
    sys.exit(bool(wrong))

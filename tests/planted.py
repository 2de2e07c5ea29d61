"""Odd values and odd files planted in models, adapters, datasets and runs; what each command makes of them.

`python -m tests.planted --all` tries every one of them and prints those that are not worded; the tests take every so manieth.
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medgrpo.cli.main import main

LIMIT_S = 60.0
"""A try that takes longer hangs, for one who waits."""
WHOLE = (
    *(
        "",
        "\0",
        "[",
        "[]",
        "null",
        "1",
        '"x"',
        '{"a": 1}',
        "{" * 100,
        "\ufeff{}",
        "[model]\npath = 3",
        "x = [",
    ),
    *("[" * 100_000, '{"a":' * 50_000, "9" * 50_000),
)
VALUES = (None, -1, 0, True, 1e308, "\ud800", "x" * 100_000, [], {}, [None], {"a": 1}, 10**30)
KEYS_OF_A_FILE = 8
TINY = (
    "--set=rollout.num_generations=2",
    "--set=rollout.max_completion_length=6",
    "--set=training.prompts_per_step=1",
    "--set=training.max_steps=2",
    "--set=training.save_steps=1",
    "--set=stages.sft.enabled=false",
    "--set=validation.before_and_after=false",
    "--set=logging.report_to=[]",
    "--set=tuning.method=lora",
    "--set=data.rows=4",
)
"""The settings of a run of two steps."""


@dataclass(frozen=True)
class Plant:
    """One odd thing: the file, its new content, and the command that meets it."""

    file: Path
    what: str
    content: bytes
    words: tuple[str, ...]


def called(words: tuple[str, ...]) -> tuple[int, str]:
    """Exit code of a command run in this process, and what it said on stderr."""
    code = 0
    # Files, not StringIO: some libraries ask the streams for their number.
    with (
        tempfile.TemporaryFile("w+", errors="backslashreplace") as said,
        tempfile.TemporaryFile("w+", errors="backslashreplace") as out,
    ):
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
            try:
                main([*words])
            except SystemExit as ended:
                code = int(ended.code or 0)
        said.seek(0)
        return code, said.read()


class Artefacts:
    """A dataset, a model and a run of two steps in a folder, and what may be planted in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data, self.model, self.run = folder / "data", folder / "model", folder / "run"
        self.adapter = self.run / "final_lora"
        self._numbers = iter(range(10**6))

    def commands(self, part: str) -> list[tuple[str, ...]]:
        picture = str(next((self.data / "images").glob("*")))
        out = str(self.folder / f"out{next(self._numbers)}")
        ask = ("--max-new-tokens", "2", "--quiet")
        return {
            "model": [
                ("ask", str(self.model), picture, "what?", *ask),
                ("train", "--data", str(self.data), "--model", str(self.model), "--dry-run", "--quiet"),
            ],
            "adapter": [
                ("merge-lora", str(self.adapter), "--output", out, "--verify", "0", "--quiet"),
                ("ask", str(self.adapter), picture, "what?", *ask),
            ],
            "data": [
                ("train", "--data", str(self.data), "--model", str(self.model), "--dry-run", "--quiet"),
                ("score", str(self.data), "--audit", "--quiet"),
                ("estimate-time", "--data", str(self.data), "--quiet"),
            ],
            "run": [
                ("health", str(self.run), "--quiet"),
                ("compare", str(self.run), "--output", out, "--quiet"),
                ("train", "--resume", str(self.run), "--dry-run", "--quiet"),
                ("make-dpo", str(self.run), "--output", out, "--margin", "0", "--quiet"),
            ],
        }[part]

    def files(self) -> list[tuple[str, Path]]:
        """Every file that something may be planted in, with the part that it belongs to."""
        found = [("model", file) for file in sorted(self.model.iterdir()) if file.is_file()]
        found += [("adapter", file) for file in sorted(self.adapter.iterdir()) if file.is_file()]
        found += [("data", file) for file in sorted(self.data.iterdir()) if file.is_file()]
        names = (
            "config.toml",
            "environment.json",
            "training_info.json",
            "log.jsonl",
            "completions/*.parquet",
            "checkpoints/*/*.json",
        )
        return found + [("run", file) for name in names for file in sorted(self.run.glob(name))]

    def plants(self) -> Iterator[Plant]:
        """All of them, each with one of the commands that read its file."""
        chance = random.Random(1)
        for part, file in self.files():
            for number, (what, content) in enumerate([*_whole(file), *_within(file, chance)]):
                commands = self.commands(part)
                yield Plant(file, what, content, commands[number % len(commands)])


def _whole(file: Path) -> Iterator[tuple[str, bytes]]:
    before = file.read_bytes()
    yield "cut in half", before[: len(before) // 2]
    yield (
        "one byte changed",
        bytes([*before[:3], before[3] ^ 255, *before[4:]]) if len(before) > 4 else b"\xff",
    )
    yield "not UTF-8", b"\xff\xfe\x00" + before[:50]
    for text in WHOLE:
        yield f"all of it {text[:12]!r}", text.encode("utf-8", "surrogatepass")
    if file.suffix == ".safetensors":
        yield from _headers(before)
    if file.suffix == ".jinja":
        loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        for text in (
            loops,
            "{{ 'x' * 10**9 }}",
            "{% include '/etc/passwd' %}",
            "{{ messages[99].content }}",
            "{{",
        ):
            yield f"template {text[:20]}", text.encode()


def _headers(before: bytes) -> Iterator[tuple[str, bytes]]:
    size = struct.unpack("<Q", before[:8])[0]
    header, data = json.loads(before[8 : 8 + size]), before[8 + size :]
    name = next(one for one in header if one != "__metadata__")
    changes = [
        {"shape": [2**40, 2**40]}, {"shape": [-1]}, {"shape": "x"}, {"shape": None}, {"dtype": "X99"}, {"dtype": None},
        {"data_offsets": [0, 2**62]}, {"data_offsets": [5, 1]}, {"data_offsets": "x"}, {"data_offsets": [None, None]},
    ]  # fmt: skip
    for change in changes:
        text = json.dumps({**header, name: {**header[name], **change}}).encode()
        yield f"{name}: {change}", struct.pack("<Q", len(text)) + text + data
    for length in (2**63, 2**64 - 1, 2**40, 0):
        yield f"header of {length} bytes", struct.pack("<Q", length) + before[8:]
    for text in (
        b"[" * 200_000,
        b"{}",
        b"null",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}',
    ):
        yield f"header {text[:10]!r}", struct.pack("<Q", len(text)) + text + data


def _within(file: Path, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    if file.suffix == ".parquet":
        yield from _tables(file)
    if file.suffix == ".jsonl":
        first, *others = file.read_text("utf-8").splitlines()
        documents = [(json.loads(first), lambda text: "\n".join([text, *others]) + "\n")]
    elif file.suffix == ".json":
        documents = [(json.loads(file.read_text("utf-8")), lambda text: text)]
    else:
        return
    for document, shown in documents:
        places = list(_places(document))
        for place in chance.sample(places, min(KEYS_OF_A_FILE, len(places))):
            for value in VALUES:
                text = json.dumps(_changed(document, place, value))
                yield (
                    f"{'.'.join(map(str, place))} = {value!r:.20}",
                    shown(text).encode("utf-8", "surrogatepass"),
                )


def _places(document: object, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(document, dict) and len(above) < 3:
        for key, value in list(document.items())[:60]:
            yield (*above, key)
            yield from _places(value, (*above, key))


def _changed(document: dict, place: tuple[str, ...], value: object) -> dict:
    first, *rest = place
    return {**document, first: value if not rest else _changed(document[first], tuple(rest), value)}


def _tables(file: Path) -> Iterator[tuple[str, bytes]]:
    import pyarrow as pa
    from pyarrow import parquet

    before = parquet.read_table(file)

    def written(table: pa.Table) -> bytes:
        stream = io.BytesIO()
        parquet.write_table(table, stream)
        return stream.getvalue()

    yield "no rows", written(before.slice(0, 0))
    yield "no columns", written(before.select([]))
    for name in before.column_names:
        place = before.column_names.index(name)
        yield f"without {name}", written(before.drop_columns([name]))
        for kind, value in (
            ("null", None),
            ("number", 7),
            ("text", "\u2028=1"),
            ("list", [None]),
            ("deep", [{"a": [1]}]),
        ):
            column = pa.array([value] * len(before))
            yield f"{name}: {kind}", written(before.set_column(place, name, column))


def made(folder: Path) -> Artefacts:
    """The artefacts, made by medgrpo itself; `MEDGRPO_ARTEFACTS` names some that were made before."""
    if ready := os.environ.get("MEDGRPO_ARTEFACTS"):
        shutil.copytree(ready, folder, dirs_exist_ok=True)
        return Artefacts(folder)
    from medgrpo.data.demo import DemoSize, demo_texts, write_demo_dataset
    from medgrpo.models.demo import build_demo_model

    write_demo_dataset(folder / "data", size=DemoSize(train=6, validation=2, test=4))
    build_demo_model(folder / "model", demo_texts(), seed=3)
    words = ("train", "--data", "data", "--model", "model", "--output", "run", "--quiet", *TINY)
    with contextlib.chdir(folder):
        code, said = called(words)
    assert code == 0, said
    from safetensors.torch import load_file, save_file

    # So small a rate that nothing moved: an adapter that changes something, with the fingerprint of that.
    file = folder / "run" / "final_lora" / "adapter_model.safetensors"
    save_file({name: value + 0.01 for name, value in load_file(file).items()}, file)
    about = folder / "run" / "final_lora" / "medgrpo.json"
    about.write_text(
        json.dumps({k: v for k, v in json.loads(about.read_text()).items() if k != "fingerprint"})
    )
    return Artefacts(folder)


def tried(artefacts: Artefacts, *, every: int = 1, first: int = 0) -> tuple[int, list[str]]:
    """How many plants were tried, and those that ended as a bug, with another exit code, or late."""
    count, wrong = 0, []
    for number, plant in enumerate(artefacts.plants()):
        if number % every != first % every:
            continue
        count += 1
        before = plant.file.read_bytes()
        began = time.monotonic()
        try:
            plant.file.write_bytes(plant.content)
            code, said = called(plant.words)
        finally:
            plant.file.write_bytes(before)
        took = time.monotonic() - began
        if "looks like a bug" in said or code not in (0, 1, 2) or took > LIMIT_S:
            name = plant.file.relative_to(artefacts.folder)
            wrong.append(
                f"{name}: {plant.what}: {plant.words[0]}: exit {code}, {took:.1f} s: {said.strip()[-300:]}"
            )
            print(wrong[-1], flush=True)
    return count, wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--every", type=int, default=17)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    place = Path(tempfile.mkdtemp())
    try:
        tries, faults = tried(made(place), every=1 if options.all else options.every, first=options.first)
        print(f"{tries} planted, {len(faults)} not worded ({len(faults) / max(1, tries):.2%})")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    sys.exit(len(faults) * 100 >= max(1, tries))

"""Odd things in the places that `tests.planted` does not reach: pictures of a dataset, checkpoints, sharded weights, outputs of
earlier evaluations, files that options name, odd calls, rewards that answer nonsense.

`python -m tests.strange` tries each (about 150) and prints those that end as "a bug", by another exit code than 0, 1, 2, or late.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.planted import LIMIT_S, TINY, Artefacts, called, made

Make = Callable[[Artefacts], tuple[str, ...]]
"""Plants something in a copy of the artefacts; the words of the command that meets it."""
ONE_STEP = (*TINY, "--set=training.max_steps=1")
ROWS = [
    {"id": str(n), "question": "q?", "answer": "yes", "completion": "<answer>yes</answer>"} for n in range(4)
]


def text(*lines: object) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def put(at: Path, content: bytes | str) -> str:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return str(at)


def train(a: Artefacts, *more: str) -> tuple[str, ...]:
    return (
        "train",
        "--data",
        str(a.data),
        "--model",
        str(a.model),
        "--output",
        str(a.folder / "new"),
        *ONE_STEP,
        *more,
    )


def ask_all(a: Artefacts, *more: str) -> tuple[str, ...]:
    short = ("--limit", "2", "--max-new-tokens", "2")
    return ("eval", str(a.model), str(a.data), *short, "--output", str(a.folder / "eval"), *more)


def evaluation(a: Artefacts) -> Path:
    """The folder of an evaluation that is there."""
    assert called((*ask_all(a), "--quiet"))[0] == 0
    return a.folder / "eval"


def rows(a: Artefacts) -> str:
    return put(a.folder / "rows.jsonl", text(*ROWS))


# --- pictures of a prepared dataset


def pictures() -> Iterator[tuple[str, Make]]:
    from io import BytesIO

    from PIL import Image

    def drawn(mode: str, size: tuple[int, int], form: str = "PNG") -> bytes:
        stream = BytesIO()
        Image.new(mode, size).save(stream, form)
        return stream.getvalue()

    odd: dict[str, Callable[[bytes], bytes]] = {
        "empty": lambda before: b"",
        "cut": lambda before: before[:60],
        "text": lambda before: b"not a picture",
        "one pixel": lambda before: drawn("RGB", (1, 1)),
        "a line": lambda before: drawn("L", (3000, 1)),
        "16 bit": lambda before: drawn("I;16", (40, 40)),
        "floats": lambda before: drawn("F", (40, 40), "TIFF"),
        "palette with alpha": lambda before: (
            drawn("PA", (40, 40), "TIFF") if False else drawn("LA", (40, 40))
        ),
        "a GIF": lambda before: drawn("P", (40, 40), "GIF"),
        "middle changed": lambda before: before[:200] + bytes(50) + before[250:],
    }
    for name, change in odd.items():
        for command in ("train", "eval", "audit", "page"):

            def make(a: Artefacts, change: Callable = change, command: str = command) -> tuple[str, ...]:
                for file in (a.data / "images").iterdir():
                    file.write_bytes(change(file.read_bytes()))
                if command == "page":
                    return (
                        "preprocess",
                        str(a.data),
                        str(a.folder / "again"),
                        "--size",
                        "28",
                        "--workers",
                        "1",
                        "--on-bad-row",
                        "skip",
                    )
                if command == "audit":
                    return ("score", str(a.data), "--audit")
                return train(a) if command == "train" else ask_all(a)

            yield f"pictures of the dataset, {name}: {command}", make

    def gone(a: Artefacts) -> tuple[str, ...]:
        shutil.rmtree(a.data / "images")
        return train(a)

    def folder(a: Artefacts) -> tuple[str, ...]:
        for file in list((a.data / "images").iterdir()):
            file.unlink()
            file.mkdir()
        return ask_all(a)

    yield "pictures gone: train", gone
    yield "folders called as pictures: eval", folder


# --- checkpoints, resumed


def checkpoints() -> Iterator[tuple[str, Make]]:
    names = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "complete.json", "medgrpo_state.json",
             "adapter_model.safetensors", "generation_cycle_0.pt")  # fmt: skip
    contents = {"empty": b"", "noise": os.urandom(300), "a list": b"[1, [2]]", "a pickle": b"\x80\x04]\x94."}
    for number, name in enumerate(names):
        for what, content in list(contents.items())[number % 2 :: 2]:

            def make(a: Artefacts, name: str = name, content: bytes = content) -> tuple[str, ...]:
                last = a.run / "checkpoints" / "checkpoint-2"
                put(last / name, content)
                return ("train", "--resume", str(a.run), "--set=training.max_steps=3")

            yield f"checkpoint, {name} is {what}: resume", make


# --- weights, folders, links


def weights() -> Iterator[tuple[str, Make]]:
    indices = {
        "no map": {}, "map is a list": {"weight_map": [1]}, "names are numbers": {"weight_map": {"a": 1}},
        "file outside": {"weight_map": {"a": "../../x.safetensors"}}, "null": None, "file absent": {"weight_map": {"a": "b.safetensors"}},
        "map is a text": {"weight_map": "x"},
    }  # fmt: skip
    for what, document in indices.items():
        for command in ("train", "ask"):

            def make(a: Artefacts, document: object = document, command: str = command) -> tuple[str, ...]:
                (a.model / "model.safetensors").rename(a.model / "x.safetensors")
                put(a.model / "model.safetensors.index.json", json.dumps(document))
                return (
                    train(a, "--dry-run")
                    if command == "train"
                    else ("ask", str(a.model), "-", "what?", "--max-new-tokens", "2")
                )

            yield f"index of weights, {what}: {command}", make

    def odd_file(name: str, how: str) -> Make:
        def make(a: Artefacts) -> tuple[str, ...]:
            file = a.model / name
            file.unlink()
            if how == "folder":
                file.mkdir()
            elif how == "link to itself":
                file.symlink_to(file)
            elif how == "pipe":
                os.mkfifo(file)
            else:
                file.symlink_to("/dev/zero")
            return ("ask", str(a.model), "-", "what?", "--max-new-tokens", "2")

        return make

    for name in (
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "chat_template.jinja",
        "processor_config.json",
    ):
        for how in ("folder", "link to itself"):
            yield f"{name} is a {how}: ask", odd_file(name, how)
    yield "config.json is a pipe: ask", odd_file("config.json", "pipe")
    yield (
        "medgrpo.json is a link to /dev/zero: ask",
        lambda a: (
            (a.model / "medgrpo.json").symlink_to("/dev/zero")
            or ("ask", str(a.model), "-", "what?", "--max-new-tokens", "2")
        ),
    )


# --- what an earlier evaluation left


def evaluations() -> Iterator[tuple[str, Make]]:
    import pyarrow as pa
    from pyarrow import parquet

    values = (None, [], 3, {"a": None}, "\ud800", True)
    for name in ("metrics.json", "predictions.parquet"):
        for value in values:
            for command in ("compare", "eval again", "pairs"):

                def make(
                    a: Artefacts, name: str = name, value: object = value, command: str = command
                ) -> tuple[str, ...]:
                    folder = evaluation(a)
                    put(folder / name, json.dumps(value) + "\n")
                    if command == "compare":
                        return ("compare", str(folder), "--html", "--output", str(a.folder / "page"))
                    if command == "pairs":
                        return (
                            "make-dpo",
                            str(folder / "predictions.parquet"),
                            "--from",
                            "models",
                            "--data",
                            str(a.data),
                            "--output",
                            str(a.folder / "pairs"),
                        )
                    return ask_all(a)

                if name == "predictions.parquet" or command != "pairs":
                    yield f"evaluation, {name} is {value!r:.12}: {command}", make
    for key, value in (
        ("completion", 3),
        ("id", None),
        ("images", "x"),
        ("scores", [1]),
        ("answers", {"a": 1}),
        ("boxes", "[[1"),
        ("question", [1]),
    ):

        def fields(a: Artefacts, key: str = key, value: object = value) -> tuple[str, ...]:
            folder = evaluation(a)
            table = parquet.read_table(folder / "predictions.parquet")
            changed = [{**row, key: value} for row in table.to_pylist()]
            parquet.write_table(pa.Table.from_pylist(changed), folder / "predictions.parquet")
            return ("compare", str(folder), "--html", "--output", str(a.folder / "page"))

        yield f"predictions, {key} is {value!r}: compare", fields


# --- files that options name


def options() -> Iterator[tuple[str, Make]]:
    tomls = ("[rewards]\nweights = 3", "training = 1", "[training]\nmax_steps = 'x'", "[[model]]", "a = 1979-05-27", "[data]\npath = [1]",
             "[rewards.weights]\nanswer_match = nan", "[stages.sft]\nenabled = []", "\x00", "x" * 10**6)  # fmt: skip
    for toml in tomls:
        shown = toml[:24].replace("\n", " ")
        yield (
            f"--config {shown!r}: train",
            lambda a, toml=toml: train(a, "--config", put(a.folder / "c.toml", toml), "--dry-run"),
        )
        yield (
            f"--preset {shown!r}: estimate-time",
            lambda a, toml=toml: ("estimate-time", "--preset", put(a.folder / "c.toml", toml)),
        )
        yield (
            f"--targets {shown!r}: eval",
            lambda a, toml=toml: (
                "eval",
                "--predictions",
                rows(a),
                "--targets",
                put(a.folder / "t.toml", toml),
            ),
        )
        yield (
            f"--prompt {shown!r}: ask",
            lambda a, toml=toml: (
                "ask",
                str(a.model),
                "-",
                "q?",
                "--prompt",
                put(a.folder / "p.toml", toml),
                "--max-new-tokens",
                "2",
            ),
        )
    for content in ("", "a,b\n1,2", "id,choice\n", "pair,preferred\n1,both\n\x00", "\ufeffx" * 9, '"' * 5000):
        yield f"sheet of pairs {content[:12]!r}: make-dpo", lambda a, content=content: (
            "make-dpo", str(a.run), "--import-review", put(a.folder / "s.csv", content), "--output", str(a.folder / "pairs"))  # fmt: skip
        yield (
            f"sheet of answers {content[:12]!r}: eval",
            lambda a, content=content: ("eval", "--import-review", put(a.folder / "s.csv", content)),
        )
        yield f"references {content[:12]!r}: score", lambda a, content=content: (
            "score", rows(a), "--references", put(a.folder / "r.csv", content), "--join", "id")  # fmt: skip
    for name, content in (
        ("m.npy", b"\x93NUMPY\1\0\x10\0{'descr': '<f9'}"),
        ("m.npz", b"PK\3\4"),
        ("m.png", b"\x89PNG\r\n\x1a\n"),
        ("m.txt", b"[[1"),
        ("m.npy", b""),
    ):
        yield f"masks {name} {content[:6]!r}: eval", lambda a, name=name, content=content: (
            put(a.folder / "masks" / name, content) and ("eval", str(a.data), "--masks", str(a.folder / "masks")))  # fmt: skip
    for line in (
        "null",
        "3",
        '{"seconds_per_prompt": "x"}',
        '{"card": [], "method": 3, "s_per_prompt": null}',
        "[" * 9999,
        "\x00",
    ):

        def cached(a: Artefacts, line: str = line) -> tuple[str, ...]:
            put(a.folder / "cache" / "runs.jsonl", line + "\n")
            os.environ["MEDGRPO_CACHE"] = str(a.folder / "cache")
            return ("estimate-time", "--data", str(a.data))

        yield f"earlier runs {line[:12]!r}: estimate-time", cached
    yield "--from-run of a run without its log: estimate-time", lambda a: (
        (a.run / "log.jsonl").unlink() or ("estimate-time", "--from-run", str(a.run)))  # fmt: skip
    yield "--from-run of a config that is JSON: estimate-time", lambda a: (
        put(a.run / "config.toml", '{"a": 1}') and ("estimate-time", "--from-run", str(a.run)))  # fmt: skip


# --- odd calls


def calls() -> Iterator[tuple[str, Make]]:
    odd = (
        "\ud800",
        "\udcff.json",
        "a" * 5000,
        "~nobody/x",
        "/dev/null",
        ".",
        "hf://x/y",
        "a/b/c/d",
        "-",
        " ",
        "\n",
    )
    for word in odd:
        yield (
            f"ask MODEL {word[:10]!r}",
            lambda a, word=word: ("ask", word, "-", "what?", "--max-new-tokens", "2"),
        )
        yield (
            f"ask IMAGE {word[:10]!r}",
            lambda a, word=word: ("ask", str(a.model), word, "what?", "--max-new-tokens", "2"),
        )
        yield (
            f"ask QUESTION {word[:10]!r}",
            lambda a, word=word: ("ask", str(a.model), "-", word, "--max-new-tokens", "2"),
        )
        yield (
            f"train --data {word[:10]!r}",
            lambda a, word=word: ("train", "--data", word, "--model", str(a.model), "--dry-run"),
        )
        yield (
            f"preprocess {word[:10]!r}",
            lambda a, word=word: ("preprocess", word, str(a.folder / "out"), "--workers", "1"),
        )
        yield (
            f"merge-lora {word[:10]!r}",
            lambda a, word=word: ("merge-lora", word, "--output", str(a.folder / "m")),
        )
        yield f"health {word[:10]!r}", lambda a, word=word: ("health", word)
        yield f"--weights {word[:10]!r}: score", lambda a, word=word: ("score", rows(a), "--weights", word)
        yield f"--columns {word[:10]!r}: score", lambda a, word=word: ("score", rows(a), "--columns", word)
        yield f"--rewards {word[:10]!r}: score", lambda a, word=word: ("score", rows(a), "--rewards", word)
        yield (
            f"--set {word[:10]!r}: train",
            lambda a, word=word: train(a, "--set", f"training.seed={word}", "--dry-run"),
        )
        yield f"presets show {word[:10]!r}", lambda a, word=word: ("presets", "show", word)
        yield (
            f"--output {word[:10]!r}: eval",
            lambda a, word=word: (
                "eval",
                "--predictions",
                rows(a),
                "--output",
                str(a.folder / word) if word not in (".", "/dev/null") else word,
            ),
        )


# --- rewards that answer nonsense


def rewards() -> Iterator[tuple[str, Make]]:
    bodies = ("return 'x'", "return [1] * 99", "return [{}] * len(completions)", "return iter([])", "return [float('inf')] * len(completions)",
              "return [10**400] * len(completions)", "return [object()] * len(completions)", "return {1: 2}", "raise KeyError", "yield 1",
              "import numpy; return numpy.zeros((len(completions), 2))", "return [1+1j] * len(completions)", "raise BaseException('x')")  # fmt: skip
    for body in bodies:
        code = f"def odd(completions, **columns):\n    {body}\n"
        yield (
            f"reward: {body[:30]}: score",
            lambda a, code=code: ("score", rows(a), "--rewards", put(a.folder / "r.py", code) + ":odd"),
        )
    for code in (
        "",
        "odd = 3",
        "def odd(): return 1",
        "class odd: pass",
        "1/0",
        "import nothing_of_this_name",
        "def odd(completions",
        "raise SystemExit(0)",
    ):
        yield (
            f"reward file: {code[:24]}: score",
            lambda a, code=code: ("score", rows(a), "--rewards", put(a.folder / "r.py", code) + ":odd"),
        )


# --- sources of other forms


def sources() -> Iterator[tuple[str, Make]]:
    documents: dict[str, object] = {
        "coco.json": {"images": [{"id": 1, "file_name": 3}], "annotations": [{"image_id": 1, "bbox": "x", "category_id": None}], "categories": [{}]},
        "coco2.json": {"images": {}, "annotations": [[]], "categories": "x"},
        "chat.json": [{"conversations": [{"from": 3, "value": None}]}, {"messages": [{"role": None, "content": [{"type": "image"}]}]}],
        "chat2.json": [{"messages": "x"}, {"conversations": {}}, {"messages": [[]]}],
        "pairs.json": [{"prompt": [], "chosen": 3, "rejected": {}}, {"prompt": "q", "chosen": [{"content": None}], "rejected": []}],
        "nested.json": {"data": {"data": {"data": []}}}, "numbers.json": [1, 2, 3], "mixed.json": [{}, None, "x", [1]],
        "base64.json": [{"question": "q", "answer": "a", "image": "data:image/png;base64,????"}],
        "bytes.json": [{"question": "q", "answer": "a", "image": {"bytes": 3, "path": []}}],
        "far.json": [{"question": "q", "answer": "a", "image": "../../../../etc/passwd"}],
        "polygon.json": [{"question": "q", "answer": "a", "segmentation": [[None, 1], "x"]}],
    }  # fmt: skip
    for name, document in documents.items():
        yield f"source {name}: preprocess", lambda a, name=name, document=document: (
            "preprocess", put(a.folder / "source" / name, json.dumps(document)), str(a.folder / "out"), "--workers", "1", "--on-bad-row", "skip",
            "--missing-image", "text")  # fmt: skip
    files: dict[str, bytes] = {
        "labels/a.txt": b"0 x y z\n\xff", "data.yaml": b"names: {1: [2]}\ntrain: 3\n", "a.xml": b"<annotation><object><bndbox><xmin>x</xmin>",
        "a.parquet": b"PAR1", "a.zip": b"PK\3\4x", "a.nii.gz": b"\x1f\x8b\x08\x00x", "a.csv": b'"a\n' * 999, "a.tsv": b"\xff\xfeq\0\t\0a\0\n\0",
        "captions.txt": b"a.png\n\xe9|\t", "a.jsonl": b'{"question": "q", "answer": "a"}\n{"question": \n',
    }  # fmt: skip
    for name, content in files.items():
        yield f"source folder with {name}: preprocess", lambda a, name=name, content=content: (
            put(a.folder / "source" / name, content) and (
            "preprocess", str(a.folder / "source"), str(a.folder / "out"), "--workers", "1", "--on-bad-row", "skip", "--missing-image", "text"))  # fmt: skip


KINDS = (pictures, checkpoints, weights, evaluations, options, calls, rewards, sources)


def strange() -> list[tuple[str, Make]]:
    """All of them, each by name."""
    return [one for kind in KINDS for one in kind()]


def tried(*, every: int = 1, first: int = 0, only: str = "", folder: Path) -> tuple[int, list[str]]:
    """How many were tried, and those that ended as a bug, with another exit code, or late."""
    whole = made(folder / "whole")
    chosen = [one for one in strange() if only in one[0]][first::every]
    wrong = []
    for name, make in chosen:
        place = folder / "here"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole.folder, place)
        before = {key: os.environ.get(key) for key in ("MEDGRPO_CACHE",)}
        began = time.process_time()
        try:
            os.chdir(place)
            words = make(Artefacts(place))
            code, said = called((*words, *(() if words[:1] == ("presets",) else ("--quiet",))))
        except (Exception, GeneratorExit) as error:  # noqa: BLE001 - what comes out of a command at all is a fault
            words, code, said = ("?",), 99, f"{type(error).__name__}: {error}"
        finally:
            for key, value in before.items():
                os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)
        took = time.process_time() - began
        if "looks like a bug" in said or "Traceback" in said or code not in (0, 1, 2) or took > LIMIT_S:
            wrong.append(f"{name}: {words[0]}: exit {code}, {took:.1f} s: {said.strip()[-400:]}")
            print(wrong[-1], flush=True)
    return len(chosen), wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as name:
        tries, faults = tried(every=given.every, first=given.first, only=given.only, folder=Path(name))
        os.chdir("/")
    print(f"{tries} planted, {len(faults)} not worded ({len(faults) / max(1, tries):.2%})")
    sys.exit(len(faults) * 100 >= max(1, tries))

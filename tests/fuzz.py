"""Every parser of foreign input, given what hypothesis makes of honest files: cut, spliced, with bytes and values exchanged.

`python -m tests.fuzz --seconds 600` gives each parser as many processor seconds, its children's too, `--processes 16` so many
parsers at a time; `--only logs` names one, `--write FILE` keeps the counts. What a parser may do is read, skip, or raise an
error in words; anything else is printed with the bytes that did it.
"""

import argparse
import contextlib
import json
import logging
import os
import random
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from medgrpo.cli.main import _as_medgrpo_error
from medgrpo.data.opened import Unusable

WORDS = [
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r\n", b"\0", b"null", b"NaN", b"Infinity", b"1e999", b"-1", b"0"),
    *(b"9" * 400, "\u2028".encode(), b"\xed\xa0\x80", b"\xff\xfe", b"<answer>", b"</answer>", b"...", b"=1+1", b"\xef\xbb\xbf"),
    *(b'{"a": 1}', b"[[[[[[", struct.pack("<Q", 2**63), struct.pack("<I", 2**31), b"x" * 5000),
]  # fmt: skip
LATE_S = 20.0


@st.composite
def mutated(draw: Callable, seeds: list[bytes]) -> bytes:
    """An honest file with a few changes."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(("cut", "insert", "byte", "swap", "repeat", "word")))
        if kind == "cut":
            del data[place : place + draw(st.integers(1, 64))]
        elif kind == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=16))
        elif kind == "byte" and data:
            data[place] = draw(st.integers(0, 255))
        elif kind == "swap":
            other = draw(st.sampled_from(seeds))
            start = draw(st.integers(0, max(0, len(other) - 1)))
            data[place : place + 40] = other[start : start + 40]
        elif kind == "repeat":
            data[place:place] = data[max(0, place - 30) : place] * draw(st.integers(1, 20))
        else:
            data[place:place] = draw(st.sampled_from(WORDS))
    return bytes(data[: 2**18])


def _rows() -> list[bytes]:
    row = {"id": "1", "question": "Is it?", "answer": "yes", "completion": "<think>a</think><answer>yes</answer>", "image": "a.png",
           "boxes": [[1, 2, 3, 4]], "options": {"A": "x"}, "samples": ["a", "b"], "messages": [{"role": "user", "content": "q"}]}  # fmt: skip
    talk = {
        "conversations": [{"from": "human", "value": "<image>q"}, {"from": "gpt", "value": "a"}],
        "image": "a.png",
        "id": 3,
    }
    coco = {"images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 9}], "categories": [{"id": 1, "name": "x"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "segmentation": [[1, 1, 2, 2, 3, 3]]}]}  # fmt: skip
    documents = (row, [row, row], {"data": [row]}, talk, [talk], coco)
    texts = [json.dumps(one) for one in documents] + [json.dumps(row) + "\n" + json.dumps(talk) + "\n"]
    texts += [
        "id,question,answer,completion\n1,q,yes,<answer>a</answer>\n2,q;2,no,\n",
        "id\tanswer\tcompletion\n1\tyes\tno\n",
    ]
    texts += [
        "### Sample 1\n**Question:** q\n**Completion:** a\n**Answer:** b\n",
        "0 0.5 0.5 0.1 0.1\n1 0.2 0.2 0.3 0.3\n",
    ]
    texts.append(
        "<annotation><filename>a.png</filename><object><name>x</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>"
    )
    return [text.encode() for text in texts]


def _logs() -> list[bytes]:
    entry = {"step": 1, "loss": 0.5, "reward": 0.4, "kl": 0.01, "epoch": 0.1}
    return [
        json.dumps(entry).encode() + b"\n" + json.dumps({**entry, "step": 2}).encode() + b"\n",
        json.dumps({"log_history": [entry, {**entry, "step": 2}], "global_step": 2}).encode(),
        json.dumps(
            {"name": "a", "history": [entry], "stages": [{"name": "1-sft", "history": [entry]}], "config": {}}
        ).encode(),
        b"{'loss': 0.5, 'grad_norm': 1.0, 'learning_rate': 1e-05, 'epoch': 0.1}\n{'loss': 0.4, 'epoch': 0.2}\n",
        b"step:1 - actor/loss:0.1 - critic/rewards/mean:0.5\nstep:2 - actor/loss:0.1\n",
        b"Step,loss,reward\n1,0.5,0.1\n2,0.4,0.2\n",
        b"  5%|5         | 1/20 [00:01<00:19]{'loss': 1.0}\n",
    ]


def parsers(place: Path) -> dict[str, tuple[list[bytes], Callable[[bytes], object]]]:
    """Parser → honest files, and what reads one."""
    from medgrpo.config.layers import file_layer
    from medgrpo.data.decode import open_picture
    from medgrpo.data.nifti import read_nifti_header
    from medgrpo.data.prepare import PrepareOptions, prepare
    from medgrpo.data.source import ImageRef
    from medgrpo.data.volumes import open_volume_slice
    from medgrpo.evaluation.predictions import read_predictions
    from medgrpo.models.adapter_files import read_adapter
    from medgrpo.models.chat_templates import _is_explosive
    from medgrpo.models.tensor_files import read_header
    from medgrpo.rewards.boxes import written_boxes  # noqa: F401  (the module that reads boxes)
    from medgrpo.rewards.completions_file import read_completions
    from medgrpo.runs.record import read_run
    from medgrpo.workbooks import read_workbook

    numbers = iter(range(10**9))

    def at(name: str, content: bytes) -> Path:
        file = place / name
        file.write_bytes(content)
        return file

    def prepared(content: bytes) -> None:
        folder = place / f"source{next(numbers)}"
        folder.mkdir()
        names = ("rows.json", "rows.jsonl", "rows.csv", "a.xml", "data.yaml", "a.txt")
        (folder / names[content[:1][0] % len(names) if content else 0]).write_bytes(content)
        prepare(
            folder,
            place / f"out{next(numbers)}",
            PrepareOptions(on_bad_row="skip", missing_image="text"),
            workers=1,
        )

    return {
        "logs": (_logs(), lambda content: read_run(at("log.json", content))),
        "completions": (_rows(), lambda content: read_completions(at("rows.json", content))),
        "completions as CSV": (_rows(), lambda content: read_completions(at("rows.csv", content))),
        "predictions": (_rows(), lambda content: read_predictions(at("rows.jsonl", content))),
        "sources": (_rows(), prepared),
        "pictures": (_pictures(), lambda content: open_picture(content, ImageRef("a.png")).full()),
        "DICOM": (_dicom(place), lambda content: open_volume_slice(content, ImageRef("a.dcm"))),
        "NIfTI": (_nifti(place), lambda content: (read_nifti_header(at("a.nii", content)), open_volume_slice(content, ImageRef("a.nii", "slice:axial/1")))),
        "safetensors": (_tensors(), lambda content: read_header(at("a.safetensors", content))),
        "adapters": (_adapters(), lambda content: read_adapter(at("adapter/adapter_config.json", content).parent)),
        "parquet": (_parquet(), lambda content: read_completions(at("rows.parquet", content))),
        "chat templates": ([b"{% for m in messages %}<|{{ m.role }}|>{{ m['content'] * 2 }}{% endfor %}{{ 'x' * 3 }}"], lambda content: _is_explosive(content.decode("utf-8", "replace"))),
        "workbooks": (_workbooks(), lambda content: list(read_workbook(at("rows.xlsx", content)).rows)),
        **_artefacts(place),
        "settings": ([b'[model]\npath = "x"\n[training]\nmax_steps = 3\n', b"model:\n  path: x\n", b'{"model": {"path": "x"}}'], lambda content: file_layer(at("a.toml", content))),
    }  # fmt: skip


def _artefacts(place: Path) -> dict[str, tuple[list[bytes], Callable[[bytes], object]]]:
    """Parsers of what models, runs and servers are made of."""
    from medgrpo.data.chat import ModelText
    from medgrpo.data.demo import DemoSize, demo_texts, write_demo_dataset
    from medgrpo.data.prepared import PreparedDataset, files_of
    from medgrpo.data.prompts import load_template
    from medgrpo.evaluation.mask_files import read_mask
    from medgrpo.evaluation.targets import load_targets
    from medgrpo.generation.server import texts_of
    from medgrpo.models.demo import build_demo_model
    from medgrpo.models.tensor_files import weight_files
    from medgrpo.models.weights import find_weights
    from medgrpo.pictures import stored_file
    from medgrpo.preference.rollouts import read_rollouts
    from medgrpo.rewards.boxes import parse_boxes
    from medgrpo.rewards.mask_text import mask_from_text
    from medgrpo.rewards.text import explain
    from medgrpo.runs.record import read_run
    from medgrpo.runs.store import read_rows
    from medgrpo.sharing import identifying
    from tests.unforeseen.doors import EVENTS, event_file

    data = write_demo_dataset(place / "demo", size=DemoSize(train=2, validation=1, test=1)).path
    model = build_demo_model(place / "model", demo_texts(), seed=3)
    about = (data / "dataset.json").read_bytes()
    adapter = json.dumps({"base_model_name_or_path": str(model), "peft_type": "LORA", "r": 4}).encode()
    recorded = json.dumps(
        {
            "version": 1,
            "base": str(model),
            "tags": ["answer"],
            "prompt_template": "short",
            "generation": {"max_new_tokens": 8},
        }
    ).encode()
    spooled = (
        json.dumps(
            {
                "step": 1,
                "stage": "1-grpo",
                "id": "a",
                "completion": "<answer>a</answer>",
                "reward": 0.5,
                "rewards": {"format": 1.0},
            }
        ).encode()
        + b"\n"
    )
    for name in ("adapter_model.safetensors", "model.safetensors"):
        (place / "adapter" / name).write_bytes(_tensors()[0])
    run = place / "run"
    (run / "completions").mkdir(parents=True)
    (run / "config.toml").write_bytes(b"")

    def put(file: Path, content: bytes) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def dataset(content: bytes) -> None:
        put(data / "dataset.json", content)
        list(PreparedDataset.open(data).rows("train"))

    def weights(content: bytes) -> None:
        name = "medgrpo.json" if b"tags" in content else "adapter_config.json"
        before = {"medgrpo.json": recorded, "adapter_config.json": adapter, name: content}
        for one, text in before.items():
            put(place / "adapter" / one, text)
        find_weights(str(place / "adapter"))

    def of_run(content: bytes) -> None:
        first = content[:1][0] if content else 0
        put(run / ("config.toml", "training_info.json", "log.jsonl")[first % 3], content)
        read_run(run)

    def text(content: bytes) -> None:
        said = content.decode("utf-8", "replace")
        parse_boxes(said)
        mask_from_text(said, (16, 16), {"width": 16, "height": 16})

    def reply(content: bytes) -> None:
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            return
        with contextlib.suppress(LookupError, TypeError, ValueError):  # what it says of another form
            texts_of(document)

    def shared(content: bytes) -> None:
        names = (
            "a.png",
            "a.jpg",
            "a.pdf",
            "a.zip",
            "a.pt",
            "a.npz",
            "a.parquet",
            "a.tar",
            "a.nii.gz",
            "a.tif",
            "a.webp",
            "a",
        )
        for old in (place / "shared").glob("*"):
            old.unlink()
        put(place / "shared" / names[len(content) % len(names)], content)
        identifying(place / "shared")

    def tokenizer(content: bytes) -> None:
        put(model / "tokenizer.json", content)
        ModelText.load(model)

    index = json.dumps({"metadata": {"total_size": 1}, "weight_map": {"a": "model.safetensors"}}).encode()
    answers = [
        b"<answer>[12, 3, 40, 50]</answer>",
        b'{"bbox_2d": [1, 2, 3, 4], "label": "x"}',
        b'{"points": [[1, 2]], "counts": "abc", "size": [16, 16]}',
        b"<box>(1,2),(3,4)</box>",
        b"[[1,1,9,1,9,9]]",
    ]
    replied = json.dumps(
        {
            "choices": [
                {"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop", "logprobs": None}
            ],
            "usage": {"total_tokens": 3},
        }
    ).encode()
    rolled = [
        json.dumps({"prompt": "q", "completion": "a", "step": 1, "accuracy": 0.5, "answer": 3.0}).encode(),
        json.dumps({"prompt": ["q", "r"], "completion": ["a", "b"], "step": 2, "reward": [1, 0]}).encode(),
        json.dumps({"input": "q", "output": "a", "score": 1.0, "gts": {"ground_truth": "a"}}).encode(),
    ]
    asked = [
        b"Is there a mass in the left lung?\nyes, of 3.5 cm\nThere is a mass; no effusion.",
        b"Which is it? A) CT B) MRI\nB\n<think>no</think><answer>(B) MRI, not CT</answer>",
        "左肺是否有肿块?\n没有\n左肺未见明显肿块,右肺 1.2 cm 结节".encode(),
    ]
    rows = (data / "train.parquet").read_bytes()

    def scored(content: bytes) -> None:
        question, _, rest = content.decode("utf-8", "replace").partition("\n")
        answer, _, completion = rest.partition("\n")
        explain([completion], question=[question], answer=[answer], plain=len(content) % 2 == 0)

    def named(content: bytes) -> None:
        put(data / "train.parquet", content)
        for row in PreparedDataset.open(data).rows("train"):
            for name in files_of(row):
                if name:
                    stored_file(data, name)

    return {
        "rollouts": (rolled, lambda content: read_rollouts(put(place / "rolled" / "completions.jsonl", content))), "questions and answers": (asked, scored), "rows of a dataset": ([rows], named),
        "event files": ([event_file(kind) for kind in EVENTS[2:4]], lambda content: read_run(put(place / "tb" / "events.out.tfevents.1.x", content))),
        "masks": (_arrays(), lambda content: _unless_value(read_mask, put(place / f"mask{('.npy', '.npz', '.png')[len(content) % 3]}", content))),
        "datasets": ([about], dataset), "weights": ([adapter, recorded], weights), "indexes": ([index], lambda content: weight_files(put(place / "indexed" / "model.safetensors.index.json", content).parent)),
        "runs": ([b'[model]\npath = "x"\n', recorded, spooled], of_run), "stored completions": ([spooled * 2], lambda content: (put(run / "completions" / "spool.jsonl", content), read_rows(run))),
        "prompt templates": ([b'tags = ["think", "answer"]\nsystem = "s"\n[instruction]\nen = "i"\nzh = "i"\n'], lambda content: load_template(put(place / "p.toml", content))),
        "targets": ([b"[answer_match]\nat_least = 0.5\n", b"[closed]\nmin = 0.4\n"], lambda content: load_targets(put(place / "t.toml", content))),
        "texts of models": (answers, text), "replies": ([replied], reply), "shared files": ([*_pictures(), *_arrays(), *_parquet(), *_tensors()], shared), "tokenizers": ([(model / "tokenizer.json").read_bytes()[:4000], (model / "tokenizer.json").read_bytes()], tokenizer),
    }  # fmt: skip


def _unless_value(read: Callable[[Path], object], file: Path) -> None:
    """A mask that is none is counted by its reason: an `OSError` or `ValueError` is the word for it."""
    with contextlib.suppress(OSError, ValueError):
        read(file)


def _arrays() -> list[bytes]:
    import io

    import numpy as np

    plain, packed = io.BytesIO(), io.BytesIO()
    np.save(plain, np.eye(8, dtype=np.uint8))
    np.savez_compressed(packed, a=np.eye(8, dtype=bool))
    return [plain.getvalue(), packed.getvalue(), _pictures()[0]]


def _workbooks() -> list[bytes]:
    import io

    import openpyxl

    book, stream = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["question", "answer", "completion"])
    book.active.append(["q", 3.5, "<answer>yes</answer>"])
    book.save(stream)
    return [stream.getvalue()]


def _pictures() -> list[bytes]:
    import io

    from PIL import Image

    found = []
    for form in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"):
        stream = io.BytesIO()
        Image.linear_gradient("L").resize((16, 16)).save(stream, form)
        found.append(stream.getvalue())
    return found


def _dicom(place: Path) -> list[bytes]:
    from tests.bombs import dicom

    (place / "d").mkdir(exist_ok=True)
    return [
        dicom(place / "d", deflated=packed, rows=8, data=bytes(128)).read_bytes() for packed in (False, True)
    ]


def _nifti(place: Path) -> list[bytes]:
    import nibabel
    import numpy as np

    found = []
    for name in ("x.nii", "x.nii.gz"):
        nibabel.save(
            nibabel.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.eye(4)), place / name
        )
        found.append((place / name).read_bytes())
    return found


def _tensors() -> list[bytes]:
    import torch
    from safetensors.torch import save

    return [save({"a.lora_A.weight": torch.ones(2, 2), "a.lora_B.weight": torch.ones(2, 2)})]


def _adapters() -> list[bytes]:
    return [
        json.dumps(
            {
                "peft_type": "LORA",
                "r": 4,
                "lora_alpha": 8,
                "target_modules": ["q"],
                "rank_pattern": {"a": 2},
                "base_model_name_or_path": "x",
            }
        ).encode()
    ]


def _parquet() -> list[bytes]:
    import io

    import pyarrow as pa
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(pa.table({"completion": ["a", "b"], "answer": ["yes", "no"], "id": [1, 2]}), stream)
    return [stream.getvalue()]


def fuzzed(
    name: str, seeds: list[bytes], parse: Callable[[bytes], object], seconds: float, start: int
) -> tuple[int, list[str]]:
    """Tries of one parser for so many processor seconds, and what was neither read nor worded, once for each kind."""
    deadline = _processor_s() + seconds
    tries, faults = 0, {}
    number = start

    def one(content: bytes) -> None:
        nonlocal tries
        if _processor_s() > deadline:
            return
        tries += 1
        began = time.monotonic()
        try:
            with contextlib.redirect_stdout(None), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parse(content)
        except Unusable:
            pass  # the word for a picture that is counted as bad
        except (Exception, GeneratorExit) as error:  # noqa: BLE001  (whatever it raises is what is looked for)
            worded = _as_medgrpo_error(error)
            if worded.hint and "looks like a bug" in worded.hint:
                faults.setdefault(f"{type(error).__name__}: {str(error)[:80]}", content[:300])
        if time.monotonic() - began > LATE_S:
            faults.setdefault("late", content[:300])

    while _processor_s() < deadline:
        run = settings(
            max_examples=200,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(run(given(mutated(seeds))(one)))()
        number += 1
    return tries, [f"{name}: {what}: {content!r}" for what, content in faults.items()]


def _processor_s() -> float:
    """Seconds of processor that this process and the children it has waited for took."""
    took = os.times()
    return took.user + took.system + took.children_user + took.children_system


def _in_own_folder(folder: str) -> None:
    """What a process needs before its first parser: the parsers, in a folder of its own."""
    logging.disable()  # libraries speak of every odd header
    place = Path(folder) / str(os.getpid())
    (place / "adapter").mkdir(parents=True)
    (place / "adapter" / "adapter_model.safetensors").write_bytes(_tensors()[0])
    with contextlib.redirect_stderr(None):
        OF_THIS_PROCESS.update(parsers(place))


OF_THIS_PROCESS: dict[str, tuple[list[bytes], Callable[[bytes], object]]] = {}


def _names() -> list[str]:
    return list(OF_THIS_PROCESS)


def _fuzz_one(name: str, seconds: float, start: int | None) -> tuple[str, int, list[str], float]:
    """One parser: its name, tries, faults, processor seconds."""
    began = _processor_s()
    count, found = fuzzed(
        name, *OF_THIS_PROCESS[name], seconds, random.randrange(10**6) if start is None else start
    )
    return name, count, found, _processor_s() - began


def fuzz_all(
    seconds: float,
    *,
    only: tuple[str, ...] = (),
    start: int | None = None,
    processes: int = 1,
    write: Path | None = None,
) -> tuple[int, list[str]]:
    """Every parser for so many processor seconds: tries, and faults.

    Args:
        write: a JSON file of parser → tries, faults, processor seconds; what it has of other parsers stays.
    """
    kept = json.loads(write.read_text()) if write and write.is_file() else {}
    tries, faults = 0, []
    with (
        tempfile.TemporaryDirectory() as folder,
        get_context("spawn").Pool(processes, _in_own_folder, (folder,)) as pool,
    ):
        names = [name for name in pool.apply(_names) if not only or name in only]
        one = partial(_fuzz_one, seconds=seconds, start=start)
        for name, count, found, took in pool.imap_unordered(one, names):
            print(f"{name}: {count} tries, {len(found)} faults, {took:.0f} s of CPU", flush=True)
            for fault in found:
                print(f"  {fault}", flush=True)
            tries, faults = tries + count, faults + found
            kept[name] = {"tries": count, "faults": found, "cpu_s": round(took)}
            if write:
                write.write_text(json.dumps(kept, indent=1, ensure_ascii=False))
    return tries, faults


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600.0, help="of processor, for each parser")
    parser.add_argument("--processes", type=int, default=1, help="parsers at a time")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--seed", type=int)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    total, wrong = fuzz_all(
        options.seconds,
        only=tuple(options.only),
        start=options.seed,
        processes=options.processes,
        write=options.write,
    )
    print(f"{total} tries, {len(wrong)} faults")
    sys.exit(bool(wrong))

"""Doors that stand open beside the way in: files of the working folder, chat templates, offsets that lie, packed files, links and
`..`, names of other places in models and adapters."""

import gzip
import io
import json
import os
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.planted import Artefacts
from tests.unforeseen.files import png
from tests.unforeseen.plants import (
    Call,
    Plants,
    ask,
    changed,
    completions,
    dry,
    evaluate,
    one_step,
    prepare,
    put,
)
from tests.unforeseen.surroundings import LIGHT

# --- what lies in the folder of the call, or in that of a model


def _marks(a: Artefacts) -> str:
    return f"open({str(a.folder / 'marker')!r}, 'w').write('ran')\n"


OPTIONAL = (
    "kernels", "flash_attn", "xformers", "apex", "triton", "soundfile", "librosa", "av", "decord", "cv2", "tensorflow", "jax", "tiktoken", "sentencepiece", "torch_xla", "torch_npu", "optimum",
    "wandb", "comet_ml", "neptune", "clearml", "swanlab", "trackio", "codecarbon", "dvclive", "mlflow", "ray", "optuna", "deepspeed", "liger_kernel", "unsloth", "vllm", "dotenv", "gradio",
    "bitsandbytes", "orjson", "ujson", "chardet", "brotli", "zstandard", "lz4", "matplotlib", "IPython", "tests", "datasets", "peft_custom", "pylibjpeg", "gdcm", "h5py", "statistics", "secrets", "cgi",
)  # fmt: skip
"""What libraries import where it is there."""
SETTINGS = {
    ".env": "MEDGRPO_LANG=zh\nHF_HUB_OFFLINE=0\nHF_TOKEN=hf_planted\nPYTHONSTARTUP=planted.py\n", "pip.conf": "[global]\nindex-url = http://127.0.0.1:9/\n", "setup.cfg": "[global]\ncommand_packages = planted\n",
    "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "planted"\nbackend-path = ["."]\n[tool.medgrpo]\nx = 1\n', "matplotlibrc": "backend: module://planted\n", ".numba_config.yaml": "disable_jit: 1\n",
    ".deepspeed_env": "PYTHONSTARTUP=planted.py\n", "wandb/settings": "[default]\nbase_url = http://127.0.0.1:9\n", ".netrc": "machine 127.0.0.1 login a password b\n", "torch.cfg": "x", "MANIFEST.in": "x", "tox.ini": "[pytest]\naddopts = -p planted\n",
    "pyvenv.cfg": "home = /nowhere\n", "python._pth": ".\n", ".pydistutils.cfg": "[global]\ncommand_packages = planted\n", "config.toml": "[training]\nmax_steps = 'x'\n", "default_config.yaml": "distributed_type: MULTI_GPU\nnum_processes: 64\n",
    "ds_config.json": "{}", ".huggingface/token": "hf_planted", "preset.toml": "x", "medgrpo.toml": "[run]\nseed = 9\n", "kernel_config.json": "{}", "medgrpo.json": '{"trust": true}', ".condarc": "x", "logging.conf": "[loggers]\n",
}  # fmt: skip


def _littered(folder: Path, a: Artefacts) -> None:
    code = _marks(a)
    for name in OPTIONAL:
        put(folder / name / "__init__.py", code) if len(name) % 2 else put(folder / f"{name}.py", code)
    for name in ("sitecustomize", "usercustomize", "conftest", "planted", "setup", "__main__", "generate"):
        put(folder / f"{name}.py", code)
    for name in ("planted.pth", "distutils-precedence.pth"):
        put(folder / name, f"import os; {code}")
    for name in ("json", "_socket", "numpy"):
        put(folder / f"{name}.cpython-{sys.version_info.major}{sys.version_info.minor}.so", b"\x7fELF")
    for name, content in SETTINGS.items():
        put(folder / name, content) if not (folder / name).exists() else None


def folders() -> Plants:
    here: dict[str, Callable[[Artefacts], tuple[str, ...]]] = {
        "score": LIGHT[0], "compare": LIGHT[1], "preprocess": LIGHT[4], "ask": ask, "eval": evaluate, "train": one_step, "estimate-time": LIGHT[5], "doctor --share": lambda a: ("doctor", "--share", str(a.run)),
        "bundle": lambda a: ("bundle", str(a.folder / "b"), "--dry-run"), "make-dpo": lambda a: ("make-dpo", str(a.run), "--output", str(a.folder / "pairs"), "--margin", "0"),
        "merge-lora": lambda a: ("merge-lora", str(a.adapter), "--output", str(a.folder / "m"), "--verify", "2"), "train --resume": lambda a: ("train", "--resume", str(a.run), "--set=training.max_steps=3"),
    }  # fmt: skip
    for name, words in here.items():

        def make(a: Artefacts, words: Callable = words) -> Call:
            made = words(a)
            _littered(a.folder, a)
            return Call(made, is_new=True, environment={"PYTHONSTARTUP": str(a.folder / "planted.py")})

        yield f"a littered folder of the call: {name}", make
    inside: dict[str, tuple[Callable[[Artefacts], Path], Callable[[Artefacts], tuple[str, ...]]]] = {
        "a model, asked from within": (lambda a: a.model, lambda a: ("ask", ".", "-", "what?", "--max-new-tokens", "2")), "an adapter, merged from within": (lambda a: a.adapter, lambda a: ("merge-lora", ".", "--output", str(a.folder / "m"), "--verify", "0")),
        "a run, resumed from within": (lambda a: a.run, lambda a: ("train", "--resume", ".", "--dry-run")), "a dataset, trained from within": (lambda a: a.data, lambda a: ("train", "--data", ".", "--model", str(a.model), "--dry-run")),
        "a run, compared from within": (lambda a: a.run, lambda a: ("compare", ".", "--html", "--output", str(a.folder / "page"))), "a model, evaluated from within": (lambda a: a.model, lambda a: ("eval", ".", str(a.data), "--limit", "2", "--max-new-tokens", "2", "--output", str(a.folder / "e"))),
    }  # fmt: skip
    for what, (place, words) in inside.items():

        def within(a: Artefacts, place: Callable = place, words: Callable = words) -> Call:
            made, folder = words(a), place(a)
            _littered(folder, a)
            return Call(made, before=lambda: os.chdir(folder), is_new=True)

        yield f"{what}, littered", within
    for name in ("score", "ask", "train"):

        def as_module(a: Artefacts, words: Callable = here[name]) -> Call:
            made = words(a)
            _littered(a.folder, a)
            return Call(made, is_new=True, is_module=True)

        yield f"python -m medgrpo.cli.main in a littered folder: {name}", as_module


# --- chat templates that do not end, or unfold

TEMPLATES = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "text in loops": "{% for a in range(99999) %}{% for b in range(9999) %}" + "x" * 200 + "{% endfor %}{% endfor %}",
    "doubled": "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}", "doubled by +": "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "lists doubled": "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s|length }}", "squared": "{% set n = namespace(s=7) %}{% for i in range(60) %}{% set n.s = n.s * n.s %}{% endfor %}{{ n.s }}",
    "centred": "{{ 'x'|center(10000000000) }}", "to the left": "{{ 'x'.ljust(10000000000) }}", "filled": "{{ 'x'.zfill(10000000000) }}", "formatted": "{{ '%010000000000d'|format(1) }}", "formatted new": "{{ '{:>10000000000}'.format(1) }}",
    "indented": "{{ ('a\n' * 900)|indent(100000000) }}", "replaced": "{{ ('x' * 900).replace('', 'y' * 900).replace('', 'z' * 900).replace('', 'z' * 900) }}", "joined": "{{ range(99999)|join('x' * 999) }}{{ range(99999)|join('x' * 999) }}",
    "batches": "{{ range(99999)|batch(1000000000, 'x')|list }}", "slices": "{{ [1]|slice(1000000000)|list }}", "lorem": "{{ lipsum(n=100000, min=500, max=900) }}", "written as JSON": "{{ [[[1]]]|tojson(indent=1000000000) }}",
    "a macro of itself": "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}", "a loop of itself": "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", "sorted": "{% for a in range(99999) %}{% set b = range(99999)|sort|map('string')|list %}{% endfor %}",
    "tabs": "{{ ('\t' * 900).expandtabs(100000000) }}", "bytes": "{{ ('x' * 900).encode('utf-8').ljust(9999999999) }}", "wrapped": "{{ ('a ' * 900)|wordwrap(1)|wordwrap(1) }}{% for a in range(99999) %}{{ ('a ' * 900)|wordwrap(2) }}{% endfor %}",
    "only for pictures": "{% for m in messages %}{% if m.content is not string %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}{% endfor %}x",
    "only for long questions": "{% if messages[-1].content|string|length > 3 %}{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}{% endif %}x",
    "only with a system": "{% for m in messages %}{% if m.role == 'system' %}{{ 'x'|center(10000000000) }}{% endif %}{% endfor %}x", "long": "{{ 'x' * 999 }}" * 3000, "reaching in": "{{ ''.__class__.__mro__[1].__subclasses__() }}", "reaching globals": "{{ cycler.__init__.__globals__.os.system('touch marker') }}",
    "a call of the error": "{{ raise_exception('\x1b]0;owned\x07' ~ 'x' * 999) }}", "the time": "{{ strftime_now('%' * 9999) }}", "attributes by name": "{{ messages|attr('__class__') }}{{ (messages|map(attribute='__class__')|list)[0] }}", "format reaches": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "an import": "{% import '/etc/passwd' as p %}", "extends": "{% extends 'planted' %}", "generation": "{% generation %}x{% endgeneration %}", "break": "{% break %}",
}  # fmt: skip


def templates() -> Plants:
    commands: tuple[Callable[[Artefacts], tuple[str, ...]], ...] = (
        ask,
        evaluate,
        one_step,
        lambda a: prepare(a, a.data, "--model", str(a.model)),
        lambda a: ("ask", str(a.adapter), str(next((a.data / "images").glob("*"))), "what is this?"),
    )
    for number, (what, text) in enumerate(TEMPLATES.items()):

        def make(a: Artefacts, text: str = text, number: int = number) -> tuple[str, ...]:
            for folder in (a.model, a.adapter):
                put(folder / "chat_template.jinja", text)
            return commands[number % len(commands)](a)

        yield (
            f"chat template, {what}: {('ask', 'eval', 'train', 'preprocess', 'ask adapter')[number % len(commands)]}",
            make,
        )


# --- tokenizers and their patterns


def _regex(pattern: str) -> dict:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _nested(depth: int) -> dict:
    found: dict = {"type": "Lowercase"}
    for _ in range(depth):
        found = {"type": "Sequence", "normalizers": [found]}
    return found


TOKENIZERS: dict[str, dict] = {
    "a pattern in a pattern": {"pre_tokenizer": _regex("(a+)+$")}, "a pattern of choices": {"pre_tokenizer": _regex("(a|a|aa)+$")}, "a pattern that looks back": {"pre_tokenizer": _regex(r"(a*)*\1b")}, "a pattern of nothing": {"pre_tokenizer": _regex("")},
    "a large pattern": {"pre_tokenizer": _regex("(" * 200 + "a" + "){1,50}" * 200)}, "replaced by much": {"normalizer": {"type": "Replace", "pattern": {"Regex": "."}, "content": "x" * 1_000_000}},
    "replaced where nothing is": {"normalizer": {"type": "Replace", "pattern": {"Regex": ""}, "content": "x" * 100_000}}, "doubled twenty times": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 34}},
    "a replacement that never ends": {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}}, "nested 100": {"normalizer": _nested(100)}, "nested 30,000": {"normalizer": None}, "nulls": {"normalizer": {"type": "Prepend", "prepend": "\0" * 10}},
    "a charsmap of noise": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA" * 10}}, "a processor of many": {"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}] * 100_000, "pair": [], "special_tokens": {"x": {"id": "x", "ids": [0] * 100, "tokens": ["x"] * 100}}}},
    "a decoder that unfolds": {"decoder": {"type": "Replace", "pattern": {"Regex": "."}, "content": "x" * 1_000_000}}, "100,000 added words": {"added_tokens": [{"id": 600 + n, "content": f"w{n}", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False} for n in range(100_000)]},
    "an added word of nothing": {"added_tokens": [{"id": 600, "content": "", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}]},
}  # fmt: skip


def tokenizers() -> Plants:
    for what, change in TOKENIZERS.items():

        def make(a: Artefacts, what: str = what, change: dict = change) -> tuple[str, ...]:
            place = a.model / "tokenizer.json"
            text = json.dumps({**json.loads(place.read_text()), **change})
            if what.startswith("nested 30"):
                deep = '{"type":"Sequence","normalizers":[' * 30_000 + '{"type":"Lowercase"}' + "]}" * 30_000
                text = text.replace('"normalizer": null', f'"normalizer": {deep}')
            place.write_text(text)
            return ("ask", str(a.model), "-", "a" * 60 + "!", "--max-new-tokens", "2")

        yield f"tokenizer.json, {what}: ask", make


# --- tensors whose places lie


def stored(entries: dict[str, Any] | str, data: bytes) -> bytes:
    text = (entries if isinstance(entries, str) else json.dumps(entries)).encode()
    return struct.pack("<Q", len(text)) + text + data


def _changed_header(change: Callable[[dict, list[str]], object]) -> Callable[[bytes], bytes]:
    def act(before: bytes) -> bytes:
        size = struct.unpack("<Q", before[:8])[0]
        header = json.loads(before[8 : 8 + size])
        made = change(header, [name for name in header if name != "__metadata__"])
        return stored(made if isinstance(made, str) else header, before[8 + size :])

    return act


def _twice(header: dict, names: list[str]) -> str:
    text = json.dumps(header)
    return text[:-1] + ", " + json.dumps({names[0]: header[names[1]]})[1:]


def _of(name_number: int, **values: Any) -> Callable[[dict, list[str]], object]:
    return lambda header, names: header[names[name_number]].update(values)


OFFSETS: dict[str, Callable[[bytes], bytes]] = {
    "one over another": _changed_header(lambda header, names: header[names[1]].update(header[names[0]])),
    "all at the same place": _changed_header(lambda header, names: [header[name].update(data_offsets=[0, header[name]["data_offsets"][1] - header[name]["data_offsets"][0]]) for name in names] and None),
    "half over the next": _changed_header(lambda header, names: header[names[1]].update(data_offsets=[one - 8 for one in header[names[1]]["data_offsets"]])),
    "a name twice": _changed_header(_twice), "turned round": _changed_header(lambda header, names: header[names[0]].update(data_offsets=header[names[0]]["data_offsets"][::-1])),
    "below zero": _changed_header(_of(0, data_offsets=[-8, 8])), "three of them": _changed_header(_of(0, data_offsets=[0, 8, 16])), "not whole": _changed_header(_of(0, data_offsets=[0.5, 8.5])), "truths": _changed_header(_of(0, data_offsets=[False, True])),
    "a shape of zeros": _changed_header(_of(0, shape=[0, 0])), "a shape that overflows": _changed_header(_of(0, shape=[2**33, 2**33])), "4,000 dimensions": _changed_header(_of(0, shape=[1] * 4000)), "one row more": _changed_header(lambda header, names: header[names[0]].update(shape=[header[names[0]]["shape"][0] + 1, *header[names[0]]["shape"][1:]])),
    "another type": _changed_header(_of(0, dtype="F64")), "a type of four bits": _changed_header(_of(0, dtype="F4")), "complex": _changed_header(_of(0, dtype="C64")), "a name that goes up": _changed_header(lambda header, names: header.update({"../../x": header.pop(names[0])})),
    "a name that gives orders": _changed_header(lambda header, names: header.update({"\x1b]0;owned\x07": header.pop(names[0])})), "metadata no texts": _changed_header(lambda header, names: header.update(__metadata__={"a": [1]})), "metadata of 50 MB": _changed_header(lambda header, names: header.update(__metadata__={"a": "x" * 50_000_000})),
    "a tail": lambda before: before + b"\0" * 999, "blanks before": lambda before: struct.pack("<Q", struct.unpack("<Q", before[:8])[0] + 9) + b" " * 9 + before[8:], "100,000 tensors of nothing": _changed_header(lambda header, names: header.update({f"n{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)})),
    "a hole between": lambda before: before[:-4], "fewer": _changed_header(lambda header, names: header.pop(names[0]) and None),
}  # fmt: skip


def tensors() -> Plants:
    for number, (what, change) in enumerate(OFFSETS.items()):
        for part in ("model", "adapter"):

            def make(
                a: Artefacts, change: Callable = change, part: str = part, number: int = number
            ) -> tuple[str, ...]:
                file = (
                    a.model / "model.safetensors"
                    if part == "model"
                    else a.adapter / "adapter_model.safetensors"
                )
                file.write_bytes(change(file.read_bytes()))
                if part == "model":
                    return (ask, dry, one_step)[number % 3](a)
                out = ("merge-lora", str(a.adapter), "--output", str(a.folder / "merged"), "--verify", "0")
                return (out, ("ask", str(a.adapter), "-", "what?", "--max-new-tokens", "2"))[number % 2]

            yield f"tensors of a {part}, {what}", make


# --- packed files


def _workbook(**parts: bytes) -> bytes:
    """A workbook of Excel with these parts in the place of its own."""
    import openpyxl

    book, stream = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["question", "answer", "completion"])
    book.active.append(["q", "yes", "<answer>yes</answer>"])
    book.save(stream)
    out = io.BytesIO()
    with zipfile.ZipFile(stream) as before, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            after.writestr(
                name, parts.get(name.rsplit("/", 1)[-1].partition(".")[0].lower(), before.read(name))
            )
    return out.getvalue()


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l0 "lol">'
    + b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 12))
    + b"]>"
)
SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%s</sheetData></worksheet>'


def _npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b" " * 20 + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + data


def _pickled(a: Artefacts) -> bytes:
    code = f"open({str(a.folder / 'marker')!r}, 'w').write('ran')"
    return b"cbuiltins\nexec\n(S" + repr(code).encode() + b"\ntR."


def _npz(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


ZEROS = _npy("{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 60000)}") + bytes(2**28)
MASKS: dict[str, Callable[[Artefacts], tuple[str, bytes]]] = {
    "npz that unfolds": lambda a: ("npz", _npz(a=ZEROS)), "npz whose second member unfolds": lambda a: ("npz", _npz(a=_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2)}", b"\0\1\1\0"), b=ZEROS)), "npz of nothing": lambda a: ("npz", _npz()),
    "npz with a member of another kind": lambda a: ("npz", _npz(a=b"no array")), "npy of objects": lambda a: ("npy", _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", _pickled(a))), "a pickle called npy": lambda a: ("npy", _pickled(a)), "npy whose header calls": lambda a: ("npy", _npy("{'descr': __import__('os').system('touch marker'), 'shape': (1,)}")),
    "npy of a deep header": lambda a: ("npy", _npy("(" * 30_000)), "npy below zero": lambda a: ("npy", _npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-4, 4)}")), "npy of fields": lambda a: ("npy", _npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (4, 4)}", bytes(128))),
    "npy of a long header": lambda a: ("npy", b"\x93NUMPY\2\0" + struct.pack("<I", 2**31) + b"{"), "npy of texts": lambda a: ("npy", _npy("{'descr': '<U9', 'fortran_order': False, 'shape': (2, 2)}", bytes(144))), "a PNG of 60,000 a side": lambda a: ("png", png(60_000, 60_000, data=bytes(2**26))), "PostScript called png": lambda a: ("png", EPS),
}  # fmt: skip
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n0 0 moveto 64 64 lineto stroke\n%%EOF\n"


def _record(data: bytes, length: int | None = None) -> bytes:
    """A record of an event file; its sums are of no importance to most readers."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    size = struct.pack("<Q", len(data) if length is None else length)
    return size + struct.pack("<I", masked_crc32c(size)) + data + struct.pack("<I", masked_crc32c(data))


def event_file(kind: str) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    def scalar(step: int, tag: str, value: float) -> bytes:
        event = Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))
        return _record(event.SerializeToString())

    first = _record(Event(file_version="brain.Event:2").SerializeToString())
    honest = first + b"".join(scalar(n, "train/loss", 1 / (n + 1)) for n in range(5))
    image = Event(
        step=1,
        summary=Summary(
            value=[
                Summary.Value(tag="x", image=Summary.Image(width=9, height=9, encoded_image_string=b"x" * 99))
            ]
        ),
    )
    return {
        "a record of 2**62 bytes": honest + _record(b"x", 2**62), "a record of 2**31 bytes": honest + _record(b"x", 2**31), "noise after": honest + os.urandom(500), "cut": honest[:-7], "100,000 names": first + b"".join(scalar(1, f"m{n}", 1.0) for n in range(20_000)),
        "names that give orders": first + b"".join(scalar(n, "train/\x1b]0;owned\x07<planted>", 1.0) for n in range(5)), "steps far away": first + scalar(2**62, "train/loss", 1.0) + scalar(-(2**62), "train/loss", 1.0), "not numbers": first + b"".join(scalar(n, "train/loss", float("nan")) for n in range(9)),
        "pictures": honest + _record(image.SerializeToString()), "a nested message": honest + _record(b"\x2a\xff\xff\xff\xff\x07" + b"\x0a" * 1000), "gzip": gzip.compress(honest), "empty": b"", "zeros": bytes(10**6),
    }[kind]  # fmt: skip


EVENTS = ("a record of 2**62 bytes", "a record of 2**31 bytes", "noise after", "cut", "100,000 names", "names that give orders", "steps far away", "not numbers", "pictures", "a nested message", "gzip", "empty", "zeros")  # fmt: skip
YAMLS = {
    "laughs": "\n".join(["a0: &a0 [lol, lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]), "a code": "x: !!python/object/apply:os.system ['touch marker']\n", "a class": "x: !!python/name:os.system\n",
    "deep": "[" * 20_000, "deep maps": "\n".join(" " * n + "a:" for n in range(3000)), "merged": "\n".join(["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9)]), "digits": "a: " + "9" * 100_000, "a date": "a: 99999-99-99\n", "a long name": "? " + "k" * 200_000 + "\n: 1\n",
}  # fmt: skip
BOOKS: dict[str, Callable[[], bytes]] = {
    "a sheet of 2 GB": lambda: _workbook(sheet1=SHEET % (b"<row><c><v>1</v></c></row>" + b" " * 2**28)), "entities": lambda: _workbook(sheet1=LAUGHS + SHEET % b"<row><c t='inlineStr'><is><t>&l11;</t></is></c></row>"), "words of entities": lambda: _workbook(sharedstrings=LAUGHS + b"<sst><si><t>&l11;</t></si></sst>"),
    "a cell far away": lambda: _workbook(sheet1=SHEET % b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'), "a cell beyond": lambda: _workbook(sheet1=SHEET % b'<row r="99999999999"><c r="ZZZZZ99999999999"><v>1</v></c></row>'), "deep": lambda: _workbook(sheet1=b"<a>" * 100_000), "no sheet": lambda: _workbook(workbook=b"<workbook/>"),
    "a file of others": lambda: _workbook(workbook=b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><workbook>&b;</workbook>'), "cut": lambda: _workbook()[:-50], "a word without number": lambda: _workbook(sheet1=SHEET % b'<row><c t="s"><v>999999</v></c></row>'),
}  # fmt: skip


def packed() -> Plants:
    for what, content in MASKS.items():

        def masks(a: Artefacts, content: Callable = content) -> Call:
            from medgrpo.data.prepared import PreparedDataset

            for row in PreparedDataset.open(a.data).rows("test"):
                suffix, data = content(a)
                put(a.folder / "masks" / f"{row['id']}.{suffix}", data)
            put(a.folder / "bin" / "gs", f"#!/bin/sh\ntouch '{a.folder}/marker'\n")
            os.chmod(a.folder / "bin" / "gs", 0o777)
            words = ("eval", str(a.data), "--masks", str(a.folder / "masks"))
            return Call(words, environment={"PATH": f"{a.folder / 'bin'}:{os.environ['PATH']}"})

        yield f"masks, {what}: eval", masks
    for number, what in enumerate(EVENTS):

        def events(a: Artefacts, what: str = what, number: int = number) -> tuple[str, ...]:
            file = put(a.folder / "tb" / "events.out.tfevents.1.x", event_file(what))
            place = str(a.folder / "tb") if number % 2 else file
            return (("health", place), ("compare", place, "--html", "--output", str(a.folder / "page")))[
                number % 2
            ]

        yield f"event file, {what}", events
    for what, text in YAMLS.items():

        def yaml(a: Artefacts, text: str = text) -> tuple[str, ...]:
            put(a.folder / "source" / "images" / "a.png", png(8, 8, data=bytes(72)))
            put(a.folder / "source" / "labels" / "a.txt", "0 .5 .5 .1 .1\n")
            put(a.folder / "source" / "data.yaml", text + "\nnames: [x]\ntrain: images\nnc: 1\n")
            return prepare(a, a.folder / "source")

        yield f"data.yaml, {what}: preprocess", yaml
        yield (
            f"--config of YAML, {what}: train",
            lambda a, text=text: dry(a, "--config", put(a.folder / "c.yaml", text)),
        )
    for what, book in BOOKS.items():
        yield (
            f"workbook, {what}: preprocess",
            lambda a, book=book: prepare(a, put(a.folder / "rows.xlsx", book())),
        )
        yield (
            f"workbook, {what}: score",
            lambda a, book=book: ("score", put(a.folder / "rows.xlsx", book())),
        )
    for name, content in (("a.png", EPS), ("a.eps", EPS), ("a.ps", EPS), ("a.jpg", EPS)):

        def postscript(a: Artefacts, name: str = name, content: bytes = content) -> Call:
            put(a.folder / "bin" / "gs", f"#!/bin/sh\ntouch '{a.folder}/marker'\n")
            os.chmod(a.folder / "bin" / "gs", 0o777)
            put(a.folder / "source" / name, content)
            put(a.folder / "source" / "rows.json", [{"image": name, "question": "q", "answer": "a"}])
            for file in (a.data / "images").iterdir():
                file.write_bytes(content)
            words = prepare(a, a.folder / "source") if name != "a.jpg" else evaluate(a)
            return Call(words, environment={"PATH": f"{a.folder / 'bin'}:{os.environ['PATH']}"})

        yield f"PostScript called {name}", postscript


# --- links, and names that go up


def _secret(a: Artefacts) -> bytes:
    """A picture that lies beside the dataset and is nobody's business."""
    content = png(40, 40, data=b"".join(b"\0" + bytes([n * 6 % 256]) * 40 for n in range(40)))
    put(a.folder / "private" / "secret.png", content)
    return content


def _shown(a: Artefacts) -> Callable[[], str | None]:
    """Whether the secret picture, or a small copy of it, is in anything that was written."""
    import base64
    import re

    before = {file for file in a.folder.rglob("*") if file.is_file()}

    def look() -> str | None:
        from PIL import Image

        def is_it(data: bytes) -> bool:
            try:
                with Image.open(io.BytesIO(data)) as opened:
                    small = opened.convert("L").resize((40, 40))
            except Exception:  # noqa: BLE001 - no picture
                return False
            with Image.open(a.folder / "private" / "secret.png") as secret:
                pairs = zip(small.tobytes(), secret.convert("L").tobytes(), strict=True)
                return sum(abs(one - other) for one, other in pairs) < 1600 * 8

        for file in a.folder.rglob("*"):
            if not file.is_file() or file in before or file.is_symlink():
                continue
            content = file.read_bytes()
            found = [content] if file.suffix in (".png", ".jpg", ".webp") else []
            found += [
                base64.b64decode(one)
                for one in re.findall(rb"data:image/\w+;base64,([A-Za-z0-9+/=]+)", content)
            ]
            if any(map(is_it, found)):
                return f"{file.relative_to(a.folder)} shows a picture from outside"
        return None

    return look


def rows_with(a: Artefacts, **values: Any) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    for split in ("train", "validation", "test"):
        file = a.data / f"{split}.parquet"
        table = parquet.read_table(file)
        for column, value in values.items():
            field = table.schema.field(column)
            table = table.set_column(
                table.schema.get_field_index(column), field, pa.array([value] * len(table), field.type)
            )
        parquet.write_table(table, file)


def _linked(a: Artefacts) -> None:
    for file in list((a.data / "images").iterdir()):
        file.unlink()
        file.symlink_to("../../private/secret.png")


WAYS: dict[str, Callable[[Artefacts], object]] = {
    "pictures above": lambda a: rows_with(a, images=["../private/secret.png"]), "pictures by their whole name": lambda a: rows_with(a, images=[str(a.folder / "private" / "secret.png")]), "pictures around": lambda a: rows_with(a, images=["images/../../private/secret.png"]), "pictures as links": _linked,
    "pictures of a linked folder": lambda a: (shutil.rmtree(a.data / "images"), (a.data / "images").symlink_to("../private"), rows_with(a, images=["images/secret.png"])), "pictures by a page": lambda a: rows_with(a, images=[f"file://{a.folder}/private/secret.png"]),
    "rows as a link": lambda a: ((a.data / "test.parquet").rename(a.folder / "private" / "t.parquet"), (a.data / "test.parquet").symlink_to("../private/t.parquet")),
}  # fmt: skip


def ways() -> Plants:
    commands: dict[str, Callable[[Artefacts], tuple[str, ...]]] = {
        "eval": evaluate, "preprocess": lambda a: prepare(a, a.data), "train": one_step, "score": lambda a: ("score", str(a.data), "--audit"), "predictions": lambda a: ("eval", str(a.data), "--predictions", completions(a), "--output", str(a.folder / "eval")),
        "compare": lambda a: ("compare", str(a.run), "--html", "--output", str(a.folder / "page")), "pairs": lambda a: ("make-dpo", str(a.run), "--data", str(a.data), "--output", str(a.folder / "pairs"), "--margin", "0", "--export-review", str(a.folder / "pairs.csv")),
    }  # fmt: skip
    for what, act in WAYS.items():
        for name, words in commands.items():

            def make(a: Artefacts, act: Callable = act, words: Callable = words) -> Call:
                _secret(a)
                made = words(a)
                act(a)
                return Call(made, check=_shown(a))

            yield f"{what}: {name}", make
    for what, image in {
        "above": "../private/secret.png", "by its whole name": None, "around": "a/../../private/secret.png", "a link": "link.png", "in a linked folder": "far/secret.png", "a page": "file://private/secret.png",
    }.items():  # fmt: skip

        def source(a: Artefacts, image: str | None = image) -> Call:
            _secret(a)
            named = str(a.folder / "private" / "secret.png") if image is None else image
            put(a.folder / "source" / "rows.json", [{"image": named, "question": "q?", "answer": "yes"}] * 3)
            (a.folder / "source" / "link.png").symlink_to("../private/secret.png")
            (a.folder / "source" / "far").symlink_to("../private")
            return Call(prepare(a, a.folder / "source"), check=_shown(a))

        yield f"a picture of a source, {what}: preprocess", source
    for what, target in {
        "a file": "../../private/x", "a folder": "../private", "nothing": "gone", "itself": "out",
    }.items():  # fmt: skip

        def output(a: Artefacts, target: str = target) -> tuple[str, ...]:
            put(a.folder / "private" / "keep", "mine")
            (a.folder / "out").symlink_to(target)
            return prepare(a, a.data)

        yield f"an output that is a link to {what}: preprocess", output


# --- names of other places in models, adapters, runs


def _torch_pickle(a: Artefacts) -> bytes:
    """A file as torch writes it, whose pickle writes the marker."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", _pickled(a))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return stream.getvalue()


CONFIGS: dict[str, dict] = {
    "custom pipelines": {"custom_pipelines": {"text-generation": {"impl": "planted.Model", "pt": ["AutoModelForCausalLM"], "tf": []}}}, "auto_map": {"auto_map": {"AutoConfig": "planted.Model", "AutoModelForImageTextToText": "planted.Model", "AutoModelForCausalLM": "planted.Model"}},
    "auto_map of others": {"auto_map": {"AutoConfig": "someone/else--planted.Model"}}, "trusts itself": {"trust_remote_code": True, "auto_map": {"AutoConfig": "planted.Model"}}, "a type of nobody": {"model_type": "planted", "auto_map": {"AutoConfig": "planted.Model"}}, "named elsewhere": {"_name_or_path": "/etc", "name_or_path": "../../x"},
    "a quantizer": {"quantization_config": {"quant_method": "gptq", "modules_in_block_to_quantize": "planted"}}, "a quantizer of torch": {"quantization_config": {"quant_method": "torchao", "quant_type": "planted", "modules_to_not_convert": ["x"]}}, "timm": {"vision_config": {"model_type": "timm_wrapper", "architecture": "hf-hub:someone/x"}},
    "a backbone": {"backbone": "someone/x", "use_pretrained_backbone": True, "use_timm_backbone": True}, "an adapter": {"adapter_name": "someone/x", "peft_config": {"default": {"base_model_name_or_path": "someone/x"}}}, "a part of others": {"text_config": {"_name_or_path": "someone/x", "model_type": "planted", "auto_map": {"AutoConfig": "planted.Model"}}},
}  # fmt: skip
TOKENIZER_CONFIGS: dict[str, dict] = {
    "auto_map": {"auto_map": {"AutoTokenizer": ["planted.Model", "planted.Model"]}, "tokenizer_class": "Model"}, "a file elsewhere": {"tokenizer_file": "/etc/passwd", "vocab_file": "/etc/passwd", "merges_file": "/etc/passwd"}, "trusts itself": {"trust_remote_code": True, "auto_map": {"AutoTokenizer": ["planted.Model", None]}},
    "a processor of its own": {"processor_class": "Model", "auto_map": {"AutoProcessor": "planted.Model"}}, "another place": {"name_or_path": "someone/x", "special_tokens_map_file": "/etc/passwd"}, "a slow class": {"tokenizer_class": "T5Tokenizer"}, "a class of another library": {"tokenizer_class": "subprocess.Popen"},
}  # fmt: skip
BASES = ("http://127.0.0.1:9/x", "file:///etc", "../../../../etc", "~root", "~/x", "//127.0.0.1/share", "hf://someone/x", "someone/x", "-rf", "/dev/zero", "/proc/self/cwd", "planted.py", "x\ny", "\x1b]0;owned\x07", "a" * 5000, "a\0b", ".", "", "pickled")  # fmt: skip


def elsewhere() -> Plants:
    def planted(a: Artefacts, folder: Path) -> None:
        code = _marks(a) + "\n\nclass Model:\n    pass\n"
        for name in (
            "planted",
            "modeling_planted",
            "configuration_planted",
            "tokenization_planted",
            "processing_planted",
            "generate",
        ):
            put(folder / f"{name}.py", code)
        put(folder / "custom_generate" / "generate.py", code)
        put(folder / "custom_generate" / "requirements.txt", "planted\n")
        put(folder / "requirements.txt", "planted\n")
        for name in (
            "pytorch_model.bin",
            "training_args.bin",
            "adapter_model.bin",
            "optimizer.pt",
            "tokenizer.pkl",
        ):
            put(folder / name, _torch_pickle(a))

    for name, changes in (("config.json", CONFIGS), ("tokenizer_config.json", TOKENIZER_CONFIGS)):
        for number, (what, values) in enumerate(changes.items()):

            def model(
                a: Artefacts, name: str = name, values: dict = values, number: int = number
            ) -> tuple[str, ...]:
                planted(a, a.model)
                changed(a.model / name, **values)
                return (ask, evaluate, one_step, dry)[number % 4](a)

            yield f"{name}, {what}", model
    for number, base in enumerate(BASES):

        def adapter(a: Artefacts, base: str = base, number: int = number) -> tuple[str, ...]:
            planted(a, a.folder / "pickled")
            shutil.copy(a.model / "config.json", a.folder / "pickled" / "config.json")
            for place in (a.adapter,):
                named = str(a.folder / "pickled") if base == "pickled" else base
                changed(place / "adapter_config.json", base_model_name_or_path=named)
                (place / "medgrpo.json").unlink(missing_ok=True)
            asked = ("ask", str(a.adapter), "-", "what?", "--max-new-tokens", "2")
            merged = ("merge-lora", str(a.adapter), "--output", str(a.folder / "merged"), "--verify", "0")
            return (asked, merged, ("train", "--data", str(a.data), "--model", str(a.adapter), "--dry-run"))[
                number % 3
            ]

        yield f"an adapter whose base is {base[:20]!r}", adapter

    def only_pickles(a: Artefacts, part: str) -> tuple[str, ...]:
        if part == "model":
            (a.model / "model.safetensors").unlink()
            put(a.model / "pytorch_model.bin", _torch_pickle(a))
            return ask(a)
        if part == "index":
            (a.model / "model.safetensors").unlink()
            put(a.model / "model.safetensors.index.json", {"weight_map": {"a": "pytorch_model.bin"}})
            put(a.model / "pytorch_model.bin", _torch_pickle(a))
            return one_step(a)
        if part == "adapter":
            (a.adapter / "adapter_model.safetensors").unlink()
            put(a.adapter / "adapter_model.bin", _torch_pickle(a))
            return ("merge-lora", str(a.adapter), "--output", str(a.folder / "merged"), "--verify", "0")
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "generation_cycle_0.pt"):
            put(a.run / "checkpoints" / "checkpoint-2" / name, _torch_pickle(a))
        put(a.run / "checkpoints" / "checkpoint-2" / "training_args.bin", _torch_pickle(a))
        return ("train", "--resume", str(a.run), "--set=training.max_steps=3")

    for part in ("model", "index", "adapter", "checkpoint"):
        yield f"a {part} of pickles", lambda a, part=part: only_pickles(a, part)

    def generates(a: Artefacts) -> tuple[str, ...]:
        planted(a, a.model)
        changed(a.model / "generation_config.json", custom_generate=str(a.model), trust_remote_code=True)
        return ask(a)

    yield "a model that generates in its own way", generates


ALL: tuple[Callable[[], Plants], ...] = (folders, templates, tokenizers, tensors, packed, ways, elsewhere)

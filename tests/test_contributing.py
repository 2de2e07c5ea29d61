"""The tasks of CONTRIBUTING.md, done as it says: a reader and a built-in reward. A method: training/test_methods.py."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from medgrpo.cli.main import app
from medgrpo.data import readers
from medgrpo.data.prepared import PreparedDataset
from medgrpo.figures import FIGURES, Figure
from medgrpo.files import read_json
from medgrpo.records import json_objects
from medgrpo.rewards import registry

ROOT = Path(__file__).resolve().parents[1]


def invoke(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_reader_of_the_docs_reads_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    block = re.search(r"## Adding a format\n.*?```python\n(.*?)```", page, re.DOTALL)
    assert block is not None
    written: dict[str, type] = {}
    exec(block.group(1), written)
    monkeypatch.setattr(readers, "FORMATS", (written["MySetReader"](), *readers.FORMATS))
    source = tmp_path / "source"
    source.mkdir()
    for index, shade in enumerate((40, 120, 200)):
        Image.new("L", (64, 64), shade).save(source / f"{index}.png")
    lines = [f'{{"scan": "{index}.png", "finding": "finding {index}"}}' for index in range(3)]
    (source / "train.jsonl").write_text("\n".join([*lines, '{"scan": "0.png"}']), encoding="utf-8")

    refused = invoke("preprocess", source, tmp_path / "refused")
    assert refused.exit_code != 0
    assert "row 4, field 'finding'" in str(refused.exception)

    done = invoke("preprocess", source, tmp_path / "out", "--on-bad-row", "skip")
    assert done.exit_code == 0, done.output
    rows = list(PreparedDataset.open(tmp_path / "out").rows("train"))
    assert [row["answer"] for row in rows] == ["finding 0", "finding 1", "finding 2"]
    assert "my-set" in str(read_json(tmp_path / "out" / "dataset.json"))


def test_a_built_in_reward_is_one_function_and_two_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("medgrpo.rewards.brevity")
    exec(
        "def brevity(completions, **columns):\n"
        "    return [1 / max(len(text.split()), 1) if text else None for text in completions]\n",
        module.__dict__,
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(registry.BUILT_IN, "brevity", module.__name__)
    monkeypatch.setitem(FIGURES, "brevity", Figure("shortness of the completion"))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        '{"completion": "one two", "answer": "one"}\n{"completion": "", "answer": "one"}\n'
        '{"completion": "one", "answer": "one"}\n',
        encoding="utf-8",
    )
    out = tmp_path / "scored.jsonl"
    done = invoke("score", rows, "--weights", "brevity=1", "--output", out)
    assert done.exit_code == 0, done.output
    assert [row["brevity"] for row in json_objects(out)] == [0.5, None, 1.0]

"""The usual changes of CONTRIBUTING.md, done as it says. A training method: training/test_methods.py."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from PIL import Image
from typer.testing import CliRunner

from medgrpo.cli.main import app
from medgrpo.config.presets import resolve_run
from medgrpo.data import readers
from medgrpo.data.prepared import PreparedDataset
from medgrpo.estimate import shapes
from medgrpo.figures import FIGURES, Figure
from medgrpo.files import read_json
from medgrpo.models.families import FAMILIES, family_named, family_of_model, image_family
from medgrpo.models.families.qwen_vl import Qwen2VL
from medgrpo.models.image_tokens import ImageFamily, image_tokens
from medgrpo.models.shape import ModelShape
from medgrpo.records import json_objects
from medgrpo.rewards import registry
from medgrpo.runs import record, rules, words
from medgrpo.runs.rules import evidence
from medgrpo.runs.rules.rule import SAMPLING, Rule
from medgrpo.runs.said import say
from medgrpo.runs.words import Words

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


def test_a_preset_is_one_file(tmp_path: Path) -> None:
    written = tmp_path / "short.toml"
    written.write_text(
        '[preset]\npurpose = "answers of a few words"\ncost = "half of balanced"\nlaunch = "medgrpo train --preset short.toml"\n'
        'extends = "balanced"\n\n[rollout]\nmax_completion_length = 24  # the answers are one word\n',
        encoding="utf-8",
    )
    shown = invoke("presets", "show", written, "--json")
    assert shown.exit_code == 0, shown.output
    planned = resolve_run(str(written), model="m")[0]
    assert planned.config.rollout.max_completion_length == 24
    assert planned.origins["rollout.max_completion_length"] == "preset short"
    balanced = resolve_run("balanced", model="m")[0].config
    assert planned.config.rollout.num_generations == balanced.rollout.num_generations


def test_the_health_rule_of_contributing_finds_what_it_looks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = re.search(r"## Adding a health rule\n.*?```python\n(.*?)```", page, re.DOTALL)
    assert block is not None
    written: dict[str, Any] = {**vars(evidence), **vars(record), "say": say}
    exec("from __future__ import annotations\n" + block.group(1), written)
    monkeypatch.setattr(rules, "RULES", (*rules.RULES, Rule("reward_flat", SAMPLING, written["reward_flat"])))
    monkeypatch.setitem(words.TITLES, "reward_flat", Words("Flat reward", "奖励不变"))
    monkeypatch.setitem(words.EVIDENCE, "reward_flat", Words("always {value:.2f}", "始终为 {value:.2f}"))
    monkeypatch.setitem(words.REMEDIES, "reward_flat", Words("look at ten completions", "查看十个回答"))
    log = tmp_path / "log.jsonl"
    log.write_text(
        "".join(f'{{"step": {n}, "loss": {0.1 + n % 3}, "reward": 0.5}}\n' for n in range(1, 41)),
        encoding="utf-8",
    )
    told = invoke("health", log).output
    assert "reward_flat: always 0.50" in told
    assert "look at ten completions" in told
    monkeypatch.setenv("MEDGRPO_LANG", "zh")
    assert "始终为 0.50" in invoke("health", log).output


def test_a_model_family_is_one_class_and_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wide(Qwen2VL):
        """As Qwen2-VL, with larger patches, under a name of its own."""

        name = "wide-vl"
        model_types: ClassVar[tuple[str, ...]] = ("wide_vl",)
        images = ImageFamily("wide-vl", "patches", 32, 2, 64 * 64, 4096 * 4096)
        shapes: ClassVar[tuple[ModelShape, ...]] = (
            ModelShape("Wide-VL-3B", 28, 1536, 256, 8960, 151_936, 32, 1280, 3413, tied=True),
        )

    monkeypatch.setitem(FAMILIES, "wide-vl", Wide())
    try:
        importlib.reload(shapes)  # the table is made when it is imported
        assert shapes.find_shape("Wide-VL-3B").family == "wide-vl"
    finally:
        monkeypatch.undo()
        importlib.reload(shapes)
    monkeypatch.setitem(FAMILIES, "wide-vl", Wide())
    assert image_tokens(512, 512, image_family("wide_vl")) == (512 // 64) ** 2
    assert family_named("somebody/Wide-VL-3B-Instruct") is FAMILIES["wide-vl"]
    config = SimpleNamespace(config=SimpleNamespace(model_type="wide_vl"))
    assert family_of_model(config).vision_layers == Qwen2VL.vision_layers

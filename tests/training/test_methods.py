"""A training method is one entry in the table and the one class that it names."""

import ast
import sys
from pathlib import Path

import pytest

from medgrpo.errors import UsageError
from medgrpo.files import read_json
from medgrpo.methods import METHODS, SAMPLING, SUPERVISED, Method
from medgrpo.records import json_objects
from tests.training.conftest import run

ROOT = Path(__file__).resolve().parents[2]
NEW = '''
from medgrpo.training.trainers.sft import Sft, SupervisedTrainer

class Halved(SupervisedTrainer):
    """Learns from half of the loss."""
    def compute_loss(self, *args, **kwargs):
        found = super().compute_loss(*args, **kwargs)
        return (found[0] / 2, *found[1:]) if isinstance(found, tuple) else found / 2

class Half(Sft):
    """Imitation, at half the loss."""
    def trainer_class(self):
        return Halved
'''
"""The one file of a method that is tried here."""


@pytest.fixture
def half(monkeypatch, tmp_path):
    """A method that was not there, with one entry and one file."""
    (tmp_path / "half_method.py").write_text(NEW)
    monkeypatch.syspath_prepend(tmp_path)
    entry = Method(
        "half",
        "by imitation at half the loss",
        "half_method:Half",
        teaches=("target",),
        settings={"training.learning_rate": 2e-4, "training.beta": 0.5},
    )
    monkeypatch.setitem(METHODS, "half", entry)
    yield entry
    sys.modules.pop("half_method", None)


def test_every_method_names_a_class_that_is_there():
    from medgrpo.training.methods import StageMethod, stage_method
    from medgrpo.training.trainers.base import RunTrainer

    for name in METHODS:
        method = stage_method(name)
        assert isinstance(method, StageMethod)
        assert issubclass(method.trainer_class(), RunTrainer)
    assert {"grpo"} <= SAMPLING
    assert {"sft", "dpo", "masks-sft"} == set(SUPERVISED)


def test_a_new_method_trains_with_one_entry_and_one_class(half, tiny_config, tmp_path):
    settings = ("training.max_steps=1", "training.prompts_per_step=2", "training.learning_rate=0")
    words = (*settings, "stages.sft.enabled=false")
    assert run(tiny_config("training.method=half", *words), tmp_path / "half").status == "finished"
    assert run(tiny_config("training.method=sft", *words), tmp_path / "sft").status == "finished"
    (mine,), (theirs,) = (json_objects(tmp_path / name / "log.jsonl") for name in ("half", "sft"))
    assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"] / 2, rel=1e-3)
    assert read_json(next((tmp_path / "half").glob("final_*")) / "medgrpo.json")["method"] == "half"


def test_settings_of_a_method_replace_those_of_a_preset_made_for_another(half):
    from medgrpo.config.presets import resolve_run

    model = {"model": "some/model"}
    chosen, _ = resolve_run("balanced", options={"training.method": "half"}, **model)
    assert (chosen.config.training.learning_rate, chosen.config.training.beta) == (2e-4, 0.5)
    assert chosen.origins["training.learning_rate"] == "method half"
    own, _ = resolve_run("balanced", assignments=("method=half", "learning_rate=3e-4"), **model)
    assert (own.config.training.learning_rate, own.config.training.beta) == (3e-4, 0.5)
    preset, _ = resolve_run("balanced", **model)
    assert preset.config.training.learning_rate == 1e-5


def test_an_unknown_method_is_refused_with_the_names_of_all(half):
    from medgrpo.config.presets import resolve_run

    with pytest.raises(UsageError, match="is not possible") as refused:
        resolve_run(assignments=("training.method=gpro",))
    assert refused.value.expected == "grpo, sft, dpo, masks, masks-sft or half"


def test_no_room_compares_with_the_name_of_a_method():
    found = []
    for path in [*(ROOT / "medgrpo").rglob("*.py"), *(ROOT / "cli").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Compare):
                continue
            names = [one for one in ast.walk(node) if isinstance(one, ast.Constant) and one.value in METHODS]
            is_other = any(
                word in ast.unparse(node) for word in ("loss_type", "'masks' in given")
            )  # an option of eval
            if names and not is_other:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert not found, "ask the method's entry in medgrpo/methods.py instead"

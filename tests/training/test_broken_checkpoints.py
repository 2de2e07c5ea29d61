"""A checkpoint that is damaged, edited or of another base is refused in words, and nothing of the run is set aside."""

import json
import shutil

import pytest

from medgrpo.errors import MedgrpoError, UsageError
from tests.models.adapters import edit_json, edit_tensors
from tests.training.conftest import TINY, StopsAt, losses, run

ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def stopped(dataset, tmp_path_factory):
    """A function: tuning method -> the configuration and folder of a run that was stopped after step 4."""
    from medgrpo.config.presets import resolve_run

    made = {}

    def build(method):
        if method not in made:
            words = (*TINY, f"data.path={dataset}", f"tuning.method={method}", "stages.sft.enabled=false")
            config = resolve_run(assignments=words)[0].config
            folder = tmp_path_factory.mktemp(method) / "run"
            assert run(config, folder, reporter=StopsAt("grpo", 4)).status == "stopped"
            made[method] = config, folder
        return made[method]

    return build


def without_fingerprint(checkpoint):
    """As a checkpoint of older medgrpo: only names, shapes and values can tell."""
    edit_json(checkpoint / "medgrpo.json", fingerprint=None)
    edit_json(checkpoint / "complete.json", bytes={})


def first(change):
    seen = iter(range(10_000))
    return lambda name, tensor: change(name, tensor) if next(seen) == 0 else (name, tensor)


def renamed(name, tensor):
    return name.replace(".language_model.", ".text_model."), tensor


def one_nan(name, tensor):
    tensor.view(-1)[-1] = float("nan")
    return name, tensor


FAULTS = {
    "one name of another version": (lambda c: edit_tensors(c / ADAPTER, first(renamed)), "no tensor for"),
    "all names": (lambda c: edit_tensors(c / ADAPTER, renamed), r"no tensor for .*\(28;"),
    "a tensor lost": (lambda c: edit_tensors(c / ADAPTER, first(lambda n, t: None)), r"no tensor for .*\(1;"),
    "a tensor too many": (
        lambda c: edit_tensors(c / ADAPTER, first(lambda n, t: (n.replace(".0.", ".7."), t))),
        "no tensor for",
    ),
    "half of a tensor": (
        lambda c: edit_tensors(c / ADAPTER, first(lambda n, t: (n, t[:1].clone()))),
        "1 tensors have another shape",
    ),
    "inf": (lambda c: edit_tensors(c / ADAPTER, first(one_nan)), "NaN or infinity in 1 of 28"),
    "cut off": (lambda c: (c / ADAPTER).write_bytes((c / ADAPTER).read_bytes()[:-3]), "cut off or damaged"),
    "no adapter": (lambda c: (c / ADAPTER).unlink(), "has no weights"),
    "settings cut off": (lambda c: (c / "adapter_config.json").write_text('{"r": 16'), "cannot be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_adapter_is_refused_on_resume(stopped, tmp_path, fault):
    config, folder = stopped("lora")
    break_it, words = FAULTS[fault]
    mine = shutil.copytree(folder, tmp_path / "run")
    checkpoint = mine / "checkpoints" / "checkpoint-4"
    without_fingerprint(checkpoint)
    break_it(checkpoint)
    with pytest.raises(MedgrpoError, match=words):
        run(config, mine, resume=True)
    assert losses(mine) == losses(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: edit_json(c / "adapter_config.json", lora_alpha=64), "lora_alpha is 64, trained with 32"),
        (
            lambda c: edit_tensors(c / ADAPTER, first(lambda n, t: (n, t * 1.001))),
            "not those that were saved",
        ),
    ],
)
def test_an_edited_adapter_is_refused_on_resume(stopped, tmp_path, change, words):
    config, folder = stopped("lora")
    mine = shutil.copytree(folder, tmp_path / "run")
    change(mine / "checkpoints" / "checkpoint-4")
    with pytest.raises(UsageError, match=words):
        run(config, mine, resume=True)


def test_another_base_of_the_same_shape_is_refused_on_resume(stopped, tmp_path):
    """The run's own base, exchanged between stop and resume."""
    config, folder = stopped("lora")
    mine = shutil.copytree(folder, tmp_path / "run")
    base = json.loads((mine / "checkpoints" / "checkpoint-4" / "medgrpo.json").read_text())["base_model"]
    other = shutil.copytree(folder / "checkpoints" / "checkpoint-4" / base, tmp_path / "other")
    edit_tensors(other / "model.safetensors", lambda n, t: (n, t * 1.01 if "layers.1" in n else t))
    moved = config.model_copy(update={"model": config.model.model_copy(update={"path": str(other)})})
    with pytest.raises(UsageError, match=r"is not the base model that .* other values"):
        run(moved, mine, resume=True)


def lost(name, tensor):
    return None if name.endswith("layers.1.mlp.up_proj.weight") else (name, tensor)


WHOLE = {
    "a tensor lost": (lambda c: edit_tensors(c / "model.safetensors", lost), r"lacks 1 of the \d+ tensors"),
    "NaN": (
        lambda c: edit_tensors(c / "model.safetensors", first(one_nan)),
        "NaN or infinity in 2 of",
    ),  # tied
    "cut off": (
        lambda c: (c / "model.safetensors").write_bytes((c / "model.safetensors").read_bytes()[:-9]),
        "cut off or damaged",
    ),
    "optimiser cut off": (
        lambda c: (c / "optimizer.pt").write_bytes((c / "optimizer.pt").read_bytes()[:-900]),
        "optimizer.pt",
    ),
    "no optimiser": (lambda c: (c / "optimizer.pt").unlink(), "optimizer.pt"),
    "trainer's state cut off": (
        lambda c: (c / "trainer_state.json").write_text('{"epoch": 1'),
        "trainer_state",
    ),
}


@pytest.mark.parametrize("fault", WHOLE)
def test_a_broken_whole_model_is_refused_on_resume(stopped, tmp_path, fault):
    config, folder = stopped("full")
    break_it, words = WHOLE[fault]
    mine = shutil.copytree(folder, tmp_path / "run")
    if "optimiser" not in fault:
        edit_json(mine / "checkpoints" / "checkpoint-4" / "complete.json", bytes={})
    break_it(mine / "checkpoints" / "checkpoint-4")
    with pytest.raises(MedgrpoError, match=words):
        run(config, mine, resume=True)

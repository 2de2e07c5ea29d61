"""Weights or outputs that are no numbers any more: said in words, with the way back, before anything is lost."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from medgrpo.config.sections import RunConfig
from medgrpo.errors import MedgrpoError
from medgrpo.files import read_json
from medgrpo.runs.writer import StageFolder
from medgrpo.training.run.checkpoints import complete_checkpoints
from medgrpo.training.watch.finite import non_finite_outputs_in_words
from tests.training.conftest import StopsAt, losses, run

SHORT = ("stages.sft.enabled=false", "training.max_steps=4", "training.lr_scheduler_type=constant")


def test_weights_that_stop_being_numbers_end_the_run_with_the_way_back(tiny_config, tmp_path):
    # Step 3 throws the weights to 1e37, step 4 learns from its outputs, which are NaN; no rule is asked to stop.
    twice, path = (*SHORT, "training.num_iterations=2", "training.stop_on=[]"), tmp_path / "run"
    run(tiny_config(*twice), path, reporter=StopsAt("grpo", 2))
    with pytest.raises(MedgrpoError, match=r"step 4, the weights \S+ are NaN or infinite") as raised:
        run(tiny_config(*twice, "training.learning_rate=1e37"), path, resume=True)
    back = path / "checkpoints" / "checkpoint-2"
    assert f"--resume {back} --set training.learning_rate=5e+36" in raised.value.hint
    assert complete_checkpoints(back.parent) == [back]
    assert read_json(path / "training_info.json")["status"] == "failed"
    assert run(tiny_config(*twice), path, resume=True).status == "finished"
    assert [step for step, _ in losses(path)] == [1, 2, 3, 4]


def test_outputs_that_are_no_numbers_are_worded_and_the_last_weights_are_not_trusted(tiny_config, tmp_path):
    path = tmp_path / "run"
    config = tiny_config(*SHORT, "training.save_steps=1")
    run(config, path, reporter=StopsAt("grpo", 2))
    # Logits are divided by it: infinite in float32, as those of weights that have grown beyond bounds.
    cold = tiny_config(*SHORT, "training.save_steps=1", "rollout.temperature=1e-39")
    with pytest.raises(MedgrpoError, match=r"step 2, .* outputs are NaN or infinite") as raised:
        run(cold, path, resume=True)
    assert f"--resume {path / 'checkpoints' / 'checkpoint-1'} " in raised.value.hint


def test_a_model_whose_weights_are_no_numbers_is_refused_before_the_first_step(tiny_config, tmp_path):
    path = tmp_path / "run"
    run(tiny_config(*SHORT, "training.max_steps=1"), path)
    weights = path / "final_model" / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    tensors[name][0, 0] = torch.nan
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(MedgrpoError, match=r"NaN or infinity in .*q_proj\.\S*weight"):
        run(tiny_config(*SHORT, f"model.path={path}"), tmp_path / "next")
    assert not (tmp_path / "next" / "log.jsonl").is_file()


def test_what_a_gpu_says_of_it_is_worded_too_and_other_errors_pass(tmp_path):
    context = SimpleNamespace(
        config=RunConfig(),
        stage=StageFolder(1, "grpo", "grpo", tmp_path),
        writer=SimpleNamespace(path=tmp_path),
    )
    trainer = SimpleNamespace(state=SimpleNamespace(global_step=7))
    with (
        pytest.raises(MedgrpoError, match=r"step 7, .* outputs are NaN"),
        non_finite_outputs_in_words(context, trainer),
    ):
        raise RuntimeError(
            "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later"
        )
    with pytest.raises(RuntimeError, match="shape"), non_finite_outputs_in_words(context, trainer):
        raise RuntimeError("shape mismatch")

"""Weights that are finite and too large: refused or worded, never an answer of NaN."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from medgrpo.errors import MedgrpoError
from medgrpo.models.adapter_files import read_adapter
from medgrpo.models.overflow import LogitsWatch, no_finite_logits


def adapter(folder, value=0.01, alpha=8):
    folder.mkdir()
    name = "base_model.model.layers.0.q_proj.lora_{}.weight"
    save_file(
        {name.format("A"): torch.full((2, 8), 0.1), name.format("B"): torch.full((8, 2), value)},
        folder / "adapter_model.safetensors",
    )
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": alpha, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("value", [3e38, -1e20, 1e6])
def test_an_adapter_with_numbers_that_no_training_ends_with_is_refused(tmp_path, value):
    with pytest.raises(MedgrpoError, match=r"numbers up to .*q_proj\.lora_B"):
        read_adapter(adapter(tmp_path / "a", value))


@pytest.mark.parametrize("alpha", [1e30, -1e9, float("inf"), float("nan")])
def test_an_alpha_that_no_training_has_is_refused(tmp_path, alpha):
    with pytest.raises(MedgrpoError, match="lora_alpha"):
        read_adapter(adapter(tmp_path / "a", alpha=alpha))


def test_an_honest_adapter_is_read(tmp_path):
    assert len(read_adapter(adapter(tmp_path / "a", 3.0, alpha=512)).tensors) == 2


def test_an_adapter_in_eight_bits_is_read(tmp_path):
    file = adapter(tmp_path / "a") / "adapter_model.safetensors"
    save_file({name: one.to(torch.float8_e4m3fn) for name, one in load_file(file).items()}, file)
    assert len(read_adapter(file.parent).tensors) == 2


def test_logits_that_are_no_numbers_are_seen_and_tokens_ruled_out_are_none():
    watch = LogitsWatch()
    ruled_out = torch.tensor([[1.0, -torch.inf], [2.0, 3.0]])
    assert torch.equal(watch(torch.zeros(2, 1), ruled_out), ruled_out)
    assert watch.rows == 0
    for bad in (torch.nan, torch.inf):
        watch(torch.zeros(2, 1), torch.tensor([[1.0, 0.0], [bad, 3.0]]))
    assert watch.rows == 1
    error = no_finite_logits(
        "1 of 2 completions", [("small", torch.ones(2)), ("large", torch.tensor([-7e4]))], "float16"
    )
    assert "large (7e+04), small (1)" in error.problem
    assert "float32" in str(error.hint)

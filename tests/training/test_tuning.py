"""Which weights change, and how fast: towers, adapters, learning rates (S2.1)."""

import pytest
import torch

from medgrpo.errors import UsageError
from medgrpo.records import json_objects
from tests.training.conftest import StopsAt, losses, run

QUICK = ("stages.sft.enabled=false", "training.learning_rate=1e-3", "training.warmup_ratio=0")


def weights(folder):
    from medgrpo.models.loading import load_model

    return {
        name: weight.detach().clone() for name, weight in load_model(str(folder)).model.named_parameters()
    }


@pytest.mark.parametrize("towers", [("language",), ("vision", "aligner")])
def test_full_tuning_changes_the_chosen_towers_and_no_other_weight(tiny_config, tmp_path, towers):
    from medgrpo.models.families import tower_of

    chosen = ", ".join(f'"{tower}"' for tower in towers)
    run(tiny_config(*QUICK, f"tuning.towers=[{chosen}]", "training.max_steps=2"), tmp_path / "run")
    before = weights(tmp_path / "run" / "demo" / "model")
    after = weights(tmp_path / "run" / "final_model")
    changed = {tower_of(name) for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(towers)


@pytest.mark.parametrize(
    ("method", "towers", "expected"),
    [
        ("lora", ["language"], {"language"}),
        ("dora", ["language", "vision", "aligner"], {"language", "vision", "aligner"}),
    ],
)
def test_adapters_sit_on_the_chosen_towers_alone(tiny_config, tmp_path, method, towers, expected):
    from safetensors.torch import load_file

    from medgrpo.models.families import tower_of

    config = tiny_config(
        *QUICK, f"tuning.method={method}", f"tuning.towers={towers}", "tuning.rank=4", "training.max_steps=2"
    )
    result = run(config, tmp_path / "run")
    saved = load_file(tmp_path / "run" / "final_lora" / "adapter_model.safetensors")
    assert {tower_of(name) for name in saved} == expected
    assert any("lora_magnitude_vector" in name for name in saved) is (method == "dora")
    # B starts at 0, so what is not 0 has learned.
    assert any(weight.abs().max() > 0 for name, weight in saved.items() if "lora_B" in name)
    assert len(json_objects(result.log)) == 2


def test_the_vision_side_has_parameter_groups_with_its_own_learning_rate(tmp_path):
    from medgrpo.models.demo import build_demo_model
    from medgrpo.models.families import tower_of
    from medgrpo.models.loading import load_model
    from medgrpo.training.trainers.optimizer import separate_rates

    model = load_model(str(build_demo_model(tmp_path / "m", ["a question"], seed=0))).model
    named = dict(model.named_parameters())
    decayed = [weight for weight in named.values() if weight.dim() > 1]
    others = [weight for weight in named.values() if weight.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=1e-3
    )
    separate_rates(optimizer, model, 1e-5)
    rates = {
        id(weight): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    assert len(optimizer.param_groups) == 4
    assert len(rates) == len({id(weight) for weight in named.values()})
    for name, weight in named.items():
        rate = 1e-3 if tower_of(name) == "language" else 1e-5
        assert rates[id(weight)] == (rate, 0.1 if weight.dim() > 1 else 0.0), name


def test_a_run_with_separate_learning_rates_trains_both_and_resumes_bit_for_bit(tiny_config, tmp_path):
    config = tiny_config(*QUICK, "training.vision_learning_rate=1e-5", "training.max_steps=4")
    run(config, tmp_path / "whole")
    run(config, tmp_path / "cut", reporter=StopsAt("grpo", 2))
    state = torch.load(tmp_path / "cut/checkpoints/checkpoint-2/optimizer.pt", weights_only=True)
    assert sorted({group["initial_lr"] for group in state["param_groups"]}) == [1e-5, 1e-3]
    run(config, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert json_objects(tmp_path / "whole" / "log.jsonl")[0]["learning_rate"] == 1e-3
    one, other = weights(tmp_path / "cut" / "final_model"), weights(tmp_path / "whole" / "final_model")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_learning_rate_changed_on_resume_takes_effect_and_keeps_the_schedules_place(tiny_config, tmp_path):
    constant = (*QUICK, "training.lr_scheduler_type=linear", "training.max_steps=4")
    run(tiny_config(*constant), tmp_path / "run", reporter=StopsAt("grpo", 2))
    run(tiny_config(*constant, "training.learning_rate=2e-3"), tmp_path / "run", resume=True)
    rates = [entry["learning_rate"] for entry in json_objects(tmp_path / "run" / "log.jsonl")]
    assert rates == pytest.approx([1e-3, 0.75e-3, 1e-3, 0.5e-3])


def test_a_pattern_that_hits_nothing_is_told_what_the_layers_are_called(tiny_config, tmp_path):
    config = tiny_config(*QUICK, "tuning.method=lora", 'target_modules=["wqkv"]')
    with pytest.raises(UsageError, match="hits no module of this model") as raised:
        run(config, tmp_path / "run")
    assert "q_proj" in raised.value.expected

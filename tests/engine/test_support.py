"""Which models the engine takes, and that it goes back to TRL's way where the two differ."""

import pytest
import torch

from medgrpo.engine import support
from medgrpo.engine.support import attends_by_kernel, use_kernel, why_not
from medgrpo.files import read_json
from medgrpo.training.run.train import train
from medgrpo.training.trainers import engine
from medgrpo.training.watch.reporter import SilentReporter
from tests.training.conftest import dataset, tiny_config  # noqa: F401 the fixtures


def test_what_the_engine_is_not_right_for_is_named(load):
    model, _ = load("qwen3")
    assert why_not(model) is None
    assert not use_kernel(model, torch.device("cpu"), is_half=True)
    assert not attends_by_kernel(model)
    model.config.attention_dropout = 0.1
    assert "drops attention" in why_not(model)
    model.config.attention_dropout = 0.0
    model.config._attn_implementation = "eager"
    assert "eager" in why_not(model)


def test_the_kernel_is_chosen_by_where_a_model_will_compute(load, monkeypatch):
    monkeypatch.setattr(support, "has_kernel", lambda: True)
    model, _ = load("qwen3")  # DeepSpeed and FSDP leave the weights on the CPU until the first step
    assert use_kernel(model, torch.device("cuda"), is_half=True)
    assert attends_by_kernel(model)


@pytest.mark.parametrize("differs", [False, True])
def test_auto_goes_back_to_trls_way_where_the_two_differ(differs, tiny_config, tmp_path, monkeypatch):  # noqa: F811
    if differs:  # a fault: every completion is read as if it stood one place further
        right = engine.packed_scores

        def wrong(model, ids, mask, columns, shown, *rest, **more):
            moved = [{**one, "positions": one["positions"] * 3} for one in {id(s): s for s in shown}.values()]
            new = {id(old): one for old, one in zip({id(s): s for s in shown}.values(), moved, strict=True)}
            return right(model, ids, mask, columns, [new[id(one)] for one in shown], *rest, **more)

        monkeypatch.setattr(engine, "packed_scores", wrong)
    reporter = SilentReporter()
    config = tiny_config("stages.sft.enabled=false", "training.max_steps=1")
    train(config, name="test", reporter=reporter, output=tmp_path / "run", logs=None)
    found = read_json(tmp_path / "run" / "training_info.json")["engine"]
    assert found["shared_prompt"] is not differs
    assert (found["difference"] > found["limit"]) is differs
    warned = [line for line in reporter.warnings if line.startswith("engine:")]
    assert len(warned) == differs

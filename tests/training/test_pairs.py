"""DPO with prompt and pictures once for both answers: TRL's own loss, gradients and figures."""

import copy
from contextlib import nullcontext

import pytest
import torch

from medgrpo.engine.inner import inner_of
from medgrpo.files import read_json
from medgrpo.records import json_objects
from medgrpo.training.trainers import dpo, pairs
from medgrpo.training.watch.reporter import SilentReporter
from tests.engine.conftest import QUESTIONS, folders, load, picture  # noqa: F401 the fixtures
from tests.families import TINY_FAMILIES
from tests.training.conftest import run
from tests.training.test_train import write_pairs

DPO = (
    "training.method=dpo", "stages.sft.enabled=false", "training.max_steps=2", "training.learning_rate=1e-3",
    "training.warmup_ratio=0", "training.beta=0.3",
)  # fmt: skip
FIGURES = (
    "loss", "grad_norm", "entropy", "num_tokens", "logits/chosen", "logits/rejected", "mean_token_accuracy", "rewards/chosen",
    "rewards/margins", "logps/chosen", "logps/rejected",
)  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        ("tuning.method=lora", "tuning.rank=4"),
        ("tuning.method=full", 'tuning.towers=["language", "vision", "aligner"]', "dpo.sft_weight=0.5"),
        (
            "tuning.method=lora",
            "tuning.rank=4",
            "dpo.loss_type=ipo",
            "training.per_device_train_batch_size=1",
        ),
    ],
    ids=["lora", "all towers with an SFT term", "ipo, a pair a pass"],
)
def test_a_run_learns_the_same_with_prompts_computed_once(settings, tiny_config, dataset, tmp_path):
    data = write_pairs(tmp_path / "pairs", dataset)
    logs = []
    for mode in ("on", "off"):
        config = tiny_config(*DPO, *settings, f"data.path={data}", f"engine.shared_prompt={mode}")
        logs.append(json_objects(run(config, tmp_path / mode).log))
        assert read_json(tmp_path / mode / "training_info.json")["engine"]["shared_prompt"] is (mode == "on")
    assert logs[0][-1]["loss"] != logs[0][0]["loss"]
    for log, spends in (
        (logs[0], {"time/prepare", "time/logprobs", "time/update"}),
        (logs[1], {"time/prepare"}),
    ):
        for entry in log:
            spent = {key: value for key, value in entry.items() if key.startswith("time/")}
            assert spends <= {key for key, value in spent.items() if value > 0}
            rows = config.training.prompts_per_step
            assert sum(spent.values()) == pytest.approx(entry["s_per_prompt"] * rows)
    for key in FIGURES:
        both = [[entry[key] for entry in log] for log in logs]
        assert both[0][:1] == pytest.approx(both[1][:1], rel=1e-4, abs=1e-5), key
        assert both[0] == pytest.approx(both[1], rel=0.02, abs=1e-3), key


def examples(counts):
    """Pairs as `dpo_dataset` gives them to a vision model, with so many pictures each."""
    return [
        {
            "prompt": [{"role": "user", "content": [{"type": "image"}] * count + [{"type": "text", "text": question}]}],
            "chosen": [{"role": "assistant", "content": "yes left"}],
            "rejected": [{"role": "assistant", "content": "no, 0 1 2 is there" * (number + 1)}],
            "images": [picture(10 * number + place, (100 + 30 * place, 90)) for place in range(count)],
        }
        for number, (count, question) in enumerate(zip(counts, QUESTIONS, strict=True))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "counts"),
    [(name, (1, 0, 2)) for name, one in TINY_FAMILIES.items() if one.is_vision] + [("qwen2_5_vl", (0, 0, 0))],
)
def test_every_family_reads_the_same_tokens_and_learns_by_the_same_gradients(name, counts, load):  # noqa: F811
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

    model, processor = load(name)
    stock = dict(DataCollatorForVisionPreference(processor)(copy.deepcopy(examples(counts))))
    ours = pairs.pair_batch(
        [pairs.answered(one, processor, inner_of(model)) for one in examples(counts)],
        filling=processor.tokenizer.pad_token_id,
    )
    with torch.no_grad():
        assert pairs.difference_from_stock(model, ours, stock, nullcontext).max() < 1e-5
    inputs = {key: value for key, value in stock.items() if key not in pairs.NOT_OF_MODEL}
    labels = stock["input_ids"].masked_fill(stock["completion_mask"] == 0, -100)
    expected = gradients(model, model(**inputs, labels=labels, fused_lm_head=True))
    found = gradients(model, pairs.SharedPrompts(model, nullcontext)(**ours))
    assert found.keys() == expected.keys()
    floor = 1e-3 * max(
        gradient.norm() for gradient in expected.values()
    )  # a key's bias has none but what rounding leaves
    for weight, gradient in expected.items():
        assert (found[weight] - gradient).norm() < 1e-4 * gradient.norm().clamp(min=floor), weight


def gradients(model, outputs):
    """Of DPO's loss without a reference."""
    model.zero_grad(set_to_none=True)
    chosen, rejected = outputs.log_probs.sum(1).chunk(2)
    torch.nn.functional.softplus((rejected - chosen) / 50).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("fault", ["positions", "tokens"])
def test_auto_goes_back_to_trls_way_where_the_two_differ(fault, tiny_config, dataset, tmp_path, monkeypatch):
    right = dpo.answered

    def wrong(*words):
        one = right(*words)
        if fault == "tokens":
            return one._replace(chosen=one.chosen[:-1])
        return one._replace(shown={**one.shown, "positions": one.shown["positions"] * 3})

    monkeypatch.setattr(dpo, "answered", wrong)
    data = write_pairs(tmp_path / "pairs", dataset)
    reporter = SilentReporter()
    config = tiny_config(*DPO, f"data.path={data}")
    log = json_objects(run(config, tmp_path / "run", reporter=reporter).log)
    assert read_json(tmp_path / "run" / "training_info.json")["engine"]["shared_prompt"] is False
    assert [line for line in reporter.warnings if line.startswith("engine:")]
    assert log[0]["loss"] == pytest.approx(0.6931, abs=1e-3)

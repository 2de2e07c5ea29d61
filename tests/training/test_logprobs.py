"""The seam for speed: log probabilities computed another way, and which rows a pass learns from."""

import pytest
import torch

from medgrpo.records import json_objects
from medgrpo.training.trainers.batches import batches_of_passes
from medgrpo.training.trainers.logprobs import LogProbs
from tests.training.conftest import run

PICTURES = (
    "stages.sft.enabled=false",
    "training.beta=0.05",
    "training.num_iterations=2",
    "training.per_device_train_batch_size=4",
    "training.max_steps=4",
    "training.learning_rate=1e-3",
    "training.warmup_ratio=0",
)
"""Two passes a step and two steps a rollout: old, reference and current log probabilities all differ."""


class RowByRow:
    """Each row by itself, without padding, from plain logits; what it was asked for is kept."""

    def __init__(self) -> None:
        self.asked = []

    def __call__(self, trainer, model, sequences, *, rows_at_once, with_entropies, with_aux_loss):
        self.asked.append((model is trainer.ref_model, torch.is_grad_enabled(), with_entropies))
        assert not with_aux_loss  # no mixture of experts here
        rows = [self.row(trainer, model, sequences, number) for number in range(len(sequences.input_ids))]
        logprobs, entropies = (torch.stack(part) for part in zip(*rows, strict=True))
        return LogProbs(logprobs, entropies if with_entropies else None, None)

    def row(self, trainer, model, sequences, number):
        kept = sequences.attention_mask[number].bool()
        ids = sequences.input_ids[number][kept]
        pictures = sequences.pictures
        grids = pictures["image_grid_thw"].split(pictures["num_images"])
        patches = pictures["pixel_values"].split([int(grid.prod(-1).sum()) for grid in grids])
        output = model(
            input_ids=ids[None],
            attention_mask=torch.ones_like(ids)[None],
            pixel_values=patches[number],
            image_grid_thw=grids[number],
            mm_token_type_ids=pictures["mm_token_type_ids"][number][kept][None],
        )
        length = int(kept[-sequences.completion_length :].sum())
        logits = output.logits[0, -length - 1 : -1].float() / trainer.temperature
        distribution = torch.distributions.Categorical(logits=logits)
        padding = (0, sequences.completion_length - length)
        found = (distribution.log_prob(ids[-length:]), distribution.entropy())
        return tuple(torch.nn.functional.pad(values, padding) for values in found)


def test_other_log_probabilities_are_put_in_at_one_place_and_learn_the_same(
    tiny_config, tmp_path, monkeypatch
):
    from trl import GRPOTrainer

    from medgrpo.training.trainers.grpo import PolicyTrainer

    config = tiny_config(*PICTURES)
    usual = json_objects(run(config, tmp_path / "usual").log)
    another = RowByRow()
    monkeypatch.setattr(PolicyTrainer, "logprobs", another)
    monkeypatch.delattr(GRPOTrainer, "_get_per_token_logps_and_entropies")  # nothing goes past the seam
    log = json_objects(run(config, tmp_path / "another").log)
    assert set(another.asked) == {(False, False, False), (True, False, False), (False, True, True)}
    assert len({entry["loss"] for entry in usual}) == 4
    assert usual[1]["kl"] > 1e-4
    for key in ("loss", "kl", "entropy", "grad_norm", "reward"):
        both = [[entry[key] for entry in one if key in entry] for one in (log, usual)]
        assert both[0] == pytest.approx(both[1], rel=2e-3, abs=1e-5), key


def test_passes_get_their_rows_as_in_trl(tiny_config, tmp_path, monkeypatch):
    from trl import GRPOTrainer

    from medgrpo.training.trainers.grpo import PolicyTrainer

    config = tiny_config(*PICTURES, "engine.shared_prompt=off")
    ours = json_objects(run(config, tmp_path / "ours").log)
    monkeypatch.setattr(PolicyTrainer, "_prepare_inputs", GRPOTrainer._prepare_inputs)
    trls = json_objects(run(config, tmp_path / "trls").log)
    assert [entry["loss"] for entry in ours] == [entry["loss"] for entry in trls]


@pytest.mark.parametrize("keeps_groups", [False, True])
def test_each_row_goes_into_one_pass_with_its_own_prompt(keeps_groups):
    prompts = [{"number": number} for number in range(4)]
    generated = {
        "completion_ids": torch.arange(8)[:, None].expand(8, 5),
        "shown": [prompts[row // 2] for row in range(8)],
        "group_ids": torch.arange(8) // 2,
        "num_items_in_batch": torch.tensor(40),
    }
    torch.manual_seed(0)
    batches = batches_of_passes(generated, 4, keeps_groups=keeps_groups)
    rows = [batch["completion_ids"][:, 0].tolist() for batch in batches]
    assert sorted(number for numbers in rows for number in numbers) == list(range(8))
    assert [len(batch) for batch in rows] == [2, 2, 2, 2]
    for batch, numbers in zip(batches, rows, strict=True):
        assert [one["number"] for one in batch["shown"]] == [number // 2 for number in numbers]
        assert batch["group_ids"].tolist() == [number // 2 for number in numbers]
        assert batch["num_items_in_batch"] == 40
    if keeps_groups:
        assert all(one // 2 == other // 2 for one, other in rows)
        assert rows != [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize(
    "settings",
    [
        ("training.beta=0.05", "training.num_iterations=2", "training.per_device_train_batch_size=2"),
        ("tuning.method=dora", "tuning.rank=4", "training.beta=0.05"),
        ("training.loss_type=grpo", "training.max_steps=2"),
        (
            "training.top_entropy_quantile=0.3",
            "training.per_device_train_batch_size=4",
            "training.max_steps=2",
        ),
        ('tuning.towers=["language", "vision", "aligner"]',),
    ],
    ids=[
        "two iterations, passes of half a group",
        "dora",
        "a mean over completions",
        "a quantile of each pass",
        "the tower trains",
    ],
)
def test_a_run_learns_the_same_with_prompts_computed_once(settings, tiny_config, tmp_path):
    logs = []
    for mode in ("on", "off"):
        config = tiny_config(*PICTURES[:1], *PICTURES[4:], *settings, f"engine.shared_prompt={mode}")
        logs.append(json_objects(run(config, tmp_path / mode).log))
    assert len({entry["grad_norm"] for entry in logs[0]} - {0}) > 1
    for key in ("loss", "kl", "entropy", "grad_norm", "reward"):
        both = [[entry[key] for entry in log if key in entry] for log in logs]
        # Steps of Adam make much of the last digits of a gradient: what comes after the first differs more.
        assert both[0][:1] == pytest.approx(both[1][:1], rel=2e-3, abs=1e-5), key
        assert both[0] == pytest.approx(both[1], rel=0.05, abs=1e-4), key

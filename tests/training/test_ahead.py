"""The next batch sampled before the policy learns from this one."""

from types import SimpleNamespace

import pytest

from medgrpo.records import json_objects
from medgrpo.runs.store import read_completions
from medgrpo.training.trainers.ahead import Answered, answer
from medgrpo.training.trainers.grpo import PolicyTrainer
from tests.training.conftest import StopsAt, losses, prompt_order, run

AHEAD = ("rollout.ahead=1", "stages.sft.enabled=false", "training.learning_rate=1e-3")


@pytest.fixture
def sampled(monkeypatch):
    """(steps done, rows) of every batch in the order in which they were sampled."""
    found = []
    original = PolicyTrainer._generate_and_score_completions

    def noted(self, inputs):
        if not self.context.is_probing:
            found.append((self.state.global_step, [one["number"] for one in inputs][:: self.num_generations]))
        return original(self, inputs)

    monkeypatch.setattr(PolicyTrainer, "_generate_and_score_completions", noted)
    return found


def test_each_batch_is_sampled_a_step_before_it_is_learned_from(tiny_config, tmp_path, sampled):
    run(tiny_config(*AHEAD[1:], "training.max_steps=5"), tmp_path / "usual")
    usual, sampled[:] = list(sampled), []
    run(tiny_config(*AHEAD, "training.max_steps=5"), tmp_path / "ahead")
    # Seven rows in steps of two: three steps an epoch, at whose beginning nothing is known ahead.
    assert [rows for _, rows in sampled] == [rows for _, rows in usual]
    assert [step for step, _ in usual] == [0, 1, 2, 3, 4]
    assert [step for step, _ in sampled] == [0, 0, 1, 3, 3]
    assert prompt_order(tmp_path / "ahead") == prompt_order(tmp_path / "usual")

    def texts(name, step):
        rows = read_completions(tmp_path / name).to_pylist()
        return [row["completion"] for row in rows if row["step"] == step]

    assert texts("ahead", 1) == texts("usual", 1)
    log = json_objects(tmp_path / "ahead" / "log.jsonl")
    gaps = [entry["sampling/sampling_logp_difference/mean"] for entry in log]
    assert gaps[0] == gaps[3] == 0  # sampled by the policy that learns
    assert min(gaps[1], gaps[2], gaps[4]) > 0
    assert all("reward" in entry and "completions/mean_length" in entry for entry in log)
    assert log[0]["reward"] == json_objects(tmp_path / "usual" / "log.jsonl")[0]["reward"]


def test_rows_that_come_again_within_an_epoch_are_sampled_once_for_each_time(tiny_config, tmp_path, sampled):
    # Two of three rows a step, so that the same two come again: known by their rows alone, what followed the first time
    # was sampled in place of what comes now, and thrown away.
    words = (
        "curriculum.by=column:image_tokens", "curriculum.schedule=staged", "curriculum.start=0.15", "curriculum.full_at=1",
        "data.rows=20", "rollout.num_generations=2", "rollout.max_completion_length=3", "training.max_steps=8",
    )  # fmt: skip
    run(tiny_config(*AHEAD, *words, "rollout.ahead=0"), tmp_path / "usual")
    usual, sampled[:] = list(sampled), []
    run(tiny_config(*AHEAD, *words), tmp_path / "ahead")
    assert len({tuple(rows) for _, rows in usual}) < len(usual)
    assert [rows for _, rows in sampled] == [rows for _, rows in usual]
    assert [step for step, _ in sampled] == [0, 0, 1, 2, 3, 4, 5, 6]


def test_a_resumed_run_is_the_uninterrupted_one(tiny_config, tmp_path):
    config = tiny_config(*AHEAD)
    run(config, tmp_path / "whole")
    run(config, tmp_path / "cut", reporter=StopsAt("grpo", 4))
    run(config, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert prompt_order(tmp_path / "cut") == prompt_order(tmp_path / "whole")


class Client:
    """What TRL's client of a vLLM server is asked, and when."""

    def __init__(self):
        self.asked = []

    def image_features(self, images):
        self.asked.append(("features", images))
        return [f"features of {image}" for image in images]

    def generate(self, **asked):
        self.asked.append(("generate", asked))
        return {"completion_ids": [[1], [2]]}


def test_what_a_server_answered_ahead_is_given_once():
    client = Client()
    generation = SimpleNamespace(
        vllm_client=client, _place_features=lambda features, ids: (features, len(ids)), repetition_penalty=1.0,
        temperature=0.7, top_p=1.0, top_k=0, min_p=None, max_completion_length=9, logprobs=0,
        structured_outputs_regex=None, generation_kwargs={},
    )  # fmt: skip
    features, output = answer(generation, [[5, 6]], ["picture"], 2)
    asked = dict(client.asked)["generate"]
    assert (asked["n"], asked["temperature"], asked["features"]) == (2, 0.7, [("features of picture", 2)])
    generation.vllm_client = Answered(generation, features, output)
    assert generation.vllm_client.image_features(["picture"]) == ["features of picture"]
    assert generation.vllm_client.generate(prompts=[[5, 6]]) == output
    assert generation.vllm_client is client
    assert len(client.asked) == 2

"""What validation reports of held-out rows."""

import pytest

from medgrpo.data.prompts import load_template
from medgrpo.data.schema import new_row
from medgrpo.rewards.composite import CompositeReward
from medgrpo.training.run.validation import Validator


def wide(completions, **columns):
    return [2.5 + 0.1 * (len(completion) % 3) for completion in completions]


def test_every_measure_of_a_reward_of_ones_own_has_an_interval_that_holds_it():
    rows = [
        new_row(id=str(i), question="Is it?", answer="yes", language="en", image_id=f"i{i}")
        for i in range(30)
    ]
    composite = CompositeReward({"answer_match": 0.5, "wide": 0.5}, rewards={"wide": wide})
    validator = Validator(None, rows, load_template("structured"), composite, "token_f1", 16)
    texts = [f"<think>{'a' * i}</think><answer>{'yes' if i % 3 else 'no'}</answer>" for i in range(30)]
    found = validator.score(texts)
    assert found["wide"]["value"] == pytest.approx(sum(wide(texts)) / 30)
    assert found["reward"]["value"] > 1
    for name, one in found.items():
        assert one["low"] <= one["value"] <= one["high"], name
    assert found["answer_match"]["high"] <= 1

"""Completions sampled with each prompt read once are those that `generate` gives."""

from contextlib import nullcontext

import pytest
import torch

from medgrpo.engine.decode import Draw, sample
from medgrpo.engine.features import keep_features
from medgrpo.engine.inner import inner_of
from medgrpo.engine.shown import joined_pictures
from tests.engine.conftest import shown_prompts
from tests.families import TINY_FAMILIES

OF_ROW = [0, 0, 1, 1, 2, 2]
LONGEST = 12


@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_the_likeliest_completions_are_those_of_generate(name, load):
    model, processor = load(name)
    is_vision = TINY_FAMILIES[name].is_vision
    shown = shown_prompts(model, processor, [1, 0, 2] if is_vision else [0, 0, 0], is_vision=is_vision)
    tokenizer = getattr(processor, "tokenizer", processor)
    draw = Draw(1e-6, (tokenizer.eos_token_id,), tokenizer.pad_token_id, LONGEST)
    if is_vision:
        keep_features(inner_of(model), shown, torch.device("cpu"))
    found = sample(model, shown, OF_ROW, draw, autocast=nullcontext)
    assert found[::2] == found[1::2]
    for one, completion in zip(shown, found[::2], strict=True):
        ids = one["prompt_ids"][None]
        fields = {key: value[None] for key, value in one["token_fields"].items()} | joined_pictures([one])
        expected = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=LONGEST,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **fields,
        )[0, ids.shape[1] :].tolist()
        assert completion == expected


def test_what_ends_early_is_cut_and_filled_and_nothing_ends_before_the_shortest_length(load):
    model, processor = load("qwen3")
    shown = shown_prompts(model, processor, [0], is_vision=False)
    every = tuple(range(model.config.vocab_size))
    torch.manual_seed(0)
    for shortest, length in ((0, 1), (3, 4)):
        ends = every if not shortest else every[:-1]
        found = sample(model, shown, [0] * 4, Draw(1.0, ends, 0, 8, shortest), autocast=nullcontext)
        assert {len(one) for one in found} == {length}


def test_completions_are_drawn_by_their_probabilities(load):
    model, processor = load("qwen3")
    shown = shown_prompts(model, processor, [0], is_vision=False)
    torch.manual_seed(0)
    found = sample(model, shown, [0] * 4000, Draw(2.0, (-1,), 0, 1), autocast=nullcontext)
    counts = torch.bincount(torch.tensor(found).flatten(), minlength=model.config.vocab_size) / len(found)
    with torch.no_grad():
        expected = torch.softmax(model(input_ids=shown[0]["prompt_ids"][None]).logits[0, -1] / 2, dim=-1)
    assert (counts - expected).abs().max() < 0.03

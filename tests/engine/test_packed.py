"""Completions as a stream: the same log probabilities, entropies and gradients as TRL's own pass, by family."""

from contextlib import nullcontext

import pytest
import torch

from medgrpo.engine.features import is_frozen, keep_features
from medgrpo.engine.inner import inner_of, picture_ids
from medgrpo.engine.packed import packed_scores
from medgrpo.engine.support import why_not
from tests.engine.conftest import batch_of, shown_prompts, stock_scores
from tests.families import TINY_FAMILIES

GROUPS = [0, 0, 0, 1, 1, 1, 2, 2, 2]
LENGTHS = [7, 3, 1, 5, 0, 6, 2, 4, 4]
"""Unequal, one empty (as a cut completion that is left out), one of a single token."""


def packed(model, ids, mask, columns, shown, groups):
    rows = [shown[group] for group in groups]
    return packed_scores(model, ids, mask, columns, rows, nullcontext, by_kernel=False)


def gradients(model, scores, mask, columns):
    """Of a loss that weighs every token and entropy differently."""
    model.zero_grad(set_to_none=True)
    logprobs, entropies = scores
    counted = mask[:, -columns:].bool()
    weights = torch.linspace(-1, 1, counted.numel()).view_as(counted)
    ((logprobs + 0.3 * entropies) * weights)[counted].sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same(model, ids, mask, columns, shown, groups):
    stock = stock_scores(model, ids, mask, columns, shown, groups)
    expected = gradients(model, stock, mask, columns)
    ours = packed(model, ids, mask, columns, shown, groups)
    found = gradients(model, ours, mask, columns)
    counted = mask[:, -columns:].bool()
    for one, other in zip(ours, stock, strict=True):
        torch.testing.assert_close(one[counted], other[counted], atol=1e-5, rtol=0)
        assert torch.all(one[~counted] == 0)
    assert found.keys() == expected.keys()
    floor = 1e-3 * max(
        gradient.norm() for gradient in expected.values()
    )  # a key's bias has none but what rounding leaves
    for name, gradient in expected.items():
        error = (found[name] - gradient).norm() / gradient.norm().clamp(min=floor)
        assert error < 1e-4, (name, float(error))


@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_a_stream_gives_the_log_probabilities_entropies_and_gradients_of_trl(name, load):
    model, processor = load(name)
    is_vision = TINY_FAMILIES[name].is_vision
    pictures = [1, 2, 1] if is_vision else [0, 0, 0]
    shown = shown_prompts(model, processor, pictures, is_vision=is_vision)
    assert why_not(model) is None
    assert_same(model, *batch_of(shown, GROUPS, LENGTHS), shown, GROUPS)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "internvl", "gemma3"])
def test_an_id_of_a_picture_in_a_completion_is_scored_and_asks_for_no_picture(name, load):
    # Seen on a GPU with vLLM and random weights: "Image features and image tokens do not match, tokens: 5185, features: 5184".
    model, processor = load(name)
    shown = shown_prompts(model, processor, [1, 0, 1])
    ids, mask, columns = batch_of(shown, [0, 0, 1, 2], [6, 6, 6, 6])
    for row, place in ((0, 2), (2, 0), (3, 5)):
        ids[row, place - columns] = picture_ids(model)[0]
    found = packed(model, ids, mask, columns, shown, [0, 0, 1, 2]).logprobs
    for row, place in ((0, 2), (2, 0), (3, 5)):  # as if it were the last, from which nothing is predicted
        cut = mask.clone()
        cut[row, ids.shape[1] - columns + place + 1 :] = 0
        expected = packed(model, ids, cut, columns, shown, [0, 0, 1, 2]).logprobs
        torch.testing.assert_close(found[row, : place + 1], expected[row, : place + 1], atol=1e-5, rtol=0)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", [name for name, one in TINY_FAMILIES.items() if one.is_vision])
@pytest.mark.parametrize("pictures", [[1, 0, 2], [0, 0, 0]])
def test_text_rows_among_rows_with_pictures(name, pictures, load):
    model, processor = load(name)
    shown = shown_prompts(model, processor, pictures)
    assert_same(model, *batch_of(shown, GROUPS, LENGTHS), shown, GROUPS)


@pytest.mark.parametrize("name", [name for name, one in TINY_FAMILIES.items() if one.is_vision])
def test_kept_features_of_a_frozen_tower_give_the_same_and_it_is_called_once(name, load):
    model, processor = load(name)
    inner = inner_of(model)
    assert not is_frozen(inner)
    language = {id(weight) for weight in inner.get_decoder().parameters()}
    for weight in inner.parameters():
        weight.requires_grad_(id(weight) in language)
    assert is_frozen(inner)
    shown = shown_prompts(model, processor, [1, 0, 2])
    calls = []
    tower = getattr(inner, "visual", None) or inner.vision_tower
    tower.register_forward_hook(lambda *_: calls.append(1))
    keep_features(inner, shown, torch.device("cpu"))
    keep_features(inner, shown, torch.device("cpu"))
    batch = batch_of(shown, GROUPS, LENGTHS)
    packed(model, *batch, shown, GROUPS)
    packed(model, *batch, shown, GROUPS)
    assert len(calls) == 1
    assert_same(model, *batch, shown, GROUPS)

"""What needs a CUDA device: the kernel over segments, the tower's windows, the recorded step."""

from functools import partial

import pytest
import torch

from medgrpo.engine.attention import WINDOWS
from medgrpo.engine.decode import Draw, sample
from medgrpo.engine.features import keep_features
from medgrpo.engine.inner import base_of, inner_of
from medgrpo.engine.packed import packed_scores
from medgrpo.engine.shown import joined_pictures
from medgrpo.engine.support import use_kernel
from tests.engine.conftest import batch_of, shown_prompts, stock_scores
from tests.families import TINY_FAMILIES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GROUPS = [0, 0, 0, 1, 1, 1, 2, 2, 2]
LENGTHS = [7, 3, 1, 5, 0, 6, 2, 4, 4]
AUTOCAST = partial(torch.autocast, "cuda", torch.bfloat16, cache_enabled=False)


@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_the_kernel_agrees_with_trl_in_bfloat16_as_well_as_float32_does(name, load):
    model, processor = load(name)
    is_vision = TINY_FAMILIES[name].is_vision
    shown = shown_prompts(model, processor, [1, 0, 2] if is_vision else [0, 0, 0], is_vision=is_vision)
    ids, mask, columns = (value.cuda() if torch.is_tensor(value) else value for value in batch_of(shown, GROUPS, LENGTHS))  # fmt: skip
    counted = mask[:, -columns:].bool()
    model.cuda()
    exact, _ = stock_scores(model, ids, mask, columns, shown, GROUPS)
    exact[counted].sum().backward()
    gradients = {
        name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
    }
    model.zero_grad(set_to_none=True)
    model.bfloat16()
    stock, _ = stock_scores(model, ids, mask, columns, shown, GROUPS)
    by_kernel = use_kernel(model, torch.device("cuda"))
    assert by_kernel == (name != "gemma3")
    if "qwen" in name and is_vision:
        assert base_of(model).config.vision_config._attn_implementation == WINDOWS
    rows = [shown[group] for group in GROUPS]
    ours = packed_scores(model, ids, mask, columns, rows, AUTOCAST, by_kernel=by_kernel)
    noise = (stock - exact)[counted].abs().mean()
    assert (ours.logprobs - exact)[counted].abs().mean() < 2 * noise + 1e-3
    ours.logprobs[counted].sum().backward()
    for weight_name, weight in model.named_parameters():
        if "layers" in weight_name and weight_name in gradients and gradients[weight_name].norm() > 1e-3:
            close = torch.cosine_similarity(weight.grad.float().flatten(), gradients[weight_name].flatten(), dim=0)  # fmt: skip
            assert close > 0.95, (weight_name, float(close))


@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_the_recorded_step_gives_the_completions_of_generate(name, load):
    model, processor = load(name)
    is_vision = TINY_FAMILIES[name].is_vision
    shown = shown_prompts(model, processor, [1, 0, 2] if is_vision else [0, 0, 0], is_vision=is_vision)
    tokenizer = getattr(processor, "tokenizer", processor)
    model.cuda()
    draw = Draw(1e-6, (tokenizer.eos_token_id,), tokenizer.pad_token_id, 40)
    if is_vision:
        keep_features(inner_of(model), shown, torch.device("cuda"))
    found = sample(
        model, shown, [0, 0, 1, 1, 2, 2], draw, autocast=partial(torch.autocast, "cuda", enabled=False)
    )
    assert found[::2] == found[1::2]
    for one, completion in zip(shown, found[::2], strict=True):
        ids = one["prompt_ids"][None].cuda()
        fields = {key: value[None].cuda() for key, value in one["token_fields"].items()}
        fields |= {key: value.cuda() for key, value in joined_pictures([one]).items()}
        expected = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=40,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **fields,
        )[0, ids.shape[1] :].tolist()  # fmt: skip
        assert completion == expected

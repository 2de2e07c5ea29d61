"""Tiny models of every family, prompts with and without pictures, and TRL's own way to score them."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from medgrpo.engine.inner import inner_of
from medgrpo.engine.shown import picture_inputs, shown_of
from medgrpo.models.loading import load_model
from tests.families import TINY_FAMILIES

QUESTIONS = ("yes no left", "Is there a lesion? Which plane is shown?", "0 1 2")


def picture(number: int, size: tuple[int, int]) -> Image.Image:
    """Noise: no two alike."""
    generator = torch.Generator().manual_seed(number)
    pixels = torch.randint(0, 255, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def shown_prompts(model, processor, pictures, *, is_vision=True):
    """Prompts with so many pictures each, as the processor makes them."""
    found = []
    for number, count in enumerate(pictures):
        images = [picture(10 * number + place, (100 + 30 * place, 90)) for place in range(count)]
        parts = [{"type": "image", "image": image} for image in images]
        parts.append({"type": "text", "text": QUESTIONS[number % len(QUESTIONS)]})
        content = parts if is_vision else QUESTIONS[number % len(QUESTIONS)]
        asked = [[{"role": "user", "content": content}]]
        made = processor.apply_chat_template(
            asked, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        found.append(shown_of(inner_of(model), dict(made), count))
    return found


def batch_of(shown, groups, lengths, *, seed=0, vocabulary=300):
    """Rows as TRL pads them: prompts on the left, completions of these lengths on the right."""
    generator = torch.Generator().manual_seed(seed)
    prompt_columns = max(len(one["prompt_ids"]) for one in shown)
    completion_columns = max(lengths)
    ids = torch.zeros(len(groups), prompt_columns + completion_columns, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (group, length) in enumerate(zip(groups, lengths, strict=True)):
        prompt = shown[group]["prompt_ids"]
        start = prompt_columns - len(prompt)
        ids[row, start:prompt_columns] = prompt
        mask[row, start : prompt_columns + length] = 1
        ids[row, prompt_columns : prompt_columns + length] = torch.randint(
            5, vocabulary, (length,), generator=generator
        )
    return ids, mask, completion_columns


def stock_scores(model, ids, mask, columns, shown, groups, *, rows_at_once=None):
    """TRL's own function on the same rows, every one with its own copy of prompt and pictures."""
    from trl import GRPOTrainer

    trainer = SimpleNamespace(accelerator=SimpleNamespace(autocast=nullcontext, is_main_process=True))
    fields = picture_inputs([shown[group] for group in groups], ids.shape[1] - columns, columns, ids.device)
    logprobs, entropies, _ = GRPOTrainer._get_per_token_logps_and_entropies(
        trainer, model, ids, mask, columns, batch_size=rows_at_once, compute_entropy=True, **fields
    )
    return logprobs, entropies


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A function: family -> folder of its tiny model, built once."""
    built = {}

    def folder(name):
        if name not in built:
            built[name] = TINY_FAMILIES[name].build(tmp_path_factory.mktemp("engine") / name)
        return built[name]

    return folder


@pytest.fixture
def load(folders):
    """A function: family -> (model with TRL's head, processor)."""

    def build(name, temperature=0.9):
        from trl.trainer.utils import add_fused_lm_head

        loaded = load_model(str(folders(name)))
        add_fused_lm_head(loaded.model, temperature=temperature, outputs=("log_probs", "entropy"))
        return loaded.model.float().train(), loaded.processor

    return build

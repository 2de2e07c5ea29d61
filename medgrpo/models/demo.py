"""The demo model: the Qwen2.5-VL architecture at well under a million weights, built from a config.

Nothing is downloaded: the weights are drawn from a seed and the byte-level BPE tokenizer is trained on
the texts at hand. What is saved is an ordinary model folder, which `AutoProcessor` and
`AutoModelForImageTextToText` open, so that every command treats it as it treats a real model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAGS = ("think", "answer", "plane", "modality")
"""Tags of the answer format; each opening and closing tag becomes one token, as `<think>` is in Qwen3."""

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' or 'image' in part -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif 'text' in part -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""
"""Qwen2.5-VL's turns, without its default system message."""

_END_OF_TEXT = "<|endoftext|>"
_END_OF_TURN = "<|im_end|>"
_SPECIAL_TOKENS = (
    _END_OF_TEXT,
    "<|im_start|>",
    _END_OF_TURN,
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


@dataclass(frozen=True)
class DemoModelConfig:
    """Sizes of the demo model; head_dim is 32, which vLLM accepts."""

    vocab_size: int = 640
    """Most entries of the tokenizer; fewer when the texts have fewer pairs to merge."""
    hidden_size: int = 128
    num_layers: int = 2
    num_heads: int = 4
    num_key_value_heads: int = 2
    intermediate_size: int = 256
    vision_hidden_size: int = 64
    vision_depth: int = 2
    vision_num_heads: int = 2
    vision_intermediate_size: int = 128
    patch_size_px: int = 14
    """Side of a patch; two by two patches become one image token of 28 px, as in the full-size models."""
    max_pixels: int = 112 * 112
    """Largest picture in pixels: 16 image tokens."""
    initializer_range: float = 0.1
    """Standard deviation of the first weights. With the usual 0.02 so small a model does not learn to see
    within a hundred steps; with 0.1 it does."""
    max_position_embeddings: int = 2048


def build_demo_model(
    folder: Path, texts: Iterable[str], *, seed: int = 0, config: DemoModelConfig | None = None
) -> Path:
    """The folder of a new demo model: weights from `seed`, tokenizer from `texts`, processor, chat template.

    Args:
        folder: where to save; made when absent, files in it are overwritten.
        texts: questions and completions that the tokenizer should spell briefly. Any other text works
            too (the tokenizer falls back to bytes), only with more tokens.
        seed: of the weights; the same seed and texts give the same files.
        config: sizes; the defaults have about 0.6 million weights.
    """
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

    config = config or DemoModelConfig()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(texts, vocab_size=config.vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(_architecture(config, tokenizer))
    end, pad = (tokenizer.convert_tokens_to_ids(token) for token in (_END_OF_TURN, _END_OF_TEXT))
    model.generation_config = GenerationConfig(eos_token_id=[end], pad_token_id=pad)
    model.save_pretrained(folder)
    _processor(tokenizer, config).save_pretrained(folder)
    return folder


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Any:
    """A byte-level BPE tokenizer with Qwen's special tokens and one token per tag, fitted to `texts`."""
    from tokenizers import AddedToken, Tokenizer, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import Qwen2Tokenizer

    tags = [f"<{slash}{tag}>" for tag in TAGS for slash in ("", "/")]
    untrained = Qwen2Tokenizer()
    learner = Tokenizer(BPE())
    learner.normalizer = untrained.backend_tokenizer.normalizer
    # The tags are cut out first: they are whole tokens, so no pair inside them needs learning.
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(tag, behavior="removed") for tag in tags]
        + [untrained.backend_tokenizer.pre_tokenizer]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(tags) - len(_SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    learned = json.loads(learner.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        eos_token=_END_OF_TURN,
        pad_token=_END_OF_TEXT,
        unk_token=None,
        model_max_length=2048,
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    return tokenizer


def _architecture(config: DemoModelConfig, tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLConfig

    token = tokenizer.convert_tokens_to_ids
    head_dim = config.hidden_size // config.num_heads
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.num_layers,
            "num_attention_heads": config.num_heads,
            "num_key_value_heads": config.num_key_value_heads,
            "max_position_embeddings": config.max_position_embeddings,
            "initializer_range": config.initializer_range,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                # Half of head_dim, shared out between time, height and width as 1 : 1.5 : 1.5.
                "mrope_section": [head_dim // 8, head_dim * 3 // 16, head_dim * 3 // 16],
            },
            "bos_token_id": None,
            "eos_token_id": token(_END_OF_TURN),
            "pad_token_id": token(_END_OF_TEXT),
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": config.vision_depth,
            "hidden_size": config.vision_hidden_size,
            "intermediate_size": config.vision_intermediate_size,
            "num_heads": config.vision_num_heads,
            "patch_size": config.patch_size_px,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": config.hidden_size,
            "fullatt_block_indexes": list(range(config.vision_depth)),
            "initializer_range": config.initializer_range,
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
        initializer_range=config.initializer_range,
    )


def _processor(tokenizer: Any, config: DemoModelConfig) -> Any:
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    size = {"shortest_edge": (4 * config.patch_size_px) ** 2, "longest_edge": config.max_pixels}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, patch_size=config.patch_size_px),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size, patch_size=config.patch_size_px),
        chat_template=CHAT_TEMPLATE,
    )

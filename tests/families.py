"""A tiny model of every family that medgrpo trains: weights from a seed, tokenizer and processor built here.

The classes, the names of modules and special tokens, the chat templates (TRL ships the published ones) and
the arithmetic of the pictures are those of the published models; only the sizes are small. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEXTS = (
    "Is there a lesion? Find every lesion in this image and give a box for each. Which plane is shown?",
    "Reply in tags. Reply in exactly this form: yes no left right axial coronal sagittal CT MRI X-ray 0 1 2",
    '[{"bbox_2d": [10, 20, 30, 40], "label": "lesion"}] 有病灶吗？ 没有 是 否 用标签回答。',
)
INTERNVL_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<IMG_CONTEXT>\n{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""InternVL3-hf's, without video."""


@dataclass(frozen=True)
class TinyFamily:
    """How to build one, and what is known of it."""

    name: str
    model_class: str
    build: Callable[[Path], Path]
    is_vision: bool = True
    box_format: str = "thousand"


def trl_template(name: str) -> str:
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text("utf-8")


def text_sizes(tokenizer: Any, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 2048,
        "initializer_range": 0.1,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        **more,
    }


def qwen_tokenizer(template: str) -> Any:
    from medgrpo.models.demo import train_tokenizer

    tokenizer = train_tokenizer(TEXTS, vocab_size=460)
    tokenizer.chat_template = template
    return tokenizer


def save(folder: Path, model: Any, processor: Any, tokenizer: Any) -> Path:
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id], pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def seeded(build: Callable[[], Any]) -> Any:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def qwen_ids(tokenizer: Any) -> dict[str, int]:
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


MROPE = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}


def build_qwen2_vl(folder: Path) -> Path:
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = qwen_tokenizer(trl_template("qwen2_5_vl"))
    config = Qwen2VLConfig(
        text_config=text_sizes(tokenizer, rope_parameters=MROPE, tie_word_embeddings=True),
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2},
        tie_word_embeddings=True,
        **qwen_ids(tokenizer),
    )
    size = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 16384}
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(size=size),
        tokenizer,
        Qwen2VLVideoProcessor(size=size),
        chat_template=tokenizer.chat_template,
    )
    return save(folder, seeded(lambda: Qwen2VLForConditionalGeneration(config)), processor, tokenizer)


def build_qwen2_5_vl(folder: Path) -> Path:
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = qwen_tokenizer(trl_template("qwen2_5_vl"))
    config = Qwen2_5_VLConfig(
        text_config=text_sizes(tokenizer, rope_parameters=MROPE, tie_word_embeddings=True),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
        },
        tie_word_embeddings=True,
        **qwen_ids(tokenizer),
    )
    size = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 16384}
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=size),
        tokenizer,
        Qwen2VLVideoProcessor(size=size),
        chat_template=tokenizer.chat_template,
    )
    return save(folder, seeded(lambda: Qwen2_5_VLForConditionalGeneration(config)), processor, tokenizer)


def build_qwen3_vl(folder: Path) -> Path:
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    tokenizer = qwen_tokenizer(trl_template("qwen3_vl"))
    config = Qwen3VLConfig(
        text_config=text_sizes(tokenizer, rope_parameters={**MROPE, "mrope_interleaved": True}),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        tie_word_embeddings=True,
        **qwen_ids(tokenizer),
    )
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(size={"shortest_edge": 65536, "longest_edge": 16777216}, patch_size=16),
        tokenizer,
        Qwen3VLVideoProcessor(),
        chat_template=tokenizer.chat_template,
    )
    return save(folder, seeded(lambda: Qwen3VLForConditionalGeneration(config)), processor, tokenizer)


def build_internvl(folder: Path, *, tile_px: int = 28) -> Path:
    """Tiles of 28 px (one token each) instead of 448 px (256 tokens)."""
    from transformers import (
        AutoTokenizer,
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    qwen_tokenizer(INTERNVL_TEMPLATE).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, extra_special_tokens=named)
    tokens = (tile_px // 14 // 2) ** 2
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **text_sizes(tokenizer, tie_word_embeddings=True)},
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "image_size": [tile_px, tile_px],
            "attention_bias": True,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=tokens,
    )
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(
            size={"height": tile_px, "width": tile_px}, crop_to_patches=True, max_patches=12
        ),
        tokenizer,
        InternVLVideoProcessor(size={"height": tile_px, "width": tile_px}),
        image_seq_length=tokens,
        chat_template=tokenizer.chat_template,
    )
    return save(folder, seeded(lambda: InternVLForConditionalGeneration(config)), processor, tokenizer)


def gemma_tokenizer() -> Any:
    """A byte-fallback BPE in Gemma's manner: ▁ for blanks, runs of line breaks as one token each."""
    from tokenizers import AddedToken
    from tokenizers.processors import TemplateProcessing
    from transformers import GemmaTokenizer

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    letters = sorted({letter for text in TEXTS for letter in text.replace(" ", "▁")} | {"▁", "\n"})
    entries = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    breaks = [
        ("\n", "\n"),
        ("\n\n", "\n\n"),
        ("\n\n", "\n"),
    ]  # two, four and three line breaks are one token each
    entries += ["".join(pair) for pair in breaks]
    tokenizer = GemmaTokenizer(
        vocab={entry: number for number, entry in enumerate(entries)},
        merges=breaks,
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
    )
    begin = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(  # as the published tokenizer.json has it
        single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=[(begin, tokenizer.bos_token_id)]
    )
    tokenizer.add_tokens([AddedToken(turn, special=True) for turn in ("<start_of_turn>", "<end_of_turn>")])
    tokenizer.chat_template = trl_template("gemma3")
    return tokenizer


def build_gemma3(folder: Path) -> Path:
    """56 px and 4 tokens for every picture, instead of 896 px and 256."""
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessor,
        Gemma3Processor,
        GenerationConfig,
    )

    tokenizer = gemma_tokenizer()
    token = tokenizer.convert_tokens_to_ids
    config = Gemma3Config(
        text_config=text_sizes(tokenizer, sliding_window=512, query_pre_attn_scalar=16),
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "vision_use_head": False,
        },
        mm_tokens_per_image=4,
        boi_token_index=token("<start_of_image>"),
        eoi_token_index=token("<end_of_image>"),
        image_token_index=token("<image_soft_token>"),
    )
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": 56, "width": 56}),
        tokenizer,
        image_seq_length=4,
        chat_template=tokenizer.chat_template,
    )
    model = seeded(lambda: Gemma3ForConditionalGeneration(config))
    # It begins as zeros: no picture would make a difference to anything.
    projection = model.model.multi_modal_projector.mm_input_projection_weight
    seeded(lambda: projection.data.normal_(0, 0.1))
    save(folder, model, processor, tokenizer)
    ends = [tokenizer.eos_token_id, token("<end_of_turn>")]
    GenerationConfig(eos_token_id=ends, pad_token_id=tokenizer.pad_token_id).save_pretrained(folder)
    return folder


def build_qwen3(folder: Path) -> Path:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = qwen_tokenizer(trl_template("qwen3"))
    config = Qwen3Config(**text_sizes(tokenizer, tie_word_embeddings=True))
    return save(folder, seeded(lambda: Qwen3ForCausalLM(config)), tokenizer, tokenizer)


TINY_FAMILIES = {
    family.name: family
    for family in (
        TinyFamily("qwen2_vl", "Qwen2VLForConditionalGeneration", build_qwen2_vl),
        TinyFamily("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", build_qwen2_5_vl, box_format="pixel"),
        TinyFamily("qwen3_vl", "Qwen3VLForConditionalGeneration", build_qwen3_vl),
        TinyFamily("internvl", "InternVLForConditionalGeneration", build_internvl),
        TinyFamily("gemma3", "Gemma3ForConditionalGeneration", build_gemma3),
        TinyFamily("qwen3", "Qwen3ForCausalLM", build_qwen3, is_vision=False),
    )
}
"""By `model_type`. Gemma-3's class is MedGemma's too."""

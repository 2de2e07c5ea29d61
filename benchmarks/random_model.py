"""A real-size Qwen2.5-VL with random weights: true speed and memory without a download.

    python benchmarks/random_model.py PROCESSOR OUTPUT [--size 3b]

PROCESSOR is a folder with the tokenizer, chat template and image processor of a Qwen2.5-VL.
"""

import argparse
import shutil
from pathlib import Path

SIZES = {
    "3b": {
        "text": {
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "vocab_size": 151_936,
            "max_window_layers": 70,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [16, 24, 24],
                "rope_theta": 1_000_000.0,
            },
            "max_position_embeddings": 128_000,
            "tie_word_embeddings": True,
        },
        "vision": {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 2048,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
    },
}
SIZES["7b"] = {
    "text": {
        **SIZES["3b"]["text"],
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152_064,
        "tie_word_embeddings": False,
    },
    "vision": {**SIZES["3b"]["vision"], "out_hidden_size": 3584},
}
SIZES["tiny"] = {  # to try a script out
    "text": {
        **SIZES["3b"]["text"],
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10_000.0},
    },
    "vision": {
        **SIZES["3b"]["vision"],
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "out_hidden_size": 64,
        "fullatt_block_indexes": [1],
    },
}
SPECIAL = {
    "image_token_id": 151_655,
    "video_token_id": 151_656,
    "vision_start_token_id": 151_652,
    "vision_end_token_id": 151_653,
}


def build(processor: Path, output: Path, size: str = "3b") -> None:
    """Write the model folder: config, random bf16 weights, generation config, processor files."""
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    shape = SIZES[size]
    config = Qwen2_5_VLConfig(
        text_config=shape["text"],
        vision_config=shape["vision"],
        tie_word_embeddings=shape["text"]["tie_word_embeddings"],
        **SPECIAL,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2_5_VLForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    # No end token is ever likely with random weights: completions run to the limit, the worst case.
    model.generation_config = GenerationConfig(eos_token_id=[151_645], pad_token_id=151_643)
    model.save_pretrained(output)
    for file in processor.iterdir():
        if file.name not in {"config.json", "generation_config.json"} and file.is_file():
            shutil.copy(file, output)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e9:.2f} billion weights in {output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("processor", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--size", choices=SIZES, default="3b")
    arguments = parser.parse_args()
    build(arguments.processor, arguments.output, arguments.size)

"""Questions to a model about pictures, each picture looked at once and once for each question: the same answers, in CPU seconds.

    python benchmarks/eval_pictures.py MODEL 448:1 448:3 448:10 --rows 30 --tokens 16
    python benchmarks/eval_pictures.py ninth 448:1 448:3 448:10     a ninth of Qwen2.5-VL-3B in each measure, random weights

A case is PIXELS:QUESTIONS A PICTURE. The two ways take turns in one process; seconds are of this process, the smallest of the
repeats.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from sft_side_by_side import write_questions

NINTH = {
    "text": {
        "hidden_size": 256, "intermediate_size": 1224, "num_hidden_layers": 4, "num_attention_heads": 2,
        "num_key_value_heads": 1, "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1_000_000.0},
        "max_position_embeddings": 128_000, "tie_word_embeddings": True,
    },
    "vision": {
        "depth": 4, "hidden_size": 160, "intermediate_size": 380, "num_heads": 2, "out_hidden_size": 256, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112, "fullatt_block_indexes": [3],
    },
}  # fmt: skip


def ninth(processor):
    """A model of a ninth of Qwen2.5-VL-3B's sizes with random weights, for this processor's tokens."""
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = processor.tokenizer
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    config = Qwen2_5_VLConfig(
        text_config={**NINTH["text"], "vocab_size": len(tokenizer)}, vision_config=NINTH["vision"], tie_word_embeddings=True, **ids
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id], pad_token_id=tokenizer.pad_token_id
    )
    return model


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="Model folder, or ninth.")
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    from medgrpo.data.demo import demo_texts
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.data.prompts import load_template
    from medgrpo.generation.generate import Sampling, generate
    from medgrpo.generation.seen_pictures import SeenPictures
    from medgrpo.models.demo import build_demo_model
    from medgrpo.models.loading import load_model

    with tempfile.TemporaryDirectory() as scratch:
        is_ninth = options.model == "ninth"
        folder = build_demo_model(Path(scratch) / "demo", demo_texts(), seed=0) if is_ninth else options.model
        loaded = load_model(str(folder), max_pixels=1_048_576)
        model = ninth(loaded.processor) if is_ninth else loaded.model
        print("| picture | questions | apart, s | once, s | ratio | looks | answers |")
        for number, case in enumerate(options.cases):
            side, questions = map(int, case.split(":"))
            write_questions(Path(scratch) / str(number), side, questions, options.rows)
            dataset = PreparedDataset.open(Path(scratch) / str(number))
            rows = list(dataset.rows("train"))
            seconds: dict[bool, list[float]] = {False: [], True: []}
            answers: dict[bool, list] = {}
            looks = {}
            for is_once in [False, True] * options.repeats:
                seen = SeenPictures(model, rows)
                seen.is_on &= is_once
                started = time.process_time()
                done = generate(
                    model, loaded.processor, rows, load_template("short"), image_path=dataset.image_path,
                    sampling=Sampling(options.tokens), seen=seen,
                )  # fmt: skip
                answers[is_once] = [(one.index, one.completions, one.lengths) for one in done]
                seconds[is_once].append(time.process_time() - started)
                looks[is_once] = seen.looked
            apart, once = min(seconds[False]), min(seconds[True])
            same = "the same" if answers[False] == answers[True] else "OTHERS"
            print(
                f"| {side} px | {questions} | {apart:.2f} | {once:.2f} | {apart / once:.2f} | {looks[False]} → {looks[True]} | {same} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Seconds, phases and memory of one step by reward of a Sa2VA of real size, with random weights.

    python benchmarks/sa2va_step.py                                       # one GPU: Qwen2.5-VL-3B + SAM 2 large, LoRA, 1024 px, 8 masks
    torchrun --nproc_per_node=2 benchmarks/sa2va_step.py                  # a picture on each of two GPUs
    python benchmarks/sa2va_step.py --save FOLDER                         # such a model, for `medgrpo train --model FOLDER`
    python benchmarks/sa2va_step.py --tiny --side 128 --steps 2           # a dry run on a CPU

Nothing is downloaded: shapes are those of the released models, the tokenizer is the demo's. Needs torch, transformers, peft and medgrpo with
its compiled core; neither TRL nor a data set. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import defaultdict
from typing import Any

import numpy as np
import torch

from medgrpo.models.demo import DemoModelConfig, _processor, train_tokenizer
from medgrpo.rewards.composite import CompositeReward
from medgrpo.rewards.masks import multi_objective_guarded
from medgrpo.segmentation.credit import Truth
from medgrpo.segmentation.examples import Example
from medgrpo.segmentation.objective import MaskObjective, draw_masks, drawn, judged, policy_loss
from medgrpo.segmentation.sa2va.demo import tiny_sam
from medgrpo.segmentation.sa2va.inputs import ANSWER, PROMPT
from medgrpo.segmentation.sa2va.loading import SAM_LARGE
from medgrpo.segmentation.sa2va.model import SEG, Sa2VA, Sa2VAConfig
from medgrpo.segmentation.samplers import sampler_of
from medgrpo.segmentation.segmenters import SA2VA_LANGUAGE, Sa2VASegmenter

TEXT = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
        "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}}  # fmt: skip
EYES = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048,
        "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112}  # fmt: skip
"""Qwen2.5-VL-3B."""


def make(arguments: argparse.Namespace, device: torch.device) -> tuple[Sa2VA, Any]:
    """The model on the device, weights at random, and its processor."""
    from transformers import Qwen2_5_VLConfig, Sam2Config

    tokenizer = train_tokenizer([PROMPT, ANSWER], vocab_size=640)
    tokenizer.add_tokens([SEG], special_tokens=True)
    token = tokenizer.convert_tokens_to_ids
    text, eyes = dict(TEXT), dict(EYES)
    if arguments.tiny:
        text |= {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 800,
                 "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]}}  # fmt: skip
        eyes |= {
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
        }
    vlm = Qwen2_5_VLConfig(
        text_config=text, vision_config=eyes, image_token_id=token("<|image_pad|>"), video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"), vision_end_token_id=token("<|vision_end|>"), tie_word_embeddings=True,
    )  # fmt: skip
    sam: Any = Sam2Config(**tiny_sam(256)) if arguments.tiny else dict(SAM_LARGE)
    kind = getattr(torch, arguments.dtype)
    torch.manual_seed(0)
    torch.set_default_dtype(kind)
    with device:
        model = Sa2VA(Sa2VAConfig(vlm, sam, seg_token_id=token(SEG)))
    torch.set_default_dtype(torch.float32)
    return model, _processor(tokenizer, DemoModelConfig(max_pixels=arguments.max_pixels))


def build(arguments: argparse.Namespace, device: torch.device) -> Sa2VASegmenter:
    """The model with its adapter on the device."""
    from peft import LoraConfig, get_peft_model

    model, processor = make(arguments, device)
    parts = ["text_hidden_fcs", "mask_decoder"] if arguments.decoder else ["text_hidden_fcs"]
    adapter = LoraConfig(
        r=arguments.rank, lora_alpha=2 * arguments.rank, target_modules=SA2VA_LANGUAGE, modules_to_save=parts
    )
    adapted = get_peft_model(model, adapter)
    if not arguments.no_checkpointing:
        model.vlm.gradient_checkpointing_enable({"use_reentrant": False})
        model.vlm.enable_input_require_grads()
    return Sa2VASegmenter(adapted.to(device), processor)


def vessels(side: int, seed: int) -> Example:
    """A picture with lines as long and thin as a retina's: about 8 % of the pixels."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(seed)
    mask = Image.new("1", (side, side))
    pen = ImageDraw.Draw(mask)
    for _ in range(60):
        points = np.cumsum(np.vstack([rng.uniform(0, side, 2), rng.normal(0, side / 14, (8, 2))]), axis=0)
        pen.line([tuple(point) for point in points], fill=1, width=int(rng.integers(1, max(2, side // 100))))
    truth = np.asarray(mask)
    picture = np.clip(rng.normal(140, 20, (side, side, 3)) - 60 * truth[:, :, None], 0, 255).astype(np.uint8)
    return Example(str(seed), picture, Truth.of(truth))


def truth_of(example: Example) -> Truth:
    """Its reference."""
    assert example.truth is not None
    return example.truth


def main() -> None:  # noqa: PLR0915  # a step, measured line by line
    """See the module's first lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--decoder", action="store_true", help="train SAM's mask decoder too")
    parser.add_argument("--no-checkpointing", action="store_true")
    parser.add_argument("--max-pixels", type=int, default=602_112)
    parser.add_argument(
        "--pictures", type=int, default=1, help="of a GPU in a step; they go through together"
    )
    parser.add_argument("--save", help="only write the model to this folder")
    arguments = parser.parse_args()
    world, rank = (
        int(os.environ.get(name, value)) for name, value in (("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    )
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if arguments.save:
        made, processor = make(arguments, device)
        made.save_pretrained(arguments.save)
        processor.save_pretrained(arguments.save)
        return
    segmenter = build(arguments, device)
    model: Any = segmenter.model
    if world > 1:
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
        model = torch.nn.parallel.DistributedDataParallel(
            model, device_ids=[rank] if on_gpu else None, find_unused_parameters=True
        )
    learned = [parameter for parameter in segmenter.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=4e-5)
    objective = MaskObjective(
        sampler_of("cells"), multi_objective_guarded, CompositeReward("simple_dice"), arguments.group
    )
    seconds: dict[str, list[float]] = defaultdict(list)

    def told(name: str, since: float) -> float:
        if on_gpu:
            torch.cuda.synchronize()
        now = time.perf_counter()
        seconds[name].append(now - since)
        return now

    rewards = []
    for step in range(arguments.steps + 1):
        numbers = [(step * world + rank) * arguments.pictures + place for place in range(arguments.pictures)]
        examples = [vessels(arguments.side, number) for number in numbers]
        if step == 1:  # the first warms up
            seconds.clear()
        since = began = time.perf_counter()
        fields = segmenter.logits(model, examples)
        segmenter.text_log_prob()
        since = told("forward", since)
        draws = [
            draw_masks(objective, logits, torch.Generator(device).manual_seed(step)) for logits in fields
        ]
        since = told("draw", since)
        earned = [
            judged(objective, draw, truth_of(example)) for draw, example in zip(draws, examples, strict=True)
        ]
        since = told("reward", since)
        losses = []
        for draw, logits, found, example in zip(draws, fields, earned, examples, strict=True):
            group = drawn(objective, draw, logits, found, truth_of(example), is_used_once=True)
            losses.append(policy_loss(objective, group, logits)[0])
        loss = torch.stack(losses).mean()
        since = told("credit and loss", since)
        loss.backward()
        since = told("backward", since)
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        told("update", since)
        told("step", began)
        rewards += [float(found[0].mean()) for found in earned]
    if rank:
        return
    means = {name: float(np.mean(each)) for name, each in seconds.items()}
    document = {
        "machine": torch.cuda.get_device_name(device) if on_gpu else platform.processor(),
        "torch": torch.__version__,
        "gpus": world,
        "parameters_billions": sum(parameter.numel() for parameter in segmenter.model.parameters()) / 1e9,
        "learned_millions": sum(parameter.numel() for parameter in learned) / 1e6,
        "side": arguments.side,
        "pictures_per_step": arguments.pictures * world,
        "masks_per_step": arguments.group * arguments.pictures * world,
        "seconds": means,
        "reward_share": means["reward"] / means["step"],
        "reward_s_per_64_masks": means["reward"] / (arguments.group * arguments.pictures) * 64,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
        "mean_reward": float(np.mean(rewards)),
    }
    print(json.dumps(document, indent=1))
    if world > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()

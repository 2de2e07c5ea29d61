"""A DPO step on pairs with a picture: TRL's batch beside prompts computed once, in turn in one process.

    python benchmarks/dpo_pairs.py [--pixels 448] [--pairs 4] [--answer 40] [--rounds 5]

A step is: the batch from messages and pictures, the reference's pass, the policy's pass, the gradient of DPO's loss. The model has the
demo's architecture, its vision tower is frozen as usual. Prints seconds of processor time of each round, and the ratio of their medians.
"""

import argparse
import copy
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference
from trl.trainer.utils import add_fused_lm_head

from medgrpo.data.demo import demo_texts
from medgrpo.engine.features import keep_features
from medgrpo.engine.inner import inner_of
from medgrpo.models.demo import build_demo_model
from medgrpo.models.loading import load_model
from medgrpo.training.trainers.pairs import NOT_OF_MODEL, SharedPrompts, answered, pair_batch


def examples(count: int, pixels: int, words: int) -> list[dict[str, Any]]:
    """Pairs as `dpo_dataset` gives them, noise for pictures."""
    draw = np.random.default_rng(0)

    def said(word: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": " ".join([word] * words)}]

    return [
        {
            "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": f"Which plane? {number}"}]}],
            "chosen": said("axial"),
            "rejected": said("CT"),
            "images": [Image.fromarray(draw.integers(0, 255, (pixels, pixels, 3), dtype=np.uint8))],
        }
        for number in range(count)
    ]  # fmt: skip


def loss_of(policy: Any, reference: Any) -> Any:
    """DPO's, beta .1."""
    chosen, rejected = (policy.log_probs.sum(1) - reference.log_probs.sum(1)).chunk(2)
    return -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected)).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in {"pixels": 448, "pairs": 4, "answer": 40, "rounds": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build_demo_model(Path(folder) / "model", demo_texts(), seed=0)
        loaded = load_model(str(Path(folder) / "model"), max_pixels=words.pixels**2)
    model, processor = loaded.model.float().train(), loaded.processor
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    inner = inner_of(model)
    inner.visual.requires_grad_(False)
    collate = DataCollatorForVisionPreference(processor)
    given = examples(words.pairs, words.pixels, words.answer)

    def stock() -> Any:
        batch = dict(collate(copy.copy([dict(one) for one in given])))
        inputs = {name: value for name, value in batch.items() if name not in NOT_OF_MODEL}
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        return lambda: model(**inputs, labels=labels, fused_lm_head=True, use_cache=False)

    def ours() -> Any:
        pairs = [answered(one, processor, inner) for one in given]
        batch = pair_batch(pairs, filling=processor.tokenizer.pad_token_id)
        keep_features(inner, batch["shown"], torch.device("cpu"), nullcontext)
        return lambda: SharedPrompts(model, nullcontext)(**batch)

    seconds: dict[str, list[float]] = {"stock": [], "medgrpo": []}
    losses = {}
    for _ in range(words.rounds + 1):
        for name, way in (("stock", stock), ("medgrpo", ours)):
            model.zero_grad(set_to_none=True)
            started = time.process_time()
            call = way()
            with torch.no_grad():
                reference = call()
            shifted = SimpleNamespace(log_probs=reference.log_probs * 1.01)  # so that the loss is not ln 2
            losses[name] = loss_of(call(), shifted)
            losses[name].backward()
            seconds[name].append(time.process_time() - started)
    middle = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    print({name: [round(value, 3) for value in values[1:]] for name, values in seconds.items()})
    print({name: float(loss.detach()) for name, loss in losses.items()})
    print(f"{middle['stock'] / middle['medgrpo']:.2f} times")


if __name__ == "__main__":
    main()

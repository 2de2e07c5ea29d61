"""Seconds of an update's forward and backward pass by group size, prompts in a pass, and what is switched on.

    python benchmarks/random_model.py PROCESSOR model-3b
    python benchmarks/update_of_a_group.py model-3b --size 1024 --tokens 256

No rollout, no optimiser: random completions after prompts with one noise picture, LoRA r16, bfloat16. Prints a line for
each setting, the fastest of three passes, and how far bfloat16's log probabilities lie apart between the two ways and
between two batch orders of the same way.
"""

import argparse
import time

import numpy as np
import torch
from PIL import Image

from medgrpo.config.presets import resolve_run
from medgrpo.engine import adapters
from medgrpo.engine.features import keep_features
from medgrpo.engine.inner import inner_of
from medgrpo.engine.packed import packed_scores
from medgrpo.engine.shown import picture_inputs, shown_of
from medgrpo.engine.support import use_kernel
from medgrpo.models.weights import find_weights
from medgrpo.training.trainers.policy import load_policy

DEVICE = torch.device("cuda")


def autocast():
    return torch.autocast("cuda", torch.bfloat16)


def prompts(policy, size: int, count: int) -> list:
    """So many prompts with a noise picture each."""
    found = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (size, size, 3), dtype=np.uint8)
        parts = [{"type": "image", "image": Image.fromarray(pixels)}]
        parts.append({"type": "text", "text": "Is there evidence of a pleural effusion in this image?"})
        made = policy.processor.apply_chat_template(
            [[{"role": "user", "content": parts}]],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        found.append(shown_of(inner_of(policy.model), dict(made), 1))
    return found


def batch(shown: list, group: int, tokens: int) -> tuple:
    """Rows of all prompts, random completions."""
    rows = [one for one in shown for _ in range(group)]
    torch.manual_seed(0)
    ids = torch.stack(
        [torch.cat([one["prompt_ids"], torch.randint(100, 100_000, (tokens,))]) for one in rows]
    )
    return rows, ids.to(DEVICE), torch.ones_like(ids, device=DEVICE)


def timed(model, rows, ids, mask, tokens: int) -> tuple[float, float]:
    """Seconds of forward and backward, and GiB at the most beside what is held."""
    best = float("inf")
    for _ in range(3):
        model.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held, begin = torch.cuda.memory_allocated(), time.perf_counter()
        packed_scores(model, ids, mask, tokens, rows, autocast, by_kernel=True).logprobs.mean().backward()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begin)
    return best, (torch.cuda.max_memory_allocated() - held) / 2**30


def stock(model, rows, ids, mask, tokens: int) -> torch.Tensor:
    """TRL's pass: every row with its own prompt and pictures."""
    labels = ids.clone()
    labels[:, :-tokens] = -100
    fields = picture_inputs(rows, ids.shape[1] - tokens, tokens, DEVICE)
    fields.pop("num_images")
    with torch.no_grad(), autocast():
        out = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True, **fields)
    return out.log_probs[:, -tokens:]


def differences(model, shown, tokens: int) -> dict[str, float]:
    """Mean |Δ log probability| of a token in bfloat16."""
    rows, ids, mask = batch(shown[:1], 8, tokens)
    usual = stock(model, rows, ids, mask, tokens)
    halves = [stock(model, rows[s], ids[s], mask[s], tokens) for s in (slice(0, 3), slice(3, 8))]
    with torch.no_grad():
        ours = packed_scores(model, ids, mask, tokens, rows, autocast, by_kernel=True).logprobs
    return {
        "packed and TRL's": float((ours - usual).abs().mean()),
        "TRL's in another batch": float((torch.cat(halves) - usual).abs().mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=256)
    arguments = parser.parse_args()
    from peft import get_peft_model
    from trl.trainer.utils import add_fused_lm_head

    config = resolve_run("balanced", model=arguments.model)[0].config
    policy = load_policy(find_weights(arguments.model), config)
    add_fused_lm_head(policy.model, outputs=("log_probs", "entropy"))
    model = get_peft_model(policy.model, policy.peft_config).to(DEVICE).train()
    for name, weight in model.named_parameters():
        if "lora" in name:
            weight.data = weight.data.float()
    use_kernel(model, DEVICE, is_half=True)
    model.enable_input_require_grads()
    shown = prompts(policy, arguments.size, 8)
    keep_features(inner_of(model), shown, DEVICE, autocast)

    def line(what: str, groups: int, group: int) -> None:
        rows, ids, mask = batch(shown[:groups], group, arguments.tokens)
        seconds, gib = timed(model, rows, ids, mask, arguments.tokens)
        print(
            f"{what:22} {groups} prompts × {group:2}: {seconds:.3f} s, {seconds / groups:.3f} a prompt, {gib:.1f} GiB",
            flush=True,
        )

    model.gradient_checkpointing_enable({"use_reentrant": False})
    for groups in (1, 2, 8):
        line("PEFT's adapters", groups, 8)
    adapters.fuse(model)
    for groups in (1, 2, 4, 8):
        line("fused adapters", groups, 8)
    for group in (2, 4, 16, 32):
        line("fused adapters", 1, group)
    model.gradient_checkpointing_disable()
    for groups in (1, 2):
        line("fused, all kept", groups, 8)
    for what, found in differences(model, shown, arguments.tokens).items():
        print(f"mean |Δ log probability|, {what}: {found:.4f}")


if __name__ == "__main__":
    main()

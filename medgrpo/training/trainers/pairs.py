"""Pairs of answers as DPO learns from them, prompt and pictures once for both.

TRL's DPO 1.16 puts each prompt and its pictures into a batch twice, once before either answer, and policy and reference
both read them. Here an answer pair is a group of two completions of the engine's stream; the loss stays TRL's own, which
calls a `SharedPrompts` where it would call the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medgrpo.engine.shown import Shown, shown_of
from medgrpo.training.trainers.shared_prompts import SharedPrompts, padded_rows, processed

if TYPE_CHECKING:
    import torch

NOT_OF_MODEL = ("completion_mask", "ref_chosen_logps", "ref_rejected_logps")
"""What TRL's batch holds besides the model's inputs."""


class Answered(NamedTuple):
    """One example: its prompt, and the tokens of both answers."""

    shown: Shown
    chosen: list[int]
    rejected: list[int]


def answered(example: dict[str, Any], processor: Any, inner: Any) -> Answered:
    """The example through the processor, once; tokens as TRL's collators make them.

    Args:
        example: `prompt`, `chosen`, `rejected` as messages with `images`, or `prompt_ids`, `chosen_ids`, `rejected_ids`.
        inner: the model without its head, for its positions.
    """
    import torch

    if "prompt_ids" in example:
        prompt = {"input_ids": torch.tensor([example["prompt_ids"]])}
        return Answered(shown_of(inner, prompt, 0), example["chosen_ids"], example["rejected_ids"])
    shown, answers = processed(example, ("chosen", "rejected"), processor, inner)
    return Answered(shown, *answers)


def pair_batch(pairs: Sequence[Answered], *, filling: int) -> dict[str, Any]:
    """A batch as TRL's loss takes it: all chosen answers, then all rejected ones; and each row's prompt, `shown`.

    Prompts are padded on the left, answers on the right: `input_ids`, `attention_mask` and `completion_mask` (1 at answers),
    int64, (2 × pairs, prompt and answer columns). `answer_columns` are the last ones.

    Args:
        filling: id at padding.
    """
    rows = [
        (one.shown, ids) for side in ("chosen", "rejected") for one in pairs for ids in [getattr(one, side)]
    ]
    ids, mask, after = padded_rows(rows, filling=filling)
    answers = mask.clone()
    answers[:, : ids.shape[1] - after] = 0
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "completion_mask": answers,
        "shown": [shown for shown, _ in rows],
        "answer_columns": after,
    }


def first_of_each_kind(examples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """An example with pictures and one without, as far as there are."""
    kinds = [[one for one in examples if bool(one.get("images")) == has] for has in (True, False)]
    return [kind[0] for kind in kinds if kind]


def difference_from_stock(
    model: Any, ours: dict[str, Any], stock: dict[str, Any], autocast: Any
) -> torch.Tensor:
    """(tokens,): |Δ log probability| of the answers' tokens between both ways; infinite where the tokens differ.

    Args:
        ours: a `pair_batch`.
        stock: of the same examples, as TRL's collator made it; both on the model's device.
    """
    import torch

    for name in ("attention_mask", "completion_mask"):
        mine, theirs = (batch["input_ids"][batch[name].bool()] for batch in (ours, stock))
        if mine.shape != theirs.shape or not torch.equal(mine, theirs):
            return torch.full((1,), torch.inf, device=ours["input_ids"].device)
    inputs = {name: value for name, value in stock.items() if name not in NOT_OF_MODEL}
    labels = stock["input_ids"].masked_fill(stock["completion_mask"] == 0, -100)
    with autocast():
        theirs = model(**inputs, labels=labels, fused_lm_head=True, use_cache=False).log_probs
    found = SharedPrompts(model, autocast)(**ours).log_probs
    counted, expected = (batch["completion_mask"][:, 1:].bool() for batch in (ours, stock))
    difference: torch.Tensor = (found[counted].float() - theirs[expected].float()).abs()
    return difference

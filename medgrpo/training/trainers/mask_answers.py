"""Sa2VA's answers as part of the policy: each mask belongs to a sampled answer, and their log-probabilities add."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medgrpo.segmentation.credit import whole_credit
from medgrpo.segmentation.objective import MaskObjective, policy_loss

if TYPE_CHECKING:
    from torch import Tensor

    from medgrpo.segmentation.examples import Example


def spoken_loss(trainer: Any, model: Any, example: Example, number: int, objective: MaskObjective) -> Tensor:
    """Loss of one picture whose G answers are sampled.

    `trainer` is the `masks.MaskTrainer`. Equal answers are read once, and their masks drawn together. An answer with no [SEG], or more than one, has no mask: it earns 0. The
    answer's tokens get the advantage of its mask in the whole group; the mask's pixels their own credit. Answers are sampled anew at
    every update (`training.num_iterations` is 1: what was said before is not kept).
    """
    with trainer.context.clock.phase("rollout"):
        answers = trainer.segmenter.answers(model, example, objective.group)
    counts = {answer: answers.count(answer) for answer in dict.fromkeys(answers)}
    losses: list[Tensor] = []
    earned: list[tuple[Tensor, np.ndarray[Any, Any]]] = []
    failed = 0
    seg = int(trainer.accelerator.unwrap_model(trainer.model).config.seg_token_id)
    for part, (answer, count) in enumerate(counts.items()):
        has_mask = trainer.segmenter.has_mask(answer)
        # Without a [SEG] nothing prompts a mask: one is put behind the answer, and neither it nor its mask counts.
        logits = trainer.segmenter.mask_of(model, example, answer if has_mask else (*answer, seg))
        said = trainer.segmenter.text_log_prob()[: len(answer)]
        if not has_mask:
            failed += count
            earned.append((said.mean(), np.zeros(count)))
            continue
        # A mask alone has no others to be compared with: a second one of the same answer is drawn beside it.
        own = replace(objective, group=max(2, count))
        group = trainer.group_of(own, logits, example, number, part)
        loss, clipped = policy_loss(own, group, logits)
        trainer.note("clip_ratio", clipped)
        losses.append((loss + trainer.beside(model, logits, example)) * (count / objective.group))
        earned.append((said.mean(), group.rewards[:count]))
    trainer.note("completions/failed", failed / objective.group)
    rewards = np.concatenate([values for _, values in earned])
    advantages = whole_credit(rewards, is_scaled=objective.scale_rewards == "group")
    place = 0
    for spoken, values in earned:
        share = float(advantages[place : place + len(values)].sum()) / objective.group
        place += len(values)
        losses.append(-share * spoken)
    return torch.stack([loss.reshape(()) for loss in losses]).sum()

"""Sa2VA's answers as part of the policy: each mask belongs to a sampled answer, and their log-probabilities add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medgrpo.segmentation.credit import whole_credit
from medgrpo.segmentation.objective import MaskObjective, policy_loss
from medgrpo.segmentation.sa2va.model import SEG

if TYPE_CHECKING:
    from torch import Tensor

    from medgrpo.segmentation.examples import Example
    from medgrpo.training.trainers.masks import MaskTrainer


def spoken_loss(
    trainer: MaskTrainer, model: Any, example: Example, number: int, objective: MaskObjective
) -> Tensor:
    """Loss of one picture whose G answers are sampled.

    Equal answers are read once, and their masks drawn together. An answer with no [SEG], or more than one, has no mask: it earns 0. The
    answer's tokens get the advantage of its mask in the whole group; the mask's pixels their own credit. Answers are sampled anew at
    every update (`training.num_iterations` is 1: what was said before is not kept).
    """
    from dataclasses import replace

    with trainer.context.clock.phase("rollout"):
        answers = trainer.segmenter.answers(model, example, objective.group)
    counts = {text: answers.count(text) for text in dict.fromkeys(answers)}
    losses: list[Tensor] = []
    earned: list[tuple[Tensor, np.ndarray[Any, Any]]] = []
    failed = 0
    for part, (text, count) in enumerate(counts.items()):
        has_mask = text.count(SEG) == 1
        logits = trainer.segmenter.mask_of(model, example, text if has_mask else SEG)
        said = trainer.segmenter.text_log_prob()
        if not has_mask:
            failed += count
            earned.append((_said(trainer, model, example, text), np.zeros(count)))
            continue
        # A mask alone has no others to be compared with: a second one of the same answer is drawn beside it.
        own = replace(objective, group=max(2, count))
        group, log_prob = trainer.group_of(own, logits, example, number, part)
        loss, clipped = policy_loss(own, group, log_prob)
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


def _said(trainer: MaskTrainer, model: Any, example: Example, text: str) -> Tensor:
    """Mean log-probability of an answer without a mask; its own tokens, with a [SEG] after them that is not counted."""
    trainer.segmenter.mask_of(model, example, text + SEG)
    said: Tensor = trainer.segmenter.text_log_prob()
    return said[:-2].mean() if len(said) > 2 else said.mean()  # [SEG] and the end of the turn

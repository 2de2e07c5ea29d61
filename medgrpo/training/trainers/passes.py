"""How many prompts one pass of the update takes, when each prompt is in it once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medgrpo.methods import METHODS

if TYPE_CHECKING:
    from medgrpo.config.plan import StagePlan
    from medgrpo.config.sections import RunConfig

CUT_BY_PASS = "bnpo"
"""The loss that divides by the tokens of its pass: another cut is another loss."""


STREAM_TOKENS = 1.4
"""Tokens of a stream that take no more memory than one of TRL's pass: measured at .42–.44 GiB a thousand beside
.60–.76, which hold copies of the pictures and of what the tower makes of them."""


def whole_groups(plan: StagePlan, config: RunConfig, model: Any, longest_prompt: int) -> StagePlan:
    """The plan with passes of whole groups, as many as the budget of tokens holds; or the plan as it is.

    The budget is `engine.tokens_per_pass`; without it what takes as much memory as the plan's pass would with a prompt
    and its pictures for every completion.

    Args:
        config: of the stage.
        model: the policy.
        longest_prompt: tokens, image tokens included.
    """
    from medgrpo.engine.support import why_not

    training, longest = config.training, config.rollout.max_completion_length
    share = plan.per_device_train_batch_size * plan.gradient_accumulation_steps
    group = plan.samples_per_step // plan.prompts_per_step
    is_cut_by_user = training.per_device_train_batch_size or training.gradient_accumulation_steps
    if (
        not METHODS[plan.method].samples_texts
        or config.engine.shared_prompt == "off"
        or (is_cut_by_user and config.engine.tokens_per_pass is None)
        or share % group
        or training.loss_type == CUT_BY_PASS
        or training.top_entropy_quantile < 1  # a quantile of the pass
        or training.entropy_coef  # a mean over the pass
        or why_not(model) is not None
    ):
        return plan
    usual = plan.per_device_train_batch_size * (longest_prompt + longest)
    budget = config.engine.tokens_per_pass or int(STREAM_TOKENS * usual)
    rows = rows_of_pass(budget, longest_prompt, longest, group=group, groups=share // group)
    return replace(plan, per_device_train_batch_size=rows, gradient_accumulation_steps=share // rows)


def rows_of_pass(budget: int, prompt: int, completion: int, *, group: int, groups: int) -> int:
    """Most completions of a pass within a budget of tokens: whole groups, or an even part of one; at least one.

    Args:
        budget: tokens.
        prompt: of the longest prompt.
        completion: of the longest completion.
        group: completions of a prompt.
        groups: of the step; the result divides `group × groups`.
    """
    for together in range(groups, 0, -1):
        if groups % together == 0 and together * (prompt + group * completion) <= budget:
            return together * group
    fitting = (
        rows for rows in range(group, 0, -1) if group % rows == 0 and prompt + rows * completion <= budget
    )
    return next(fitting, 1)

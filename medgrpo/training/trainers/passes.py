"""How many prompts one pass of the update takes, when each prompt is in it once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medgrpo.config.plan import StagePlan
    from medgrpo.config.sections import RunConfig

CUT_BY_PASS = "bnpo"
"""The loss that divides by the tokens of its pass: another cut is another loss."""


def whole_groups(plan: StagePlan, config: RunConfig, model: Any, longest_prompt: int) -> StagePlan:
    """The plan with passes of whole groups, as many as the budget of tokens holds; or the plan as it is.

    The budget is `engine.tokens_per_pass`; without it what the plan's pass would hold with a prompt for every
    completion, so that a pass takes no more memory than before.

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
        plan.method != "grpo"
        or config.engine.shared_prompt == "off"
        or (is_cut_by_user and config.engine.tokens_per_pass is None)
        or share % group
        or training.loss_type == CUT_BY_PASS
        or training.top_entropy_quantile < 1  # a quantile of the pass
        or training.entropy_coef  # a mean over the pass
        or why_not(model) is not None
    ):
        return plan
    budget = config.engine.tokens_per_pass or plan.per_device_train_batch_size * (longest_prompt + longest)
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

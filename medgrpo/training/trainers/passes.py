"""How many prompts one pass of the update takes, when each prompt is in it once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medgrpo.config.passes import SHARE_OF_FREE, bytes_of_a_token, tokens_of_a_pass
from medgrpo.config.sharing import shares_weights
from medgrpo.methods import METHODS

if TYPE_CHECKING:
    from medgrpo.config.plan import StagePlan
    from medgrpo.config.sections import RunConfig, TrainingConfig

CUT_BY_PASS = "bnpo"
"""The loss that divides by the tokens of its pass: another cut is another loss."""


def depends_on_cut(training: TrainingConfig) -> bool:
    """Whether the loss of a step depends on how its rows are shared out to passes: each takes a mean or a quantile of its own."""
    return bool(
        training.loss_type == CUT_BY_PASS or training.top_entropy_quantile < 1 or training.entropy_coef
    )


def whole_groups(plan: StagePlan, config: RunConfig, model: Any, longest_prompt: int) -> StagePlan:
    """The plan with passes of whole groups, as many as the budget of tokens holds; or the plan as it is.

    The budget is `engine.tokens_per_pass`; without it what takes as much memory as the plan's pass would with a prompt
    and its pictures for every completion, and on a GPU with memory to spare as many as keep it busy.

    Args:
        config: of the stage.
        model: the policy.
        longest_prompt: tokens, image tokens included.
    """
    from medgrpo.engine.support import why_not
    from medgrpo.training.run.context import gathered

    training, longest = config.training, config.rollout.max_completion_length
    share = plan.per_device_train_batch_size * plan.gradient_accumulation_steps
    group = plan.samples_per_step // plan.prompts_per_step
    is_cut_by_user = training.per_device_train_batch_size or training.gradient_accumulation_steps
    if (
        not METHODS[plan.method].samples_texts
        or config.engine.shared_prompt == "off"
        or (is_cut_by_user and config.engine.tokens_per_pass is None)
        or share % group
        or depends_on_cut(training)
        or why_not(model) is not None
    ):
        return plan
    usual = plan.per_device_train_batch_size * (longest_prompt + longest)
    # Processes whose passes differ would wait for each other for good.
    fitting = gathered(tokens_that_fit(model, config))
    shared_out = shares_weights(config.launch, len(fitting))
    budget = config.engine.tokens_per_pass or tokens_of_a_pass(usual, min(fitting), shared_out=shared_out)
    rows = rows_of_pass(budget, longest_prompt, longest, group=group, groups=share // group)
    return replace(plan, per_device_train_batch_size=rows, gradient_accumulation_steps=share // rows)


def whole_share(plan: StagePlan, config: RunConfig, model: Any, longest_row: int) -> StagePlan:
    """SFT's plan with a process's whole share of a step in one batch, which the trainer cuts into passes of so many tokens:
    how many rows those are depends on the pictures that they have in common. Or the plan as it is.

    DeepSpeed counts passes itself, and each pass of FSDP gathers the weights: theirs stay as they were cut.

    Args:
        config: of the stage.
        model: the policy.
        longest_row: tokens, picture and answer included.
    """
    from medgrpo.engine.support import why_not
    from medgrpo.training.run.context import gathered

    training, launch = config.training, config.launch
    is_cut_by_user = training.per_device_train_batch_size or training.gradient_accumulation_steps
    if (
        config.engine.shared_prompt == "off"
        or (is_cut_by_user and config.engine.tokens_per_pass is None)
        or launch.deepspeed
        or launch.fsdp
        or why_not(model) is not None
    ):
        return plan
    usual = plan.per_device_train_batch_size * longest_row
    budget = config.engine.tokens_per_pass or tokens_of_a_pass(
        usual, min(gathered(tokens_that_fit(model, config)))
    )
    share = plan.per_device_train_batch_size * plan.gradient_accumulation_steps
    return replace(
        plan, per_device_train_batch_size=share, gradient_accumulation_steps=1, tokens_per_pass=budget
    )


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


def tokens_that_fit(model: Any, config: RunConfig) -> int:
    """Tokens of a pass for which this process's GPU has memory to spare; 0 without one, or where every layer keeps its work.

    Args:
        model: the policy, before it is moved to the GPU.
        config: of the stage.
    """
    import torch

    from medgrpo.engine.inner import text_config_of

    if not torch.cuda.is_available() or config.training.gradient_checkpointing is False:
        return 0
    free, total = torch.cuda.mem_get_info()
    return tokens_beside(model, text_config_of(model), config, free=free, total=total)


def tokens_beside(model: Any, text: Any, config: RunConfig, *, free: int, total: int) -> int:
    """As many as half of what is left holds when weights, their optimiser and vLLM are there.

    Args:
        text: the language model's configuration.
        free: bytes of the GPU that nothing holds yet.
        total: bytes of the GPU.
    """
    weights = sum(
        weight.numel() * weight.element_size()
        for weight in model.parameters()
        if weight.device.type != "cuda"
    )
    # Full tuning: a gradient in the weights' type and Adam's two moments, in float32 at most.
    trained = 5 * weights if config.tuning.method == "full" else 0
    has_vllm = config.rollout.engine == "vllm" and config.vllm.mode == "colocate"
    sampler = config.vllm.gpu_memory_utilization * total if has_vllm else 0
    each = bytes_of_a_token(text.num_hidden_layers, text.hidden_size, getattr(text, "intermediate_size", 0))
    return max(0, int(SHARE_OF_FREE * (free - weights - trained - sampler) / each))

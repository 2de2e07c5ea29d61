"""The table of rules: what each looks at, for which methods, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medgrpo.methods import SAMPLING, SUPERVISED
from medgrpo.runs.findings import Finding
from medgrpo.runs.record import RunRecord
from medgrpo.runs.rules import learning, machinery, policy, sampled
from medgrpo.runs.rules.evidence import Evidence

ANY = SAMPLING | SUPERVISED | {"unknown"}


@dataclass(frozen=True)
class Rule:
    """A named check, the methods that it fits, and the remedy it proposes."""

    name: str
    title: str
    title_zh: str
    methods: frozenset[str]
    check: Callable[[RunRecord], list[Evidence]]
    remedy: str


RULES: tuple[Rule, ...] = (
    Rule(
        "nan", "Broken numbers", "数值异常", ANY, machinery.nan,
        "resume from the last checkpoint before it with half the learning rate, bf16 instead of fp16 and "
        "max_grad_norm 1; look at the batch of that step",
    ),
    Rule(
        "gradient_spikes", "Gradient spikes", "梯度尖峰", ANY, machinery.gradient_spikes,
        "set max_grad_norm (TRL's default 1.0), warm the learning rate up, and look at the batch of that step",
    ),
    Rule(
        "gradient_vanished", "No gradient", "梯度消失", ANY, machinery.gradient_vanished,
        "check that the trained weights require gradients and that the loss is not masked everywhere",
    ),
    Rule(
        "learning_rate_zero", "Learning rate 0", "学习率为零", ANY, machinery.learning_rate_zero,
        "check the schedule: its number of steps is smaller than the run's, or the resumed scheduler was not saved",
    ),
    Rule(
        "reward_trend", "Reward trend", "奖励趋势", SAMPLING, learning.reward_trend,
        "more completions per prompt, a learning rate of 1e-5 or more for LoRA, an SFT warm start if the reward is near its "
        "floor; if KL has hardly moved, the policy has not been trained yet",
    ),
    Rule(
        "validation_gap", "Training up, validation down", "训练上升而验证下降", ANY, learning.validation_gap,
        "stop at the best validation step (best_lora/); read completions for tricks that the reward pays for; "
        "audit the reward with `medgrpo score FILE --audit`",
    ),
    Rule(
        "validation_plateau", "Validation stands still", "验证停滞", SAMPLING, learning.validation_plateau,
        "further steps buy little: stop here, or bring harder data or a finer reward",
    ),
    Rule(
        "kl_growth", "KL against its price", "KL 与其代价", SAMPLING, policy.kl_growth,
        "halve the learning rate or lower beta; KL has no right level of its own (docs/health.md)",
    ),
    Rule(
        "entropy_collapse", "Entropy", "熵", SAMPLING, policy.entropy_collapse,
        "sample at temperature 1, raise epsilon_high (clip-higher), lower the learning rate, mix in harder prompts",
    ),
    Rule(
        "clipping", "Clipped updates", "更新被裁剪", SAMPLING, policy.clipping,
        "lower the learning rate or num_iterations",
    ),
    Rule(
        "sampler_gap", "Sampler and trainer disagree", "采样器与训练器不一致", SAMPLING, policy.sampler_gap,
        "same dtype in both; with vLLM and images check that image tokens are not expanded twice "
        "(TRL issues 6294, 6401); keep vllm_importance_sampling_correction on",
    ),
    Rule(
        "dead_groups", "Dead groups", "无差异组", SAMPLING, sampled.dead_groups,
        "more completions per prompt, temperature 1, dynamic sampling, drop prompts that are always or never solved, "
        "or grade the reward more finely",
    ),
    Rule(
        "components", "Reward components", "奖励分量", SAMPLING, sampled.components,
        "saturated: lower its weight or use it as a gate; traded away: raise its weight",
    ),
    Rule(
        "coverage", "Coverage of components", "分量覆盖率", SAMPLING, sampled.coverage,
        "add the label to the data, or leave the component out",
    ),
    Rule(
        "truncation", "Truncation", "截断", SAMPLING, sampled.truncation,
        "raise max_completion_length, or set mask_truncated_completions and ask for shorter answers in the prompt",
    ),
    Rule(
        "length_growth", "Length grows, results do not", "长度增长而结果不变", SAMPLING, sampled.length_growth,
        "read the longest completions; penalise length or use loss_type dr_grpo; check what the reward pays for",
    ),
    Rule(
        "length_collapse", "Completions shrink", "回答过短", SAMPLING, sampled.length_collapse,
        "give the format reward more weight or make it a gate; warm start by SFT on full answers",
    ),
    Rule(
        "repetition", "Repeated completions", "重复回答", SAMPLING, sampled.repetition,
        "sample at temperature 1 with top_p 1 and top_k 0; lower the learning rate",
    ),
    Rule(
        "supervised_loss", "Loss", "损失", SUPERVISED, learning.supervised_loss,
        "halve the learning rate, warm it up, and check labels and template",
    ),
    Rule(
        "preference_saturated", "Pairs solved", "偏好对已解", frozenset({"dpo"}), learning.preference_saturated,
        "stop earlier, use harder pairs (smaller margin in make-dpo), a lower learning rate or a larger beta",
    ),
    Rule(
        "preference_likelihood", "Chosen answers lose probability", "优选回答概率下降", frozenset({"dpo"}),
        learning.preference_likelihood,
        "add the SFT term (rpo_alpha), lower the learning rate",
    ),
    Rule(
        "throughput", "Steps get slower", "速度下降", ANY, machinery.throughput,
        "longer completions cost time (see length); else look for a full disk, swapping, or another job on the GPU",
    ),
    Rule(
        "overlap", "Resumed", "续训重叠", ANY, machinery.overlap,
        "nothing to do: the later attempt is read; a restart from step 1 means that no checkpoint was found",
    ),
    Rule(
        "log", "The log itself", "日志本身", ANY, machinery.log_quality,
        "an unfinished run can be continued with --resume auto",
    ),
)  # fmt: skip


def findings_of(run: RunRecord) -> list[Finding]:
    """Everything that the rules for the run's method find."""
    found = []
    for rule in RULES:
        if run.method in rule.methods:
            for evidence in rule.check(run):
                remedy = evidence.remedy or rule.remedy
                found.append(Finding(rule.name, evidence.severity, evidence.text, remedy, evidence.step))
    return found

"""What the health rules say, in each language: a table of wordings, looked up by name.

A wording is a format string over the figures of its clause. `{share:percent}` is "12 %"; all else is Python's
format language. Every entry has all languages, with the same figures in each (`tests/runs/test_words.py`).
"""

from __future__ import annotations

from typing import NamedTuple

from medgrpo.language import Language

__all__ = ["EVIDENCE", "REMEDIES", "TITLES", "Language", "Words"]


class Words(NamedTuple):
    """One wording in every language."""

    en: str
    zh: str


TITLES: dict[str, Words] = {
    "nan": Words("Broken numbers", "数值异常"),
    "gradient_spikes": Words("Gradient spikes", "梯度尖峰"),
    "gradient_vanished": Words("No gradient", "梯度消失"),
    "learning_rate_zero": Words("Learning rate 0", "学习率为零"),
    "reward_trend": Words("Reward trend", "奖励趋势"),
    "validation_gap": Words("Training up, validation down", "训练上升而验证下降"),
    "validation_plateau": Words("Validation stands still", "验证停滞"),
    "kl_growth": Words("KL against its price", "KL 与其代价"),
    "entropy_collapse": Words("Entropy", "熵"),
    "clipping": Words("Clipped updates", "更新被裁剪"),
    "sampler_gap": Words("Sampler and trainer disagree", "采样器与训练器不一致"),
    "dead_groups": Words("Dead groups", "无差异组"),
    "components": Words("Reward components", "奖励分量"),
    "coverage": Words("Coverage of components", "分量覆盖率"),
    "truncation": Words("Truncation", "截断"),
    "length_growth": Words("Length grows, results do not", "长度增长而结果不变"),
    "length_collapse": Words("Completions shrink", "回答过短"),
    "repetition": Words("Repeated completions", "重复回答"),
    "supervised_loss": Words("Loss", "损失"),
    "preference_saturated": Words("Pairs solved", "偏好对已解"),
    "preference_likelihood": Words("Chosen answers lose probability", "优选回答概率下降"),
    "throughput": Words("Steps get slower", "速度下降"),
    "overlap": Words("Resumed", "续训重叠"),
    "ended": Words("How it ended", "运行结局"),
    "log": Words("The log itself", "日志本身"),
}
"""Rule -> its title."""

_MOVED = "{first:.3g} → {last:.3g} (fitted change {change:+.2g} ± {error:.1g})"
_MOVED_ZH = "{first:.3g} → {last:.3g} （拟合变化 {change:+.2g} ± {error:.1g}）"

EVIDENCE: dict[str, Words] = {
    "moved": Words(_MOVED, _MOVED_ZH),
    # learning
    "reward_moved": Words(
        f"reward {_MOVED}, noise {{noise:.2g}} an entry", f"reward {_MOVED_ZH}，每条噪声 {{noise:.2g}}"
    ),
    "reward_falls": Words("the reward falls: ", "奖励下降："),
    "reward_rises": Words("the reward rises: ", "奖励上升："),
    "reward_fell_back": Words(
        "the reward had reached {best:.3g} and fell back to {end:.3g}: ",
        "奖励曾达到 {best:.3g}，又回落到 {end:.3g}：",
    ),
    "no_rise": Words("no measurable rise over {entries} entries: ", "{entries} 条记录中没有可测的上升："),
    "start_kl_and_rate": Words(
        " (KL from the start is {kl:.2g}, peak learning rate {rate:.2g})",
        "（相对起点的 KL 为 {kl:.2g}，最高学习率 {rate:.2g}）",
    ),
    "start_kl": Words(" (KL from the start is {kl:.2g})", "（相对起点的 KL 为 {kl:.2g}）"),
    "peak_rate": Words(" (peak learning rate {rate:.2g})", "（最高学习率 {rate:.2g}）"),
    "held_out_falls": Words(
        "{train} still improves, but {key} was best at step {step} ({best:.3g}) and is now {now:.3g}",
        "{train} 仍在改善，但 {key} 在第 {step} 步最佳（{best:.3g}），现为 {now:.3g}",
    ),
    "stands_still": Words("{key} stands still since step {step}: ", "{key} 自第 {step} 步起停滞："),
    "loss_at_start": Words(
        "loss starts at {start:.3g}, above ln(vocabulary) ≈ {uniform:.0f}, worse than uniform guessing; "
        "{middle:.3g} half-way",
        "损失从 {start:.3g} 开始，高于 ln(词表大小) ≈ {uniform:.0f}，比均匀猜测还差；中途为 {middle:.3g}",
    ),
    "loss_near_zero": Words(
        "loss is {loss:.2g} at the end: nearly every scored token is certain",
        "结束时损失为 {loss:.2g}：几乎每个计分词元都已确定",
    ),
    "losses_near_zero": Words(
        "loss is {loss:.2g} at the end (eval_loss {held_out:.2g}): nearly every scored token is certain",
        "结束时损失为 {loss:.2g}（eval_loss {held_out:.2g}）：几乎每个计分词元都已确定",
    ),
    "loss_rises": Words("the loss rises: ", "损失上升："),
    "loss_stays": Words("the loss does not fall: ", "损失没有下降："),
    "loss_falls": Words("the loss falls {start:.3g} → {end:.3g}", "损失下降 {start:.3g} → {end:.3g}"),
    "pairs_solved": Words(
        "from step {step} on the loss is {loss:.2g}, {share:percent} of the pairs are ranked right and the margin is "
        "{margin:.3g} nats: the pairs are too easy",
        "自第 {step} 步起损失为 {loss:.2g}，{share:percent} 的偏好对排序正确，差距 {margin:.3g} nat：偏好对太容易",
    ),
    "chosen_falls": Words(
        "rewards/chosen falls to {chosen:.3g}: the chosen answers become less likely, only less so than the rejected",
        "rewards/chosen 降至 {chosen:.3g}：优选回答的概率也在下降，只是比拒绝回答慢",
    ),
    # policy
    "kl_costs": Words(
        "beta × KL = {beta:g} × {kl:.3g} = {cost:.3g}, {share:percent} of the reward's spread ({spread:.3g})",
        "beta × KL = {beta:g} × {kl:.3g} = {cost:.3g}，为奖励离散度（{spread:.3g}）的 {share:percent}",
    ),
    "kl_runs_away": Words(
        "KL runs away: {middle:.3g} in the second third, {late:.3g} at the end (nats per token)",
        "KL 失控：中段 {middle:.3g}，结束时 {late:.3g}（nat / 词元）",
    ),
    "kl_spikes": Words(
        "KL spikes at {count} entries (first at step {step}), to {most:.3g}",
        "KL 在 {count} 条记录出现尖峰（最早在第 {step} 步），最高 {most:.3g}",
    ),
    "entropy_moved": Words(
        "entropy {first:.3g} → {late:.3g} nats per token ({share:percent} of the start)",
        "熵 {first:.3g} → {late:.3g} nat / 词元（为起始的 {share:percent}）",
    ),
    "dissolving": Words(": the policy is dissolving into noise", "：策略正在变成噪声"),
    "clipped": Words(
        "{share:percent} of the tokens are clipped at the end of the run",
        "结束时 {share:percent} 的词元被裁剪",
    ),
    "sampler_differs": Words(
        "sampler and trainer differ by {gap:.3g} nats per token", "采样器与训练器相差 {gap:.3g} nat / 词元"
    ),
    "mean_ratio": Words("; mean importance ratio {ratio:.3g}", "；平均重要性比 {ratio:.3g}"),
    # what is sampled
    "groups_replaced": Words(
        "{drawn:percent} of the groups are drawn without spread in reward and replaced: {left:percent} are left",
        "{drawn:percent} 的组采样时奖励没有差异并被替换，剩余 {left:percent}",
    ),
    "groups_dead": Words(
        "{share:percent} of the latest groups have no spread in reward: they teach nothing",
        "最近 {share:percent} 的组奖励没有差异，学不到东西",
    ),
    "although_replaced": Words(", although dynamic sampling replaced what it could", "，动态采样已尽量替换"),
    "by_component": Words("; by component: ", "；按分量："),
    "component_share": Words("{name} {share:percent}", "{name} {share:percent}"),
    "and_component_share": Words(", {name} {share:percent}", "，{name} {share:percent}"),
    "most_solved": Words("; most are solved, as every component scores high", "；多数已解决：各分量得分都高"),
    "saturated": Words(
        "{name} is saturated: every completion scores {score:.3g}",
        "{name} 已饱和：所有回答均得 {score:.3g} 分",
    ),
    "component_dead": Words(
        "{name} is dead: every completion scores {score:.3g}, so it teaches nothing",
        "{name} 已失效：所有回答均得 {score:.3g} 分，学不到东西",
    ),
    "nearly_saturated": Words(
        "{name} is nearly saturated at {score:.3g}: little is left to learn from it",
        "{name} 接近饱和（{score:.3g}）：可学的已不多",
    ),
    "traded_away": Words("{name} falls while the reward rises: ", "奖励上升而 {name} 下降："),
    "covers": Words(
        "{name} judges {share:percent} of the completions", "{name} 只能评判 {share:percent} 的回答"
    ),
    "cut_off": Words(
        "{share:percent} of the latest completions are cut off at the length limit",
        "最近 {share:percent} 的回答因达到长度上限被截断",
    ),
    "length_grows": Words(
        "completions grow {first:.0f} → {last:.0f} tokens", "回答长度 {first:.0f} → {last:.0f} 词元"
    ),
    "without_gain": Words(" while {key} does not improve: ", "，而 {key} 没有改善："),
    "length_shrinks": Words(
        "completions shrink from {first:.0f} to {late:.1f} tokens: reasoning and tags are no longer written",
        "回答从 {first:.0f} 缩短到 {late:.1f} 词元：不再写出推理和标签",
    ),
    "few_differ": Words(
        "only {share:percent} of a group's completions differ from each other",
        "同组回答中只有 {share:percent} 彼此不同",
    ),
    "mostly_same": Words(
        "completions of a group are mostly the same ({share:percent} repeats, last {groups} groups)",
        "同组回答大多相同（最近 {groups} 组中 {share:percent} 重复）",
    ),
    "repeats_are_right": Words(
        ", and they score {share:percent} of the best reward: solved rather than stuck",
        "，且得到最高奖励的 {share:percent}：已学会，而非停滞",
    ),
    # machinery
    "not_finite": Words(
        "{key} is NaN or infinite at {count} of {entries} entries, first at step {step}",
        "{key} 在 {entries} 条记录中有 {count} 条为 NaN 或无穷，最早在第 {step} 步",
    ),
    "gradient_spikes": Words(
        "grad_norm reaches {worst:.3g} at step {step}, {times:.0f} times the median {usual:.3g}; {count} such entries",
        "grad_norm 在第 {step} 步达到 {worst:.3g}，为中位数 {usual:.3g} 的 {times:.0f} 倍；此类记录 {count} 条",
    ),
    "gradient_starts_high": Words(
        "grad_norm starts at {start:.4g} (step {step}); it settles at {usual:.3g}",
        "grad_norm 起始为 {start:.4g}（第 {step} 步），随后稳定在 {usual:.3g}",
    ),
    "gradient_high": Words(
        "grad_norm is {usual:.3g} at the median; about 1 is usual",
        "grad_norm 中位数为 {usual:.3g}；通常约为 1",
    ),
    "moving_gradient_high": Words(
        "grad_norm is {usual:.3g} at the median of the entries that are not 0; about 1 is usual",
        "grad_norm 不为 0 的记录中位数为 {usual:.3g}；通常约为 1",
    ),
    "gradient_zero": Words(
        "grad_norm is 0 (below 1e-6) at {count} of {entries} entries: those steps learn nothing",
        "{entries} 条记录中 {count} 条的 grad_norm 为 0（低于 1e-6）：这些步没有学习",
    ),
    "rate_zero_throughout": Words(
        "the learning rate is 0 at all {entries} entries", "全部 {entries} 条记录的学习率为 0"
    ),
    "rate_zero": Words(
        "the learning rate is 0 at {count} of {entries} entries, from step {step}",
        "{entries} 条记录中 {count} 条学习率为 0，自第 {step} 步起",
    ),
    "slower": Words(
        "a step takes {late:.3g} s at the end and took {early:.3g} s before ({times:.1f} times)",
        "结束时每步 {late:.3g} 秒，之前为 {early:.3g} 秒（{times:.1f} 倍）",
    ),
    "longer_too": Words("; completions are {times:.1f} times as long", "；回答长度为之前的 {times:.1f} 倍"),
    "resumed": Words(
        "resumed {count} time(s): steps {spans} were run again; {dropped} earlier entries are left out",
        "续训 {count} 次：第 {spans} 步重新运行；略去先前的 {dropped} 条记录",
    ),
    "log_ends": Words(
        "the log ends at step {step} of {total} ({share:percent})",
        "日志止于第 {step} 步，共 {total} 步（{share:percent}）",
    ),
    "run_failed": Words("the run failed after step {step}: {why}", "运行在第 {step} 步之后失败：{why}"),
    "run_failed_early": Words("the run failed before its first step: {why}", "运行在第一步之前失败：{why}"),
    "run_killed": Words(
        "the run was killed after step {step}: no process writes it, and it has no end",
        "运行在第 {step} 步之后被终止：没有进程在写入，也没有结束记录",
    ),
    "run_stopped": Words("the run was stopped after step {step}", "运行在第 {step} 步之后被停止"),
    "no_history": Words("the history is empty", "没有记录"),
    # what a reader met
    "file_empty": Words("the file is empty", "文件为空"),
    "wandb_binary": Words(
        "the file is wandb's own binary record, which is not read: run `wandb sync` on its folder and export the run's "
        "history as CSV or JSON, or name the console beside it (files/output.log)",
        "这是 wandb 自己的二进制记录，无法读取：请先用 `wandb sync` 上传该文件夹并将历史导出为 CSV 或 JSON，"
        "或改用旁边的控制台记录（files/output.log）",
    ),
    "list_empty": Words("the list is empty", "列表为空"),
    "last_line_cut": Words(
        "line {line}, the last, is cut off: left out", "最后一行（第 {line} 行）不完整，已略去"
    ),
    "lines_unreadable": Words(
        "{count} lines are no JSON object and were left out (line {lines})",
        "{count} 行不是 JSON 对象，已略去（第 {lines} 行）",
    ),
    "files_joined": Words("{count} files joined: {names}", "合并 {count} 个文件：{names}"),
    "steps_guessed": Words(
        "no progress bar: {count} entries are numbered by their place, not by step",
        "没有进度条：{count} 条记录按位置而非步数编号",
    ),
}
"""Clause of a finding -> its wording."""

REMEDIES: dict[str, Words] = {
    "nan": Words(
        "resume from the last checkpoint before it with half the learning rate, bf16 instead of fp16 and "
        "max_grad_norm 1; look at the batch of that step",
        "从其前的检查点续训：学习率减半，用 bf16 代替 fp16，max_grad_norm 设为 1；检查该步的数据",
    ),
    "gradient_spikes": Words(
        "set max_grad_norm (TRL's default 1.0), warm the learning rate up, and look at the batch of that step",
        "设置 max_grad_norm（TRL 默认 1.0），对学习率预热，检查该步的数据",
    ),
    "gradient_vanished": Words(
        "check that the trained weights require gradients and that the loss is not masked everywhere",
        "检查被训练的权重是否需要梯度，损失是否被全部屏蔽",
    ),
    "no_spread": Words(
        "the groups have no spread, see dead_groups; otherwise check that the trained weights require gradients",
        "组内奖励没有差异，见“无差异组”；否则检查被训练的权重是否需要梯度",
    ),
    "all_masked": Words(
        "every completion is cut off, and mask_truncated_completions leaves such completions out of the loss: raise "
        "max_completion_length",
        "所有回答均被截断，而 mask_truncated_completions 把它们排除在损失之外：提高 max_completion_length",
    ),
    "untrained": Words("check that the trained weights require gradients", "检查被训练的权重是否需要梯度"),
    "no_pairs_left": Words(
        "the pairs are solved: stop earlier or use harder pairs", "偏好对已解：提早停止，或使用更难的偏好对"
    ),
    "learning_rate_zero": Words(
        "check the schedule: its number of steps is smaller than the run's, or the resumed scheduler was not saved",
        "检查学习率计划：其步数少于本次运行，或续训时没有保存调度器",
    ),
    "reward_trend": Words(
        "more completions per prompt, a learning rate of 1e-5 or more for LoRA, an SFT warm start if the "
        "reward is near its floor; if KL has hardly moved, the policy has not been trained yet",
        "增加每题的采样数；LoRA 学习率用 1e-5 或更高；奖励接近下限时先做 SFT 预热；若 KL 几乎不动，说明策略还没有得到训练",
    ),
    "go_back": Words(
        "go back to the best checkpoint (best_lora/), halve the learning rate, and read completions from "
        "before and after",
        "回到最佳检查点（best_lora/），学习率减半，比较前后的回答",
    ),
    "validation_gap": Words(
        "stop at the best validation step (best_lora/); read completions for tricks that the reward pays "
        "for; audit the reward with `medgrpo score FILE --audit`",
        "停在验证最佳的一步（best_lora/）；阅读回答，看奖励在鼓励什么取巧；用 `medgrpo score FILE --audit` 审查奖励",
    ),
    "validation_plateau": Words(
        "further steps buy little: stop here, or bring harder data or a finer reward",
        "继续训练收益很小：可在此停止，或使用更难的数据、更细的奖励",
    ),
    "kl_growth": Words(
        "halve the learning rate or lower beta; KL has no right level of its own (docs/health.md)",
        "学习率减半或降低 beta；KL 本身没有正确的值（docs/health.md）",
    ),
    "entropy_collapse": Words(
        "sample at temperature 1, raise epsilon_high (clip-higher), lower the learning rate, mix in harder "
        "prompts",
        "采样温度设为 1，提高 epsilon_high（clip-higher），降低学习率，加入更难的题",
    ),
    "clipping": Words(
        "lower the learning rate or num_iterations",
        "降低学习率或 num_iterations",
    ),
    "sampler_gap": Words(
        "same dtype in both; with vLLM and images check that image tokens are not expanded twice (TRL issues "
        "6294, 6401); keep vllm_importance_sampling_correction on",
        "两者用相同的精度；使用 vLLM 和图像时，检查图像词元是否被展开两次（TRL issue 6294、6401）；保持 vllm_importance_sampling_correction 开启",
    ),
    "dead_groups": Words(
        "more completions per prompt, temperature 1, dynamic sampling, drop prompts that are always or never "
        "solved, or grade the reward more finely",
        "增加每题的采样数，温度设为 1，动态采样，去掉总是做对或总是做错的题，或让奖励分级更细",
    ),
    "solved": Words(
        "nothing is wrong: stop here, or bring harder prompts (curriculum, dynamic sampling)",
        "没有问题：可在此停止，或使用更难的题（课程学习、动态采样）",
    ),
    "replaced": Words(
        "each step samples these groups again: drop prompts that are always or never solved to save the time",
        "每一步都要重新采样这些组：去掉总是做对或总是做错的题可节省时间",
    ),
    "still_dead": Words(
        "more rounds of rollout.dynamic_sampling, more completions per prompt, or drop prompts that are "
        "always or never solved, or grade the reward more finely",
        "增加 rollout.dynamic_sampling 的轮数或每题的采样数，去掉总是做对或总是做错的题，或让奖励分级更细",
    ),
    "components": Words(
        "saturated: lower its weight or use it as a gate; traded away: raise its weight",
        "已饱和：降低其权重或改作门槛；被牺牲：提高其权重",
    ),
    "component_dead": Words(
        "warm start by SFT so that it scores now and then, or fix the reward; at weight 0 it costs nothing",
        "先做 SFT 预热使其偶尔得分，或修正该奖励；权重为 0 时没有影响",
    ),
    "coverage": Words(
        "add the label to the data, or leave the component out",
        "在数据中补上标签，或去掉该分量",
    ),
    "truncation": Words(
        "raise max_completion_length, or set mask_truncated_completions and ask for shorter answers in the "
        "prompt",
        "提高 max_completion_length，或设置 mask_truncated_completions 并在提示中要求更短的回答",
    ),
    "left_out": Words(
        "raise max_completion_length, or ask for shorter answers in the prompt: what is cut off is left out "
        "of the loss (mask_truncated_completions), and nothing is learned from it",
        "提高 max_completion_length，或在提示中要求更短的回答：被截断的回答不计入损失（mask_truncated_completions），学不到东西",
    ),
    "length_growth": Words(
        "read the longest completions; penalise length or use loss_type dr_grpo; check what the reward pays "
        "for",
        "阅读最长的回答；惩罚长度或使用 loss_type dr_grpo；检查奖励在鼓励什么",
    ),
    "length_collapse": Words(
        "give the format reward more weight or make it a gate; warm start by SFT on full answers",
        "提高格式奖励的权重或改作门槛；先用完整回答做 SFT 预热",
    ),
    "repetition": Words(
        "sample at temperature 1 with top_p 1 and top_k 0; lower the learning rate",
        "采样温度 1、top_p 1、top_k 0；降低学习率",
    ),
    "supervised_loss": Words(
        "halve the learning rate, warm it up, and check labels and template",
        "学习率减半并预热，检查标签和模板",
    ),
    "loss_at_start": Words(
        "check the chat template, the labels and whether the trainer sums the loss over accumulation steps; "
        "harmless if it falls within a few steps",
        "检查对话模板、标签，以及训练器是否在累积步上对损失求和；若几步内下降则无妨",
    ),
    "loss_near_zero": Words(
        "check that prompt, image and padding tokens are not scored and that the answer does not stand in "
        "the prompt",
        "检查提示、图像和填充词元是否被计分，答案是否出现在提示中",
    ),
    "preference_saturated": Words(
        "stop earlier, use harder pairs (smaller margin in make-dpo), a lower learning rate or a larger beta",
        "提早停止，使用更难的偏好对（make-dpo 用更小的 margin），降低学习率或增大 beta",
    ),
    "preference_likelihood": Words(
        "add the SFT term (rpo_alpha), lower the learning rate",
        "加入 SFT 项（rpo_alpha），降低学习率",
    ),
    "throughput": Words(
        "longer completions cost time (see length); else look for a full disk, swapping, or another job on "
        "this machine or its GPU",
        "回答变长会变慢（见长度）；否则检查磁盘是否已满、是否在换页，或本机、GPU 上是否有其他任务",
    ),
    "overlap": Words(
        "nothing to do: the later attempt is read; a restart from step 1 means that no checkpoint was found",
        "无需处理：以后一次为准；若从第 1 步重新开始，说明没有找到检查点",
    ),
    "ended": Words(
        "mend what the message names, then go on from the last checkpoint: medgrpo train --resume RUN",
        "先解决上述问题，再从最后的检查点续训：medgrpo train --resume RUN",
    ),
    "never_began": Words(
        "mend what the message names, then type the line again; the folder of this run can go",
        "先解决上述问题，再运行一次原来的命令；这次运行的文件夹可以删除",
    ),
    "log": Words(
        "an unfinished run can be continued with --resume auto",
        "未完成的运行可用 --resume auto 继续",
    ),
}
"""Rule, or a case of it that has a remedy of its own -> what to do."""

"""Evidence and remedies of health findings in Chinese, for the page's language switch.

A rule words its evidence once, in English, with its figures. Each phrase here is a pattern of such a wording; what
no pattern knows stays as it is. `tests/runs/test_chinese.py` fails where a whole English clause is left.
"""

from __future__ import annotations

import re

PHRASES: tuple[tuple[str, str], ...] = (
    # what is said in several rules
    (r"\(fitted change (\S+) ± (\S+)\)", r"（拟合变化 \1 ± \2）"),
    (r", noise (\S+) an entry", r"，每条噪声 \1"),
    (r"first at step (\d+)", r"最早在第 \1 步"),
    (r"; by component: ", "；按分量："),
    # learning
    (r"the reward falls: ", "奖励下降："),
    (r"the reward rises: ", "奖励上升："),
    (r"the reward had reached (\S+) and fell back to (\S+): ", r"奖励曾达到 \1，又回落到 \2："),
    (r"no measurable rise over (\d+) entries: ", r"\1 条记录中没有可测的上升："),
    (r" \(KL from the start is (\S+), peak learning rate (\S+)\)", r"（相对起点的 KL 为 \1，最高学习率 \2）"),
    (r" \(KL from the start is (\S+)\)", r"（相对起点的 KL 为 \1）"),
    (r" \(peak learning rate (\S+)\)", r"（最高学习率 \1）"),
    (
        r"(\S+) still improves, but (\S+) was best at step (\d+) \((\S+)\) and is now (\S+)",
        r"\1 仍在改善，但 \2 在第 \3 步最佳（\4），现为 \5",
    ),
    (r"(\S+) stands still since step (\d+): ", r"\1 自第 \2 步起停滞："),
    (
        r"loss starts at (\S+), above ln\(vocabulary\) ≈ (\d+), worse than uniform guessing; (\S+) half-way",
        r"损失从 \1 开始，高于 ln(词表大小) ≈ \2，比均匀猜测还差；中途为 \3",
    ),
    (r"loss is (\S+) at the end \(eval_loss (\S+)\)", r"结束时损失为 \1（eval_loss \2）"),
    (r"loss is (\S+) at the end", r"结束时损失为 \1"),
    (r": nearly every scored token is certain", "：几乎每个计分词元都已确定"),
    (r"the loss rises: ", "损失上升："),
    (r"the loss does not fall: ", "损失没有下降："),
    (r"the loss falls ", "损失下降 "),
    (
        r"from step (\d+) on the loss is (\S+), (\S+ %) of the pairs are ranked right and the margin is (\S+) nats: "
        r"the pairs are too easy",
        r"自第 \1 步起损失为 \2，\3 的偏好对排序正确，差距 \4 nat：偏好对太容易",
    ),
    (
        r"rewards/chosen falls to (\S+): the chosen answers become less likely, only less so than the rejected",
        r"rewards/chosen 降至 \1：优选回答的概率也在下降，只是比拒绝回答慢",
    ),
    # policy
    (r", (\S+ %) of the reward's spread \((\S+)\)", r"，为奖励离散度（\2）的 \1"),
    (
        r"KL runs away: (\S+) in the second third, (\S+) at the end \(nats per token\)",
        r"KL 失控：中段 \1，结束时 \2（nat / 词元）",
    ),
    (r"KL spikes at (\d+) entries", r"KL 在 \1 条记录出现尖峰"),
    (r", to (\S+)$", r"，最高 \1"),
    (r"entropy (\S+) → (\S+) nats per token \((\S+ %) of the start\)", r"熵 \1 → \2 nat / 词元（为起始的 \3）"),
    (r": the policy is dissolving into noise", "：策略正在变成噪声"),
    (r"(\S+ %) of the tokens are clipped at the end of the run", r"结束时 \1 的词元被裁剪"),
    (r"sampler and trainer differ by (\S+) nats per token", r"采样器与训练器相差 \1 nat / 词元"),
    (r"; mean importance ratio (\S+)", r"；平均重要性比 \1"),
    # completions
    (
        r"(\S+ %) of the latest groups have no spread in reward: they teach nothing",
        r"最近 \1 的组奖励没有差异，学不到东西",
    ),
    (
        r"(\S+ %) of the groups are drawn without spread in reward and replaced: (\S+ %) are left",
        r"\1 的组采样时奖励没有差异并被替换，剩余 \2",
    ),
    (r", although dynamic sampling replaced what it could", "，动态采样已尽量替换"),
    (r"; most are solved, as every component scores high", "；多数已解决：各分量得分都高"),
    (r"(\S+) is saturated: every completion scores (\S+)", r"\1 已饱和：所有回答均得 \2 分"),
    (
        r"(\S+) is dead: every completion scores (\S+), so it teaches nothing",
        r"\1 已失效：所有回答均得 \2 分，学不到东西",
    ),
    (
        r"(\S+) is nearly saturated at (\S+): little is left to learn from it",
        r"\1 接近饱和（\2）：可学的已不多",
    ),
    (r"(\S+) falls while the reward rises: \S* ?", r"奖励上升而 \1 下降："),
    (r"(\S+) judges (\S+ %) of the completions", r"\1 只能评判 \2 的回答"),
    (
        r"(\S+ %) of the latest completions are cut off at the length limit",
        r"最近 \1 的回答因达到长度上限被截断",
    ),
    (r"completions grow (\S+) → (\S+) tokens", r"回答长度 \1 → \2 词元"),
    (r" while (\S+) does not improve: ", r"，而 \1 没有改善："),
    (
        r"completions shrink from (\S+) to (\S+) tokens: reasoning and tags are no longer written",
        r"回答从 \1 缩短到 \2 词元：不再写出推理和标签",
    ),
    (
        r"only (\S+ %) of a group's completions differ from each other",
        r"同组回答中只有 \1 彼此不同",
    ),
    (
        r"completions of a group are mostly the same \((\S+ %) repeats, last (\d+) groups\)",
        r"同组回答大多相同（最近 \2 组中 \1 重复）",
    ),
    (
        r", and they score (\S+ %) of the best reward: solved rather than stuck",
        r"，且得到最高奖励的 \1：已学会，而非停滞",
    ),
    # machinery
    (
        r"(\S+) is NaN or infinite at (\d+) of (\d+) entries, ",
        r"\1 在 \3 条记录中有 \2 条为 NaN 或无穷，",
    ),
    (
        r"grad_norm reaches (\S+) at step (\d+), (\S+) times the median (\S+); (\d+) such entries",
        r"grad_norm 在第 \2 步达到 \1，为中位数 \4 的 \3 倍；此类记录 \5 条",
    ),
    (r"grad_norm starts at (\S+) \(step (\d+)\); it settles at (\S+)", r"grad_norm 起始为 \1（第 \2 步），随后稳定在 \3"),
    (r"grad_norm is (\S+) at the median of the entries that are not 0; about 1 is usual", r"grad_norm 不为 0 的记录中位数为 \1；通常约为 1"),
    (r"grad_norm is (\S+) at the median; about 1 is usual", r"grad_norm 中位数为 \1；通常约为 1"),
    (
        r"grad_norm is 0 \(below 1e-6\) at (\d+) of (\d+) entries: those steps learn nothing",
        r"\2 条记录中 \1 条的 grad_norm 为 0（低于 1e-6）：这些步没有学习",
    ),
    (r"the learning rate is 0 at all (\d+) entries", r"全部 \1 条记录的学习率为 0"),
    (r"the learning rate is 0 at (\d+) of (\d+) entries, from step (\d+)", r"\2 条记录中 \1 条学习率为 0，自第 \3 步起"),
    (
        r"a step takes (\S+) s at the end and took (\S+) s before \((\S+) times\)",
        r"结束时每步 \1 秒，之前为 \2 秒（\3 倍）",
    ),
    (r"; completions are (\S+) times as long", r"；回答长度为之前的 \1 倍"),
    (
        r"resumed (\d+) time\(s\): steps (.+?) were run again; (\d+) earlier entries are left out",
        r"续训 \1 次：第 \2 步重新运行；略去先前的 \3 条记录",
    ),
    (r"the log ends at step (\d+) of (\d+) \((\S+ %)\)", r"日志止于第 \1 步，共 \2 步（\3）"),
    (r"the history is empty", "没有记录"),
    (r"the (?:file|list) is empty", "文件为空"),
    (r"line (\d+), the last, is cut off: left out", r"最后一行（第 \1 行）不完整，已略去"),
    (r"(\d+) lines are no JSON object and were left out \(line (.+?)\)", r"\1 行不是 JSON 对象，已略去（第 \2 行）"),
    (r"(\d+) files joined: ", r"合并 \1 个文件："),
)  # fmt: skip

REMEDIES: dict[str, str] = {
    "nan": "从其前的检查点续训：学习率减半，用 bf16 代替 fp16，max_grad_norm 设为 1；检查该步的数据",
    "gradient_spikes": "设置 max_grad_norm（TRL 默认 1.0），对学习率预热，检查该步的数据",
    "gradient_vanished": "检查被训练的权重是否需要梯度，损失是否被全部屏蔽",
    "gradient_vanished:grpo": "组内奖励没有差异，见“无差异组”；否则检查被训练的权重是否需要梯度",
    "gradient_vanished:masked": "所有回答均被截断，而 mask_truncated_completions 把它们排除在损失之外：提高 max_completion_length",
    "gradient_vanished:untrained": "检查被训练的权重是否需要梯度",
    "gradient_vanished:dpo": "偏好对已解：提早停止，或使用更难的偏好对",
    "learning_rate_zero": "检查学习率计划：其步数少于本次运行，或续训时没有保存调度器",
    "reward_trend": "增加每题的采样数；LoRA 学习率用 1e-5 或更高；奖励接近下限时先做 SFT 预热；若 KL 几乎不动，说明策略还没有得到训练",
    "reward_trend:back": "回到最佳检查点（best_lora/），学习率减半，比较前后的回答",
    "validation_gap": "停在验证最佳的一步（best_lora/）；阅读回答，看奖励在鼓励什么取巧；用 `medgrpo score FILE --audit` 审查奖励",
    "validation_plateau": "继续训练收益很小：可在此停止，或使用更难的数据、更细的奖励",
    "kl_growth": "学习率减半或降低 beta；KL 本身没有正确的值（docs/health.md）",
    "entropy_collapse": "采样温度设为 1，提高 epsilon_high（clip-higher），降低学习率，加入更难的题",
    "clipping": "降低学习率或 num_iterations",
    "sampler_gap": "两者用相同的精度；使用 vLLM 和图像时，检查图像词元是否被展开两次（TRL issue 6294、6401）；"
    "保持 vllm_importance_sampling_correction 开启",
    "dead_groups": "增加每题的采样数，温度设为 1，动态采样，去掉总是做对或总是做错的题，或让奖励分级更细",
    "dead_groups:solved": "没有问题：可在此停止，或使用更难的题（课程学习、动态采样）",
    "dead_groups:replaced": "每一步都要重新采样这些组：去掉总是做对或总是做错的题可节省时间",
    "dead_groups:still": "增加 rollout.dynamic_sampling 的轮数或每题的采样数，去掉总是做对或总是做错的题，或让奖励分级更细",
    "components": "已饱和：降低其权重或改作门槛；被牺牲：提高其权重",
    "components:dead": "先做 SFT 预热使其偶尔得分，或修正该奖励；权重为 0 时没有影响",
    "coverage": "在数据中补上标签，或去掉该分量",
    "truncation": "提高 max_completion_length，或设置 mask_truncated_completions 并在提示中要求更短的回答",
    "truncation:masked": "提高 max_completion_length，或在提示中要求更短的回答：被截断的回答不计入损失"
    "（mask_truncated_completions），学不到东西",
    "length_growth": "阅读最长的回答；惩罚长度或使用 loss_type dr_grpo；检查奖励在鼓励什么",
    "length_collapse": "提高格式奖励的权重或改作门槛；先用完整回答做 SFT 预热",
    "repetition": "采样温度 1、top_p 1、top_k 0；降低学习率",
    "supervised_loss": "学习率减半并预热，检查标签和模板",
    "supervised_loss:start": "检查对话模板、标签，以及训练器是否在累积步上对损失求和；若几步内下降则无妨",
    "supervised_loss:zero": "检查提示、图像和填充词元是否被计分，答案是否出现在提示中",
    "preference_saturated": "提早停止，使用更难的偏好对（make-dpo 用更小的 margin），降低学习率或增大 beta",
    "preference_likelihood": "加入 SFT 项（rpo_alpha），降低学习率",
    "throughput": "回答变长会变慢（见长度）；否则检查磁盘是否已满、是否在换页，或 GPU 上是否有其他任务",
    "overlap": "无需处理：以后一次为准；若从第 1 步重新开始，说明没有找到检查点",
    "log": "未完成的运行可用 --resume auto 继续",
}
"""Rule, or `rule:case` where a case has a remedy of its own -> what to do."""

_PATTERNS = tuple((re.compile(pattern), shown) for pattern, shown in PHRASES)


def evidence(text: str) -> str:
    """The evidence of a finding in Chinese, as far as its wording is known."""
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


def remedy(rule: str, english: str) -> str:
    """The remedy of a finding in Chinese; in English where it is not known."""
    from medgrpo.runs.rules import learning, machinery, sampled

    cases = {
        learning.GO_BACK: "reward_trend:back",
        learning.LOSS_AT_START: "supervised_loss:start",
        learning.LOSS_NEAR_ZERO: "supervised_loss:zero",
        sampled.DEAD_COMPONENT: "components:dead",
        sampled.SOLVED: "dead_groups:solved",
        sampled.REPLACED: "dead_groups:replaced",
        sampled.STILL_DEAD: "dead_groups:still",
        sampled.LEFT_OUT: "truncation:masked",
        machinery.NO_SPREAD: "gradient_vanished:grpo",
        machinery.ALL_MASKED: "gradient_vanished:masked",
        machinery.UNTRAINED: "gradient_vanished:untrained",
        machinery.NO_PAIRS_LEFT: "gradient_vanished:dpo",
    }
    return REMEDIES.get(cases.get(english, rule), english)

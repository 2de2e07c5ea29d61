"""The curves of a comparison as compact numbers: what each chart shows, smoothed and thinned without hiding spikes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medgrpo.figures import direction
from medgrpo.methods import SAMPLING
from medgrpo.runs.comparison import RunSummary
from medgrpo.runs.metric_names import is_eval_key
from medgrpo.runs.record import RunRecord
from medgrpo.runs.step_times import step_times

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POINT_BUDGET = 220_000
"""Points over all curves of a page; it keeps 50 runs under 15 MB."""
MAX_POINTS = 1000
MIN_POINTS = 100


@dataclass(frozen=True)
class Chart:
    """One chart: a metric over the steps, a curve per run."""

    key: str
    group: str
    title_en: str
    title_zh: str
    note_en: str = ""
    note_zh: str = ""
    is_log: bool = False
    """Whether the axis is logarithmic when the values span more than two decades."""


FIXED = (
    Chart("reward", "learning", "Reward", "奖励", "mean over the completions of a step", "每步所有回答的平均值"),
    Chart("rewards/accuracies", "learning", "Preference accuracy", "偏好准确率", "share of pairs ranked right", "排序正确的比例"),
    Chart("rewards/margins", "learning", "Reward margin", "奖励差", "chosen − rejected, nats", "优选 − 拒绝（nat）"),
    Chart("loss", "optimiser", "Loss", "损失", "in GRPO it does not have to fall", "GRPO 中损失不必下降", is_log=True),
    Chart("mean_token_accuracy", "learning", "Token accuracy", "词元准确率"),
    Chart("frac_reward_zero_std", "behaviour", "Dead groups", "无差异组", "share without any spread in reward", "组内奖励无差异的比例"),
    Chart("completions/mean_length", "behaviour", "Completion length", "回答长度", "tokens", "词元数"),
    Chart("completions/clipped_ratio", "behaviour", "Truncated completions", "被截断的回答", "share", "比例"),
    Chart("entropy", "behaviour", "Entropy", "熵", "nats per token", "nat / 词元"),
    Chart("kl", "behaviour", "KL from the reference", "与参考模型的 KL", "nats per token; no level is right by itself", "nat / 词元；没有固定的正确值"),
    Chart("dynamic_sampling/dead_share", "behaviour", "Dead groups left", "剩余无差异组", "after dynamic sampling", "动态采样之后"),
    Chart("dynamic_sampling/replaced", "behaviour", "Groups replaced", "被替换的组", "by dynamic sampling, a step", "动态采样，每步"),
    Chart("curriculum/difficulty", "behaviour", "Difficulty of the prompts", "题目难度", "0 the easiest, 1 the hardest", "0 最易，1 最难"),
    Chart("reward_std", "behaviour", "Spread of rewards", "奖励的离散度"),
    Chart("grad_norm", "optimiser", "Gradient norm", "梯度范数", is_log=True),
    Chart("learning_rate", "optimiser", "Learning rate", "学习率"),
    Chart("clip_ratio/region_mean", "optimiser", "Clipped tokens", "被裁剪的词元", "share", "比例"),
    Chart("sampling/sampling_logp_difference/mean", "optimiser", "Sampler–trainer gap", "采样器与训练器之差", "nats per token", "nat / 词元"),
    Chart("s_per_prompt", "speed", "Seconds per prompt", "每题秒数", "s", "秒"),
    Chart("time/prepare", "speed", "Prompts and pictures prepared", "提示与图像处理", "s a step", "秒 / 步"),
    Chart("time/vision", "speed", "Vision tower", "视觉编码", "s a step", "秒 / 步"),
    Chart("time/sync", "speed", "Weights to vLLM", "权重同步", "s a step", "秒 / 步"),
    Chart("time/prefill", "speed", "Prompts read", "提示预填充", "s a step", "秒 / 步"),
    Chart("time/rollout", "speed", "Rollout", "采样", "s a step", "秒 / 步"),
    Chart("time/reward", "speed", "Scoring", "评分", "s a step", "秒 / 步"),
    Chart("time/logprobs", "speed", "Log probabilities, batch", "对数概率与批次", "s a step", "秒 / 步"),
    Chart("time/update", "speed", "Update", "更新", "s a step", "秒 / 步"),
    Chart("step_time", "speed", "Seconds per step", "每步秒数", "s", "秒"),
    Chart("tokens_per_s", "speed", "Tokens per second", "每秒词元"),
    Chart("memory_gib", "speed", "GPU memory", "显存", "GiB", "GiB"),
)  # fmt: skip

UNPLOTTED = ("runtime", "per_second", "total_flos", "train_loss", "num_tokens", "epoch")


def charts(runs: Sequence[RunSummary]) -> list[Chart]:
    """The charts that these runs have data for, in the order of the page."""
    keys = {key for run in runs for key in run.last}
    fixed = {chart.key: chart for chart in FIXED}
    components = sorted({name for run in runs for name in run.record.components})
    chosen = [chart for chart in FIXED if chart.key in keys and chart.group == "learning"]
    if any(run.record.method not in SAMPLING for run in runs) and "loss" in keys:
        chosen.append(
            Chart(
                "loss",
                "learning",
                "Loss",
                "损失",
                "in GRPO it does not have to fall",
                "GRPO 中损失不必下降",
                is_log=True,
            )
        )
    chosen += [
        Chart(
            f"rewards/{name}/mean",
            "components",
            name,
            name,
            "mean reward of this component",
            "该分量的平均奖励",
        )
        for name in components
    ]
    held_out = sorted(
        key for key in keys if is_eval_key(key) and direction(key) and not key.endswith(UNPLOTTED)
    )
    chosen += [
        Chart(key, "held-out", key.removeprefix("eval_"), key.removeprefix("eval_")) for key in held_out
    ]
    taken = {chart.key for chart in chosen} - {"loss"}
    chosen += [
        chart
        for chart in fixed.values()
        if chart.group != "learning" and chart.key in keys and chart.key not in taken
    ]
    chosen += _stage_charts(runs)
    chosen += _other_charts(runs, taken | {chart.key for chart in chosen})
    if "step_time" not in keys and "s_per_prompt" not in keys and any(run.s_per_step for run in runs):
        chosen.append(fixed["step_time"])
    return chosen


MAX_OTHER = 16


def _other_charts(runs: Sequence[RunSummary], taken: set[str]) -> list[Chart]:
    """Training metrics that no other chart shows and that change, the first `MAX_OTHER` by name."""
    keys = sorted(
        key
        for key in {key for run in runs for key in run.last} - taken
        if not is_eval_key(key)
        and not key.startswith("rewards/")
        and not key.endswith((*UNPLOTTED, "_steps"))
    )
    changing = [key for key in keys if any(len(set(run.record.series(key)[1])) > 1 for run in runs)]
    return [Chart(key, "other", key, key) for key in changing[:MAX_OTHER]]


STAGE_METRICS = {"loss": "损失", "reward": "奖励"}


def _stage_charts(runs: Sequence[RunSummary]) -> list[Chart]:
    """Loss and reward of the stages before the main one, such as the SFT warm start."""
    found = {
        (stage.name, metric): None
        for run in runs
        for stage in run.record.stages
        for metric in STAGE_METRICS
        if any(metric in entry for entry in stage.history)
    }
    return [
        Chart(
            f"{STAGE_PREFIX}{name}/{metric}",
            "stages",
            f"{name}: {metric}",
            f"{name}：{STAGE_METRICS[metric]}",
        )
        for name, metric in sorted(found)
    ]


STAGE_PREFIX = "stage:"


def _stage_series(run: RunSummary, key: str) -> tuple[list[int], list[float]]:
    name, metric = key.removeprefix(STAGE_PREFIX).rsplit("/", 1)
    points = [
        (entry["step"], entry[metric])
        for stage in run.record.stages
        if stage.name == name
        for entry in stage.history
        if math.isfinite(entry.get(metric, math.nan))
    ]
    return [step for step, _ in points], [value for _, value in points]


def chart_data(runs: Sequence[RunSummary], left_out: Collection[int] = ()) -> list[dict[str, Any]]:
    """Every chart with its curves, as plain values for the page's script.

    Args:
        runs: all runs of the page.
        left_out: places of the runs that are not drawn.
    """
    chosen = charts([run for index, run in enumerate(runs) if index not in left_out])
    curves = []
    for chart in chosen:
        found = [curve for curve in _curves(chart, runs) if curve[0] not in left_out]
        if _says_something(chart, found):
            curves.append((chart, found))
    count = sum(len(found) for _, found in curves)
    limit = max(MIN_POINTS, min(MAX_POINTS, POINT_BUDGET // max(1, count)))
    data = []
    for chart, found in curves:
        traces = [{"run": index, **thin(steps, values, limit)} for index, steps, values in found]
        positive = [value for _, _, values in found for value in values if value > 0]
        total = sum(len(values) for _, _, values in found)
        spans = len(positive) > 0.9 * total and bool(positive) and max(positive) > 100 * min(positive)
        held_out = _held_out(chart.key, runs, {index for index, _, _ in found})
        data.append(
            {
                **held_out,
                "key": chart.key,
                "group": chart.group,
                "title": {"en": chart.title_en, "zh": chart.title_zh},
                "note": {"en": chart.note_en, "zh": chart.note_zh},
                "log": chart.is_log and spans,
                "traces": traces,
            }
        )
    return data


def _held_out(key: str, runs: Sequence[RunSummary], drawn: Collection[int]) -> dict[str, Any]:
    """The measurements before and after training with their intervals, and the blind baselines, of a held-out metric."""
    points, blind = [], []
    for index in sorted(drawn):
        record = runs[index].record
        for when, step in (("before", 0), ("after", record.steps)):
            measure = _measure(record, when, key)
            if measure is not None:
                low, high = measure.get("low"), measure.get("high")
                points.append({"run": index, "x": step, "y": measure["value"], "low": low, "high": high})
        if (measure := _measure(record, "blind", key)) is not None:
            blind.append({"run": index, "y": measure["value"]})
    return ({"points": points} if points else {}) | ({"blind": blind} if blind else {})


def _measure(record: RunRecord, when: str, key: str) -> dict[str, Any] | None:
    """What the run recorded of a held-out metric: `value`, and `low` and `high` where there is an interval."""
    if not is_eval_key(key):
        return None
    found = record.validation.get(when)
    measure = found.get(key.removeprefix("eval_")) if isinstance(found, dict) else None
    if not isinstance(measure, dict) or not isinstance(measure.get("value"), int | float):
        return None
    return measure


CLOCK_POINTS = 200


def prompts_per_step(run: RunSummary) -> int | None:
    """Prompts (SFT: rows) of a step, as the run's configuration says; None where it does not."""
    training = run.record.config.get("training")
    value = training.get("prompts_per_step") if isinstance(training, dict) else None
    return value if isinstance(value, int) and value > 0 else None


def clock(run: RunSummary) -> dict[str, list[float]] | None:
    """Hours since the first step at some steps (`x`, `h`), for an axis of time; None where the log does not tell."""
    steps, seconds = step_times(run.record)
    if not steps:
        per_prompt, size = run.record.series("s_per_prompt"), prompts_per_step(run)
        if size is None or not per_prompt[0]:
            return None
        steps, seconds = per_prompt[0], [value * size for value in per_prompt[1]]
    marks, hours, before, passed = [0], [0.0], 0, 0.0
    for step, each in zip(steps, seconds, strict=True):
        passed += each * max(1, step - before) / 3600
        before = step
        marks.append(step)
        hours.append(passed)
    every = max(1, len(marks) // CLOCK_POINTS)
    kept = sorted({*range(0, len(marks), every), len(marks) - 1})
    return {"x": [marks[i] for i in kept], "h": [float(f"{hours[i]:.5g}") for i in kept]}


def _with_start(
    run: RunSummary, key: str, steps: list[int], values: list[float]
) -> tuple[list[int], list[float]]:
    """A held-out curve with what was measured before training at step 0, where the run recorded it."""
    before = run.record.validation.get("before")
    measure = before.get(key.removeprefix("eval_")) if isinstance(before, dict) else None
    value = measure.get("value") if isinstance(measure, dict) else None
    if not values or steps[0] == 0 or not isinstance(value, int | float):
        return steps, values
    return [0, *steps], [value, *values]


def _says_something(chart: Chart, curves: Sequence[tuple[int, list[int], list[float]]]) -> bool:
    """Whether there is anything to draw: an optimiser metric that is always 0 is left out."""
    if chart.group == "held-out" and all(len(values) < 2 for _, _, values in curves):
        return False  # a single measurement stands in the table
    return bool(curves) and (chart.group != "optimiser" or any(any(values) for _, _, values in curves))


def _curves(chart: Chart, runs: Sequence[RunSummary]) -> list[tuple[int, list[int], list[float]]]:
    found = []
    for index, run in enumerate(runs):
        is_supervised = run.record.method not in SAMPLING
        if chart.key == "loss" and is_supervised != (chart.group == "learning"):
            continue
        steps, values = (
            _stage_series(run, chart.key) if chart.group == "stages" else run.record.series(chart.key)
        )
        if chart.group == "held-out":
            steps, values = _with_start(run, chart.key, steps, values)
        if chart.key == "step_time" and not values:
            steps, values = step_times(run.record)
        if values:
            found.append((index, steps, values))
    return found


def thin(steps: Sequence[int], values: Sequence[float], limit: int) -> dict[str, Any]:
    """A curve with at most `limit` points that still shows every extreme.

    Returns:
        `x` the steps; `y` the raw values, or where the curve is longer than `limit`, `lo` and `hi`, the least and
        greatest value of each run of neighbouring entries; `s` the centred moving average over `w` entries, computed
        before thinning; absent below 12 entries; `n` the number of entries logged.
    """
    import numpy as np

    x = np.asarray(steps, dtype=np.float64)
    y = np.asarray(values, dtype=np.float64)
    count = len(y)
    width = max(5, 2 * (count // 50) + 1)
    smoothed = moving_average(y, width) if count >= 12 else None
    result: dict[str, Any] = {"n": count}
    if count <= limit:
        result |= {"x": _steps(x), "y": _rounded(y)}
    else:
        edges = np.linspace(0, count, limit + 1).astype(int)
        starts = edges[:-1]
        centre = (edges[:-1] + edges[1:] - 1) // 2
        centre[0], centre[-1] = 0, count - 1
        result |= {
            "x": _steps(x[centre]),
            "lo": _rounded(np.minimum.reduceat(y, starts)),
            "hi": _rounded(np.maximum.reduceat(y, starts)),
        }
        smoothed = smoothed[centre] if smoothed is not None else None
    if smoothed is not None:
        result |= {"s": _rounded(smoothed), "w": width}
    return result


def moving_average(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """The centred mean over `width` (odd) entries; near the ends over those of them that there are."""
    import numpy as np

    count, half = len(values), width // 2
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(count)
    low, high = np.maximum(index - half, 0), np.minimum(index + half, count - 1) + 1
    means = (total[high] - total[low]) / (high - low)
    means[np.abs(means) < 1e-9 * np.max(np.abs(values), initial=0.0)] = 0.0  # what is left of sums over zeros
    return np.asarray(means, dtype=np.float64)


def _steps(x: NDArray[np.float64]) -> list[int] | dict[str, int]:
    """The steps; as start, stride and count where they are evenly spaced."""
    whole = [int(step) for step in x]
    if len(whole) > 3:
        stride = whole[1] - whole[0]
        if all(b - a == stride for a, b in itertools.pairwise(whole)):
            return {"from": whole[0], "by": stride, "count": len(whole)}
    return whole


def _rounded(values: NDArray[np.float64]) -> list[float | int]:
    """Four significant digits; whole numbers without a point."""
    result: list[float | int] = []
    for value in values.tolist():
        short = float(f"{value:.4g}") if math.isfinite(value) else 0.0
        result.append(int(short) if short == int(short) and abs(short) < 1e15 else short)
    return result

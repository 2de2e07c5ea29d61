"""The sections of the page: each a function from the comparison to HTML, empty where there is nothing to show."""

from __future__ import annotations

from collections import Counter
from typing import Any

from medgrpo.figures import direction
from medgrpo.pages.markup import label, number, table, text
from medgrpo.pages.palette import sparkline, swatch
from medgrpo.runs.comparison import Comparison, RunSummary, held_out_metric, main_metric, plain
from medgrpo.runs.findings import Finding
from medgrpo.runs.trend import block_means
from medgrpo.runs.words import TITLES

VERDICTS = {
    "normal": ("✓", "normal", "正常"),
    "warning": ("▲", "warning", "警告"),
    "abnormal": ("✕", "abnormal", "异常"),
    "insufficient_data": ("…", "too short to judge", "数据不足"),
    "not_understood": ("?", "not understood", "无法理解"),
    "info": ("i", "note", "提示"),
}
GROUPS = {
    "learning": ("What is learned", "学习情况"),
    "components": ("Reward by component", "各奖励分量"),
    "held-out": ("Held-out data", "验证数据"),
    "stages": ("Earlier stages", "先前阶段"),
    "behaviour": ("Behaviour of the policy", "策略行为"),
    "optimiser": ("Optimiser", "优化器"),
    "speed": ("Speed and memory", "速度与显存"),
    "other": ("Other metrics", "其他指标"),
}


def badge(verdict: str) -> str:
    """The verdict as icon, word and colour."""
    icon, en, zh = VERDICTS[verdict]
    return f'<span class="badge {verdict}">{icon} {label(en, zh)}</span>'


def overview(comparison: Comparison) -> str:
    """Cards: the verdicts, the best run and the fastest."""
    runs = comparison.runs
    if len(runs) == 1:
        return ""  # the row below says it
    counts: Counter[str] = Counter(run.health.verdict for run in runs)
    verdicts = " ".join(f"{badge(verdict)} {counts[verdict]}" for verdict in VERDICTS if counts[verdict])
    cards = [
        f"<div class='card'><span>{label('Health', '健康状况')}</span><p>{verdicts}</p></div>",
    ]
    cards += filter(None, [_best_card(runs), _fastest_card(runs)])
    return f'<div class="cards">{"".join(cards)}</div>'


def _best_card(runs: list[RunSummary]) -> str:
    metrics = Counter(key for run in runs if (key := main_metric(run)))
    if not metrics or len(runs) < 2:
        return ""
    key, count = metrics.most_common(1)[0]
    if count < 2:
        return ""
    rivals = [run for run in runs if main_metric(run) == key and _is_judged(run)]
    if len(rivals) < 2:
        return ""
    if len({tuple(run.record.components) for run in rivals}) > 1:
        return ""  # different rewards are no common scale
    sign = direction(key) or 1
    best = max(rivals, key=lambda run: sign * run.last[key])
    title = label(f"Best {text(key)} at the end", f"结束时最佳 {text(key)}")
    return f"<div class='card'><span>{title}</span><b>{number(best.last[key])}</b><small>{text(best.name)}</small></div>"


def _is_judged(run: RunSummary) -> bool:
    """Whether the run's end may be set beside others': it did not fail, and it is long enough to say anything."""
    return run.record.status != "failed" and run.health.verdict not in ("insufficient_data", "not_understood")


def _fastest_card(runs: list[RunSummary]) -> str:
    timed = [run for run in runs if run.prompts_per_hour and _is_judged(run)]
    if len(timed) < 2:
        return ""
    best = max(timed, key=lambda run: run.prompts_per_hour or 0)
    title = label("Fastest, prompts per hour", "最快：每小时题数")
    speed = number(round(best.prompts_per_hour or 0))
    return f"<div class='card'><span>{title}</span><b>{speed}</b><small>{text(best.name)}</small></div>"


STATUS = {
    "finished": ("finished", "已完成"),
    "running": ("running", "运行中"),
    "stopped": ("stopped", "已停止"),
    "failed": ("failed", "失败"),
    "killed": ("killed", "被终止"),
}


def failed(comparison: Comparison) -> dict[int, str]:
    """Place -> name of the runs that failed; none where all did, since then they are what there is to see."""
    found = {index: run.name for index, run in enumerate(comparison.runs) if run.record.status == "failed"}
    return found if len(found) < len(comparison.runs) else {}


def _status(run: RunSummary) -> str:
    """How the run ended, where it did not reach its end."""
    status = run.record.status
    if status is None or status == "finished":
        return ""
    return f"<br><small class='status {status}'>{label(*STATUS[status])}</small>"


def runs_table(comparison: Comparison) -> str:
    """One row a run: curve, first and last value, held-out metric, speed, health."""
    rows = []
    for index, run in enumerate(comparison.runs):
        key, held_out = main_metric(run), held_out_metric(run)
        first, last = run.first.get(key or ""), run.last.get(key or "")
        best = run.best.get(held_out or "")
        total = run.record.total_steps
        rows.append(
            [
                f"{swatch(index)}<span>{text(run.name)}<small>{text(run.record.method)} · "
                f"{text(run.record.source_format)}</small></span>",
                _spark(run, key, index),
                f"{text(key or '–')}<br><span class='keep'>{number(first)} → <b>{number(last)}</b>{_change(key, first, last)}</span>",
                f"{text(held_out)}<br><b>{number(run.last[held_out])}</b> "
                f"<small class='muted'>({label('best', '最佳')} {number(best.value)} @ {best.step})</small>"
                if held_out and best
                else "–",
                f"{run.record.steps:,}" + (f"<br><small class='muted'>/ {total:,}</small>" if total else ""),
                number(round(run.prompts_per_hour) if run.prompts_per_hour else None),
                number(run.hours, 2),
                badge(run.health.verdict) + _status(run),
            ]
        )
    head = [
        label("Run", "运行"),
        label("Curve", "曲线"),
        label("Metric, first → last", "指标：起始 → 结束"),
        label("Held out", "验证"),
        label("Steps", "步数"),
        label("Prompts/h", "题/小时"),
        label("Hours", "小时"),
        label("Health", "健康"),
    ]
    return table(
        head,
        [[f'<div class="name">{row[0]}</div>', *row[1:]] for row in rows],
        numeric=(4, 5, 6),
        css="runs",
        stacks=True,
    )


def _change(key: str | None, first: float | None, last: float | None) -> str:
    if key is None or first is None or last is None:
        return ""
    sign = direction(key)
    better = sign * (last - first)
    css = "delta-up" if better > 0 else "delta-down" if better < 0 else "muted"
    arrow = "▲" if last > first else "▼" if last < first else "="
    return f' <small class="{css}">{arrow} {number(abs(last - first))}</small>'


def _spark(run: RunSummary, key: str | None, index: int) -> str:
    values = run.record.series(key)[1] if key else []
    if len(values) < 2:
        return ""
    raw = block_means(values, min(len(values), 120))
    smooth = block_means(values, min(len(values), 16)) if len(values) >= 32 else []
    if smooth:  # as many points as raw, so that both span the width
        smooth = [smooth[i * len(smooth) // len(raw)] for i in range(len(raw))]
        smooth = _glide(smooth, max(1, len(raw) // 16))
    return sparkline(raw, smooth, index, f"{text(key)}: {text(run.name)}")


def _glide(values: list[float], half: int) -> list[float]:
    return [
        sum(values[max(0, i - half) : i + half + 1]) / len(values[max(0, i - half) : i + half + 1])
        for i in range(len(values))
    ]


def health_section(comparison: Comparison) -> str:
    """Every finding of every run, the worst run first."""
    if not comparison.runs:
        return ""
    parts = []
    severity = {"abnormal": 0, "warning": 1, "not_understood": 2, "insufficient_data": 3, "normal": 4}
    alone = len(comparison.runs) == 1
    for index, run in sorted(enumerate(comparison.runs), key=lambda pair: severity[pair[1].health.verdict]):
        findings = sorted(
            run.health.findings,
            key=lambda finding: {"abnormal": 0, "warning": 1, "info": 2}[finding.severity],
        )
        items = (
            "".join(
                f'<div class="finding">{badge(finding.severity)}'
                f'<p><span class="title">{label(*TITLES[finding.rule])}</span> — {_evidence(finding)}</p>'
                + (f'<p class="remedy">{_remedy(finding)}</p>' if finding.severity != "info" else "")
                + "</div>"
                for finding in findings
            )
            or f'<div class="finding"><span></span><p>{label("nothing stands out", "未发现异常")}</p></div>'
        )
        first = _evidence(findings[0]) if findings and findings[0].severity != "info" else ""
        parts.append(
            f'<details class="panel"{" open" if alone else ""}><summary>{swatch(index)}<b>{text(run.name)}</b>'
            f"{badge(run.health.verdict)}<span class='muted'>{first}</span></summary>{items}</details>"
        )
    return _section("health", label("Health of each run", "各运行的健康状况"), "".join(parts))


def _evidence(finding: Finding) -> str:
    return label(text(finding.evidence_in("en")), text(finding.evidence_in("zh")))


def _remedy(finding: Finding) -> str:
    return label(text(finding.remedy_in("en")), text(finding.remedy_in("zh")))


def curves_section(
    comparison: Comparison, charts: list[dict[str, Any]], left_out: dict[int, str] | None = None
) -> str:
    """The frames that the script draws the charts in, by group, and the legend that switches runs.

    Args:
        charts: what is drawn.
        left_out: place -> name of the failed runs that are not.
    """
    if not charts:
        return ""
    left_out = left_out or {}
    boxes = "".join(
        f'<label><input type="checkbox" value="{index}" checked>{swatch(index)}{text(run.name)}</label>'
        for index, run in enumerate(comparison.runs)
        if index not in left_out
    )
    buttons = "".join(
        f'<button type="button" data-all="{value}" hidden>{words}</button>'
        for value, words in (("1", label("all", "全选")), ("0", label("none", "全不选")))
    )
    parts = []
    for group, (en, zh) in GROUPS.items():
        frames = [_frame(number_, chart) for number_, chart in enumerate(charts) if chart["group"] == group]
        if frames:
            parts.append(f'<h3>{label(en, zh)}</h3><div class="charts">{"".join(frames)}</div>')
    lead = label(
        "Thin: as logged. Thick: centred moving average over 4 % of the entries (at least 5). Where a curve has more points than "
        "the chart, the band spans the lowest and highest value, so that no spike is lost.",
        "细线：原始记录；粗线：以 4 % 条目（至少 5 条）为窗口的居中移动平均。点数过多时，色带为区间内最小值与最大值，尖峰不会丢失。",
    )
    if left_out:
        names = ", ".join(map(text, left_out.values()))
        lead += label(
            f" Failed, and not drawn (--with-failed): {names}.", f"已失败、未绘制（--with-failed）：{names}。"
        )
    noscript = "<noscript><p>The curves need JavaScript; every table on this page does not.</p></noscript>"
    body = f'<p class="lead">{lead}</p>{noscript}{TOOLS}<div class="legend">{boxes if len(comparison.runs) > 1 else ""}{buttons if len(comparison.runs) > 2 else ""}</div>{"".join(parts)}'
    return _section("curves", label("Curves", "曲线"), body)


TOOLS = f"""<div class="tools">
<label>{label("Smoothing", "平滑")} <input id="tool-smooth" type="range" min="0" max="20" step="2" value="4"></label>
<label>{label("Across", "横轴")} <select id="tool-axis"><option value="step">step 步</option>
<option value="prompts">prompts 题数</option><option value="time">time 时间</option></select></label>
<label><input id="tool-log" type="checkbox"> {label("logarithmic", "对数纵轴")}</label>
<small class="muted">{label("drag to zoom, double click to go back", "拖动放大，双击还原")}</small></div>"""


def _frame(index: int, chart: dict[str, Any]) -> str:
    wide = " wide" if chart["key"] in {"reward", "loss"} and chart["group"] == "learning" else ""
    title, note = chart["title"], chart["note"]
    small = f"<small>{label(text(note['en']), text(note['zh']))}</small>" if note["en"] else ""
    return (
        f'<figure class="{wide.strip()}"><figcaption><b>{label(text(title["en"]), text(title["zh"]))}</b>{small}'
        f'<button type="button" class="csv" data-csv="{index}" hidden>CSV</button></figcaption>'
        f'<div class="plot" data-chart="{index}" role="img" aria-label="{text(title["en"])}"></div></figure>'
    )


def components_table(comparison: Comparison) -> str:
    """Mean reward by component at the end of each run."""
    names = sorted({name for run in comparison.runs for name in run.record.components})
    runs = [(index, run) for index, run in enumerate(comparison.runs) if run.record.components]
    if not names:
        return ""
    rows = [
        [f"{swatch(index)}{text(run.name)}"]
        + [
            f"{number(run.first.get(f'rewards/{name}/mean'))} → <b>{number(run.last.get(f'rewards/{name}/mean'))}</b>"
            if f"rewards/{name}/mean" in run.last
            else "–"
            for name in names
        ]
        for index, run in runs
    ]
    head = [label("Run", "运行"), *(text(name).replace("_", "_<wbr>") for name in names)]
    caption = label("Mean reward by component, first → last", "各分量平均奖励：起始 → 结束")
    return table(head, rows, numeric=range(1, len(names) + 1), caption=caption, stacks=True)


def validation_table(comparison: Comparison) -> str:
    """Held-out metrics before and after training, beside the blind baseline, as our runs record them."""
    stages = [
        ("blind", "Blind baseline", "盲猜基线"),
        ("before", "Before", "训练前"),
        ("after", "After", "训练后"),
    ]
    rows = []
    for index, run in enumerate(comparison.runs):
        measured = {
            name: found for name, _, _ in stages if isinstance(found := run.record.validation.get(name), dict)
        }
        metrics = list(dict.fromkeys(metric for found in measured.values() for metric in found))
        for place, metric in enumerate(metrics):
            name = f"{swatch(index)}{text(run.name)}" if place == 0 else ""
            rows.append(
                [
                    name,
                    text(metric),
                    *(_interval(measured.get(stage, {}).get(metric)) for stage, _, _ in stages),
                ]
            )
    if not rows:
        return ""
    head = [label("Run", "运行"), label("Metric", "指标"), *(label(en, zh) for _, en, zh in stages)]
    caption = label("Held-out data before and after training, 95 % interval", "验证数据：训练前后，95 % 区间")
    return table(head, rows, numeric=(2, 3, 4), caption=caption, stacks=True)


def _interval(measure: Any) -> str:
    if not isinstance(measure, dict) or measure.get("value") is None:
        return "–"
    value, low, high = (_aligned(measure.get(name)) for name in ("value", "low", "high"))
    return f"<b>{value}</b> <small class='muted'>[{low}, {high}]</small>"


def _aligned(value: Any) -> str:
    """Always as many decimals, so that a column can be read downwards."""
    return f"{value:.3f}" if isinstance(value, float | int) and 0 <= abs(value) < 100 else number(value)


def settings_section(comparison: Comparison) -> str:
    """The settings that differ, a column a run; with more than 8 runs a row a run."""
    differences = comparison.config_differences
    if not differences:
        return ""
    runs = comparison.runs
    if len(runs) <= 8:
        head = [
            label("Setting", "设置"),
            *(f"{swatch(index)}{text(run.name)}" for index, run in enumerate(runs)),
        ]
        rows = [[f"<code>{text(key)}</code>", *map(_setting, values)] for key, values in differences.items()]
    else:
        head = [label("Run", "运行"), *(f"<code>{text(key)}</code>" for key in differences)]
        rows = [
            [
                f"{swatch(index)}{text(run.name)}",
                *(_setting(values[index]) for values in differences.values()),
            ]
            for index, run in enumerate(runs)
        ]
    return _section("settings", label("Settings that differ", "不同的设置"), table(head, rows, stacks=True))


def _setting(value: Any) -> str:
    return text(plain(value), limit=200)


def _section(name: str, title: str, body: str) -> str:
    return f'<section id="{name}"><h2>{title}</h2>{body}</section>'

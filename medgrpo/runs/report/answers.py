"""The sections about answers: scores with intervals, paired differences, side by side, and through the run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from medgrpo.errors import MedgrpoError
from medgrpo.figures import direction
from medgrpo.pages.markup import label, number, quoted, table, text
from medgrpo.pages.palette import swatch
from medgrpo.pages.pictures import thumbnail
from medgrpo.pictures import opened_picture, within
from medgrpo.runs.answers import Answer, Difference, ModelScore, SideBySide
from medgrpo.runs.before_after import Answered
from medgrpo.runs.stories import Sampled, Story

SHOWN_CHARACTERS = 1500
"""Of one completion; the middle of a longer one is left out."""

OPEN_QUESTIONS = 12
"""Questions shown at once; the rest are folded."""


def predictions_section(found: SideBySide | None) -> str:
    """Each model's scores, each pair's difference with interval and p, and answers side by side."""
    if found is None:
        return ""
    notes = "".join(f"<p class='muted'>{text(note)}</p>" for note in found.notes)
    lead = label(
        f"The same {found.scores[0].n if found.scores else 0} questions, matched by {text(found.matched_by)}. Intervals are "
        "95 %, clustered by image; p is two-sided, by flipping signs per image, and not corrected for the number of lines.",
        "相同的问题逐题比较。区间为 95 %，按图像聚类；p 为双侧符号翻转检验，未做多重比较校正。",
    )
    body = f'<p class="lead">{lead}</p>{notes}{_scores(found)}{_differences(found)}'
    return (
        f'<section id="predictions"><h2>{label("Predictions compared", "预测比较")}</h2>{body}</section>'
        f'<section id="answers"><h2>{label("Answers side by side", "回答并列")}</h2>{_questions(found)}</section>'
    )


def _scores(found: SideBySide) -> str:
    metrics = list(dict.fromkeys(score.metric for score in found.scores))
    by_cell = {(score.metric, score.model): score for score in found.scores}
    rows = [
        [text(metric), *(_score_cell(by_cell.get((metric, model))) for model in found.models)]
        for metric in metrics
    ]
    head = [label("Metric", "指标"), *(f"{swatch(i)}{text(model)}" for i, model in enumerate(found.models))]
    return table(head, rows, numeric=range(1, len(found.models) + 1), stacks=True)


def _score_cell(score: ModelScore | None) -> str:
    if score is None or score.value is None:
        return "–"
    return f"<b>{number(score.value)}</b> <small class='muted'>[{number(score.low)}, {number(score.high)}]</small>"


def _differences(found: SideBySide) -> str:
    if not found.differences:
        return ""
    reach = (
        max((abs(end) for d in found.differences for end in (d.low, d.high) if end is not None), default=1.0)
        or 1.0
    )
    rows = [
        [
            text(d.metric),
            f"{text(d.model)} − {text(d.baseline)}",
            _forest(d, reach),
            f"<b>{'+' if (d.difference or 0) > 0 else ''}{number(d.difference)}</b>",
            f"[{number(d.low)}, {number(d.high)}]",
            _p(d.p_value),
            f"{d.n:,}",
            _words(d),
        ]
        for d in found.differences
    ]
    head = [
        label("Metric", "指标"),
        label("Difference", "差异"),
        "",
        label("Value", "数值"),
        "95 %",
        "p",
        "n",
        label("In words", "结论"),
    ]
    return f"<h3>{label('Paired differences', '配对差异')}</h3>" + table(
        head, rows, numeric=(3, 4, 5, 6), stacks=True
    )


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "&lt; .0001" if value < 1e-4 else number(value, 4 if value < 0.01 else 3)


def _words(found: Difference) -> str:
    if found.difference is None or found.low is None or found.high is None:
        return "–"
    if found.note:
        return text(found.note)
    css = {1: "right", -1: "wrong", 0: "muted"}[_goodness(found)]
    if found.low > 0:
        return f"<span class='{css}'>▲ {label('more', '更高')}</span>"
    if found.high < 0:
        return f"<span class='{css}'>▼ {label('less', '更低')}</span>"
    return label("not told apart", "无法区分")


def _goodness(found: Difference) -> int:
    """1 if the difference is surely to the better, -1 if to the worse, 0 if it is not told apart or neither."""
    sign = direction(found.metric)
    if found.low is None or found.high is None:
        return 0
    return sign if found.low > 0 else -sign if found.high < 0 else 0


def _forest(found: Difference, reach: float) -> str:
    """The interval as a bar around the zero line, drawn without script."""
    if found.low is None or found.high is None or found.difference is None:
        return ""

    def x(value: float) -> float:
        return 80 + 76 * value / reach

    colour = {1: "var(--good)", -1: "var(--bad)", 0: "var(--soft)"}[_goodness(found)]
    return (
        '<svg class="forest" width="160" height="18" viewBox="0 0 160 18" aria-hidden="true">'
        '<line x1="80" x2="80" y1="0" y2="18" style="stroke: var(--line)"/>'
        f'<line x1="{x(found.low):.1f}" x2="{x(found.high):.1f}" y1="9" y2="9" style="stroke: {colour}; stroke-width: 3"/>'
        f'<circle cx="{x(found.difference):.1f}" cy="9" r="4.5" style="fill: {colour}"/></svg>'
    )


def _questions(found: SideBySide) -> str:
    lead = label(
        "Questions on which the models disagree come first, then those that all get wrong.",
        "先列出模型意见不一致的问题，再列出全部答错的问题。",
    )
    rows = [
        [
            f"{quoted(question.question, limit=600)}"
            + (
                f"<br><small class='muted'>{text(question.image, limit=120)}</small>"
                if question.image
                else ""
            ),
            quoted(question.reference, limit=400),
            *(_answer(answer) for answer in question.answers),
        ]
        for question in found.questions
    ]
    head = [label("Question", "问题"), label("Reference", "参考答案")]
    head += [f"{swatch(i)}{text(model)}" for i, model in enumerate(found.models)]
    page = f'<p class="lead">{lead}</p>' + table(head, rows[:OPEN_QUESTIONS], css="answers", stacks=True)
    if len(rows) > OPEN_QUESTIONS:
        more = label(
            f"{len(rows) - OPEN_QUESTIONS} more questions", f"其余 {len(rows) - OPEN_QUESTIONS} 个问题"
        )
        page += f'<details class="panel"><summary>{more}</summary>{table(head, rows[OPEN_QUESTIONS:], css="answers", stacks=True)}</details>'
    return page


def _answer(answer: Answer) -> str:
    if answer.score is None:
        mark = f"<span class='muted'>? {label('not judged', '未判定')}</span>"
    elif answer.score >= 0.5:
        mark = f"<span class='right'>✓ {label('right', '正确')}</span>"
    else:
        mark = f"<span class='wrong'>✕ {label('wrong', '错误')}</span>"
    rule = f" <small class='muted'>{text(answer.rule)}</small>" if answer.rule else ""
    return f'<div class="answer">{mark}{rule}<br>{quoted(answer.completion, limit=SHOWN_CHARACTERS)}</div>'


def before_after_section(
    runs: Sequence[tuple[int, str, list[Answered]]], pictures: Mapping[int, Path]
) -> str:
    """The same held-out questions before and after training, with their pictures.

    Args:
        runs: (place of the run, its name, its answers).
        pictures: place of the run -> folder that its pictures lie in.
    """
    parts = []
    for index, name, found in runs:
        head = [
            label("Picture", "图像"),
            label("Question", "问题"),
            label("Reference", "参考答案"),
            label("Before", "训练前"),
            label("After", "训练后"),
        ]
        rows = [
            [
                _picture(pictures.get(index), one.image),
                quoted(one.question, limit=600),
                quoted(one.reference, limit=400),
                *(
                    "–" if said is None else quoted(said, limit=SHOWN_CHARACTERS)
                    for said in (one.before, one.after)
                ),
            ]
            for one in found
        ]
        title = f"<h3>{swatch(index)}{text(name)}</h3>" if len(runs) > 1 else ""
        parts.append(title + table(head, rows, css="answers", stacks=True))
    if not parts:
        return ""
    lead = label(
        "Held-out questions at even distances, so that nobody has picked them; greedy answers.",
        "按相同间隔选取的验证题，未经挑选；贪心解码。",
    )
    title = label("Before and after training", "训练前后的回答")
    return f'<section id="before-after"><h2>{title}</h2><p class="lead">{lead}</p>{"".join(parts)}</section>'


def stories_section(
    stories: Sequence[tuple[int, str, list[Story]]], pictures: Mapping[int, Path] | None = None
) -> str:
    """How the answers to one question changed: a fold per question, a row per step; works without script.

    Args:
        stories: (place of the run, its name, its questions).
        pictures: place of the run -> folder that its pictures lie in; none are shown without.
    """
    pictures = pictures or {}
    parts = []
    for index, name, found in stories:
        if not found:
            continue
        folds = "".join(
            _story(story, pictures.get(index), is_open=number_ == 0) for number_, story in enumerate(found)
        )
        parts.append(f"<h3>{swatch(index)}{text(name)}</h3>{folds}")
    if not parts:
        return ""
    lead = label(
        "What the policy sampled for one question as training went on: the questions whose reward moved most, up or down.",
        "训练过程中同一问题的采样回答：列出奖励变化最大的问题（上升或下降）。",
    )
    title = label("Completions by step", "各步的回答")
    return f'<section id="completions"><h2>{title}</h2><p class="lead">{lead}</p>{"".join(parts)}</section>'


PICTURE_PX = 112


def _picture(place: Path | None, image: str) -> str:
    """The picture, small; nothing where it is not there."""
    file = within(place, image) if place is not None and image else None
    if file is None:
        return ""
    try:
        with opened_picture(file) as opened:
            return thumbnail(opened, PICTURE_PX, alt=image)
    except (MedgrpoError, OSError, ImportError, ValueError):
        return ""


def _story(story: Story, pictures: Path | None, *, is_open: bool) -> str:
    means = [group.mean for group in story.groups if group.mean is not None]
    moved = f"{number(means[0], 2)} → {number(means[-1], 2)}" if means else "–"
    reach = max((abs(mean) for mean in means), default=1.0) or 1.0
    head = [
        label("Step", "步"),
        label("Mean reward of the group", "组平均奖励"),
        label("First completion", "首个回答"),
    ]
    rows = [[f"{group.step:,}", _bar(group, reach), _group(group)] for group in story.groups]
    shown = [_picture(pictures, group.image) for group in story.groups]
    if any(shown):
        only = shown[0] if story.same == "prompt" else ""
        head.insert(1, label("Picture", "图像"))
        for row, picture in zip(rows, shown, strict=True):
            row.insert(1, (picture if not only else "") or "")
        if only:
            rows[0][1] = only
    title = quoted(story.question, limit=300)
    reference = f"{label('reference', '参考')}: {quoted(story.answer, limit=200)}"
    if story.same == "question":
        reference = label("the same words about other pictures", "同一问法，不同图像")
    if story.same == "nothing":
        title, reference = label("One question a step", "每步一个问题"), ""
    if story.same != "prompt":
        head.insert(1, label("Reference", "参考答案"))
        asked = story.same == "nothing"
        for row, group in zip(rows, story.groups, strict=True):
            before = f"{quoted(group.question, limit=300)} → " if asked else ""
            row.insert(1, before + quoted(group.answer, limit=200))
    return (
        f'<details class="panel"{" open" if is_open else ""}><summary><b>{title}</b>'
        f"<span class='muted'>{reference}</span><span>{moved}</span></summary>"
        f"{table(head, rows, numeric=(0,), stacks=True)}</details>"
    )


def _bar(group: Sampled, reach: float) -> str:
    if group.mean is None:
        return "–"
    width = max(0.0, group.mean) / reach * 5
    return f'<span class="bar" style="width: {width:.2f}rem"></span>{number(group.mean, 2)}'


def _group(group: Sampled) -> str:
    first = _said(group.completions[0], SHOWN_CHARACTERS)
    if len(group.completions) < 2:
        return first
    others = "".join(
        f"<li>{number(reward, 2)} · {_said(completion, 500)}</li>"
        for completion, reward in list(zip(group.completions, group.rewards, strict=True))[1:8]
    )
    more = label(
        f"{len(group.completions) - 1} more of this group", f"同组其余 {len(group.completions) - 1} 个"
    )
    return f"{first}<details class='more'><summary class='muted'>{more}</summary><ul>{others}</ul></details>"


_PACKED = re.compile(r'\{"size": \[(\d+), (\d+)\], "packed": "')


def _said(completion: str, limit: int) -> str:
    """The completion; of a drawn mask, whose run lengths nobody reads, its size."""
    mask = _PACKED.match(completion)
    if mask is None:
        return quoted(completion, limit=limit)
    return label(f"mask, {mask[1]} × {mask[2]} pixels", f"分割掩膜，{mask[1]} × {mask[2]} 像素")

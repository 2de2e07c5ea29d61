"""Random completions for a person to read while the run goes on: Markdown beside the pictures."""

from __future__ import annotations

import math
import os
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from medgrpo.files import write_text
from medgrpo.terminal import plain


def write_samples(
    folder: Path, step: int, scored: Sequence[Mapping[str, Any]], data: Path, *, count: int, seed: int
) -> Path:
    """`step-<n>.md` with `count` completions drawn by seed and step.

    Args:
        folder: where to write, such as `RUN/samples`.
        step: of the run.
        scored: completions of the step: `row`, `text`, `rewards`, `reward`.
        data: folder of the dataset; pictures are linked from there, not copied.
        count: how many at most.
    """
    chosen = random.Random(f"{seed}-{step}").sample(list(scored), min(count, len(scored)))
    folder.mkdir(parents=True, exist_ok=True)
    parts = [f"# Step {step}: {len(chosen)} completions of {len(scored)}, drawn at random"]
    parts += [_sample(number, one, folder, data) for number, one in enumerate(chosen, start=1)]
    path = folder / f"step-{step:06d}.md"
    write_text(path, "\n\n".join(parts) + "\n")
    return path


def _sample(number: int, one: Mapping[str, Any], folder: Path, data: Path) -> str:
    row = one["row"]
    links = [(name, quote(os.path.relpath(data / name, folder))) for name in row.get("images") or []]
    pictures = [f"![{_on_a_line(name)}]({link})" for name, link in links]
    rewards = ", ".join(
        f"{_on_a_line(name)} {'not judged' if value is None or math.isnan(value) else format(value, '.2f')}"
        for name, value in one["rewards"].items()
    )
    lines = [
        f"## {number}. {_on_a_line(row['id'])}",
        *pictures,
        f"**Question**: {_on_a_line(row['question'])}",
        f"**Reference**: {_on_a_line(row['answer'])}",
        "**Completion**:\n\n" + _fenced(one["text"]),
        f"**Reward** {one['reward']:.2f} ({rewards})",
        "**Reviewer**: ",
    ]
    return "\n\n".join(lines)


def _on_a_line(text: object) -> str:
    """The text on one line, with nothing in it that Markdown would read as a heading, a link, a picture or HTML."""
    return re.sub(r"([\\`*_\[\]<>|&~!#])", r"\\\1", " ".join(plain(str(text)).split()))


def _fenced(text: str) -> str:
    """The text as a code block whose fence is longer than any inside it."""
    text = plain(text)
    fence = "`" * (max((len(run) for run in _runs(text)), default=2) + 1)
    fence = max(fence, "```", key=len)
    return f"{fence}\n{text}\n{fence}"


def _runs(text: str) -> list[str]:
    return re.findall(r"`+", text)

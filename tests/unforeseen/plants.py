"""What is planted: a name, what to do with a copy of the artefacts, and the call that meets it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.planted import TINY, Artefacts

ENDS = (0, 1, 2)


@dataclass
class Call:
    """The words of one call, and what is special about the process that makes it."""

    words: tuple[str, ...]
    before: Callable[[], object] | None = None
    """Run in the process, before the command."""
    environment: dict[str, str | None] = field(default_factory=dict)
    """Variables of the process; None takes one away."""
    is_new: bool = False
    """Whether Python starts anew (for what it reads at its start), instead of a fork of this one."""
    is_module: bool = False
    """Whether it is begun as `python -m`, which looks into the folder of the call first."""
    check: Callable[[], str | None] | None = None
    """What is wrong with what was written; None: nothing."""
    ends: tuple[int, ...] = ENDS
    is_silent: bool = False
    """Whether nothing can be said, for stderr is closed or full."""


Make = Callable[[Artefacts], Call | tuple[str, ...]]
Plants = Iterator[tuple[str, Make]]


def put(at: Path, content: bytes | str | dict | list) -> str:
    """A file with this in it, folders and all; its place."""
    at.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict | list):
        content = json.dumps(content)
    at.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return str(at)


def changed(file: Path, **values: object) -> None:
    """The JSON object in the file, with these values."""
    before = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**before, **values}))


def dry(a: Artefacts, *more: str) -> tuple[str, ...]:
    return ("train", "--data", str(a.data), "--model", str(a.model), "--dry-run", *more)


def one_step(a: Artefacts, *more: str) -> tuple[str, ...]:
    own = (*TINY, "--set=training.max_steps=1", "--output", str(a.folder / "new"))
    return ("train", "--data", str(a.data), "--model", str(a.model), *own, *more)


def ask(a: Artefacts, *more: str) -> tuple[str, ...]:
    return ("ask", str(a.model), "-", "what?", "--max-new-tokens", "2", *more)


def evaluate(a: Artefacts, *more: str) -> tuple[str, ...]:
    short = ("--limit", "2", "--max-new-tokens", "2", "--output", str(a.folder / "eval"))
    return ("eval", str(a.model), str(a.data), *short, *more)


def prepare(a: Artefacts, source: str | Path, *more: str) -> tuple[str, ...]:
    gentle = ("--workers", "1", "--on-bad-row", "skip", "--missing-image", "text")
    return ("preprocess", str(source), str(a.folder / "out"), *gentle, *more)


def completions(a: Artefacts) -> str:
    rows = [
        {"id": str(n), "question": "q?", "answer": "yes", "completion": "<answer>yes</answer>"}
        for n in range(4)
    ]
    return put(a.folder / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

"""Our run folder as a log."""

from __future__ import annotations

import re
from pathlib import Path

from medgrpo.figures import is_finite_number
from medgrpo.files import check_regular, read_toml
from medgrpo.records import lines
from medgrpo.run_files import training_info
from medgrpo.runs.readers.documents import entries_of
from medgrpo.runs.readers.lines import parse_lines, unreadable_lines
from medgrpo.runs.readers.parsed import Overlap, Parsed, Stage
from medgrpo.runs.status import status_of


def read_run_folder(path: Path) -> Parsed:
    """Our run folder: log.jsonl, earlier stages, the resolved config, what was abandoned on resume."""
    log = path / "log.jsonl"
    check_regular(log)
    text = log.read_text("utf-8", errors="replace") if log.is_file() else ""
    rows, unreadable = parse_lines(text)
    stages = []
    for file in sorted(path.glob("stages/*/log.jsonl"), key=lambda file: _leading_number(file.parent.name)):
        check_regular(file)
        history, _ = parse_lines(file.read_text("utf-8", errors="replace"))
        folder = file.parent.name
        stages.append(Stage(folder, entries_of(history), folder.split("-", 1)[-1] or None))
    info = training_info(path)
    remarks = unreadable_lines(unreadable, len(lines(text)))
    overlaps = []
    abandoned = path / "log.abandoned.jsonl"
    if abandoned.is_file():
        lost, _ = parse_lines(abandoned.read_text("utf-8", errors="replace"))
        steps = [row["step"] for row in lost if isinstance(row.get("step"), int)]
        if steps:
            overlaps.append(Overlap(min(steps), max(steps), len(steps)))
    total = info.get("total_steps") or info.get("max_steps")
    finished = info.get("finished")
    return Parsed(
        name=str(info.get("name") or path.resolve().name),
        source_format="medgrpo run folder",
        entries=entries_of(rows),
        config=read_toml(path / "config.toml"),
        stages=stages,
        finished=finished if isinstance(finished, bool) else None,
        status=status_of(info, path),
        error=said if isinstance(said := info.get("error"), str) else None,
        total_steps=int(total) if is_finite_number(total) else None,
        remarks=remarks,
        overlaps=overlaps,
        folder=path,
        validation=validation if isinstance(validation := info.get("validation"), dict) else {},
    )


def _leading_number(name: str) -> tuple[int, str]:
    match = re.match(r"\d+", name)
    return (int(match[0]) if match else 0, name)

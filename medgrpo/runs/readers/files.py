"""One file: its reader is found by looking at what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError
from medgrpo.files import check_regular
from medgrpo.json_in import TwoValues
from medgrpo.records import lines, listed_rows
from medgrpo.runs.readers.console import read_console, strip_ansi
from medgrpo.runs.readers.decode import decoded
from medgrpo.runs.readers.documents import entries_of, read_log_copy, read_trainer_state
from medgrpo.runs.readers.lines import line_format, parse_lines, read_lines
from medgrpo.runs.readers.parsed import Parsed
from medgrpo.runs.readers.rl_consoles import read_rl_console
from medgrpo.runs.readers.run_folder import read_run_folder
from medgrpo.runs.readers.tables import is_notebook, notebook_outputs, read_html, read_table
from medgrpo.runs.readers.trackers import read_events
from medgrpo.runs.said import say

READABLE = (
    "a run folder, logs/<run>.json, log.jsonl, trainer_state.json, logging.jsonl (ms-swift), trainer_log.jsonl "
    "(LLaMA-Factory), EasyR1/verl JSONL, exports of wandb, SwanLab or TensorBoard (JSON, CSV, event files), mlflow "
    "metrics, a notebook, or a console capture (TRL, verl, OpenRLHF, NeMo-RL, prime-rl)"
)
WANDB_HEADER = b":W&L"
"""How wandb's own file of a run begins (its format is wandb's own and changes)."""
GENERIC_NAMES = {
    "trainer_state",
    "logging",
    "trainer_log",
    "log",
    "training_metrics",
    "run_terminal",
    "training_info",
}
"""File names that every run has: the folder's name says more."""


def read_file(path: Path) -> Parsed:
    """The log in one file."""
    if path.name == "log.jsonl" and (path.parent / "config.toml").is_file():
        return read_run_folder(path.parent)
    check_regular(path)
    if "tfevents" in path.name:
        return read_events([path], path.resolve().parent.name)
    raw = path.read_bytes()
    if raw[:4] == WANDB_HEADER:
        return Parsed(path.stem, "wandb (binary)", [], remarks=[say("wandb_binary")])
    if raw[:4] == b"PAR1" or (b"\x00" in raw[:4096] and not raw.startswith((b"\xff\xfe", b"\xfe\xff"))):
        raise MedgrpoError(f"{str(path)!r} is a binary file, not a training log", expected=READABLE)
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        parsed = parse(raw.decode(encoding, errors="replace"), _name(path), path.parent)
    except TwoValues as error:
        raise MedgrpoError(f"{str(path)!r}: {error}", expected="one value for each name") from error
    except RecursionError as error:
        raise MedgrpoError(f"{str(path)!r} is nested too deeply to be a log", expected=READABLE) from error
    if parsed is None:
        raise MedgrpoError(f"found no training metrics in {str(path)!r}", expected=READABLE)
    return parsed


def parse(text: str, name: str, folder: Path = Path()) -> Parsed | None:
    """The log in a text; None if it holds none.

    Args:
        folder: that the text lies in, from which it may name others.
    """
    twice: TwoValues | None = None
    if not text.strip():
        return Parsed(name, "empty file", [], remarks=[say("file_empty")])
    if text.lstrip()[0] in "{[":
        try:
            return _document(decoded(text), name, folder)
        except TwoValues as error:  # of the document, or of the first of many lines
            twice = error
        except ValueError:
            pass  # not one document: lines, or a console
    if text.lstrip()[:1] == "<" and (page := read_html(text, name)) is not None:
        return page
    rows, unreadable = parse_lines(text)
    found = line_format(rows)
    if found and len(rows) >= len(unreadable):
        return read_lines(rows, unreadable, len(lines(text)), name, found)
    if twice is not None:
        raise twice
    return read_table(text, name) or read_rl_console(strip_ansi(text), name) or read_console(text, name)


def _document(document: Any, name: str, folder: Path) -> Parsed | None:
    if is_notebook(document):
        page, said = notebook_outputs(document)
        return read_html(page, name) or read_rl_console(said, name) or read_console(said, name)
    if isinstance(document, dict):
        if "log_history" in document:
            return read_trainer_state(document, name)
        if isinstance(document.get("history"), list):
            return read_log_copy(document, name, folder)
        document = listed_rows(document) or [document]  # a JSONL of one line
    return _listed(document, name)


def _listed(document: Any, name: str) -> Parsed | None:
    rows = [row for row in document if isinstance(row, dict)] if isinstance(document, list) else []
    if not rows and document == []:
        return Parsed(name, "JSON list", [], remarks=[say("list_empty")])
    found = line_format(rows)
    if found is None:
        return None
    if len(rows) == 1 or found == "wandb history":
        return read_lines(rows, [], len(rows), name, found)
    return Parsed(name, "JSON list", entries_of(rows))


def _name(path: Path) -> str:
    """The run's name: the file's, or the folder's where the file is called like everyone's."""
    if path.stem in GENERIC_NAMES and path.resolve().parent.name:
        return path.resolve().parent.name
    return path.stem

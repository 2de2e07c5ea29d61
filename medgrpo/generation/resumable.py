"""Generation that may be interrupted: each row's completions are on disk before the next batch starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from medgrpo.files import append_lines, finite, write_lines
from medgrpo.json_in import json_value
from medgrpo.places import written_places
from medgrpo.rows import Row

Completed = dict[str, Any]
"""`key`, `completions`, `truncated`, `lengths` of one row; `failed`, a reason, where there is no answer."""


Generate = Callable[[Sequence[Row]], Iterable[Any]]
"""What generates: rows in, one `Generated` a row out, in any order; its `index` counts in these rows."""


def fingerprint(settings: dict[str, Any]) -> str:
    """A short name for everything that decides what is generated."""
    text = json.dumps(settings, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def generate_resumably(
    rows: Sequence[Row],
    generate: Generate,
    file: Path | None,
    settings: dict[str, Any],
    *,
    on_resume: Callable[[int], None] | None = None,
    on_replace: Callable[[list[str]], None] | None = None,
) -> list[Completed]:
    """The completions of every row, those already in the file not generated again.

    The file has a first line with the settings and their fingerprint, then one line a row, appended and
    flushed. A file of other settings is replaced; a last line that a kill cut off is dropped.

    Args:
        rows: rows with an `id` of their own.
        generate: called with the rows that are missing.
        file: JSON lines; None keeps nothing.
        settings: everything that decides what is generated.
        on_resume: called with the number of rows that were found.
        on_replace: called with the names of the settings that differ; empty where the file does not say.
    """
    done: dict[str, Completed] = {}
    here = Path() if file is None else file.parent
    head: dict[str, Any] = {"fingerprint": fingerprint(settings), "settings": _plain(settings, here)}
    if file is not None and file.is_file():
        before, done = _read(file)
        if before.get("fingerprint") != head["fingerprint"]:
            if done and on_replace is not None:
                on_replace(_changed(before.get("settings"), head["settings"]))
            done = {}
        if done and on_resume is not None:
            on_resume(sum(_key(row, index) in done for index, row in enumerate(rows)))
    keys = [_key(row, index) for index, row in enumerate(rows)]
    missing = [index for index, key in enumerate(keys) if key not in done]
    if missing:
        for completed in _appended(file, head, done, _generated(rows, keys, missing, generate)):
            done[completed["key"]] = completed
    return [done[key] for key in keys]


def _generated(
    rows: Sequence[Row], keys: Sequence[str], missing: Sequence[int], generate: Generate
) -> Iterator[Completed]:
    for result in generate([rows[index] for index in missing]):
        yield {
            "key": keys[missing[result.index]],
            "completions": result.completions,
            "truncated": result.truncated,
            "lengths": result.lengths,
            **({"failed": result.failed} if result.failed else {}),
        }


def _key(row: Row, index: int) -> str:
    return str(row.get("id", index))


def _plain(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The settings as JSON has them, with places as they are seen from the file's folder."""
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return dict(finite(plain, lambda text: written_places(text, folder)))


def _changed(before: Any, now: Any) -> list[str]:
    """Names of the settings that are not as they were; of a group of settings, those within it."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return []
    changed: list[str] = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old != new:
            within = isinstance(old, dict) and isinstance(new, dict)
            changed += (_changed(old, new) or [name]) if within else [name]
    return changed


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Completed]]:
    """The file's first line, and what it holds by row."""
    head: dict[str, Any] = {}
    found: dict[str, Completed] = {}
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines[:-1]):  # what has no newline was cut off
        try:
            entry = json_value(line)
        except ValueError:
            continue
        if number == 0:
            head = entry if isinstance(entry, dict) else {}
        elif isinstance(entry, dict) and isinstance(entry.get("key"), str):
            found[entry["key"]] = entry
    return head, found


def _appended(
    file: Path | None, head: dict[str, Any], done: dict[str, Completed], results: Iterator[Completed]
) -> Iterator[Completed]:
    if file is None:
        yield from results
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    entries = (head, *done.values())  # rewritten whole: a line that was cut off goes
    write_lines(file, entries)
    for completed in results:
        if "failed" not in completed:  # asked again by the next call
            append_lines(file, [completed], is_data=True)
        yield completed

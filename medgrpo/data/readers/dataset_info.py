"""LLaMA-Factory's `dataset_info.json`: which file has which form, and what its columns and roles are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.data.readers.base import BadRow, Problems
from medgrpo.data.source import Source
from medgrpo.errors import MedgrpoError
from medgrpo.json_in import TwoValues, json_value
from medgrpo.records import read_text

NAME = "dataset_info.json"
PLACES = ("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
COLUMNS = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "messages": "conversations",
    **{
        name: name
        for name in ("history", "system", "tools", "images", "videos", "audios", "chosen", "rejected")
    },
    "kto_tag": "kto_tag",
}
"""LLaMA-Factory's name for a column -> the name that its files have by default."""
ROLES = {
    "user_tag": ("human", "user"),
    "assistant_tag": ("gpt", "assistant"),
    "system_tag": ("system", "system"),
    "observation_tag": ("observation", "observation"),
    "function_tag": ("function_call", "function_call"),
}


@dataclass(frozen=True)
class Layout:
    """What an entry says of its file."""

    name: str
    columns: Mapping[str, str]
    """LLaMA-Factory's column -> the file's; empty: the default names."""
    tags: Mapping[str, str]
    is_pair: bool

    def apply(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with the names that the readers know. Columns that the entry does not name keep a name that
        none reads: they are shown as not read.

        Raises:
            BadRow: the entry says pairs, and the row is none.
        """
        found = dict(record)
        if self.columns:
            ours = {theirs: COLUMNS.get(name, name) for name, theirs in self.columns.items() if theirs}
            found = {
                ours.get(key) or (f"{key} (not in {NAME})" if key in COLUMNS.values() else key): value
                for key, value in record.items()
            }
        if self.tags:
            for name in ("conversations", "chosen", "rejected"):
                if name in found:
                    found[name] = self._turns(found[name])
        if self.is_pair and "rejected" not in found:
            sides = found.pop("output", None)
            if not isinstance(sides, list) or len(sides) != 2:
                raise BadRow(
                    "pair of one side", "output", f"{sides!r:.60}", "two replies: the entry says ranking"
                )
            found["chosen"], found["rejected"] = sides
        return found

    def _turns(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self._turn(value)
        return [self._turn(turn) for turn in value] if isinstance(value, list) else value

    def _turn(self, turn: Any) -> Any:
        role, content = self.tags.get("role_tag", "from"), self.tags.get("content_tag", "value")
        if not isinstance(turn, Mapping) or role not in turn:
            return turn
        ours = {self.tags.get(tag, default): known for tag, (default, known) in ROLES.items()}
        other = {key: value for key, value in turn.items() if key not in (role, content)}
        said = turn[role]
        return {"role": ours.get(said, said), "content": turn.get(content), **other}


def layouts(source: Source, problems: Problems) -> dict[Path, Layout]:
    """File -> layout, for the files of the source that a `dataset_info.json` beside them names."""
    found: dict[Path, Layout] = {}
    for info in {file.parent / NAME for file in source.record_files}:
        entries = entries_of(info) if source.contains(info) else {}
        for name, entry in sorted(entries.items()):
            place = str(entry.get("file_name") or "")
            file = info.parent / place
            files = sorted(file.iterdir()) if place and file.is_dir() else [file]
            named = [each for each in files if each in source.record_files]
            if not named and source.only_file is None:
                problems.notes[f"entry of {NAME} that names no file that is here"] += 1
            for key in entry.keys() & {"num_samples", "subset", "split"}:
                if named:
                    problems.notes[
                        f"{key} of the entry {name!r} in {NAME} is not followed: all rows are read"
                    ] += 1
            layout = Layout(
                name, entry.get("columns") or {}, entry.get("tags") or {}, bool(entry.get("ranking"))
            )
            for each in named:
                if each in found:
                    problems.notes[
                        f"{each.name} has several entries in {NAME}: {found[each].name!r} is followed"
                    ] += 1
                found.setdefault(each, layout)
    return found


def entries_of(info: Path) -> dict[str, dict[str, Any]]:
    """The entries of LLaMA-Factory's file; empty for any other (Hugging Face has one of the same name)."""
    if not info.is_file():
        return {}
    try:
        content = json_value(read_text(info).text)
    except TwoValues as error:
        raise MedgrpoError(f"{info}: {error}", expected="one value for each name") from error
    except ValueError:
        return {}
    if not isinstance(content, dict) or not content:
        return {}
    is_ours = all(isinstance(entry, dict) and set(PLACES) & entry.keys() for entry in content.values())
    return content if is_ours else {}

"""Console captures of OpenRLHF, NeMo-RL and prime-rl."""

from __future__ import annotations

import ast
import re
from typing import Any

from medgrpo.records import lines
from medgrpo.runs.metric_names import canonical_entry, counted
from medgrpo.runs.readers.parsed import Parsed

_OPENRLHF = re.compile(r"Global step (\d+)[^:{\n]*:\s*(\{[^\n]*\})")
_NEMO_STEP = re.compile(r"=+ Step (\d+)/(\d+) =+")
_NEMO_VALUE = re.compile(
    r"^\s*[•·*-]\s*([^:\n]{2,50}):\s*([-+]?(?:nan|inf|[\d.,]+(?:e[-+]?\d+)?))", re.IGNORECASE
)
_PRIME = re.compile(r"\bStep (\d+) \| (.+)")
_PRIME_VALUE = re.compile(
    r"^\s*([A-Za-z][\w .-]*?):\s*([-+]?(?:nan|inf|[\d.,]+(?:e[-+]?\d+)?))", re.IGNORECASE
)
_WRAPPED = re.compile(r"\b(?:np\.\w+|tensor|array)\(([-+\w.]+)[^()]*\)")
_BARE = re.compile(r"(?<=[:\[,(\s])(-?(?:nan|inf))\b", re.IGNORECASE)


def read_rl_console(text: str, name: str) -> Parsed | None:
    """The metrics of a capture of one of these trainers; None if it is of none of them."""
    for kind, read in (("OpenRLHF", _openrlhf), ("NeMo-RL", _nemo), ("prime-rl", _prime)):
        entries, total = read(text)
        if entries:
            return Parsed(name, f"{kind} console capture", _merged(entries), total_steps=total)
    return None


def _openrlhf(text: str) -> tuple[list[dict[str, Any]], int | None]:
    entries = []
    for match in _OPENRLHF.finditer(text):
        try:
            value = ast.literal_eval(_BARE.sub(r"'\1'", _WRAPPED.sub(r"\1", match[2])))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(value, dict):
            entries.append(canonical_entry({**value, "step": counted(match[1])}))
    return entries, None


def _nemo(text: str) -> tuple[list[dict[str, Any]], int | None]:
    entries: list[dict[str, Any]] = []
    total = None
    raw: dict[str, Any] | None = None
    for line in lines(text):
        if begun := _NEMO_STEP.search(line):
            raw, total = {"step": counted(begun[1])}, counted(begun[2])
            entries.append(raw)
        elif raw is not None and (value := _NEMO_VALUE.match(line)):
            raw.setdefault(value[1].strip(), value[2].replace(",", ""))
    return [canonical_entry(entry) for entry in entries if len(entry) > 1], total


def _prime(text: str) -> tuple[list[dict[str, Any]], int | None]:
    entries = []
    for match in _PRIME.finditer(text):
        parts = (_PRIME_VALUE.match(part) for part in match[2].split("|"))
        values = {part[1].strip(): part[2].replace(",", "") for part in parts if part}
        if values:
            entries.append(canonical_entry({**values, "step": counted(match[1])}))
    return entries, None


def _merged(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of one step that say different things (a trainer's and an orchestrator's) as one entry."""
    found: list[dict[str, Any]] = []
    for entry in sorted(entries, key=lambda entry: entry.get("step", 0)):
        if (
            found
            and found[-1].get("step") == entry.get("step")
            and not (found[-1].keys() & entry.keys())
            - {
                "step",
                "step_time",
                "tokens_per_s",
            }
        ):
            found[-1] = {**entry, **found[-1]}
        else:
            found.append(entry)
    return found

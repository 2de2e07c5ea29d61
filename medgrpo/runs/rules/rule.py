"""What a rule is, and for which methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medgrpo.methods import METHODS, SAMPLING, SUPERVISED
from medgrpo.runs.record import RunRecord
from medgrpo.runs.rules.evidence import Evidence

__all__ = ["ANY", "PAIRS", "SAMPLING", "SUPERVISED", "Rule"]

ANY = SAMPLING | SUPERVISED | {"unknown"}
PAIRS = frozenset(name for name, method in METHODS.items() if method.needs_pairs)


@dataclass(frozen=True)
class Rule:
    """A named check and the methods that it fits; title, wordings and remedy stand in `medgrpo.runs.words`."""

    name: str
    methods: frozenset[str]
    check: Callable[[RunRecord], list[Evidence]]

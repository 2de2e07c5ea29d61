"""Types of the compiled reward core; compared with the built module by stubtest."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__version__: str

# Text

ANSWER_RULES: list[str]
TAG_STATES: list[str]

def parse_tags(completions: list[str], tags: list[str]) -> tuple[list[list[str | None]], NDArray[np.uint8]]:
    """Content of each tag, and its state as an index of `TAG_STATES`, (batch, tags)."""

def format_scores(completions: list[str], tags: list[str], graded: bool = False) -> NDArray[np.float64]:
    """Strict or graded format score, (batch,)."""

def match_answers(
    completions: list[str],
    references: list[list[str]],
    questions: list[str | None] | None = None,
    options: list[list[tuple[str, str]] | None] | None = None,
    tags: list[str] | None = None,
    plain: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8], NDArray[np.int32]]:
    """Verdict, graded score, index of `ANSWER_RULES` and of the nearest reference; NaN and -1 without one."""

def match_labels(
    kind: Literal["plane", "modality"],
    completions: list[str],
    labels: list[str | None],
    tags: list[str] | None = None,
    plain: bool = False,
) -> NDArray[np.float64]:
    """Plane or modality score, (batch,); NaN without a label."""

def overlap_scores(
    measure: str,
    completions: list[str],
    references: list[list[str]],
    tags: list[str] | None = None,
    plain: bool = False,
) -> NDArray[np.float64]:
    """`exact_match`, `token_recall`, `token_f1` or `levenshtein` with the nearest reference, (batch,)."""

def fluency_parts(completions: list[str], languages: list[str | None] | None = None) -> NDArray[np.float64]:
    """Fluency, variety, language, length and cleanness, (batch, 5)."""

def scored_field(completion: str, tags: list[str], tag: str, plain: bool = False) -> tuple[str | None, str]:
    """The text scored for `tag`, or None and the state of the tag."""

def synonyms() -> dict[str, Any]:
    """Version and groups of the table of synonyms."""

def read_text(text: str) -> list[tuple[str, str, bool]]:
    """Spelling, meaning and negation of each token."""

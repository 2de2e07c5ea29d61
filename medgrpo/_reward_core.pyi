"""Types of the compiled reward core; compared with the built module by stubtest."""

from collections.abc import Sequence
from typing import Any, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ANSWER_RULES",
    "TAG_STATES",
    "TEXT_REWARDS",
    "BoxMatches",
    "PreparedMasks",
    "__version__",
    "assign",
    "box_scores",
    "describe_masks",
    "explain_answers",
    "instruction_set",
    "iou_matrix",
    "measure_masks",
    "num_threads",
    "parse_boxes",
    "parse_tags",
    "read_text",
    "score_texts",
    "set_instruction_set",
    "set_num_threads",
    "skeletonize_masks",
    "synonyms",
]

__version__: str

# Text

ANSWER_RULES: list[str]
TAG_STATES: list[str]
TEXT_REWARDS: list[str]

def score_texts(
    measures: list[str],
    completions: list[str],
    columns: dict[str, Sequence[Any]],
    tags: list[str],
    plain: bool,
) -> NDArray[np.float64]:
    """Each named reward of each completion, (batch, measures); NaN where it cannot judge the row."""

def explain_answers(
    completions: list[str], columns: dict[str, Sequence[Any]], tags: list[str], plain: bool
) -> list[dict[str, Any]]:
    """Why each answer scores what it scores, one dict a completion."""

def parse_tags(completions: list[str], tags: list[str]) -> tuple[list[list[str | None]], NDArray[np.uint8]]:
    """Content of each tag, and its state as an index of `TAG_STATES`, (batch, tags)."""

def synonyms() -> dict[str, Any]:
    """Version and groups of the table of synonyms."""

def read_text(text: str) -> list[tuple[str, str, bool]]:
    """Spelling, meaning and negation of each token."""

# Masks

# A batch is one (batch, height, width) array or a list of (height, width) arrays of any sizes, of uint8
# (foreground above 0 or above the threshold), float32 or float64 (above 0.5 or above the threshold), or uint16, the
# bits of half floats.
_Batch: TypeAlias = NDArray[np.generic] | Sequence[NDArray[np.generic]]

@final
class PreparedMasks:
    """Masks whose packed form, skeleton and topology are worked out once and used for many predictions."""

    def __new__(cls, masks: _Batch, fov: _Batch | None = None, threshold: float | None = None) -> Self: ...
    def __len__(self) -> int: ...
    def shapes(self) -> NDArray[np.int64]:
        """Height and width of each mask, (masks, 2)."""

    def counts(self) -> NDArray[np.int64]:
        """Area, skeleton length, components and holes of each mask, (masks, 4)."""

def measure_masks(
    predictions: _Batch,
    references: PreparedMasks | _Batch,
    names: Sequence[str],
    fov: _Batch | None = None,
    threshold: float | None = None,
    spacing: tuple[float, float] = ...,
) -> NDArray[np.float64]:
    """Each named measure of each prediction with its reference, (predictions, names)."""

def describe_masks(
    masks: _Batch, names: Sequence[str], threshold: float | None = None
) -> NDArray[np.float64]:
    """Each named trait of each mask, (masks, names)."""

def skeletonize_masks(
    masks: _Batch, out: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], threshold: float | None = None
) -> None:
    """Writes the skeleton of each mask to `out` as 0 and 1: C-contiguous uint8 of the same shapes."""

def set_num_threads(threads: int) -> None:
    """Uses so many threads from now on; 0 means `MEDGRPO_NUM_THREADS`, or else every processor."""

def num_threads() -> int:
    """Threads that batches are shared among."""

def set_instruction_set(name: str) -> str:
    """Uses the loops compiled for portable, sse2, avx2 or avx512, or the best there is; returns which."""

def instruction_set() -> str:
    """The instruction set in use."""

# Boxes. Corners are x1, y1, x2, y2.

def parse_boxes(
    texts: Sequence[str],
) -> list[tuple[list[list[float]], list[str | None], list[float | None]] | None]:
    """The boxes in each text as (corners, labels, scores); None where it holds no list of boxes."""

def iou_matrix(predicted: NDArray[np.float64], references: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of each pair of boxes."""

def assign(gains: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of a one-to-one matching of maximal sum."""

def box_scores(
    texts: Sequence[str],
    references: tuple[NDArray[np.float64], list[str | None], NDArray[np.int64]],
    scale: NDArray[np.float64],
    frame: NDArray[np.float64],
    threshold: float,
    use_labels: bool,
) -> NDArray[np.float64]:
    """(n, 4): matched IoU, F1, average precision and count agreement of each text's boxes."""

_References: TypeAlias = tuple[NDArray[np.float64], list[str | None], NDArray[np.int64]]
_Extras: TypeAlias = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]
_Asked: TypeAlias = tuple[list[float], list[tuple[float, float]], bool]
_Located: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]

@final
class BoxMatches:
    """Detections of a dataset, each matched with its reference at every threshold and in every range of areas."""

    @staticmethod
    def of_texts(
        texts: Sequence[str],
        references: _References,
        extras: _Extras,
        scale: NDArray[np.float64],
        frame: NDArray[np.float64],
        asked: _Asked,
        use_labels: bool,
    ) -> BoxMatches:
        """From the boxes in texts; `extras` holds crowd, ignored and area of each reference (NaN: of its box)."""

    @staticmethod
    def of_boxes(
        detections: _Located,
        references: _Located,
        extras: _Extras,
        pictures: int,
        categories: int,
        asked: _Asked,
    ) -> BoxMatches:
        """From arrays; categories and pictures by number, a detection below 0 belongs to no category."""

    def labels(self) -> list[str | None]:
        """The label of each category; None: references without a label, or all of them."""

    def read(
        self,
        range: int,
        most: int | None = None,
        every_point: bool = False,
        kept: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Average precision and recall of each category at each threshold, and its counted references."""

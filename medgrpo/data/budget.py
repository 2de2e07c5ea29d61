"""Does a row fit into the model: picture, text and completion against its context length.

Nothing is ever cut. A row that is too long is kept and reported, left out and counted, or its pictures are
stored smaller, by one rule: the largest area at which the row fits, found before anything is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from medgrpo.data.chat import ModelText
from medgrpo.data.images import ImageSettings, target_size
from medgrpo.data.prompts import PromptTemplate, build_messages
from medgrpo.models.image_tokens import ImageFamily, image_tokens
from medgrpo.rows import Row

SMALLEST_PIXELS = 28 * 28 * 4
"""Pictures are not made smaller than this to fit a row; what then is too long is too long by its text."""


@dataclass(frozen=True)
class Budget:
    """What a row may cost."""

    model: ModelText
    context_length: int
    """Longest prompt plus completion, in tokens."""
    completion_tokens: int = 256
    """Kept free for the completion."""
    max_pixels: int | None = 602_112
    """The cap that training puts on what the model sees."""

    @property
    def prompt_tokens(self) -> int:
        """Longest prompt."""
        return self.context_length - self.completion_tokens


@dataclass
class BudgetReport:
    """What was counted, in tokens of whole prompts."""

    longest: int = 0
    longest_id: str | None = None
    median: int = 0
    too_long: list[str] = field(default_factory=list)
    """Ids of rows over the budget."""


def prompt_tokens(
    row: Row, sizes: Sequence[tuple[int, int]], template: PromptTemplate, budget: Budget
) -> int:
    """Tokens of a row's prompt, rendered through the model's own chat template.

    Args:
        sizes: (width, height) of each of its pictures.
    """
    text, pictures = _costs(row, sizes, template, budget, budget.max_pixels)
    return text + pictures


def _costs(
    row: Row,
    sizes: Sequence[tuple[int, int]],
    template: PromptTemplate,
    budget: Budget,
    max_pixels: int | None,
) -> tuple[int, int]:
    model = budget.model
    shown: Row = {**row, "images": row["images"] if model.family else []}
    text = model.count(model.render(build_messages(shown, template)))
    if model.family is None or not sizes:
        return text, 0
    placeholders = len(sizes)  # the template writes one token for each picture, which its tokens replace
    return text - placeholders, sum(_tokens(size, model.family, max_pixels) for size in sizes)


def _tokens(size: tuple[int, int], family: ImageFamily, max_pixels: int | None) -> int:
    return image_tokens(*size, family, max_pixels)


def check(
    rows: Iterable[tuple[Row, Sequence[tuple[int, int]]]], template: PromptTemplate, budget: Budget
) -> BudgetReport:
    """Counts every row, given with the sizes of its pictures."""
    report = BudgetReport()
    counted = []
    for row, sizes in rows:
        tokens = prompt_tokens(row, sizes, template, budget)
        counted.append(tokens)
        if tokens > report.longest:
            report.longest, report.longest_id = tokens, str(row["id"])
        if tokens > budget.prompt_tokens:
            report.too_long.append(str(row["id"]))
    report.median = sorted(counted)[len(counted) // 2] if counted else 0
    return report


def fitting_pixels(
    row: Row, sizes: Sequence[tuple[int, int]], template: PromptTemplate, budget: Budget
) -> int | None:
    """The largest area per picture at which the row fits; None if its text alone is too long.

    Found by halving between `SMALLEST_PIXELS` and the largest picture, to within one token row.
    """
    family = budget.model.family
    if family is None or not sizes:
        return None
    room = budget.prompt_tokens - _costs(row, sizes, template, budget, None)[0]

    def fits(pixels: int) -> bool:
        smaller = (target_size(*size, ImageSettings(max_pixels=pixels)) for size in sizes)
        return sum(_tokens(size, family, budget.max_pixels) for size in smaller) <= room

    low, high = SMALLEST_PIXELS, max(width * height for width, height in sizes)
    if not fits(low):
        return None
    while high - low > family.factor**2:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low

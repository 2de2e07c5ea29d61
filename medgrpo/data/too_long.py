"""Rows whose prompt and completion are longer than the model reads, found before anything heavy is loaded: how many, the longest
by how much, and what to type.

Counted as `budget` counts, with the model's own tokenizer and chat template; no picture is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING

from medgrpo.data.chat import ModelText
from medgrpo.data.prompts import PromptTemplate, build_messages
from medgrpo.errors import MedgrpoError
from medgrpo.figures import is_finite_number
from medgrpo.files import foreign_json
from medgrpo.models.image_tokens import image_tokens
from medgrpo.pictures import opened_picture, stored_file
from medgrpo.rows import Row

if TYPE_CHECKING:
    from medgrpo.data.prepared import PreparedDataset

TURN_END = 2
"""Tokens that a chat template puts after an answer: the end of the turn and of the line."""
SHORTEST_ANSWER = 16
"""Tokens below which a shorter completion is no advice."""
SMALLEST_PIXELS = 28 * 28 * 4
"""Pictures below which a smaller limit is no advice."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Reader:
    """A model's side of the count.

    Attributes:
        limit: tokens of prompt and completion together.
        completion: tokens kept for the completion; None: those of the longest answer that a row teaches.
        max_pixels, min_pixels: of a picture as the model sees it; None: the family's own.
    """

    text: ModelText
    limit: int
    completion: int | None = None
    max_pixels: int | None = None
    min_pixels: int | None = None

    @classmethod
    def of_folder(
        cls,
        folder: Path,
        limit: int,
        completion: int | None = None,
        *,
        max_pixels: int | None = None,
        min_pixels: int | None = None,
    ) -> Reader:
        """Of a model folder, whose processor says how large pictures are seen where nobody else does.

        Raises:
            UsageError: it has no tokenizer or no chat template.
        """
        file = folder / "preprocessor_config.json"
        said = foreign_json(file) if file.is_file() else {}
        said = said if isinstance(said, dict) else {}
        size: dict[str, object] = said["size"] if isinstance(said.get("size"), dict) else {}

        def stored(name: str, edge: str) -> int | None:
            value = said.get(name) or size.get(edge)
            return int(value) if is_finite_number(value) and value >= 1 else None

        largest = max_pixels or stored("max_pixels", "longest_edge")
        smallest = min_pixels or stored("min_pixels", "shortest_edge")
        return cls(ModelText.load(folder), limit, completion, largest, smallest)

    def tokens_of(self, sizes: Iterable[Size], max_pixels: int | None = None) -> int:
        """Tokens of pictures of these sizes."""
        family, cap = self.text.family, max_pixels or self.max_pixels
        return sum(image_tokens(*size, family, cap, self.min_pixels) for size in sizes) if family else 0


@dataclass(frozen=True)
class TooLong:
    """What was counted, in tokens.

    Attributes:
        rows: counted.
        over: rows whose prompt and completion are over the limit.
        full: rows whose prompt alone fills it.
        pictures_alone: rows whose pictures alone do.
        longest_id, prompt, completion: of the longest row that is over.
        max_pixels: the largest limit on its pictures at which that row fits; None: there is none.
    """

    limit: int
    rows: int = 0
    over: int = 0
    full: int = 0
    pictures_alone: int = 0
    longest_id: str = ""
    prompt: int = 0
    completion: int = 0
    max_pixels: int | None = None

    @property
    def needed(self) -> int:
        """Tokens of the longest row."""
        return self.prompt + self.completion

    def described(self) -> str:
        """The longest row and the pictures, as the end of a sentence."""
        words = (
            f"the longest, row {self.longest_id!r}, takes {self.prompt:,} + {self.completion:,}, "
            f"{self.needed - self.limit:,} too many"
        )
        if self.pictures_alone:
            words += f"; in {self.pictures_alone:,} the pictures alone take more"
        return words


def count_too_long(
    rows: Iterable[Row],
    folder: Path,
    template: PromptTemplate,
    reader: Reader,
    *,
    answers: Callable[[Row], Sequence[str]] | None = None,
    use_image_title: bool = False,
) -> TooLong:
    """Count the rows of a dataset that are too long for a model.

    Args:
        folder: of the dataset, where the pictures are whose sizes rows do not say.
        answers: what a row teaches word for word, where `reader.completion` is None.
    Raises:
        MedgrpoError: a picture is not there, or the chat template refuses a row.
    """
    seen = over = full = pictures_alone = 0
    longest: tuple[int, int, str, list[Size]] = (0, 0, "", [])
    family = reader.text.family
    for row in rows:
        seen += 1
        hidden: Row = {} if use_image_title else {"image_title": None}
        shown: Row = {**row, **hidden, "images": row["images"] if family else []}
        sizes = _sizes(shown, folder)
        pictures = reader.tokens_of(sizes)
        words = reader.text.render(build_messages(shown, template))
        taught = list(answers(row)) if answers and reader.completion is None else []
        # A token has at least a byte: most rows fit by their length alone, and need no tokenizer.
        most = reader.completion or max((len(one.encode()) for one in taught), default=0) + TURN_END
        if len(words.encode()) + pictures + most <= reader.limit:
            continue
        prompt = reader.text.count(words) - len(sizes) + pictures
        completion = reader.completion or max(
            (reader.text.count(one) + TURN_END for one in taught), default=0
        )
        over += prompt + completion > reader.limit
        full += prompt >= reader.limit
        pictures_alone += pictures >= reader.limit
        if prompt + completion > max(reader.limit, sum(longest[:2])):
            longest = (prompt, completion, str(row["id"]), sizes)
    prompt, completion, name, sizes = longest
    room = reader.limit - completion - (prompt - reader.tokens_of(sizes))
    cap = _fitting_cap(reader, sizes, room) if over else None
    return TooLong(reader.limit, seen, over, full, pictures_alone, name, prompt, completion, cap)


def may_be_too_long(dataset: PreparedDataset, template: PromptTemplate, reader: Reader) -> bool:
    """Whether any row could be: by the most bytes of any row and its most and largest pictures, without a look at each row.

    A token has at least a byte; a picture of another shape than the largest takes at most a quarter more.
    """
    most, first = dataset.longest("train"), next(iter(dataset.rows("train", 1)), None)
    if most is None or first is None:
        return True
    tokens = 0
    if most.pictures and reader.text.family:
        edge = isqrt(reader.max_pixels or 0) + 1
        size = most.size if most.size and most.pictures == 1 else (edge, edge)
        if size == (1, 1):
            return True
        tokens = most.pictures * (5 * reader.tokens_of([size]) // 4 + 1)
    words = reader.text.render(build_messages({**first, "images": []}, template))
    own = (
        len(words.encode()) + 2 * most.length + tokens
    )  # a text may stand in the prompt and in what is taught
    return own + (reader.completion or 0) + TURN_END > reader.limit


def _sizes(row: Row, folder: Path) -> list[Size]:
    """(width, height) of a row's pictures; a file is opened only where the row does not say."""
    names, width, height = row["images"] or [], row.get("width"), row.get("height")
    if len(names) == 1 and width and height:
        return [(width, height)]
    sizes = []
    for name in names:
        with opened_picture(stored_file(folder, name), of=f"row {row['id']!r}") as image:
            sizes.append(image.size)
    return sizes


def _fitting_cap(reader: Reader, sizes: Sequence[Size], room: int) -> int | None:
    """The largest `max_pixels`, rounded down to a hundred, at which the pictures fit; found by halving."""
    if not sizes or room <= 0 or reader.tokens_of(sizes, SMALLEST_PIXELS) > room:
        return None
    low, high = SMALLEST_PIXELS, max(width * height for width, height in sizes)
    while high - low > 100:
        middle = (low + high) // 2
        low, high = (middle, high) if reader.tokens_of(sizes, middle) <= room else (low, middle)
    return max(SMALLEST_PIXELS, low // 100 * 100)


def none_has_room(found: TooLong, hint: str) -> MedgrpoError:
    """What to raise where no prompt leaves room for a completion."""
    return MedgrpoError(
        f"no prompt leaves room for a completion: all {found.rows:,} fill the {found.limit:,} tokens that the model reads; "
        f"{found.described()}",
        expected=f"prompts below {found.limit:,} tokens",
        hint=hint,
    )


def none_fits(found: TooLong, hint: str) -> MedgrpoError:
    """What to raise where no row can be used."""
    return MedgrpoError(
        f"no row fits: all {found.rows:,} take more than {found.limit:,} tokens with their completion; {found.described()}",
        expected=f"prompts and completions within {found.limit:,} tokens",
        hint=hint,
    )

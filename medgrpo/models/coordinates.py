"""How a model writes boxes: which numbers, of which picture. Sources of each family's form: docs/detection.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from medgrpo.errors import UsageError
from medgrpo.models.families import family_named, family_of_processor
from medgrpo.models.image_tokens import PictureGrid

if TYPE_CHECKING:
    from medgrpo.rewards.boxes import BoxFormat

from medgrpo.rows import Row


@dataclass(frozen=True)
class BoxCoordinates:
    """The form of a model's boxes."""

    box_format: BoxFormat
    grid: PictureGrid | None = None
    """For `pixel`: what the pixels are counted in; None: in the stored picture."""

    def place(self, row: Row) -> Row:
        """The row with `box_format`, `model_width` and `model_height`: all that prompts, targets, rewards and
        `mean_average_precision` need to write its boxes in this form and read them back."""
        width, height = row.get("width"), row.get("height")
        seen: tuple[int | None, int | None] = (None, None)
        if self.grid is not None and width and height:
            seen = self.grid.size(int(width), int(height))
        return {**row, "box_format": self.box_format, "model_width": seen[0], "model_height": seen[1]}

    def to_dict(self) -> dict[str, Any]:
        """As `medgrpo.json` records it; `recorded_coordinates` reads it back."""
        return {"box_format": self.box_format, "box_grid": asdict(self.grid) if self.grid else None}


def box_coordinates(model_type: str, processor: Any, box_format: BoxFormat | None = None) -> BoxCoordinates:
    """The form of a model's boxes, with the picture limits that its processor has now.

    Args:
        model_type: of the model's configuration; families that are not known write 0–1000, which holds at any size.
        processor: of the model.
        box_format: another form than the family's own.
    Raises:
        UsageError: `pixel` is asked of a model whose processor resizes in another way than Qwen-VL's.
    """
    chosen = box_format or family_box_format(model_type)
    if chosen != "pixel":
        return BoxCoordinates(chosen)
    grid = family_of_processor(processor).pixel_grid(getattr(processor, "image_processor", None))
    if grid is None:
        raise UsageError(
            f"boxes in pixels do not suit {model_type}: it sees no picture at a size of its own",
            hint="--box-format thousand (train: --set data.box_format=thousand)",
        )
    return BoxCoordinates("pixel", grid)


def family_box_format(model_type: str) -> BoxFormat:
    """How models of this type were trained to write boxes; 0–1000 where that is not known."""
    family = family_named(model_type)
    return "thousand" if family is None else family.images.box_format


def recorded_coordinates(metadata: Mapping[str, Any]) -> BoxCoordinates | None:
    """The form that a `medgrpo.json` records; None where it does not (before medgrpo recorded it)."""
    if not metadata.get("box_format"):
        return None
    grid = metadata.get("box_grid")
    return BoxCoordinates(metadata["box_format"], PictureGrid(**grid) if grid else None)

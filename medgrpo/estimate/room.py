"""What a run would leave out because it is longer than the model reads, said before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medgrpo.config.plan import enabled_stages, stage_settings
from medgrpo.config.sections import RunConfig
from medgrpo.data.too_long import SHORTEST_ANSWER, Reader, TooLong, count_too_long, may_be_too_long, none_fits
from medgrpo.errors import MedgrpoError
from medgrpo.methods import METHODS
from medgrpo.models.context import context_of_folder
from medgrpo.rows import Row, columns

if TYPE_CHECKING:
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.data.prompts import PromptTemplate


def rows_too_long(
    config: RunConfig, base: Path | str | None, dataset: PreparedDataset | None, template: PromptTemplate
) -> list[str] | None:
    """A warning for each stage that would leave rows out; None where nothing could be counted: a model of the hub, one without
    a chat template, the demo. The run itself then counts, before its first step.

    Args:
        base: folder of the whole model.
    Raises:
        MedgrpoError: no row of a stage can be used.
    """
    if base is None or dataset is None or not Path(base).expanduser().is_dir():
        return None
    folder = Path(base).expanduser()
    try:
        own = context_of_folder(folder)
        read = Reader.of_folder(
            folder, 0, max_pixels=config.model.max_pixels, min_pixels=config.model.min_pixels
        )
    except (MedgrpoError, OSError, ValueError):  # loading the model says what is wrong with it
        return None
    said = []
    for name in [*enabled_stages(config), None]:
        settings = stage_settings(config, name) if name else config
        method = METHODS[settings.training.method]
        if "mask" in method.needs or (method.needs_pairs and not _has_pairs(dataset)):
            continue
        asked = settings.model.context_length
        completion = settings.rollout.max_completion_length if method.samples_texts else None
        reader = replace(read, limit=min(asked, own or asked), completion=completion)
        taught = partial(_taught, what=method.teaches, template=template)
        try:
            if not may_be_too_long(dataset, template, reader):
                continue
            found = count_too_long(
                dataset.rows("train", settings.data.rows),
                dataset.path,
                template,
                reader,
                answers=taught,
                use_image_title=settings.data.use_image_title,
            )
        except (OSError, ValueError, TypeError):
            return None
        if found.over and found.over == found.rows:
            raise none_fits(found, _what_to_type(found, settings, own, samples=method.samples_texts))
        if found.over:
            limit = "model.context_length" if reader.limit == asked else "what the model reads"
            said.append(
                f"{found.over:,} of {found.rows:,} rows are longer than {found.limit:,} tokens ({limit}) with their "
                f"completion and would be left out of {name or 'the main stage'}: {found.described()}; "
                f"{_what_to_type(found, settings, own, samples=method.samples_texts)}"
            )
    return said


def _has_pairs(dataset: PreparedDataset) -> bool:
    return any(row.get("chosen") for row in dataset.rows("train", 1))


def _taught(row: Row, *, what: Sequence[str], template: PromptTemplate) -> list[str]:
    from medgrpo.data.prompts import build_target

    return [build_target(row, template) if one == "target" else columns(row)[one] or "" for one in what]


def _what_to_type(found: TooLong, config: RunConfig, own: int | None, *, samples: bool) -> str:
    """What makes the longest row fit, the least loss first."""
    ways = []
    if found.limit == config.model.context_length and found.needed <= (own or found.needed):
        ways.append(f"--set model.context_length={found.needed}")
    if found.max_pixels:
        ways.append(f"--set model.max_pixels={found.max_pixels}")
    if samples and found.limit - found.prompt >= SHORTEST_ANSWER:
        ways.append(f"--set rollout.max_completion_length={found.limit - found.prompt}")
    return (
        " / ".join(ways)
        or "shorten its question, or take a shorter template: --set data.prompt_template=NAME"
    )

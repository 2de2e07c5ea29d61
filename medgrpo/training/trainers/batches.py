"""From one generated batch to the batches of the passes that learn from it."""

from __future__ import annotations

from typing import Any


def batches_of_passes(generated: dict[str, Any], passes: int) -> list[dict[str, Any]]:
    """The generated rows shuffled and split evenly, each with its pictures.

    A group's rows may fall into several passes: what computes their shared prompt once keeps them together here.

    Args:
        generated: what `_generate_and_score_completions` gives: tensors and lists by row, scalars, and pictures by
            patch, of this process.
        passes: how many batches; divides the rows.
    """
    from trl.trainer.utils import (
        shuffle_sequence_dict,
        split_pixel_values_by_grid,
        split_tensor_dict,
        unsplit_pixel_values_by_grid,
    )

    rows = shuffle_sequence_dict(split_pixel_values_by_grid(generated))
    return [unsplit_pixel_values_by_grid(batch) for batch in split_tensor_dict(rows, passes)]

"""From one generated batch to the batches of the passes that learn from it."""

from __future__ import annotations

from typing import Any


def batches_of_passes(
    generated: dict[str, Any], passes: int, *, keeps_groups: bool = False
) -> list[dict[str, Any]]:
    """The generated rows split evenly.

    Args:
        generated: what `_generate_and_score_completions` gives: tensors and lists by row, and scalars, of this
            process. `group_ids` (rows,) says which rows have a prompt in common.
        passes: how many batches; divides the rows.
        keeps_groups: whether a group's rows stay beside each other, so that a pass holds as few prompts as it can;
            otherwise rows are shuffled as TRL does.
    """
    from trl.trainer.utils import shuffle_sequence_dict, split_tensor_dict

    rows = _by_group(generated) if keeps_groups else shuffle_sequence_dict(generated)
    batches: list[dict[str, Any]] = split_tensor_dict(rows, passes)
    return batches


def _by_group(generated: dict[str, Any]) -> dict[str, Any]:
    """Groups in random order, the rows of each beside each other.

    The order is that of TRL's permutation of the rows, each group where its first row is, so that both ways draw
    alike and the next rollout is the same.
    """
    import torch

    groups: list[int] = generated["group_ids"].tolist()
    place = {
        group: number
        for number, group in enumerate(
            dict.fromkeys(groups[row] for row in torch.randperm(len(groups)).tolist())
        )
    }
    taken = sorted(range(len(groups)), key=lambda row: place[groups[row]])
    order = torch.tensor(taken, device=generated["group_ids"].device)

    def ordered(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim:
            return value[order]
        return [value[row] for row in taken] if isinstance(value, list) else value

    return {name: ordered(value) for name, value in generated.items()}

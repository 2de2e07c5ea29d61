"""Log probabilities of completions with each prompt and picture of a pass computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medgrpo.engine.features import with_pictures
from medgrpo.engine.inner import inner_of, picture_ids, text_config_of
from medgrpo.engine.masks import PADDING, by_layer, dense_mask, picture_blocks
from medgrpo.engine.positions import stream_positions
from medgrpo.engine.shown import Shown
from medgrpo.engine.stream import NO_LABEL, Layout, Places, key_index, lay_out, places

if TYPE_CHECKING:
    import torch


HEAD_OUTPUTS = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
"""What TRL's head over chunks may give of each token."""


class Scores(NamedTuple):
    """(rows, completion columns) each; 0 where nothing is scored."""

    logprobs: torch.Tensor
    entropies: torch.Tensor | None


def packed_scores(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_columns: int,
    shown: Sequence[Shown],
    autocast: Any,
    *,
    by_kernel: bool,
) -> Scores:
    """Log probabilities and entropies of completions, computed as one stream: see `packed_outputs`."""
    found = packed_outputs(
        model, input_ids, attention_mask, completion_columns, shown, autocast, by_kernel=by_kernel
    )
    return Scores(found["log_probs"], found.get("entropy"))


def packed_outputs(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_columns: int,
    shown: Sequence[Shown],
    autocast: Any,
    *,
    by_kernel: bool,
    asked_for: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Those of `HEAD_OUTPUTS` that the model's head gives, (rows, completion columns) each; 0 where nothing is scored.

    Args:
        model: as it is to be called (wrapped where several processes train), with TRL's head over chunks.
        input_ids: (rows, prompt and completion columns): prompts padded on the left, completions on the right.
        attention_mask: the same shape: 1 at tokens; 0 over a completion that is left out.
        completion_columns: the last columns.
        shown: each row's prompt; rows of one group share the very same entry.
        autocast: gives a context in which the model is called.
        by_kernel: whether the model attends by `attention.STREAM`; else by SDPA with a dense mask.
        asked_for: bool, (rows, completion columns): the tokens to score; None: all that count.
    """
    rows, columns = input_ids.shape
    prompt_columns = columns - completion_columns
    counted = attention_mask.bool()
    lengths = counted[:, prompt_columns:].sum(1).tolist()
    layout = lay_out(
        [len(one["prompt_ids"]) for one in shown],
        lengths,
        [id(one) for one in shown],
        prompt_columns=prompt_columns,
        columns=columns,
    )
    asked = list({id(one): one for one in shown}.values())
    found = places(layout)
    inner = inner_of(model)
    device = input_ids.device
    build = _one_row if by_kernel else _row_per_group
    inputs, where = build(model, layout, found, asked, input_ids)
    if asked_for is not None:
        _forget_others(inputs["shift_labels"], where, found, asked_for)
    with with_pictures(inner, asked, device) as pictures, autocast():
        outputs = model(**inputs, **pictures, fused_lm_head=True)
    given = {name: getattr(outputs, name, None) for name in HEAD_OUTPUTS}
    return {
        name: _scattered(values, where, found, rows, completion_columns)
        for name, values in given.items()
        if values is not None
    }


def _one_row(
    model: Any, layout: Layout, found: Places, asked: Sequence[Shown], input_ids: torch.Tensor
) -> tuple[dict[str, Any], torch.Tensor]:
    """The stream as one row without padding, and where each token stands in it."""
    import torch

    device = input_ids.device
    ids, labels = _tokens(model, found, input_ids)
    positions = stream_positions(layout, [one["positions"] for one in asked]).to(device)
    inputs = {
        "input_ids": ids.unsqueeze(0),
        "shift_labels": labels.unsqueeze(0),
        "position_ids": positions if positions.shape[0] == 1 else positions.unsqueeze(1),
        # Four axes: Transformers hands it on as it is. The attention looks at `stream_keys` instead.
        "attention_mask": torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=device),
        "stream_keys": key_index(layout, device),
    }
    return inputs, torch.arange(len(ids), device=device)


def _row_per_group(
    model: Any, layout: Layout, found: Places, asked: Sequence[Shown], input_ids: torch.Tensor
) -> tuple[dict[str, Any], torch.Tensor]:
    """A row for each group, padded on the right, with a dense mask; and where each token stands in it."""
    import torch

    device = input_ids.device
    ids, labels = _tokens(model, found, input_ids)
    group = torch.from_numpy(found.group).to(device)
    width = int(layout.lengths.max())
    first = torch.from_numpy(layout.lengths.cumsum() - layout.lengths).to(device)
    where = group * width + torch.arange(len(ids), device=device) - first[group]

    def spread(values: torch.Tensor, filling: int) -> torch.Tensor:
        padded = values.new_full((layout.groups * width,), filling)
        padded[where] = values
        return padded.view(layout.groups, width)

    positions = stream_positions(layout, [one["positions"] for one in asked]).to(device)
    segments = spread(torch.from_numpy(found.segment).to(device), PADDING)
    order = spread(torch.from_numpy(found.order).to(device), 0)
    axes = torch.stack([spread(axis, 0) for axis in positions])
    inputs = {
        "input_ids": spread(ids, _filling(model)),
        "shift_labels": spread(labels, NO_LABEL),
        "position_ids": axes[0] if len(axes) == 1 else axes,
        "attention_mask": _masks(model, asked, layout, segments, order),
    }
    return inputs, where


def _forget_others(labels: torch.Tensor, where: torch.Tensor, found: Places, asked_for: torch.Tensor) -> None:
    """Take the label from the places whose prediction is not asked for, in place."""
    import torch

    target = torch.from_numpy(found.target).to(labels.device)
    is_wanted = (target >= 0) & asked_for.reshape(-1)[target.clamp(min=0)]
    labels.view(-1)[where[~is_wanted]] = NO_LABEL


def _tokens(model: Any, found: Places, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids of the stream, and the id that each place predicts.

    A completion may hold an id that stands for a picture, where the sampler did not rule it out. The model would look for
    that picture, so that it reads padding there; that the id was drawn is scored as it was.
    """
    import torch

    flat = input_ids.reshape(-1)
    source = torch.from_numpy(found.source).to(flat.device)
    is_predicting = torch.from_numpy(found.target >= 0).to(flat.device)
    labels = torch.where(is_predicting, flat[(source + 1).clamp(max=len(flat) - 1)], NO_LABEL)
    ids = flat[source]
    for picture in picture_ids(model):
        ids = torch.where(is_predicting & (ids == picture), _filling(model), ids)
    return ids, labels


def _masks(
    model: Any, asked: Sequence[Shown], layout: Layout, segments: torch.Tensor, order: torch.Tensor
) -> torch.Tensor | dict[str, torch.Tensor]:
    """The dense mask, or one for each kind of layer."""
    import torch

    blocks = None
    if any("token_type_ids" in one["token_fields"] for one in asked):
        blocks = torch.full_like(segments, -1)
        shared = {segment.group: segment.length for segment in layout.segments if segment.is_prompt}
        for number, one in enumerate(asked):
            length = shared.get(number, 0)
            blocks[number, :length] = picture_blocks(one["token_fields"]["token_type_ids"][:length])
    return by_layer(
        text_config_of(model), lambda window: dense_mask(segments, order, blocks=blocks, window=window)
    )


def _filling(model: Any) -> int:
    """An id for padding that stands for no picture."""
    taken = picture_ids(model)
    return next(number for number in range(len(taken) + 1) if number not in taken)


def _scattered(
    values: torch.Tensor, where: torch.Tensor, found: Places, rows: int, columns: int
) -> torch.Tensor:
    """The stream's values at the completions' places."""
    import torch

    is_predicting = torch.from_numpy(found.target >= 0).to(values.device)
    target = torch.from_numpy(found.target).to(values.device)[is_predicting]
    scored = values.reshape(-1)[where[is_predicting]]
    return values.new_zeros(rows * columns).index_copy(0, target, scored).view(rows, columns)

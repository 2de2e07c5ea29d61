"""What a processor made of one prompt and its pictures; kept once for all completions of the prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

if TYPE_CHECKING:
    import torch

TOKEN_FIELDS = ("mm_token_type_ids", "token_type_ids")
"""What a processor gives for each token of the prompt."""
NOT_FIELDS = ("input_ids", "attention_mask")


class Shown(TypedDict):
    """A prompt as the model sees it. A plain dict of tensors, so that a checkpoint can hold it."""

    prompt_ids: torch.Tensor
    """int64, (tokens,), image tokens expanded."""
    positions: torch.Tensor
    """int64, (axes, tokens): see `positions.py`."""
    token_fields: dict[str, torch.Tensor]
    """(tokens,) each."""
    pictures: dict[str, torch.Tensor]
    """By the model's names; indexed by patch, tile or picture. Empty for a text prompt."""
    images: int
    """Pictures of the prompt."""
    content: NotRequired[torch.Tensor]
    """uint8: what the pictures are known by; equal for equal pixels alone. Absent: nobody looked."""
    features: NotRequired[dict[str, Any]]
    """What a frozen vision tower made of the pictures, where it was kept."""


def shown_of(inner: Any, made: dict[str, Any], images: int) -> Shown:
    """From what a processor returned for one prompt (a batch of one, as tensors).

    Args:
        inner: the model without its head, for its positions.
        images: pictures of the prompt.
    """
    from medgrpo.engine.positions import prompt_positions

    fields = {name: value for name, value in made.items() if name not in NOT_FIELDS}
    token_fields = {name: fields.pop(name)[0] for name in TOKEN_FIELDS if name in fields}
    prompt_ids = made["input_ids"][0]
    pictures = fields if images else {}
    positions = prompt_positions(inner, prompt_ids, {**pictures, **token_fields})
    return Shown(
        prompt_ids=prompt_ids,
        positions=positions,
        token_fields=token_fields,
        pictures=pictures,
        images=images,
    )


def content_of(images: Sequence[Any]) -> torch.Tensor:
    """What pictures are known by: a digest of their pixels, as PIL has them, whatever their files are called."""
    import torch

    digests = [picture_digest(image) for image in images]
    return (
        torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.uint8)
        if digests
        else torch.zeros(0, dtype=torch.uint8)
    )


def picture_digest(image: Any) -> bytes:
    """16 bytes that stand for a picture's mode, size and pixels."""
    digest = hashlib.blake2b(f"{image.mode} {image.size}".encode(), digest_size=16)
    digest.update(image.tobytes())
    return digest.digest()


def beginning(shown: Shown, tokens: int) -> Shown:
    """The first tokens of a prompt, all its pictures among them."""
    return {
        **shown,
        "prompt_ids": shown["prompt_ids"][:tokens],
        "positions": shown["positions"][:, :tokens],
        "token_fields": {name: values[:tokens] for name, values in shown["token_fields"].items()},
    }


def joined_pictures(shown: Iterable[Shown]) -> dict[str, torch.Tensor]:
    """The pictures of several prompts in one, by the model's names; empty where none has any."""
    import torch

    with_pictures = [one["pictures"] for one in shown if one["pictures"]]
    if not with_pictures:
        return {}
    return {name: torch.cat([one[name] for one in with_pictures]) for name in with_pictures[0]}


def picture_inputs(
    of_rows: Sequence[Shown], prompt_columns: int, completion_columns: int, device: torch.device
) -> dict[str, Any]:
    """The pictures as TRL hands them to a model: a copy for every row, and how many each row has.

    Args:
        of_rows: each row's prompt.
        prompt_columns: of the batch: token fields are padded with 0 on the left to it.
        completion_columns: and on the right by these.
    """
    import torch

    found: dict[str, Any] = {}
    for name in TOKEN_FIELDS:
        if any(name in one["token_fields"] for one in of_rows):
            found[name] = torch.stack(
                [
                    torch.nn.functional.pad(
                        one["token_fields"].get(name, torch.zeros_like(one["prompt_ids"])),
                        (prompt_columns - len(one["prompt_ids"]), completion_columns),
                    )
                    for one in of_rows
                ]
            ).to(device)
    pictures = joined_pictures(of_rows)
    if not pictures:
        return {}  # a batch of texts alone: TRL gives a model none of these fields
    found |= {name: value.to(device) for name, value in pictures.items()}
    found["num_images"] = [one["images"] for one in of_rows]
    pixels = pictures["pixel_values"]
    if pixels.ndim == 4 and len(pixels) != sum(found["num_images"]):
        found["num_tiles"] = [len(one["pictures"].get("pixel_values", ())) for one in of_rows]
    return found

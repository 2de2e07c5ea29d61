"""What Sa2VA is given: the picture for SAM, and prompt and answer for the language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgrpo.segmentation.sa2va.model import SEG

if TYPE_CHECKING:
    from torch import Tensor

PROMPT = "<image>Please segment the blood vessel."
"""The question that Sa2VA is asked about vessels; `<image>` is where the picture stands."""
ANSWER = f"Sure, {SEG}."
"""An answer as Sa2VA's own training data has them."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels, by which SAM 2 normalises."""


def sam_pixels(picture: NDArray[np.uint8], side: int) -> Tensor:
    """The picture as a square that SAM sees, (1, 3, side, side): sides are not kept in proportion, as in the released models."""
    import torch
    from PIL import Image

    resized = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 255
    shape = (3, 1, 1)
    return ((pixels - torch.tensor(MEAN).view(shape)) / torch.tensor(DEVIATION).view(shape))[None]


def messages_of(prompt: str) -> list[dict[str, Any]]:
    """The prompt as a chat, the picture where `<image>` stands, else before the words."""
    words = prompt.replace("<image>", "").strip()
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": words}]}]


def encode(
    processor: Any, picture: NDArray[np.uint8], prompt: str, answer: str
) -> tuple[dict[str, Any], int]:
    """Model inputs of prompt and answer, and the length of the prompt in tokens; a batch of one.

    The answer ends the turn, as a generated one does: the released models read the state at [SEG], after which
    there is at least one token more.
    """
    from PIL import Image

    start = processor.apply_chat_template(messages_of(prompt), tokenize=False, add_generation_prompt=True)
    tokenizer = processor.tokenizer
    image = Image.fromarray(picture)
    alone = processor(text=[start], images=[image], return_tensors="pt")
    whole = processor(
        text=[start + answer + (tokenizer.eos_token or "")], images=[image], return_tensors="pt"
    )
    return dict(whole), int(alone["input_ids"].shape[1])

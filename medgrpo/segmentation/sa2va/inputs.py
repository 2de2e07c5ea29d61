"""What Sa2VA is given: the picture for SAM, and prompt and answer for the language model."""

from __future__ import annotations

from collections.abc import Sequence
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


def spoken(processor: Any, answer: str) -> list[int]:
    """Tokens of an answer and of the end of its turn, after which the released models read the state at [SEG]."""
    tokenizer = processor.tokenizer
    ids: list[int] = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return [*ids, tokenizer.eos_token_id]


def encode(
    processor: Any, picture: NDArray[np.uint8], prompt: str, answer: Sequence[int]
) -> tuple[dict[str, Any], int]:
    """Model inputs of prompt and answer, a batch of one, and the length of the prompt in tokens.

    The answer is tokens and not text: what was sampled is not always what its text would be cut into again.
    """
    import torch
    from PIL import Image

    start = processor.apply_chat_template(messages_of(prompt), tokenize=False, add_generation_prompt=True)
    inputs = dict(processor(text=[start], images=[Image.fromarray(picture)], return_tensors="pt"))
    length = int(inputs["input_ids"].shape[1])
    further = {"input_ids": torch.tensor([list(answer)])}
    further["attention_mask"] = torch.ones_like(further["input_ids"])
    for name, value in further.items():
        inputs[name] = torch.cat([inputs[name], value], dim=1)
    if "mm_token_type_ids" in inputs:  # 0 is text
        kinds = inputs["mm_token_type_ids"]
        inputs["mm_token_type_ids"] = torch.cat([kinds, kinds.new_zeros(1, len(answer))], dim=1)
    return inputs, length

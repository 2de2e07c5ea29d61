"""A frozen SAM that makes masks of boxes and points which a language model writes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgrpo.errors import UsageError
from medgrpo.pictures import image_of

if TYPE_CHECKING:
    from torch import Tensor

    from medgrpo.rewards.mask_prompts import Prompt

SEEN = 8
"""Pictures whose features are kept: all completions of a group ask of one."""


class FrozenSam:
    """SAM 2, or SAM 3's tracker, opened at its first mask; each process that is handed one opens its own.

    Args:
        path: model folder or hub name.
        dtype: auto (bfloat16 where the GPU has it), float32, bfloat16 or float16.
    Raises:
        UsageError: the folder holds no SAM; of a hub name that is seen at its first mask.
    """

    def __init__(self, path: str, dtype: str = "auto") -> None:
        from medgrpo.files import read_json
        from medgrpo.models.folders import is_hub_name
        from medgrpo.segmentation.segmenters import SAMS

        stored = read_json(Path(path).expanduser() / "config.json")
        if stored.get("model_type") not in SAMS and (Path(path).exists() or not is_hub_name(path)):
            raise _no_sam(path)
        self.path, self.dtype = path, dtype
        self._model: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """What a worker is sent: not the weights."""
        return {**self.__dict__, "_model": None}

    def mask(self, picture: str, prompts: Sequence[Prompt], shape: tuple[int, int]) -> NDArray[np.bool_]:
        """The masks of all prompts as one, (height, width); empty without any.

        Args:
            picture: file of the picture.
            prompts: in pixels of that picture.
            shape: height and width that the mask is wanted in, in pixels: the picture's.
        """
        import torch

        found: NDArray[np.bool_] = np.zeros(shape, dtype=bool)
        if not prompts:
            return found
        model = self._opened()
        side = _side(model)
        features = _features(self, picture)
        scale = (side / shape[1], side / shape[0])
        with torch.no_grad():
            for prompt in prompts:
                raw = model(
                    image_embeddings=features, multimask_output=False, **_inputs(prompt, scale, model)
                )
                found |= _at(raw.pred_masks[:, 0, 0], side, shape)
        return found

    def _opened(self) -> Any:
        if self._model is None:
            import torch

            from medgrpo.segmentation.segmenters import SamSegmenter, load_segmenter

            segmenter = load_segmenter(self.path, dtype=self.dtype)
            if not isinstance(segmenter, SamSegmenter):
                raise _no_sam(self.path)
            self._model = segmenter.model.requires_grad_(False)
            if torch.cuda.is_available():
                self._model.to(torch.device("cuda", torch.cuda.current_device()))
        return self._model


def _no_sam(path: str) -> UsageError:
    return UsageError(
        f"{path} is no SAM: it takes no boxes and points",
        expected="a folder or hub name of SAM 2 or of SAM 3's tracker, such as facebook/sam2.1-hiera-large",
    )


@lru_cache(maxsize=SEEN)
def _features(sam: FrozenSam, picture: str) -> list[Tensor]:
    """SAM's feature maps of a picture file."""
    import torch

    from medgrpo.segmentation.sa2va.inputs import sam_pixels

    model = sam._opened()
    weight = next(model.parameters())
    with image_of(picture) as opened:
        pixels = sam_pixels(np.asarray(opened.convert("RGB")), _side(model))
    with torch.no_grad():
        return list(model.get_image_embeddings(pixels.to(weight.device, weight.dtype)))


def _inputs(prompt: Prompt, scale: tuple[float, float], model: Any) -> dict[str, Tensor]:
    """Points (1, 1, n, 2), labels (1, 1, n) and box (1, 1, 4) in pixels of what SAM sees."""
    import torch

    device = next(model.parameters()).device
    found = {}
    if prompt.points:
        found["input_points"] = torch.tensor(prompt.points, device=device)[None, None] * torch.tensor(
            scale, device=device
        )
        found["input_labels"] = torch.tensor(prompt.labels, dtype=torch.int32, device=device)[None, None]
    if prompt.box is not None:
        found["input_boxes"] = torch.tensor(prompt.box, device=device)[None, None] * torch.tensor(
            scale * 2, device=device
        )
    return found


def _at(logits: Tensor, side: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    from medgrpo.segmentation.sa2va.model import at_size

    return np.asarray((at_size(logits, side, shape)[0] > 0).cpu().numpy())


def _side(model: Any) -> int:
    size = model.prompt_encoder.input_image_size
    return int(size if isinstance(size, int) else size[0])

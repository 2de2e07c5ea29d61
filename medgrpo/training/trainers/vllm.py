"""vLLM as the sampler: image tokens handed over once, and the gap between sampler and trainer watched.

TRL 1.16 hands a colocated vLLM prompts in which the processor has already repeated the image token, and
vLLM repeats the first of them again: it samples from another prompt than the trainer learns on. Nothing
fails; every importance ratio is 0 and nothing is learned (trl#6294, #6401). So each run of image tokens
is collapsed to what the chat template wrote before vLLM sees it; the trainer keeps the expanded prompt. In server mode TRL
places the image features itself, and the prompt is left alone.

vLLM opens the processor of the model's folder, with that one's picture limits and not the run's: at 1024 px
under a cap of 1024² it saw 1369 image tokens where the trainer saw 1296, a gap of 0.28 per token. So it
gets pictures of the size that the trainer's processor makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from medgrpo.errors import MedgrpoError
from medgrpo.models.coordinates import PictureGrid
from medgrpo.models.image_tokens import ImageFamily, model_size

GAP_KEY = "sampling/sampling_logp_difference/mean"


@dataclass(frozen=True)
class PictureTokens:
    """How a processor writes pictures into a prompt, and how the chat template does, which is what vLLM expects."""

    image: int
    """Id that is repeated, once for each piece of the picture."""
    around: tuple[int, int] | None = None
    """Ids that the processor, and not the template, puts before and after the run (InternVL)."""
    processor: Any = None
    """Set where line breaks that the processor adds merge with those beside them into other tokens (Gemma-3): such
    prompts are taken back to the template's text."""

    def collapsed(self, prompt_ids: Sequence[int], images: int) -> list[int]:
        """The prompt with each picture as the template writes it.

        Args:
            prompt_ids: the processor's ids.
            images: pictures of the prompt.
        Raises:
            MedgrpoError: there are not as many pictures in it (a model family that writes them otherwise).
        """
        if self.processor is not None:
            return self._from_text(prompt_ids, images)
        return collapse_image_tokens(prompt_ids, self.image, images, self.around)

    def _from_text(self, prompt_ids: Sequence[int], images: int) -> list[int]:
        tokenizer, sequence = self.processor.tokenizer, self.processor.full_image_sequence
        text = tokenizer.decode(prompt_ids, skip_special_tokens=False)
        encoded = tokenizer(text, add_special_tokens=False)["input_ids"]
        if text.count(sequence) != images or list(encoded) != list(prompt_ids):
            raise _other_prompt(images, text.count(sequence))
        template = text.replace(sequence, self.processor.boi_token)
        return list(tokenizer(template, add_special_tokens=False)["input_ids"])


def picture_tokens(model: Any, processor: Any) -> PictureTokens | None:
    """How this model's pictures stand in its prompts; None for a text model."""
    image = image_token_of(model)
    if image is None:
        return None
    if hasattr(processor, "full_image_sequence"):
        return PictureTokens(image, processor=processor)
    around = (
        getattr(processor, "start_image_token_id", None),
        getattr(processor, "end_image_token_id", None),
    )
    return PictureTokens(image, None if None in around else (int(around[0]), int(around[1])))  # type: ignore[arg-type]


def collapse_image_tokens(
    prompt_ids: Sequence[int], image_token: int, images: int, around: tuple[int, int] | None = None
) -> list[int]:
    """The prompt with each run of the image token as one token.

    Args:
        prompt_ids: the processor's ids, one run of `image_token` for each picture.
        images: pictures of the prompt.
        around: ids before and after each run that go with it.
    Raises:
        MedgrpoError: there are not as many runs as pictures (a model family that writes them otherwise).
    """
    collapsed: list[int] = []
    for place, token in enumerate(prompt_ids):
        if token != image_token:
            is_end = around is not None and token == around[1] and collapsed[-1:] == [image_token]
            if not is_end:
                collapsed.append(token)
        elif place == 0 or prompt_ids[place - 1] != image_token:
            if around is not None and collapsed[-1:] == [around[0]]:
                collapsed.pop()
            collapsed.append(token)
    runs = collapsed.count(image_token)
    if runs != images:
        raise _other_prompt(images, runs)
    return collapsed


def _other_prompt(images: int, runs: int) -> MedgrpoError:
    return MedgrpoError(
        f"a prompt with {images} pictures has {runs} runs of image tokens; vLLM would see another prompt",
        hint="--set rollout.engine=transformers, or --vllm server",
    )


def prompts_for_vllm(
    prompt_ids: Sequence[Sequence[int]],
    images: Sequence[Sequence[Any] | None] | None,
    pictures: PictureTokens | None,
) -> list[list[int]]:
    """Every prompt as a colocated vLLM expects it; prompts without pictures are left as they are."""
    if images is None or pictures is None:
        return [list(ids) for ids in prompt_ids]
    return [
        pictures.collapsed(ids, len(shown)) if shown else list(ids)
        for ids, shown in zip(prompt_ids, images, strict=True)
    ]


def pictures_for_vllm(
    images: Sequence[Sequence[Any] | None] | None, processor: Any
) -> Sequence[Sequence[Any] | None] | None:
    """The pictures at the size at which the trainer's processor sees them, so that vLLM's does not resize.

    Qwen-VL's processors scale by area, InternVL's to a grid of tiles; both by a limit that a run sets. A picture
    of exactly that size stays as it is under any larger limit.
    """
    image_processor: Any = getattr(processor, "image_processor", None)
    size_of = _seen_size(image_processor)
    if images is None or size_of is None:
        return images

    def resized(picture: Any) -> Any:
        size = size_of(*picture.size)
        return (
            picture if size == picture.size else picture.resize(size, resample=3)
        )  # 3: bicubic, as the processor

    return [pictures and [resized(picture) for picture in pictures] for pictures in images]


def _seen_size(image_processor: Any) -> Callable[[int, int], tuple[int, int]] | None:
    """(width, height) → that of the picture as the model sees it; None where no limit of a run decides it."""
    limits = dict(getattr(image_processor, "size", None) or {})
    if {"shortest_edge", "longest_edge"} <= set(limits):
        factor = image_processor.patch_size * image_processor.merge_size
        return PictureGrid(factor, limits["shortest_edge"], limits["longest_edge"]).size
    if hasattr(image_processor, "max_patches"):
        side, most = limits["height"], image_processor.max_patches
        family = ImageFamily("tiles", "tiles", 1, 1, tile_px=side, max_tiles=most)
        return lambda width, height: model_size(width, height, family)
    return None


def image_token_of(model: Any) -> int | None:
    """The id that stands for a picture in the model's prompts; None for a text model."""
    config = model.config
    for name in ("image_token_id", "image_token_index"):
        if getattr(config, name, None) is not None:
            return int(getattr(config, name))
    return None


def check_gap(gap: float | None, limit: float) -> None:
    """Stop when sampler and trainer disagree: what is learned then is not what was sampled.

    Args:
        gap: mean |Δ log probability| per token of the last batch; None where none was measured.
        limit: `vllm.max_logprob_gap`.
    Raises:
        MedgrpoError: the gap is above the limit.
    """
    if gap is not None and gap > limit:
        raise MedgrpoError(
            f"vLLM and the trainer differ by {gap:.2f} per token (mean |Δ log probability|); "
            f"above {limit:g} nothing is learned",
            expected="about 0.03 in bfloat16",
            hint="--set rollout.engine=transformers; or check that both run the same model, type and prompt "
            "(vllm.max_logprob_gap sets the limit)",
        )

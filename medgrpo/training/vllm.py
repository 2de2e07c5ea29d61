"""vLLM as the sampler: image tokens handed over once, and the gap between sampler and trainer watched.

TRL 1.16 hands a colocated vLLM prompts in which the processor has already repeated the image token, and
vLLM repeats the first of them again: it samples from another prompt than the trainer learns on. Nothing
fails; every importance ratio is 0 and nothing is learned (trl#6294, #6401). So each run of image tokens
is collapsed to one before vLLM sees it; the trainer keeps the expanded prompt. Server mode places image
features itself and is left alone.

vLLM opens the processor of the model's folder, with that one's picture limits and not the run's: at 1024 px
under a cap of 1024² it saw 1369 image tokens where the trainer saw 1296, a gap of 0.28 per token. So it
gets pictures of the size that the trainer's processor makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medgrpo.errors import MedgrpoError
from medgrpo.models.image_tokens import smart_resize

GAP_KEY = "sampling/sampling_logp_difference/mean"


def collapse_image_tokens(prompt_ids: Sequence[int], image_token: int, images: int) -> list[int]:
    """The prompt with each run of the image token as one token.

    Args:
        prompt_ids: the processor's ids, one run of `image_token` for each picture.
        images: pictures of the prompt.
    Raises:
        MedgrpoError: there are not as many runs as pictures (a model family that writes them otherwise).
    """
    collapsed = [
        token
        for place, token in enumerate(prompt_ids)
        if token != image_token or place == 0 or prompt_ids[place - 1] != image_token
    ]
    runs = collapsed.count(image_token)
    if runs != images:
        raise MedgrpoError(
            f"a prompt with {images} pictures has {runs} runs of image tokens; vLLM would see another prompt",
            hint="--set rollout.engine=transformers, or --vllm server",
        )
    return collapsed


def prompts_for_vllm(
    prompt_ids: Sequence[Sequence[int]],
    images: Sequence[Sequence[Any] | None] | None,
    image_token: int | None,
) -> list[list[int]]:
    """Every prompt as a colocated vLLM expects it; prompts without pictures are left as they are."""
    if images is None or image_token is None:
        return [list(ids) for ids in prompt_ids]
    return [
        collapse_image_tokens(ids, image_token, len(pictures)) if pictures else list(ids)
        for ids, pictures in zip(prompt_ids, images, strict=True)
    ]


def pictures_for_vllm(
    images: Sequence[Sequence[Any] | None] | None, processor: Any
) -> Sequence[Sequence[Any] | None] | None:
    """The pictures at the size at which the trainer's processor sees them, so that vLLM's does not resize.

    Only processors that scale by area (the Qwen-VL family) have a limit that a run sets.
    """
    image_processor: Any = getattr(processor, "image_processor", None)
    limits = dict(getattr(image_processor, "size", None) or {})
    if images is None or not {"shortest_edge", "longest_edge"} <= set(limits):
        return images
    factor = image_processor.patch_size * image_processor.merge_size

    def resized(picture: Any) -> Any:
        size = smart_resize(
            *picture.size,
            factor=factor,
            min_pixels=limits["shortest_edge"],
            max_pixels=limits["longest_edge"],
        )
        return (
            picture if size == picture.size else picture.resize(size, resample=3)
        )  # 3: bicubic, as the processor

    return [pictures and [resized(picture) for picture in pictures] for pictures in images]


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

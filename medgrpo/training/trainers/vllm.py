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

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError
from medgrpo.models.families import family_of_processor, image_token_of
from medgrpo.models.picture_tokens import PictureTokens

if TYPE_CHECKING:
    from medgrpo.training.watch.phases import PhaseClock

GAP_KEY = "sampling/sampling_logp_difference/mean"


def picture_tokens(model: Any, processor: Any) -> PictureTokens | None:
    """How this model's pictures stand in its prompts; None for a text model."""
    image = image_token_of(model)
    return None if image is None else family_of_processor(processor).picture_tokens(image, processor)


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
    size_of = family_of_processor(processor).seen_size(getattr(processor, "image_processor", None))
    if images is None or size_of is None:
        return images

    def resized(picture: Any) -> Any:
        size = size_of(*picture.size)
        return (
            picture if size == picture.size else picture.resize(size, resample=3)
        )  # 3: bicubic, as the processor

    return [pictures and [resized(picture) for picture in pictures] for pictures in images]


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


@contextmanager
def prefill_apart(llm: Any, clock: PhaseClock) -> Iterator[None]:
    """Inside, the time until every request has its first token counts as prefill, vLLM's own work on pictures included.

    Args:
        llm: a colocated vLLM; where it does not say how far its requests are, all is rollout.
    """
    engine = llm.llm_engine
    requests = getattr(getattr(engine, "output_processor", None), "request_states", None)
    if requests is None:
        yield
        return
    step, is_reading = engine.step, True

    def watched() -> Any:
        nonlocal is_reading
        found = step()
        if is_reading and not any(getattr(one, "is_prefilling", False) for one in requests.values()):
            is_reading = False
            clock.turn_to("rollout")
        return found

    engine.step = watched
    try:
        with clock.phase("prefill"):
            yield
    finally:
        engine.step = step

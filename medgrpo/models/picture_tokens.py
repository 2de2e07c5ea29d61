"""Pictures in a prompt: as the processor writes them, and taken back to what the chat template wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medgrpo.errors import MedgrpoError


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
        hint="train with --set rollout.engine=transformers, or --vllm server",
    )

"""What was sampled for a batch of prompts, and how single groups of it are exchanged.

TRL 1.16 hands a rollout about as the tuple that `GRPOTrainer._generate` returns; here it has names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Rollout:
    """Completions of one process, in the order of its prompts. Every list has one entry per completion."""

    prompt_ids: list[list[int]]
    """As the trainer sees the prompt: image tokens expanded."""
    completion_ids: list[list[int]]
    completions: list[Any]
    """Chat messages, or strings."""
    logprobs: list[list[float]] | None
    """Of the sampler, per token; None where Transformers generates."""
    images: list[list[Any] | None] | None
    """Pictures of each prompt; None where no prompt has one."""

    @classmethod
    def of(cls, generated: Sequence[Any]) -> Rollout:
        """From what TRL's `_generate` returns; tools and custom rollouts are not used here."""
        prompt_ids, completion_ids, _, completions, logprobs, _, images, _ = generated
        return cls(prompt_ids, completion_ids, completions, logprobs, images)

    def as_trl(self) -> tuple[Any, ...]:
        """As TRL's `_generate` returns it, save that a prompt without picture beside others has an empty list.

        TRL 1.16 says None there, which it hands to the processor, and no processor takes it.
        """
        images = None if self.images is None else [pictures or [] for pictures in self.images]
        return (
            self.prompt_ids,
            self.completion_ids,
            None,
            self.completions,
            self.logprobs,
            {},
            images,
            [],
        )

    def with_places(self, places: Sequence[int], other: Rollout) -> Rollout:
        """This rollout with the first `len(places)` completions of another at these places."""

        def exchanged(mine: list[Any], theirs: list[Any]) -> list[Any]:
            result = list(mine)
            for source, place in enumerate(places):
                result[place] = theirs[source]
            return result

        images = exchanged(
            self.images or [None] * len(self.completions), other.images or [None] * len(other.completions)
        )
        return replace(
            self,
            prompt_ids=exchanged(self.prompt_ids, other.prompt_ids),
            completion_ids=exchanged(self.completion_ids, other.completion_ids),
            completions=exchanged(self.completions, other.completions),
            logprobs=None
            if self.logprobs is None or other.logprobs is None
            else exchanged(self.logprobs, other.logprobs),
            images=images if any(images) else None,
        )


def prompts_of(examples: Sequence[dict[str, Any]]) -> list[Any]:
    """The prompts with their pictures in the messages, as TRL 1.16 makes them before it generates."""
    from trl.data_utils import prepare_multimodal_messages

    if not any(example.get("images") for example in examples):
        return [example["prompt"] for example in examples]
    return [
        prepare_multimodal_messages(example["prompt"], images=example.get("images") or [])
        for example in examples
    ]

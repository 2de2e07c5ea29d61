"""What was sampled for a batch of prompts, and how single groups of it are exchanged.

TRL 1.16 hands a rollout about as the tuple that `GRPOTrainer._generate` returns; here it has names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from medgrpo.engine.shown import Shown


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
    shown: list[Shown]
    """Prompt and pictures of each; the completions of a group share one."""

    @classmethod
    def of(cls, generated: Sequence[Any], shown: list[Shown]) -> Rollout:
        """From what TRL's `_generate` returns; tools and custom rollouts are not used here."""
        prompt_ids, completion_ids, _, completions, logprobs, _, _, _ = generated
        return cls(prompt_ids, completion_ids, completions, logprobs, shown)

    def as_trl(self) -> tuple[Any, ...]:
        """As TRL's `_generate` returns it, without pictures: those are kept here, once for a group.

        TRL would process every completion's copy again, and carry as many copies of the pixels.
        """
        return (
            self.prompt_ids,
            self.completion_ids,
            None,
            self.completions,
            self.logprobs,
            {},
            None,
            [],
        )

    def with_places(self, places: Sequence[int], other: Rollout) -> Rollout:
        """This rollout with the first `len(places)` completions of another at these places."""

        def exchanged(mine: list[Any], theirs: list[Any]) -> list[Any]:
            result = list(mine)
            for source, place in enumerate(places):
                result[place] = theirs[source]
            return result

        return replace(
            self,
            prompt_ids=exchanged(self.prompt_ids, other.prompt_ids),
            completion_ids=exchanged(self.completion_ids, other.completion_ids),
            completions=exchanged(self.completions, other.completions),
            logprobs=None
            if self.logprobs is None or other.logprobs is None
            else exchanged(self.logprobs, other.logprobs),
            shown=exchanged(self.shown, other.shown),
        )


def group_numbers(shown: Sequence[Shown]) -> list[int]:
    """Number of each completion's prompt: completions with one prompt share the very same entry."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(id(one), len(numbers)) for one in shown]

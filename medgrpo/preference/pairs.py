"""Choose preference pairs from scored completions of the same prompt."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Candidate:
    """One completion of a prompt and the reward that it earned.

    Attributes:
        prompt_id: `id` of the row in the prepared dataset.
        source: where it came from: `run:stage:step`, a model, or a file.
    """

    prompt_id: str
    text: str
    reward: float
    source: str


@dataclass(frozen=True)
class Pair:
    """A better and a worse completion of one prompt."""

    prompt_id: str
    chosen: Candidate
    rejected: Candidate

    @property
    def margin(self) -> float:
        """Reward of the chosen minus that of the rejected one."""
        return self.chosen.reward - self.rejected.reward


@dataclass
class PairSet:
    """Pairs, and the prompts or candidates that gave none, by reason."""

    pairs: list[Pair]
    dropped: Counter[str] = field(default_factory=Counter)

    def margin_quartiles(self) -> list[float]:
        """25 %, 50 % and 75 % quantile of the margin; empty without pairs."""
        if not self.pairs:
            return []
        return [
            float(value) for value in np.quantile([pair.margin for pair in self.pairs], [0.25, 0.5, 0.75])
        ]

    def length_bias(self) -> dict[str, float | None]:
        """How much longer the chosen texts are: mean difference in characters, and the share of longer ones.

        A share far from one half lets DPO learn length instead of content (Park et al. 2024, arXiv:2403.19159).
        """
        if not self.pairs:
            return {"mean_characters": None, "chosen_longer": None}
        differences = np.array([len(pair.chosen.text) - len(pair.rejected.text) for pair in self.pairs])
        longer = float((differences > 0).mean() + 0.5 * (differences == 0).mean())
        return {"mean_characters": float(differences.mean()), "chosen_longer": longer}


def choose_pairs(candidates: Iterable[Candidate], *, margin: float, per_prompt: int) -> PairSet:
    """The pairs with the widest margin of each prompt: best with worst, second best with second worst, ….

    The same text counts once per prompt, with its mean reward, so that a frequent answer is not paired with
    itself.

    Args:
        margin: least difference of rewards.
        per_prompt: most pairs of one prompt; no completion is used twice.
    """
    by_prompt: dict[str, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    result = PairSet([])
    for candidate in candidates:
        if not np.isfinite(candidate.reward):
            result.dropped["completion without a reward"] += 1
        elif not candidate.text.strip():
            result.dropped["empty completion"] += 1
        else:
            by_prompt[candidate.prompt_id][candidate.text.strip()].append(candidate)
    for prompt_id, texts in by_prompt.items():
        ranked = sorted((_mean(same) for same in texts.values()), key=lambda each: (-each.reward, each.text))
        found = [
            Pair(prompt_id, better, worse)
            for better, worse in zip(ranked, reversed(ranked), strict=True)
            if better.reward - worse.reward >= max(margin, 1e-9)
        ][: min(per_prompt, len(ranked) // 2)]
        if not found:
            result.dropped[_why_none(ranked)] += 1
        result.pairs += found
    return result


def _mean(same: Sequence[Candidate]) -> Candidate:
    reward = float(np.mean([candidate.reward for candidate in same]))
    return Candidate(same[0].prompt_id, same[0].text, reward, same[0].source)


def _why_none(ranked: Sequence[Candidate]) -> str:
    if len(ranked) < 2:
        return "prompt with a single distinct completion"
    return "prompt without spread" if ranked[0].reward == ranked[-1].reward else "prompt below the margin"

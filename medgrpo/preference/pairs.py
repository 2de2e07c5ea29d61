"""Choose preference pairs from scored completions of the same prompt, and count what was not chosen."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from medgrpo.data.marks import END, SPECIAL
from medgrpo.errors import UsageError

Choice = Literal["widest", "nearest", "hard"]
CHOICES: dict[str, str] = {
    "widest": "best with worst, second best with second worst",
    "nearest": "best with the best one that is below the margin",
    "hard": "best with a wrong answer in the right form, one on the wrong side first",
}
Truncated = Literal["keep", "avoid", "drop"]
ROUNDING = 1e-9
"""Of sums of rewards: .9 and .8 differ by .1."""
_RULE = re.compile(r"(chosen|rejected):([\w./:-]+?)(>=|<=|>|<)(-?\d*\.?\d+)")
_WORDS = re.compile(r"[^\W_]+|(?<!\w)[-+−±](?=\d)|[<>≤≥](?=\s*\d)")
"""Words and numbers, with what makes another number of them."""
_KEPT_FORMS = ("<super>", "<sub>", "<fraction>")
"""Compatible forms that say something else: 10² is not 102."""
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


@dataclass(frozen=True)
class Candidate:
    """One completion of a prompt and the reward that it earned.

    Attributes:
        prompt_id: `id` of the row in the prepared dataset.
        source: where it came from: `run:stage:step`, a model, or a file.
        tokens: how many it has, where known.
        truncated: whether it was cut off at the limit; None where not known.
        step: training step that sampled it.
        components: what each reward gave it.
    """

    prompt_id: str
    text: str
    reward: float
    source: str
    tokens: int | None = None
    truncated: bool | None = None
    step: int | None = None
    components: Mapping[str, float | None] = field(default_factory=dict, hash=False)


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


@dataclass(frozen=True)
class Rule:
    """What a component must have given: `chosen:answer_match>=1`."""

    side: str
    component: str
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Rule:
        """The rule that the text states.

        Raises:
            UsageError: it is none.
        """
        match = _RULE.fullmatch(text.replace(" ", ""))
        if match is None:
            raise UsageError(
                f"{text!r} is no rule",
                expected="chosen or rejected, a component, a bound: chosen:answer_match>=1",
            )
        return cls(match[1], match[2], match[3], float(match[4]))

    def holds(self, candidate: Candidate) -> bool:
        """Whether the component judged the candidate, and as the rule says."""
        value = candidate.components.get(self.component)
        if value is None or not np.isfinite(value):
            return False
        return {
            ">=": value >= self.bound,
            "<=": value <= self.bound,
            ">": value > self.bound,
            "<": value < self.bound,
        }[self.sign]


@dataclass
class PairSet:
    """Pairs, and the prompts or candidates that gave none, by reason."""

    pairs: list[Pair]
    dropped: Counter[str] = field(default_factory=Counter)
    completions: Counter[str] = field(default_factory=Counter)
    """What became of every completion read; the values add up to their number."""
    prompts: Counter[str] = field(default_factory=Counter)
    """What became of every prompt; the values add up to their number."""

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

    def truncation_bias(self) -> dict[str, float | None]:
        """Share of chosen and of rejected completions that were cut off, among those where it is known.

        Where the rejected ones are cut off far more often, DPO learns to stop rather than to be right.
        """

        def share(found: list[bool | None]) -> float | None:
            known = [one for one in found if one is not None]
            return sum(known) / len(known) if known else None

        return {
            "chosen": share([pair.chosen.truncated for pair in self.pairs]),
            "rejected": share([pair.rejected.truncated for pair in self.pairs]),
        }


def choose_pairs(
    candidates: Iterable[Candidate],
    *,
    margin: float,
    per_prompt: int,
    choose: str = "widest",
    truncated: Truncated = "keep",
    rules: Sequence[Rule] = (),
    steps: tuple[int, int] | None = None,
) -> PairSet:
    """Pairs of completions of the same prompt whose rewards differ by the margin.

    The same text counts once per prompt, with its mean reward, so that a frequent answer is not paired with
    itself; texts that differ in case, spaces and punctuation alone are not paired either.

    Args:
        margin: least difference of rewards.
        per_prompt: most pairs of one prompt; no completion is used twice.
        choose: a key of `CHOICES`.
        truncated: completions that were cut off are taken like others (keep), chosen or rejected only where a prompt has no
            whole one for it (avoid), or left out (drop).
        rules: what components must have given the chosen or the rejected one.
        steps: first and last training step whose completions count.
    Raises:
        UsageError: a rule names a component that no completion has, or hard negatives are asked for without components.
    """
    result = PairSet([])
    by_prompt = _usable(candidates, result, truncated, steps)
    _check_rules(by_prompt, rules, choose)
    for prompt_id, texts in by_prompt.items():
        ranked = sorted((_mean(same) for same in texts.values()), key=lambda each: (-each.reward, each.text))
        pool = _Pool(
            ranked, max(margin, 2 * ROUNDING), per_prompt, rules, avoids_truncated=truncated == "avoid"
        )
        found = [Pair(prompt_id, better, worse) for better, worse in pool.pairs(choose)]
        if not found:
            reason = pool.why_none()
            result.dropped[reason] += 1
            result.prompts[reason] += 1
        else:
            result.prompts["in pairs"] += 1
        repeats = sum(len(same) - 1 for same in texts.values())
        result.completions["repeats of another"] += repeats
        result.completions["in pairs"] += 2 * len(found)
        result.completions["not chosen"] += len(ranked) - 2 * len(found)
        result.pairs += found
    return result


def _usable(
    candidates: Iterable[Candidate], result: PairSet, truncated: Truncated, steps: tuple[int, int] | None
) -> dict[str, dict[str, list[Candidate]]]:
    """Prompt → text → its candidates; the others are counted, and a prompt that lost all of its own is too."""
    by_prompt: dict[str, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    seen: set[str] = set()
    for given in candidates:
        candidate = replace(given, text=END.sub("", given.text)) if given.text.endswith(">") else given
        seen.add(candidate.prompt_id)
        reason = _unusable(candidate, truncated, steps)
        if reason:
            result.dropped[reason] += 1
            result.completions[reason] += 1
        else:
            by_prompt[candidate.prompt_id][candidate.text.strip()].append(candidate)
    if lost := len(seen - set(by_prompt)):
        result.prompts["prompt without a usable completion"] += lost
    return by_prompt


def _unusable(candidate: Candidate, truncated: Truncated, steps: tuple[int, int] | None) -> str | None:
    if not np.isfinite(candidate.reward):
        return "completion without a reward"
    if not candidate.text.strip():
        return "empty completion"
    if SPECIAL.search(candidate.text):
        return "completion with the mark of a turn or a picture"
    if truncated == "drop" and candidate.truncated:
        return "completion cut off"
    if steps and not (candidate.step is not None and steps[0] <= candidate.step <= steps[1]):
        return "completion of another step"
    return None


def _check_rules(
    by_prompt: Mapping[str, Mapping[str, Sequence[Candidate]]], rules: Sequence[Rule], choose: str
) -> None:
    known = {
        name
        for texts in by_prompt.values()
        for same in texts.values()
        for one in same
        for name in one.components
    }
    wanted = [rule.component for rule in rules] + (["format", "answer_match"] if choose == "hard" else [])
    for name in wanted:
        if by_prompt and name not in known:
            raise UsageError(
                f"no completion has a component {name!r}",
                expected=f"one of {', '.join(sorted(known))}"
                if known
                else "completions stored with their components",
            )


@dataclass
class _Pool:
    """The distinct completions of one prompt, best first."""

    ranked: Sequence[Candidate]
    margin: float
    per_prompt: int
    rules: Sequence[Rule]
    avoids_truncated: bool
    _alike: int = 0
    _off_rule: int = 0
    _cut: int = 0

    def pairs(self, choose: str) -> Iterator[tuple[Candidate, Candidate]]:
        """The chosen and the rejected ones, as the choice orders them."""
        better = [one for one in self.ranked if self._is_allowed(one, "chosen")]
        if self.avoids_truncated and not all(one.truncated for one in self.ranked):
            self._cut = sum(bool(one.truncated) for one in better)
            better = [one for one in better if not one.truncated]
        worse = self._ordered([one for one in self.ranked if self._is_allowed(one, "rejected")], choose)
        self._off_rule = 2 * len(self.ranked) - len(better) - self._cut - len(worse) if self.rules else 0
        used: set[int] = set()
        for chosen in better:
            if id(chosen) in used or len(used) >= 2 * self.per_prompt:
                continue
            rejected = next(
                (one for one in worse if id(one) not in used and self._is_pair(chosen, one, choose)), None
            )
            if rejected is not None:
                used |= {id(chosen), id(rejected)}
                yield chosen, rejected

    def _ordered(self, worse: list[Candidate], choose: str) -> list[Candidate]:
        ordered = worse if choose == "nearest" else worse[::-1]
        if choose == "hard":  # the wrong side first: nothing else in the answer is wrong
            best = next(iter(self.ranked))
            ordered = sorted(ordered, key=lambda one: hardness(best, one) != "wrong side")
        return sorted(ordered, key=lambda one: bool(one.truncated)) if self.avoids_truncated else ordered

    def _is_pair(self, chosen: Candidate, rejected: Candidate, choose: str) -> bool:
        if chosen.reward - rejected.reward < self.margin - ROUNDING:
            return False
        if are_alike(chosen.text, rejected.text):
            self._alike += 1
            return False
        return choose != "hard" or hardness(chosen, rejected) is not None

    def _is_allowed(self, candidate: Candidate, side: str) -> bool:
        return all(rule.holds(candidate) for rule in self.rules if rule.side == side)

    def why_none(self) -> str:
        """Why this prompt gave no pair."""
        if len(self.ranked) < 2:
            return "prompt with a single distinct completion"
        if self.ranked[0].reward == self.ranked[-1].reward:
            return "prompt without spread"
        if self._off_rule:
            return "prompt outside the rules"
        if self.ranked[0].reward - self.ranked[-1].reward < self.margin - ROUNDING:
            return "prompt below the margin"
        if self._cut and not self._alike:
            return "prompt whose better completions were cut off"
        return "prompt with near-duplicates only" if self._alike else "prompt without a pair of this kind"


def are_alike(one: str, other: str) -> bool:
    """Whether two texts differ in case, spaces, punctuation and Unicode form alone."""
    words, others = (_WORDS.findall(_one_form(text)) for text in (one, other))
    return words == others and (bool(words) or _one_form(one).split() == _one_form(other).split())


def _one_form(text: str) -> str:
    """The text in one Unicode form and case, without characters that cannot be seen."""
    seen = "".join(
        each
        if unicodedata.decomposition(each).startswith(_KEPT_FORMS)
        else unicodedata.normalize("NFKC", each)
        for each in unicodedata.normalize("NFC", text)
        if unicodedata.category(each) != "Cf"
    )
    return unicodedata.normalize("NFC", seen.casefold())


def hardness(chosen: Candidate, rejected: Candidate) -> str | None:
    """Why a rejected completion is hard: `wrong side` (the chosen answer but for left and right), `right form, wrong
    answer`; None where it is neither."""
    from medgrpo.data.augment import swap_sides

    ours, theirs = answer_of(chosen.text), answer_of(rejected.text)
    if ours != theirs and are_alike(swap_sides(theirs), ours):
        return "wrong side"
    form, right = (rejected.components.get(name) for name in ("format", "answer_match"))
    return "right form, wrong answer" if (form or 0) >= 1 and right is not None and right < 0.5 else None


def answer_of(text: str) -> str:
    """What stands between the answer tags; without them the whole text."""
    match = _ANSWER.search(text)
    return (match[1] if match else text).strip()


def balance_length(pairs: PairSet, *, most: float = 0.6) -> PairSet:
    """Fewer pairs, so that the chosen text is the longer one in at most `most` of them, and in at least 1 - `most`.

    Of the commoner kind those with the largest difference of length go first.
    """
    longer = [pair for pair in pairs.pairs if len(pair.chosen.text) > len(pair.rejected.text)]
    shorter = [pair for pair in pairs.pairs if len(pair.chosen.text) < len(pair.rejected.text)]
    equal = len(pairs.pairs) - len(longer) - len(shorter)
    many, few = (longer, len(shorter)) if len(longer) > len(shorter) else (shorter, len(longer))
    rest = few + equal
    # (many + equal / 2) / (many + rest) <= most
    allowed = int((most * rest - equal / 2) / (1 - most) + 1e-9)
    if not rest or len(many) <= allowed:
        return pairs
    many = sorted(many, key=lambda pair: -abs(len(pair.chosen.text) - len(pair.rejected.text)))
    return without(pairs, many[: len(many) - max(allowed, 0)], "pair left out to balance lengths")


def balance_types(pairs: PairSet, type_of: Mapping[str, str]) -> PairSet:
    """Fewer pairs, so that no type of question has more than an even share; the widest margins stay.

    Args:
        type_of: prompt → its type.
    """
    by_type: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs.pairs:
        by_type[type_of.get(pair.prompt_id, "")].append(pair)
    if len(by_type) < 2:
        return pairs
    share = -(-len(pairs.pairs) // len(by_type))
    over = [
        pair
        for own in by_type.values()
        for pair in sorted(own, key=lambda pair: (-pair.margin, pair.prompt_id))[share:]
    ]
    return without(pairs, over, "pair left out to balance types")


def without(pairs: PairSet, left_out: Sequence[Pair], reason: str) -> PairSet:
    """The set without some of its pairs, counted under the reason."""
    gone = {id(pair) for pair in left_out}
    kept = [pair for pair in pairs.pairs if id(pair) not in gone]
    before = {pair.prompt_id for pair in pairs.pairs}
    lost = len(before) - len({pair.prompt_id for pair in kept})
    count = Counter({reason: len(gone)} if gone else {})
    completions = pairs.completions + Counter({reason: 2 * len(gone)})
    completions.subtract({"in pairs": 2 * len(gone)})
    prompts = pairs.prompts + Counter({reason: lost})
    prompts.subtract({"in pairs": lost})
    return PairSet(kept, pairs.dropped + count, +completions, +prompts)


def best_completions(
    candidates: Iterable[Candidate],
    *,
    threshold: float,
    truncated: Truncated = "drop",
    rules: Sequence[Rule] = (),
    steps: tuple[int, int] | None = None,
) -> tuple[list[Candidate], PairSet]:
    """The best completion of each prompt, where it earned the threshold; equal ones count once.

    Gives the completions and a set without pairs, whose counters say what became of the others.

    Source: rejection sampling (RFT, Yuan et al. 2023, arXiv:2308.01825; RAFT, Dong et al. 2023, arXiv:2304.06767).
    """
    result = PairSet([])
    # What is learned word for word must not be learned to break off.
    by_prompt = _usable(candidates, result, "drop" if truncated == "avoid" else truncated, steps)
    _check_rules(by_prompt, rules, "widest")
    best = []
    for texts in by_prompt.values():
        means = [_mean(same) for same in texts.values()]
        allowed = [one for one in means if all(rule.holds(one) for rule in rules)]
        top = max(allowed, key=lambda one: (one.reward, -len(one.text), one.text), default=None)
        chosen = top is not None and top.reward >= threshold
        reason = (
            "chosen"
            if chosen
            else "prompt outside the rules"
            if top is None
            else "prompt below the threshold"
        )
        result.prompts[reason] += 1
        result.completions["repeats of another"] += sum(len(same) - 1 for same in texts.values())
        result.completions["chosen"] += chosen
        result.completions["not chosen"] += len(means) - chosen
        if chosen and top is not None:
            best.append(top)
        else:
            result.dropped[reason] += 1
    return best, result


def _mean(same: Sequence[Candidate]) -> Candidate:
    """One text, with the mean of what it earned; cut off where it ever was."""
    if len(same) == 1:
        return same[0]
    reward = float(np.mean([candidate.reward for candidate in same]))
    known = [one.truncated for one in same if one.truncated is not None]
    return replace(same[0], reward=reward, truncated=any(known) if known else None)

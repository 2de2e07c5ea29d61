"""The same run with other image sizes, group sizes and engines beside itself, and which of them nothing beats."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

from pydantic import ValidationError

from medgrpo.config.checks import check
from medgrpo.config.sections import RunConfig
from medgrpo.errors import MedgrpoError
from medgrpo.estimate.advice import with_settings
from medgrpo.estimate.estimate import Estimate, Facts, estimate

SIZES = (384, 512, 1024)
GROUPS = (4, 8)
ENGINES = ("transformers", "vllm")


def compare_alternatives(found: Estimate) -> list[dict[str, Any]]:
    """One entry per choice of size, group and engine, the run as it is first: change, hours, s_per_prompt, peak_gib,
    fits, is_this, pareto.

    All rows of the run count as in the headline; what a choice cannot be is left out.
    """
    table = [_entry(found, "as configured", is_this=True)]
    for config, facts, words in _choices(found.config, found.facts, found):
        try:
            check(config, world_size=facts.gpus)
            other = estimate(config, facts)
        except (MedgrpoError, ValidationError):
            continue
        entry = _entry(other, words)
        if _is_same(entry, table[0]):
            if table[0]["change"] == "as configured":
                table[0]["change"] = f"{words} (as configured)"
        elif not any(
            _is_same(entry, earlier) for earlier in table
        ):  # 512 px, where pictures are 512 px as they are
            table.append(entry)
    best = pareto(table)
    return [{**entry, "pareto": number in best} for number, entry in enumerate(table)]


def _choices(config: RunConfig, facts: Facts, found: Estimate) -> Any:
    samples, sees = found.work.method.samples_texts, bool(found.work.shape.vision_layers)
    sizes = [None, *SIZES] if sees else [None]
    groups = GROUPS if found.work.method.samples else (config.rollout.num_generations,)
    engines = ENGINES if samples else (config.rollout.engine,)
    for size, group, engine in product(sizes, groups, engines):
        changed = with_settings(config, {"rollout.num_generations": group, "rollout.engine": engine})
        words = [f"{size} px" if size else "pictures as they are" if sees else ""]
        words += [f"{group} completions"] if found.work.method.samples else []
        words += [engine] if samples else []
        yield changed, (replace(facts, size=size) if size else facts), ", ".join(filter(None, words))


def _entry(found: Estimate, words: str, *, is_this: bool = False) -> dict[str, Any]:
    memory = found.memory
    return {
        "change": words,
        "hours": sum(found.hours),
        "s_per_prompt": found.s_per_prompt,
        "image_tokens": found.work.image_tokens,
        "generations": found.work.generations,
        "peak_gib": memory.peak / 2**30,
        "fits": memory.fits,
        "is_this": is_this,
    }


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two choices come to the same run, whatever they are called."""
    names = ("hours", "s_per_prompt", "image_tokens", "generations", "peak_gib")
    return all(one[name] == other[name] for name in names)


def pareto(table: list[dict[str, Any]]) -> set[int]:
    """Places of the choices that fit and that no other one beats in hours and memory without fewer pixels or completions."""

    def beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
        no_worse = (
            one["hours"] <= other["hours"]
            and one["peak_gib"] <= other["peak_gib"]
            and one["image_tokens"] >= other["image_tokens"]
            and one["generations"] >= other["generations"]
        )
        is_better: bool = one["hours"] < other["hours"] or one["peak_gib"] < other["peak_gib"]
        return bool(no_worse) and is_better

    fitting = [number for number, entry in enumerate(table) if entry["fits"]]
    return {
        number
        for number in fitting
        if not any(beats(table[other], table[number]) for other in fitting if other != number)
    }

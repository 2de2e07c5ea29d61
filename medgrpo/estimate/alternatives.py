"""The same run with other image sizes, group sizes and engines, side by side."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

from medgrpo.config.sections import RunConfig
from medgrpo.estimate.estimate import Facts, estimate

SIZES = (384, 512, 1024)
GROUPS = (4, 8)
ENGINES = ("transformers", "vllm")


def compare_alternatives(config: RunConfig, facts: Facts) -> list[dict[str, Any]]:
    """One entry per choice of size, group and engine: hours, s_per_prompt, peak_gib, fits."""
    table = []
    for size, group, engine in product(SIZES, GROUPS, ENGINES):
        rollout = config.rollout.model_copy(update={"num_generations": group, "engine": engine})
        document = estimate(
            config.model_copy(update={"rollout": rollout}), replace(facts, size=size)
        ).document()
        table.append(
            {
                "change": f"{size} px, {group} completions, {engine}",
                "hours": document["hours"],
                "s_per_prompt": document["s_per_prompt"],
                "image_tokens": document["image_tokens"],
                "peak_gib": document["memory_gib"]["peak"],
                "fits": document["fits"],
            }
        )
    return table

"""`medgrpo.json`, the description beside a stage's weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medgrpo.config.sections import RunConfig
    from medgrpo.models.weights import Weights
    from medgrpo.runs.writer import StageFolder
    from medgrpo.training.run.state import Run
    from medgrpo.training.trainers.policy import Policy


def stage_metadata(
    run: Run, settings: RunConfig, stage: StageFolder, weights: Weights, policy: Policy
) -> dict[str, Any]:
    """`medgrpo.json`: how the weights are to be used, and where they come from."""
    template = run.checks.template
    return {
        "schema_version": 1,
        "base_model": weights.base,
        "revision": _revision(settings, weights, policy),
        "trust_remote_code": settings.model.trust_remote_code,
        "quantized_base": "nf4" if settings.tuning.method == "qlora" else None,
        "adapter_before": weights.adapter,
        "stage": stage.name,
        "method": stage.method,
        "prompt_template": template.to_dict(),
        "tags": list(template.tags),
        "system_prompt": dict(template.system),
        "use_image_title": settings.data.use_image_title,
        "thinking": settings.model.thinking,
        "max_pixels": settings.model.max_pixels,
        "min_pixels": settings.model.min_pixels,
        **policy.coordinates.to_dict(),
        **({} if settings.masks.sam is None else {"masks": {"sam": settings.masks.sam}}),
        "generation": {
            "max_new_tokens": settings.rollout.max_completion_length,
            "temperature": settings.rollout.temperature,
            "top_p": settings.rollout.top_p,
            "top_k": settings.rollout.top_k,
            "min_p": settings.rollout.min_p,
            "repetition_penalty": settings.rollout.repetition_penalty,
        },
        "provenance": {
            "run": run.writer.name,
            "run_folder": run.writer.path.absolute(),
            "data": run.dataset.location,
            "data_hash": run.dataset.info.get("hash"),
            "part_hashes": sorted(run.dataset.hashes - {str(run.dataset.info.get("hash"))}),
            "seed": settings.run.seed,
        },
    }


def _revision(settings: RunConfig, weights: Weights, policy: Policy) -> str | None:
    """What pins a base on the hub: the revision asked for, else the commit that was loaded; None for a folder."""
    if Path(weights.base).is_dir():
        return None
    commit = getattr(policy.model.config, "_commit_hash", None)
    return settings.model.revision or weights.revision or commit

"""Measure a few real training steps on this machine, and scale them to the whole run."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from medgrpo.config.sections import RunConfig
from medgrpo.errors import UsageError
from medgrpo.estimate.estimate import Facts, estimate
from medgrpo.records import json_objects

PROBE_BATCHES = 4
WARM_UP_BATCHES = 1  # the first step compiles kernels and fills caches
LOW, HIGH = 0.85, 1.25  # later steps differ: completions grow or shrink as the model learns


def measure(config: RunConfig, facts: Facts) -> dict[str, Any]:
    """What the estimate's document says differently once a few steps were run.

    Args:
        config: as it would be trained, with the model's and the dataset's real path.

    Raises:
        UsageError: no model or no prepared dataset is named.
    """
    if facts.model is None or facts.data is None:
        raise UsageError(
            "--probe trains a few steps, so it needs a model and a dataset",
            hint="--model MODEL --data DATASET",
        )
    from medgrpo.training.run.train import train
    from medgrpo.training.watch.reporter import SilentReporter

    validation = config.validation.model_copy(update={"before_and_after": False, "steps": 0})
    with tempfile.TemporaryDirectory(prefix="medgrpo-probe-") as folder:
        output = Path(folder) / "run"
        each = estimate(config, facts).work.plan.steps_per_batch
        steps = PROBE_BATCHES * each
        training = config.training.model_copy(update={"max_steps": steps, "save_steps": steps * 10})
        probe = config.model_copy(
            update={
                "training": training,
                "curriculum": config.curriculum.model_copy(update={"by": None}),  # no pass over all rows
                "validation": validation,
                "stages": {},
                "data": config.data.model_copy(update={"path": str(facts.data)}),
                "model": config.model.model_copy(update={"path": facts.model}),
                "logging": config.logging.model_copy(update={"report_to": ()}),
            }
        )
        train(probe, name="probe", reporter=SilentReporter(), output=output, logs=None)
        entries = json_objects(output / "log.jsonl")
        peak = json.loads((output / "training_info.json").read_text(encoding="utf-8")).get("peak_memory_gib")
    by_step = [entry["s_per_prompt"] for entry in entries if "s_per_prompt" in entry]
    # Only the first step of a batch samples: its updates belong together.
    measured = [sum(by_step[start : start + each]) for start in range(0, len(by_step), each)]
    s_per_prompt = median(measured[WARM_UP_BATCHES:] or measured)
    modelled = estimate(config, replace(facts)).document()
    trained = s_per_prompt * modelled["prompts_per_step"] * modelled["steps"] / each
    hours = trained / 3600 + modelled["validation_hours"] + modelled["pass_rate_hours"]
    return {
        "source": "probe",
        "s_per_prompt": s_per_prompt,
        "prompts_per_hour": 3600 / s_per_prompt,
        "hours": hours,
        "hours_low": hours * LOW,
        "hours_high": hours * HIGH,
        "probe": {"steps": len(by_step), "s_per_prompt": measured, "peak_memory_gib": peak},
    }

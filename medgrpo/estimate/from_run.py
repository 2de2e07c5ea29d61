"""A run that was done beside what was estimated of it: seconds by phase, memory, and what made the difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

from medgrpo.config.sections import RunConfig
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.estimate.facts import Facts, Situation, situation_of
from medgrpo.estimate.hardware import CPU, match_card
from medgrpo.estimate.history import remember
from medgrpo.estimate.memory import GIB, Memory
from medgrpo.estimate.time import Phases, phases
from medgrpo.estimate.workload import Workload
from medgrpo.files import foreign_toml, read_json
from medgrpo.foreign import reads
from medgrpo.places import found_place, found_settings
from medgrpo.run_files import log_entries, training_info

NAMES = tuple(Phases().of_the_log())
LEAST_STEPS = 4
"""Steps below which a run says nothing of its pace."""
WORTH_SAYING = 0.1
"""Share of the step below which a phase's difference is not explained."""
WHY = {
    "prepare": "pictures through the processor: the host's cores, and the size of the pictures",
    "sync": "weights into vLLM: how many tensors, and the memory's bandwidth",
    "prefill": "prompts read before sampling",
    "rollout": "sampling: launches of the host (Transformers) or how many completions run at once (vLLM)",
    "reward": "the rewards: those of your own are not in the model",
    "vision": "pictures through the frozen tower",
    "logprobs": "log probabilities beside the update, completions stored",
    "update": "forward, backward, optimiser: launches of the host where passes are small, else the card",
}


@dataclass(frozen=True)
class Comparison:
    """Estimate and actual of one run, seconds a prompt."""

    work: Workload
    """With the lengths that the run had."""
    estimated: dict[str, float]
    """By phase, as it was before the run."""
    with_its_lengths: dict[str, float]
    """The same, once the run's own lengths are known."""
    actual: dict[str, float]
    """By phase; empty where the log has no phases."""
    s_per_prompt: float
    peak_gib: float | None
    estimated_gib: float
    completion_share: float | None
    steps: int

    @property
    def estimated_s(self) -> float:
        """Seconds a prompt as estimated before."""
        return sum(self.estimated.values())

    @property
    def informed_s(self) -> float:
        """Seconds a prompt as estimated with the run's own lengths."""
        return sum(self.with_its_lengths.values())

    def reasons(self) -> list[str]:
        """What made the difference, largest first."""
        found: list[tuple[float, str]] = []
        lengths = self.informed_s - self.estimated_s
        if abs(lengths) > WORTH_SAYING * self.s_per_prompt and self.completion_share is not None:
            found.append(
                (
                    abs(lengths),
                    f"{lengths:+.3g} s: completions were {100 * self.completion_share:.0f} % of the limit long on average",
                )
            )
        for name, seconds in self.actual.items():
            apart = seconds - self.with_its_lengths.get(name, 0.0)
            if abs(apart) > WORTH_SAYING * self.s_per_prompt:
                found.append((abs(apart), f"{apart:+.3g} s in {name}: {WHY[name]}"))
        return [words for _, words in sorted(found, reverse=True)]

    def as_dict(self) -> dict[str, Any]:
        """For the JSON document."""
        return {
            "steps": self.steps,
            "s_per_prompt": self.s_per_prompt,
            "estimated_s_per_prompt": self.estimated_s,
            "with_its_lengths_s_per_prompt": self.informed_s,
            "ratio": self.s_per_prompt / self.estimated_s if self.estimated_s else None,
            "phases": {
                name: {
                    "actual": self.actual.get(name),
                    "estimated": self.estimated[name],
                    "with_its_lengths": self.with_its_lengths[name],
                }
                for name in NAMES
            },
            "peak_gib": self.peak_gib,
            "estimated_peak_gib": self.estimated_gib,
            "completion_share": self.completion_share,
            "reasons": self.reasons(),
        }

    def words(self) -> str:
        """One line for the end of a run."""
        text = f"estimate: {self.s_per_prompt:.3g} s a prompt beside {self.estimated_s:.3g} estimated ({_percent(self.s_per_prompt, self.estimated_s)})"
        if self.peak_gib is not None:
            text += f", {self.peak_gib:.1f} GiB beside {self.estimated_gib:.1f} ({_percent(self.peak_gib, self.estimated_gib)})"
        return text


def _percent(actual: float, estimated: float) -> str:
    return f"{100 * (actual / estimated - 1):+.0f} %" if estimated else "–"


@reads("run", "a run folder with its config.toml and log.jsonl")
def compare_with_estimate(run: Path) -> Comparison:
    """A run's main stage beside its estimate.

    Args:
        run: the run folder.

    Raises:
        UsageError: no run folder, no step in its log, or a model that the estimate does not know.
    """
    if not (run / "config.toml").is_file():
        raise UsageError(
            f"{run} is no run folder",
            expected="a folder with config.toml and log.jsonl",
            hint="medgrpo runs lists those that are here",
        )
    config = RunConfig.model_validate(found_settings(foreign_toml(run / "config.toml"), run))
    entries = [entry for entry in log_entries(run / "log.jsonl") if "s_per_prompt" in entry]
    if not entries:
        raise UsageError(f"{run} has no finished step: nothing to compare")
    info = training_info(run)
    found = _situation(run, config)
    settled = entries[max(1, len(entries) // 10) :] or entries  # the first steps warm up
    actual = actual_phases(settled)
    share = _completion_share(settled, config)
    work = found.work if share is None else replace(found.work, completion_share=share)
    peak = info.get("peak_memory_gib")
    return Comparison(
        work,
        phases(found.work).of_the_log(),
        phases(work).of_the_log(),
        actual,
        median(entry["s_per_prompt"] for entry in settled),
        peak,
        Memory(found.work).torch_peak / GIB,
        share,
        len(entries),
    )


def actual_phases(entries: list[dict[str, Any]]) -> dict[str, float]:
    """Mean seconds a prompt by phase over a log's steps; empty where the log has none."""
    if not any(f"time/{name}" in entries[-1] for name in NAMES):
        return {}
    total = sum(float(entries[-1].get(f"time/{name}") or 0.0) for name in NAMES)
    prompts = max(1.0, total / entries[-1]["s_per_prompt"]) if entries[-1]["s_per_prompt"] else 1.0
    return {
        name: mean(float(entry.get(f"time/{name}") or 0.0) for entry in entries) / prompts for name in NAMES
    }


def remember_run(comparison: Comparison) -> None:
    """Let later estimates on this machine learn from a run (`history`)."""
    actual: Mapping[str, float] = comparison.actual or {"total": comparison.s_per_prompt}
    remember(comparison.work, actual, peak_gib=comparison.peak_gib)


def _situation(run: Path, config: RunConfig) -> Situation:
    described = read_json(run / "environment.json") if (run / "environment.json").is_file() else {}
    names = described.get("gpus") or []
    gpu = "auto" if names else CPU
    if names and match_card(str(names[0])) is not None:
        gpu = str(names[0])
    model = config.model.path or str(run / "demo" / "model")
    stated = found_place(str(described.get("data") or ""), run)
    data = Path(stated or str(config.data.path or run / "demo" / "data"))
    known = read_rows(data)
    facts = Facts(
        model=base_of(model),
        data=data if known else None,
        samples=None if known else 1000,
        gpu=gpu,
        gpus=(config.launch.gpus or 1) * config.launch.nodes,
    )
    return situation_of(config, facts)


def base_of(model: str) -> str:
    """Name or folder of the weights that a path means, an adapter's base."""
    from medgrpo.models.weights import find_weights

    try:
        return find_weights(model).base
    except MedgrpoError:  # weights that lie elsewhere by now: the name may say enough
        return model


def read_rows(data: Path) -> bool:
    """Whether a prepared dataset is still there."""
    return (data / "dataset.json").is_file()


def _completion_share(entries: list[dict[str, Any]], config: RunConfig) -> float | None:
    lengths = [entry["completions/mean_length"] for entry in entries if entry.get("completions/mean_length")]
    return mean(lengths) / config.rollout.max_completion_length if lengths else None

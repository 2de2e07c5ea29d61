"""Metric names: other trainers' spellings and older ones, and the TRL key that each becomes.

Every reader hands over flat entries; `canonical` renames their keys. Names that are not in the table
stay as they are, so that nothing a log holds is lost.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

RENAMED = {
    # ms-swift, LLaMA-Factory, older TRL
    "lr": "learning_rate",
    "token_acc": "mean_token_accuracy",
    "eval_token_acc": "eval_mean_token_accuracy",
    "completion_length": "completions/mean_length",
    "completions/clip_ratio": "completions/clipped_ratio",
    "clip_ratio": "clip_ratio/region_mean",
    "reward_zero_std_frac": "frac_reward_zero_std",
    "objective/kl": "kl",
    "objective/entropy": "entropy",
    "objective/scores": "reward",
    "memory(GiB)": "memory_gib",
    "memory/max_mem_active(gib)": "memory_gib",
    "train_speed(iter/s)": "mean_steps_per_s",
    "global_step": "step",
    "current_steps": "step",
    "max_steps": "total_steps",
    "num_input_tokens_seen": "num_tokens",
    # EasyR1 and verl, nested keys joined by /
    "reward/overall": "reward",
    "critic/rewards/mean": "reward",
    "critic/score/mean": "reward",
    "actor/kl_loss": "kl",
    "actor/kl_coef": "kl_coef",
    "actor/entropy_loss": "entropy",
    "actor/entropy": "entropy",
    "actor/pg_loss": "loss",
    "actor/grad_norm": "grad_norm",
    "actor/lr": "learning_rate",
    "actor/pg_clipfrac": "clip_ratio/region_mean",
    "actor/pg_clipfrac_higher": "clip_ratio/high_mean",
    "actor/pg_clipfrac_lower": "clip_ratio/low_mean",
    "response_length/mean": "completions/mean_length",
    "response_length/min": "completions/min_length",
    "response_length/max": "completions/max_length",
    "response_length/clip_ratio": "completions/clipped_ratio",
    "perf/time_per_step": "step_time",
    "timing_s/step": "step_time",
    "perf/throughput": "tokens_per_s",
    "perf/max_memory_allocated_gb": "memory_gib",
    "val/reward_score": "eval_reward",
    "val/overall_reward": "eval_reward",
    "val_response_length/mean": "eval_completions/mean_length",
    "val_response_length/clip_ratio": "eval_completions/clipped_ratio",
    "training/rollout_probs_diff_mean": "sampling/sampling_logp_difference/mean",
    # OpenRLHF
    "policy_loss": "loss",
    "policy_lr": "learning_rate",
    "actor_lr": "learning_rate",
    "actor_grad_norm": "grad_norm",
    "response_length": "completions/mean_length",
    "truncated": "completions/clipped_ratio",
    "entropy_loss": "entropy",
    # NeMo-RL and prime-rl, as their consoles write them, in lower case
    "avg_reward": "reward",
    "avg_total_reward": "reward",
    "mean_reward": "reward",
    "mean_generation_length": "completions/mean_length",
    "total_step_time": "step_time",
    "grad._norm": "grad_norm",
    "val._reward": "eval_reward",
    "time": "step_time",
    "loss/mean": "loss",
    "entropy/mean": "entropy",
    "reward/mean": "reward",
    "reward/std": "reward_std",
    "reward/all/mean": "reward",
    "optim/grad_norm": "grad_norm",
    "optim/lr": "learning_rate",
    # tables of notebooks, Lightning
    "training_loss": "loss",
    "validation_loss": "eval_loss",
    "val_loss": "eval_loss",
    "val/loss": "eval_loss",
}
"""What a key is called elsewhere -> TRL's name for it. An earlier match in the entry wins."""

PLAIN = {
    *("loss", "reward", "reward_std", "kl", "entropy", "grad_norm", "learning_rate", "epoch", "step"),
    *("frac_reward_zero_std", "mean_token_accuracy", "elapsed_s", "stage", "event", "beta", "s_per_prompt"),
}
"""TRL's and our own names that no table renames."""

DPO_REWARDS = {"chosen", "rejected", "margins", "accuracies"}
"""`rewards/<these>` are DPO's implicit rewards, not reward functions."""

WRAPPERS = re.compile(
    r"(train(ing)?_?)?(metrics?|logs?|stats?|statistics|scalars?|values?|data|results?|info|summary|payload|monitor)"
)
"""Keys under which loggers put the metrics of a step: what lies below counts as if it stood above."""

JUDGED = {
    *("loss", "reward", "kl", "entropy", "grad_norm", "eval_loss", "eval_reward", "frac_reward_zero_std"),
    *("completions/mean_length", "completions/clipped_ratio", "mean_token_accuracy", "rewards/margins"),
    *("rewards/accuracies", "clip_ratio/region_mean"),
}
"""Metrics that a verdict can rest on: a log without any of them says nothing about its run."""

_UNDERSTOOD = re.compile(
    r"(eval_)?(rewards?|completions|clip_ratio|sampling|time|tokens|logps|logits|dynamic_sampling|profiling|phases)/"
    r"|eval_|train_|step_|num_|total_|memory|peak_"
)

TEXT_KEYS = {"stage", "event", "elapsed_time"}
"""Keys whose strings are kept; any other string that is no number is dropped."""

WRITTEN_OUT = {"global_step/max_steps", "elapsed_time"}
"""Keys whose strings say a number in words: "10/438", "2h 3m"."""

NULL_IS_NAN = {"loss", "grad_norm", "reward", "kl", "eval_loss", "eval_reward"}
"""Keys whose null was a NaN: JSON has none, so our writer writes null."""

_COMPONENT = re.compile(r"(eval_)?rewards/([^/]+)(?:/(mean|std|coverage|.+))?$")
_EASYR1_COMPONENT = re.compile(r"(reward|val)/(\w+?)(_reward)?$")


_KNOWN = set(RENAMED.values()) | JUDGED


@lru_cache(maxsize=4096)
def canonical(key: str) -> str:
    """TRL's name of a metric; the key itself where TRL has none."""
    key = key.removeprefix("train/")
    if " " in key or not key.islower():
        folded = re.sub(r"\s*/\s*", "/", key.strip()).lower().replace(" ", "_")
        if folded in RENAMED or folded in PLAIN:
            key = folded
        elif " / " in key:  # a notebook's table
            key = key.strip().replace(" / ", "/")
    if key.startswith("eval/"):
        key = "eval_" + key.removeprefix("eval/")
    if key.startswith(("val-core/", "val-aux/")):  # verl: val-core/<data source>/acc/mean@1
        return "eval_" + key.partition("/")[2]
    if key in RENAMED:
        return RENAMED[key]
    if key.startswith("eval_") and key.removeprefix("eval_") in RENAMED:
        return "eval_" + RENAMED[key.removeprefix("eval_")]
    if match := _EASYR1_COMPONENT.match(key):
        prefix = "eval_" if match[1] == "val" else ""
        return f"{prefix}rewards/{match[2]}/mean"
    match = _COMPONENT.match(key)
    if match and match[3] is None and match[2] not in DPO_REWARDS:
        return f"{key}/mean"  # TRL before 0.16 logged rewards/<name> alone
    return key


def is_understood(key: str) -> bool:
    """Whether a metric, by TRL's name, is one that is known here; others are kept and listed."""
    return key in PLAIN or key in _KNOWN or bool(_UNDERSTOOD.match(key))


def unwrapped(raw: dict[str, Any]) -> dict[str, Any]:
    """The entry with what loggers wrap (`WRAPPERS`) laid beside the rest: {"step": 1, "data": {"loss": 2}}, also as
    a list of {"name": "loss", "value": 2}."""
    found: dict[str, Any] = {}
    for key, written in raw.items():
        value = written
        if isinstance(value, list) and WRAPPERS.fullmatch(key):
            pairs = [item for item in value if isinstance(item, dict) and "value" in item]
            value = {str(item.get("name", item.get("key", item.get("tag")))): item["value"] for item in pairs}
        if isinstance(value, dict) and WRAPPERS.fullmatch(key):
            found |= {inner: item for inner, item in unwrapped(value).items() if inner not in raw}
        else:
            found[key] = value
    return found


def flatten(entry: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The entry with nested objects joined by `/`: {"actor": {"lr": 1}} -> {"actor/lr": 1}."""
    flat: dict[str, Any] = {}
    for key, value in entry.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}/"))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def number(value: Any) -> float | int | None:
    """The number that a value holds, also as a string ("1.75", "nan", "12%"); None if it holds none."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        try:
            return float(value.strip().removesuffix("%"))
        except ValueError:
            return None
    return None


def counted(digits: str) -> int:
    """A step, or a number of steps, that a log writes; 0 for one of more digits than any count has."""
    return int(digits) if len(digits) < 19 else 0


def seconds(text: str) -> float | None:
    """Seconds of a written duration: "6:48:06", "1 day, 2:03:04", "49m 19s", "2h 3m"; None if it is none."""
    if match := re.fullmatch(r"(?:(\d+) days?, )?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text.strip()):
        day, hour, minute, second = (float(part or 0) for part in match.groups())
        return ((day * 24 + hour) * 60 + minute) * 60 + second
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([dhms])", text)
    if not parts:
        return None
    return math.fsum(float(count) * {"d": 86400, "h": 3600, "m": 60, "s": 1}[unit] for count, unit in parts)


def canonical_entry(raw: dict[str, Any]) -> dict[str, Any]:
    """One log entry with TRL's keys and plain numbers; NaN and infinity stay, other text goes.

    `global_step/max_steps` ("10/438") becomes `step` and `total_steps`; written durations become `elapsed_s`.
    Of two keys with one meaning the first that holds a number wins.
    """
    entry = _numbers_renamed(raw)
    if entry is None:
        entry = _each_value_read(raw)
    step = entry.get("step")
    if isinstance(step, float) and math.isfinite(step):
        entry["step"] = int(step)
    return entry


def _numbers_renamed(raw: dict[str, Any]) -> dict[str, Any] | None:
    """The entry where all is plain numbers and kept text, as nearly always; None where it needs a closer look."""
    names, texts = _plain_names(tuple(raw))
    if names is None:
        return None
    kinds = list(map(type, raw.values()))
    if kinds.count(float) + kinds.count(int) + len(texts) < len(kinds):
        return None
    if any(kinds[place] is not str for place in texts):
        return None
    return dict(zip(names, raw.values(), strict=True))


@lru_cache(maxsize=512)
def _plain_names(keys: tuple[str, ...]) -> tuple[tuple[str, ...] | None, tuple[int, ...]]:
    """TRL's names of an entry's keys, and the places of those whose text is kept.

    No names where two keys mean the same, or a key's value is written out.
    """
    names = tuple(key if key in TEXT_KEYS else canonical(key) for key in keys)
    if len(set(names)) < len(names) or WRITTEN_OUT & set(keys):
        return None, ()
    return names, tuple(place for place, key in enumerate(keys) if key in TEXT_KEYS)


def _each_value_read(raw: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    nested = any(isinstance(value, dict | list) for value in raw.values())
    flat = flatten(unwrapped(raw)) if nested else raw
    for key, value in flat.items():
        if key == "global_step/max_steps" and isinstance(value, str) and "/" in value:
            done, total = value.split("/", 1)
            entry.setdefault("step", number(done))
            entry.setdefault("total_steps", number(total))
        elif key == "elapsed_time" and isinstance(value, str):
            if (elapsed := seconds(value)) is not None:
                entry.setdefault("elapsed_s", elapsed)
        elif (found := number(value)) is not None:
            entry.setdefault(canonical(key), found)
        elif value is None and key in NULL_IS_NAN:
            entry.setdefault(key, math.nan)
        elif isinstance(value, str) and key in TEXT_KEYS:
            entry[key] = value
    return entry


def is_eval_key(key: str) -> bool:
    """Whether the metric was measured on held-out data."""
    return key.startswith("eval_")


def reward_components(keys: set[str] | dict[str, Any]) -> list[str]:
    """Names of the reward functions among the keys, in alphabetical order."""
    names = set()
    for key in keys:
        match = _COMPONENT.match(key)
        if match and not match[1] and match[3] == "mean":
            names.add(match[2])
    return sorted(names)

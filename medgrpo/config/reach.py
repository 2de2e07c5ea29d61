"""What a configuration reaches beyond its own folder: code that it runs, machines that it asks.

The configuration inside a run folder travels with the run. What it reaches is therefore not done because the
run says so, but because a person types it again, or trusts the run (`medgrpo.rewards.trust`).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from medgrpo.config.sections import RunConfig
from medgrpo.errors import UsageError


def rewards_with_code(config: RunConfig) -> list[str]:
    """The rewards, gate and metric of a configuration that are Python of their own, as it names them."""
    from medgrpo.rewards.registry import code_among

    return code_among(config.rewards.weights, config.rewards.gate, config.validation.metric)


def reaching_settings(config: RunConfig) -> dict[str, str]:
    """Setting → what it does, of those that run code, read it, or contact a machine; rewards aside."""
    model, launch = config.model, config.launch
    found = {}
    if model.trust_remote_code:
        found["model.trust_remote_code"] = f"runs the Python that comes with {model.path}"
    if model.attn_implementation and "/" in model.attn_implementation:
        found["model.attn_implementation"] = f"runs a kernel from the hub, {model.attn_implementation}"
    if launch.deepspeed and launch.deepspeed.endswith(".json"):
        found["launch.deepspeed"] = f"takes its machinery from {launch.deepspeed}"
    if config.rollout.engine == "vllm" and config.vllm.mode == "server" and config.vllm.server_base_url:
        found["vllm.server_base_url"] = f"sends prompts and pictures to {config.vllm.server_base_url}"
    return found


def refuse_foreign_settings(
    run: Path, config: RunConfig, typed: Collection[str], own: RunConfig | None = None
) -> None:
    """Refuse what a run's own configuration reaches, where this call does not say the same.

    Args:
        run: folder whose `config.toml` is followed.
        config: what comes of it.
        typed: full keys of the settings that the command line gives.
        own: what the preset and the configuration given in this call say by themselves; None: none is given.
    Raises:
        UsageError: names the setting, what it does, and what to type.
    """
    said = reaching_settings(own) if own is not None else {}
    for key, does in reaching_settings(config).items():
        if key in typed or said.get(key) == does:
            continue
        section, _, leaf = key.partition(".")
        value = getattr(getattr(config, section), leaf)
        shown = str(value).lower() if isinstance(value, bool) else value
        raise UsageError(
            f"{run / 'config.toml'} sets {key}, which {does}; what a run's own file says is not enough for that",
            expected="the setting typed in this call",
            hint=f"where that is what you want: --set {key}={shown}",
        )

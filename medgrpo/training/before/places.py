"""Where model, data, prompt and rewards lie: recorded so that a run is found again from any working directory."""

from __future__ import annotations

from pathlib import Path

from medgrpo.config.sections import RunConfig
from medgrpo.errors import UsageError, typed_path


def with_absolute_places(config: RunConfig) -> RunConfig:
    """The configuration with absolute paths; names of the hub, of templates and of rewards stay as they are."""
    from medgrpo.data.mixture import absolute_data

    model, data, rewards, launch = config.model, config.data, config.rewards, config.launch
    places = {
        "model": model.model_copy(update={"path": model.path and _there(model.path)}),
        "data": data.model_copy(
            update={
                "path": data.path and absolute_data(data.path),
                "prompt_template": _file(data.prompt_template),
            }
        ),
        "rewards": rewards.model_copy(
            update={
                "weights": rewards.weights
                if isinstance(rewards.weights, str)
                else {_reward(name): weight for name, weight in rewards.weights.items()},
                "gate": rewards.gate and _reward(rewards.gate),
            }
        ),
        "launch": launch.model_copy(update={"deepspeed": launch.deepspeed and _file(launch.deepspeed)}),
    }
    return config.model_copy(update=places)


def _there(path: str) -> str:
    found = Path(path).expanduser()
    return str(found.resolve()) if found.exists() else path


def _file(name: str) -> str:
    return _there(name) if Path(name).suffix in (".toml", ".json") else name


def _reward(name: str) -> str:
    file, colon, function = name.rpartition(":")
    return f"{_there(file)}:{function}" if colon else name


def check_places(run: Path, config: RunConfig) -> None:
    """Whether the data and the model of a run to be resumed are still where it found them.

    Raises:
        UsageError: they are not; says how to name the new place.
    """
    from medgrpo.data.mixture import open_data
    from medgrpo.models.weights import find_weights

    missing: dict[str, UsageError] = {}
    for path, check, option in (
        (config.data.path, open_data, "--data"),
        (config.model.path, find_weights, "--model"),
    ):
        try:
            if path is not None:
                check(path)
        except UsageError as error:
            missing[option] = error
    for first in missing.values():
        options = " and ".join(f"{option} FOLDER" for option in missing)
        first.hint = f"moved? add {options} to --resume {typed_path(run)}: where it lies now (the same data, the same model)"
        raise first

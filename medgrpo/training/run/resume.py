"""Continuing a run: which one, from which checkpoint, and what may differ from before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medgrpo.config.layers import Layer, Resolved, assignments_layer, leaves, resolve
from medgrpo.config.reach import refuse_foreign_settings, rewards_with_code
from medgrpo.config.sections import RunConfig
from medgrpo.errors import MedgrpoError, UsageError, typed_path
from medgrpo.files import foreign_toml, read_json
from medgrpo.foreign import reads
from medgrpo.locks import is_held
from medgrpo.places import found_settings
from medgrpo.runs.known import RUNS
from medgrpo.training.before.places import check_places, with_absolute_places
from medgrpo.training.run.checkpoints import PREFIX, checkpoint_step, complete_checkpoints

FIXED = (
    "model.path",
    "model.revision",
    "model.dtype",
    "model.thinking",
    "tuning.",
    "data.rows",
    "data.prompt_template",
    "data.reasoning",
    "data.box_format",
    "data.system_prompt",
    "data.use_image_title",
    "data.shuffle",
    "data.rows_of_a_picture",
    "data.augment",
    "curriculum.",
    "rewards.weights",
    "rewards.gate",
    "rewards.aggregation",
    "rewards.overlong_share",
    "rewards.overlong_penalty",
    "rewards.caption_threshold",
    "rollout.engine",
    "rollout.temperature",
    "rollout.top_p",
    "rollout.top_k",
    "rollout.min_p",
    "rollout.repetition_penalty",
    "stages.",
    "training.method",
    "training.prompts_per_step",
    "training.num_iterations",
    "training.optim",
    "training.vision_learning_rate",
    "launch.deepspeed",  # each keeps the optimiser in a form of its own: another would begin with a new one
    "launch.fsdp",
    "validation.metric",
    "run.seed",
    "run.output",
    "run.name",
)
"""Settings that a checkpoint depends on: another value would make it another run."""
CUTS = re.compile(r"stages\.[^.]+\.(per_device_train_batch_size|gradient_accumulation_steps)")
"""Settings of a stage that only cut its step, as those of `training` may, and as `retry_on_oom` does by itself."""


@dataclass(frozen=True)
class ResumePoint:
    """The run folder to continue, and the checkpoint to go back to if one was named."""

    run: Path
    checkpoint: Path | None = None


@reads("wanted", "a run folder")
def find_run(wanted: str, output: str | None = None) -> ResumePoint | None:
    """The run that `--resume` means: `auto`, a run folder, or a checkpoint in one.

    `auto` is the `--output` folder where that is given, else the newest unfinished run under `runs/` that no
    process writes. None where that folder has no run yet, so that one command both starts a run and takes it up again.

    Raises:
        UsageError: there is none.
    """
    if wanted != "auto":
        return _named(Path(wanted))
    if output is not None:
        return _named(Path(output)) if (Path(output) / "config.toml").is_file() else None
    unfinished = [
        info
        for info in RUNS.glob("*/training_info.json")
        if read_json(info).get("finished") is False
        and (info.parent / "config.toml").is_file()
        and not info.parent.is_symlink()  # runs/latest is one of the others
    ]
    if not unfinished:
        raise UsageError(
            "no unfinished run under runs/", expected="a run folder", hint="--resume PATH names one elsewhere"
        )
    waiting = [info for info in unfinished if not is_held(info.parent)]
    if not waiting:
        raise UsageError(
            f"the unfinished runs under runs/ are going on in other processes: {', '.join(info.parent.name for info in unfinished)}",
            hint="wait for them, or stop one with CTRL-C or kill",
        )
    return ResumePoint(max(waiting, key=lambda info: info.stat().st_mtime).parent)


def _named(path: Path) -> ResumePoint:
    if (path / "config.toml").is_file():
        return ResumePoint(path)
    if path.name.startswith(PREFIX):
        run = path.parent.parent
        if not (run / "config.toml").is_file():
            raise UsageError(
                f"{path} is no checkpoint of a main stage", expected="RUN/checkpoints/checkpoint-N"
            )
        if path not in complete_checkpoints(path.parent):
            raise UsageError(f"the checkpoint {path} is missing or was not written to its end")
        return ResumePoint(run, path)
    raise UsageError(
        f"no run to resume at {path}",
        expected="a run folder with config.toml in it",
        hint="medgrpo runs lists the runs that are here; --resume auto takes the newest unfinished one",
    )


@reads("run", "a run folder with its config.toml")
def resume_config(
    run: Path,
    assignments: Sequence[str] = (),
    options: dict[str, Any] | None = None,
    *,
    trusted: Sequence[Path] | None = None,
    own: RunConfig | None = None,
) -> tuple[Resolved, list[str]]:
    """The run's own configuration with the changes of this call.

    Data may lie elsewhere (its hash is compared later), a model only where it is no longer at its old place.

    Args:
        run: its folder.
        assignments: `--set` words.
        options: values of other command-line options by full key; None entries are left out.
        trusted: runs whose own Python may be loaded as rewards, as a command gives them; None: a program that
            answers for the run itself, so that nothing of it is refused.
        own: what this call says by itself, in its preset, its configuration and its `--set`: one command that
            starts a run and takes it up again has named its rewards.
    Raises:
        ForeignReward: the run names Python as a reward, and is not trusted.
        UsageError: a change that the checkpoint cannot follow, a place where nothing is, or a setting that reaches
            out and that this call does not give; names it.
    """
    saved = found_settings(foreign_toml(run / "config.toml"), run)
    before = resolve([Layer("the run", saved)])
    changes, notes = assignments_layer(assignments)
    changes.values.update({key: value for key, value in (options or {}).items() if value is not None})
    after = resolve([Layer("the run", saved), changes])
    after = replace(after, config=with_absolute_places(after.config))
    old = dict(leaves(with_absolute_places(before.config).model_dump()))
    new = dict(leaves(after.config.model_dump()))
    has_moved = _has_moved(old.get("model.path"), new.get("model.path"))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key):
            continue
        may_change = CUTS.fullmatch(key) or (key == "model.path" and has_moved)
        if key.startswith(FIXED) and not may_change:
            raise UsageError(
                f"{key} cannot change on resume: it was {old.get(key)!r}, now {new.get(key)!r}",
                hint="leave it out, or start a new run (it may start from this run's weights: "
                f"--model {typed_path(run)})",
            )
        if key in ("launch.gpus", "launch.nodes") and new.get("launch.deepspeed"):
            raise UsageError(
                f"{key} cannot change on resume under DeepSpeed, whose optimiser is saved in as many parts as there were "
                f"processes: it was {old.get(key)!r}, now {new.get(key)!r}",
                hint="leave it out; a run with --fsdp, or with neither, goes on with any number",
            )
        same = " (taken to be the same model)" if key == "model.path" else ""
        notes.append(f"{key}: {old.get(key)} → {new.get(key)}{same}")
    if trusted is not None:
        own = None if own is None else with_absolute_places(own)
        refuse_foreign_settings(run, after.config, changes.values, own)
        notes += _check_rewards(run, after.config, trusted, own)
    check_places(run, after.config)
    return after, notes


def _check_rewards(run: Path, config: RunConfig, trusted: Sequence[Path], own: RunConfig | None) -> list[str]:
    """Grant the run's rewards that are Python where the person has named them, or trusts the run; says which."""
    from medgrpo.rewards.trust import ForeignReward, grant, is_trusted, placed

    named = {placed(name) for name in (rewards_with_code(own) if own is not None else [])}
    foreign = [name for name in rewards_with_code(config) if placed(name) not in named]
    if foreign and not is_trusted(run, trusted):
        raise ForeignReward(run / "config.toml", foreign, run)
    grant([*foreign, *named])
    return [f"loading {name}, which {run} names (--trust-rewards)" for name in foreign]


def _has_moved(before: str | None, now: str | None) -> bool:
    """Whether a folder of weights lies elsewhere now."""
    is_folder = before is not None and Path(before).is_absolute()
    return is_folder and now is not None and Path(now).is_dir() and not Path(str(before)).exists()


@reads("run", "a run folder with its environment.json")
def check_same_data(run: Path, now: str, pixels_now: str | None) -> list[str]:
    """Notes on what differs in the data's pixels.

    Raises:
        MedgrpoError: rows or splits are not those that the run began with.
    """
    environment = read_json(run / "environment.json")
    before = environment.get("data_hash")
    if before is not None and before != now:
        raise MedgrpoError(
            f"the data changed since the run began: hash {before[:12]} then, {now[:12]} now",
            expected="the same rows and splits (the image size may differ)",
            hint="prepare the old data again, or start a new run",
        )
    pixels = environment.get("pixels_hash")
    if pixels and pixels_now and pixels != pixels_now:
        return ["the stored images differ from those the run began with (another size, perhaps)"]
    return []


@reads("folder", "the checkpoints of a run")
def resume_checkpoint(folder: Path, wanted: Path | None = None) -> tuple[Path | None, list[str]]:
    """The checkpoint of a stage to continue from, and notes on those that cannot be used.

    None where the stage begins anew.
    """
    from medgrpo.training.run.checkpoints import bytes_of, half_written

    notes = [
        f"{path} was not written to its end: it is removed ({bytes_of(path) / 2**30:,.2f} GiB)"
        for path in half_written(folder)
        if path.exists()
    ]
    if wanted is not None:
        return wanted, notes
    complete = complete_checkpoints(folder)
    return (complete[-1] if complete else None), notes


def step_of(checkpoint: Path | None) -> int:
    """The step to continue after; 0 without a checkpoint."""
    return 0 if checkpoint is None else checkpoint_step(checkpoint)

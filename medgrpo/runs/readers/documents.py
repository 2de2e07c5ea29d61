"""Logs that are one JSON document: our log copy, `trainer_state.json`, a list of entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medgrpo.figures import is_finite_number
from medgrpo.places import found_place
from medgrpo.run_files import copy_of_log
from medgrpo.runs.metric_names import canonical_entry
from medgrpo.runs.readers.parsed import Parsed
from medgrpo.runs.status import status_of

STATE_SETTINGS = (
    "train_batch_size",
    "logging_steps",
    "save_steps",
    "eval_steps",
    "num_train_epochs",
    "max_steps",
)
"""The few settings that a `trainer_state.json` repeats."""


def read_log_copy(document: dict[str, Any], name: str, where: Path = Path()) -> Parsed:
    """Our `./logs/<run>.json`: schema_version, name, config, history, stages, finished; `where` is the folder it lies in."""
    from medgrpo.runs.readers.parsed import Stage

    stages = [
        Stage(
            name=str(stage.get("name") or stage.get("stage") or stage.get("method") or index),
            history=entries_of(stage.get("history")),
            method=stage.get("method"),
        )
        for index, stage in enumerate(_stage_list(document.get("stages")))
    ]
    config, folder = document.get("config"), document.get("run")
    validation, error = document.get("validation"), document.get("error")
    place = Path(found_place(folder, where)) if isinstance(folder, str) and folder else None
    # Completions and answers of that folder are shown: it has to name this copy as its own.
    is_its = place is not None and place.is_dir() and _is_same(copy_of_log(place), where / f"{name}.json")
    place = place if is_its else None
    return Parsed(
        name=str(document.get("name") or name),
        source_format="medgrpo log copy",
        entries=entries_of(document.get("history")),
        config=config if isinstance(config, dict) else {},
        stages=[stage for stage in stages if stage.history],
        finished=document.get("finished") if isinstance(document.get("finished"), bool) else None,
        status=status_of(document, place),
        error=error if isinstance(error, str) else None,
        folder=place,
        validation=validation if isinstance(validation, dict) else {},
    )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve()
    except (OSError, ValueError, RuntimeError):
        return False


def _stage_list(stages: Any) -> list[dict[str, Any]]:
    """Stages as a list of objects, whether written as a list or as an object name -> stage."""
    if isinstance(stages, dict):
        return [
            {"name": name, **(stage if isinstance(stage, dict) else {"history": stage})}
            for name, stage in stages.items()
        ]
    return [stage for stage in (stages if isinstance(stages, list) else []) if isinstance(stage, dict)]


def read_trainer_state(document: dict[str, Any], name: str) -> Parsed:
    """A `trainer_state.json` of Transformers and TRL."""
    total = document.get("max_steps")
    return Parsed(
        name=name,
        source_format="TRL/Transformers trainer_state.json",
        entries=entries_of(document.get("log_history")),
        config={key: document[key] for key in STATE_SETTINGS if document.get(key) is not None},
        total_steps=int(total) if is_finite_number(total) and total > 0 else None,
    )


def entries_of(rows: Any) -> list[dict[str, Any]]:
    """The rows that are objects, with TRL's keys."""
    listed = rows if isinstance(rows, list) else []
    return [canonical_entry(row) for row in listed if isinstance(row, dict)]

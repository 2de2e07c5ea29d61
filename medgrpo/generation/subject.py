"""What is evaluated: a base model, a merged model, an adapter, or a run folder, with how it was trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.data.prompts import PromptTemplate, load_template, recorded_template
from medgrpo.data.schema import Row
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.models.coordinates import BoxCoordinates, box_coordinates, recorded_coordinates
from medgrpo.models.folders import METADATA
from medgrpo.models.quiet import quiet_libraries

if TYPE_CHECKING:
    from medgrpo.models.loading import LoadedModel
    from medgrpo.rewards.boxes import BoxFormat

WEIGHT_FOLDERS = ("best_lora", "best_model", "final_lora", "final_model")
"""Where a run folder has its weights, the one that is evaluated first."""


@dataclass(frozen=True)
class Subject:
    """A model to evaluate, found on disk but not yet loaded."""

    name: str
    base: str
    """Folder or hub name of the whole model."""
    adapter: Path | None = None
    run: Path | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    """`medgrpo.json`: how it was trained; empty where there is none."""
    notes: list[str] = field(default_factory=list)
    box_format: BoxFormat | None = None
    """How it writes boxes, where someone knows better than `medgrpo.json` and its family."""

    def template(self, override: str | None = None, suggested: object = None) -> PromptTemplate:
        """The prompt template named, else the one it was trained with, else the one the dataset suggests."""
        if override is not None:
            return load_template(override)
        return recorded_template(self.metadata.get("prompt_template") or suggested, where=METADATA)

    def shown(self, rows: Sequence[Row]) -> list[Row]:
        """The rows as its prompts show them: image titles only if it was trained with them, coordinates in its own form."""
        shown = [dict(row) for row in rows]
        if not self.metadata.get("use_image_title"):
            shown = [{**row, "image_title": None} for row in shown]
        if any(row.get("boxes") or row.get("mask") for row in shown):
            coordinates = self.coordinates()
            shown = [coordinates.place(row) for row in shown]
        return shown

    def coordinates(self) -> BoxCoordinates:
        """How it writes boxes: as recorded, else as its family does, which a note then says.

        Raises:
            UsageError, MedgrpoError: nothing is recorded, and the model or its processor cannot be opened.
        """
        recorded = recorded_coordinates(self.metadata)
        if recorded is not None and self.box_format in (None, recorded.box_format):
            return recorded
        from transformers import AutoConfig

        from medgrpo.models.loading import is_vision_config, load_processor

        try:
            config = AutoConfig.from_pretrained(self.base)
        except (OSError, ValueError) as error:
            if self.box_format in ("thousand", "unit"):
                return BoxCoordinates(self.box_format)
            raise UsageError(
                f"how {self.base} writes boxes is not known: it has no configuration here",
                hint="--box-format thousand, or pixel",
            ) from error
        with quiet_libraries():
            processor = load_processor(
                self.base,
                is_vision=is_vision_config(config),
                max_pixels=self.metadata.get("max_pixels"),
                min_pixels=self.metadata.get("min_pixels"),
            )
        found = box_coordinates(config.model_type, processor, self.box_format)
        if self.box_format is None:
            self.notes.append(
                f"no box_format in {METADATA}: boxes are read as {config.model_type} models write them "
                f"({found.box_format}; --box-format names another)"
            )
        return found

    @property
    def run_folder(self) -> Path | None:
        """The run it comes from, as far as it is still there: for the rewards it was trained with."""
        stated = (self.metadata.get("provenance") or {}).get("run_folder")
        places = [self.run, self.adapter.parent if self.adapter else None, Path(stated) if stated else None]
        return next(
            (place for place in places if place is not None and (place / "config.toml").is_file()), None
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What tells two models apart: paths and the time their weights were written."""
        return {
            "base": self.base,
            "base_written": _written(Path(self.base)),
            "adapter": str(self.adapter or ""),
            "adapter_written": _written(self.adapter),
        }


def find_subject(model: str, adapter: str | Path | None = None) -> Subject:
    """The model that a path or hub name means.

    Args:
        model: run folder, adapter folder, model folder, or hub name.
        adapter: an adapter on top of it.
    Raises:
        UsageError: there is no such folder, or no weights in it.
    """
    from medgrpo.models.loading import check_model

    folder = Path(model).expanduser()
    run = None
    if folder.is_dir() and not _is_weights(folder):
        run = folder
        folder = _weights_of_run(folder)
    name = run.resolve().name if run is not None else (folder.resolve().name if folder.exists() else model)
    if adapter is not None:
        adapter_folder = Path(adapter).expanduser()
        if not (adapter_folder / "adapter_config.json").is_file():
            raise UsageError(f"no adapter at {adapter}", expected="a folder with adapter_config.json")
        return _described(
            f"{name}+{adapter_folder.resolve().name}", str(folder if run else model), adapter_folder, run
        )
    if (folder / "adapter_config.json").is_file():
        base = _base_of(folder)
        return _described(name, base, folder, run)
    path = str(folder) if folder.exists() else model
    check_model(path)
    return _described(name, path, None, run)


def _is_weights(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()


def _weights_of_run(folder: Path) -> Path:
    for name in WEIGHT_FOLDERS:
        if _is_weights(folder / name):
            return folder / name
    what = (
        "a run that has not finished" if (folder / "config.toml").is_file() else "neither a model nor a run"
    )
    raise UsageError(
        f"{folder} has no weights to evaluate: it is {what}",
        expected=f"a model (config.json), an adapter (adapter_config.json), or a run with one of {', '.join(WEIGHT_FOLDERS)}",
        hint=f"medgrpo train --resume {folder}" if "run that" in what else None,
    )


def _base_of(adapter: Path) -> str:
    try:
        stated = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        base = stated["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MedgrpoError(f"{adapter}/adapter_config.json names no base model") from error
    for candidate in (Path(base), adapter / base, adapter.parent / base):
        if candidate.is_dir():
            return str(candidate)
    return str(base)


def _described(name: str, base: str, adapter: Path | None, run: Path | None) -> Subject:
    places = [place for place in (adapter, Path(base)) if place is not None]
    file = next((place / METADATA for place in places if (place / METADATA).is_file()), None)
    if file is None:
        note = (
            f"no {METADATA} beside {adapter or base}: how it was trained is not known, so the prompt is the "
            "dataset's or the default one (--prompt names another)"
        )
        return Subject(name, base, adapter, run, {}, [note])
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MedgrpoError(f"{file} cannot be read: {error}") from error
    return Subject(name, base, adapter, run, metadata if isinstance(metadata, dict) else {})


def _written(folder: Path | None) -> float | None:
    if folder is None or not folder.is_dir():
        return None
    return max((file.stat().st_mtime for file in folder.glob("*.safetensors")), default=None)


def load_subject(subject: Subject, *, dtype: str = "auto", max_pixels: int | None = None) -> LoadedModel:
    """The model with its adapter, on the GPU if there is one, and its processor with the trained picture size.

    Raises:
        UsageError, MedgrpoError: it is no model, or cannot be loaded.
    """
    from dataclasses import replace

    from medgrpo.models.loading import load_model

    with quiet_libraries():
        loaded = load_model(
            subject.base,
            dtype=dtype,
            max_pixels=max_pixels or subject.metadata.get("max_pixels"),
            min_pixels=subject.metadata.get("min_pixels"),
            thinking=subject.metadata.get("thinking"),
        )
    model = loaded.model
    if subject.adapter is not None:
        from peft import PeftModel

        try:
            model = PeftModel.from_pretrained(model, str(subject.adapter))
        except (ValueError, RuntimeError, OSError) as error:
            first = str(error).strip().splitlines()[0]
            raise MedgrpoError(
                f"the adapter {subject.adapter} does not fit the model {subject.base}: {first}",
                hint="is this the base model it was trained on?",
            ) from error
    import torch

    if torch.cuda.is_available():
        model = model.to("cuda")
    return replace(loaded, model=model.eval())

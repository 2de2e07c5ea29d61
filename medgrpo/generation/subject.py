"""What is evaluated: a base model, a merged model, an adapter, or a run folder, with how it was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.data.prompts import PromptTemplate, load_template, recorded_template
from medgrpo.errors import UsageError
from medgrpo.models.coordinates import BoxCoordinates, box_coordinates, recorded_coordinates
from medgrpo.models.folders import METADATA
from medgrpo.models.quiet import quiet_libraries
from medgrpo.models.weights import at_revision, check_fingerprints, check_trust, data_seed, find_weights
from medgrpo.rows import Row

if TYPE_CHECKING:
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.models.loading import LoadedModel
    from medgrpo.rewards.boxes import BoxFormat


SHOWN_BY = ("max_pixels", "min_pixels", "thinking", "use_image_title")
"""Entries of `medgrpo.json` that change what a model is given for the same row."""


@dataclass(frozen=True)
class Subject:
    """A model to evaluate, found on disk but not yet loaded."""

    name: str
    base: str
    """Folder or hub name of the whole model."""
    adapter: Path | None = None
    run: Path | None = None
    revision: str | None = None
    """Of a base on the hub, as the training recorded it."""
    trust_remote_code: bool = False
    """Whether Python code that comes with the base is run; only where this call said so."""
    force_base: bool = False
    """Take base and adapter although they differ from what was trained."""
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
        shown: list[Row] = [row.copy() for row in rows]
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
            config = AutoConfig.from_pretrained(self.base, **self.pinned)
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
                revision=self.revision,
                trust_remote_code=self.trust_remote_code,
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
    def data_seed(self) -> int | None:
        """The seed that drew the training rows of its mixture; None where it is not recorded."""
        return data_seed(self.metadata)

    def has_learnt(self, dataset: PreparedDataset) -> bool:
        """Whether it was trained on training rows of this dataset, of a part that both share, or on pairs made of them."""
        provenance = self.metadata.get("provenance") or {}
        learnt = {str(provenance.get("data_hash")), *(provenance.get("part_hashes") or [])}
        return bool(learnt & dataset.hashes)

    @property
    def pinned(self) -> dict[str, Any]:
        """Revision and trust, as `from_pretrained` takes them."""
        return {"revision": self.revision or "main", "trust_remote_code": self.trust_remote_code}

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
        """What tells two models apart: paths, the time their weights were written, and how they are shown things."""
        return {
            **{name: self.metadata.get(name) for name in SHOWN_BY},
            "base": self.base,
            "revision": self.revision or "",
            "base_written": _written(Path(self.base)),
            "adapter": str(self.adapter or ""),
            "adapter_written": _written(self.adapter),
        }


def find_subject(
    model: str,
    adapter: str | Path | None = None,
    *,
    force_base: bool = False,
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> Subject:
    """The model that a path or hub name means.

    Args:
        model: run folder, adapter folder, model folder, or hub name.
        adapter: an adapter on top of it.
        force_base: take base and adapter although they differ from what was trained; a note says so.
        trust_remote_code: run Python code that comes with the base.
        revision: branch, tag or commit of a base on the hub, instead of the one that was trained on.
    Raises:
        UsageError: there is no such folder, no weights in it, or base or adapter are not those that were trained; a
            revision of a folder.
    """
    from medgrpo.models.loading import check_model

    weights = at_revision(find_weights(model, adapter), revision)
    check_model(weights.base, revision=weights.revision)
    trust = check_trust(weights, is_given=trust_remote_code, option="--trust-remote-code")
    notes = check_fingerprints(weights, force=force_base)
    if not weights.metadata:
        notes.append(
            f"no {METADATA} beside {weights.adapter or weights.base}: how it was trained is not known, so the prompt is "
            "the dataset's or the default one (--prompt names another)"
        )
    return Subject(
        _name(model, adapter),
        weights.base,
        weights.adapter,
        weights.run,
        weights.revision,
        trust,
        force_base,
        weights.metadata,
        notes,
    )


def _name(model: str, adapter: str | Path | None) -> str:
    folder = Path(model).expanduser()
    name = folder.resolve().name if folder.exists() else model
    return name if adapter is None else f"{name}+{Path(adapter).expanduser().resolve().name}"


def _written(folder: Path | None) -> float | None:
    if folder is None or not folder.is_dir():
        return None
    return max((file.stat().st_mtime for file in folder.glob("*.safetensors")), default=None)


def load_subject(subject: Subject, *, dtype: str = "auto", max_pixels: int | None = None) -> LoadedModel:
    """The model with its adapter, on the GPU if there is one, and its processor with the trained picture size.

    Raises:
        UsageError, MedgrpoError: it is no model, or cannot be loaded, or not wholly.
    """
    from dataclasses import replace

    from medgrpo.models.loading import load_model

    with quiet_libraries():
        loaded = load_model(
            subject.base,
            revision=subject.revision,
            trust_remote_code=subject.trust_remote_code,
            allow_unexpected=subject.force_base,
            dtype=dtype,
            max_pixels=max_pixels or subject.metadata.get("max_pixels"),
            min_pixels=subject.metadata.get("min_pixels"),
            thinking=subject.metadata.get("thinking"),
        )
    model = loaded.model
    if subject.adapter is not None:
        from medgrpo.models.adapters import load_adapter

        model = load_adapter(model, subject.adapter, base=subject.base, notes=subject.notes)
    import torch

    if torch.cuda.is_available():
        model = model.to("cuda")
    return replace(loaded, model=model.eval())

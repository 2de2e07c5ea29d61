"""Which weights a path means: base, adapter, revision and trust. One answer for train, eval, ask, make-dpo and merge."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medgrpo.errors import UsageError, typed_path
from medgrpo.foreign import reads
from medgrpo.models.adapter_files import CONFIG, adapter_config, is_adapter, recorded_metadata
from medgrpo.models.fingerprint import adapter_fingerprint, base_fingerprint, check_adapter, check_base
from medgrpo.models.folders import (
    BUILT_IN_MASK_MODELS,
    METADATA,
    WEIGHT_FOLDERS,
    instead_of_missing,
    is_hub_name,
    refuse_mistyped,
)

_NAMED_IN = "write where it lies now as base_model_name_or_path into {}"


@dataclass(frozen=True)
class Weights:
    """Where the weights of a model lie: a whole model, and the adapter on it if there is one."""

    base: str
    """Folder (absolute) or hub name of the whole model."""
    adapter: Path | None = None
    revision: str | None = None
    """Branch, tag or commit of a base on the hub, as the training recorded it."""
    trust_remote_code: bool = False
    """Whether it was trained with the Python code that comes with the base; running it needs a word (`check_trust`)."""
    run: Path | None = None
    """The run folder that the path named; None where it named the weights themselves."""
    metadata: dict[str, Any] = field(default_factory=dict, compare=False)
    """`medgrpo.json` beside the adapter, else beside the model; empty where there is none."""

    @property
    def folder(self) -> Path | None:
        """The adapter's folder, else the model's; None for a hub name."""
        return self.adapter or (Path(self.base) if Path(self.base).is_dir() else None)


@reads("path", "a model, an adapter, or a run folder")
def find_weights(
    path: str, adapter: str | Path | None = None, *, base: str | None = None, base_hint: str | None = None
) -> Weights:
    """The weights that a path or hub name means.

    Args:
        path: model folder, adapter folder, folder with one adapter in a sub-folder, run folder (its best weights, else
            its last) or hub name.
        adapter: an adapter on top of it.
        base: base model, where the adapter's own record is wrong or missing.
        base_hint: how the caller lets a user name the base; None: by the adapter's record.
    Raises:
        UsageError: nothing there, no weights in it, several adapters, or a base that is not where the adapter says.
        MedgrpoError: adapter_config.json or medgrpo.json is broken.
    """
    if path in BUILT_IN_MASK_MODELS and adapter is None:
        return Weights(path)
    folder = Path(path).expanduser().absolute()  # an adapter names its base for callers from anywhere
    if adapter is not None:
        return _with_adapter(path, folder, Path(adapter).expanduser().absolute())
    refuse_mistyped(path, "model")
    if not folder.exists() and is_hub_name(path):
        return Weights(path)  # whether it exists is found when it is loaded
    if folder.is_file():
        raise UsageError(
            f"{path} is a file, not a model",
            expected="a model folder with config.json, or a hub name",
            hint=f"{folder.parent}",
        )
    if not folder.exists():
        raise UsageError(
            f"no model at {path}",
            expected="a model folder (with config.json), an adapter, a run folder, or a hub name such as "
            "Qwen/Qwen2.5-VL-3B-Instruct",
            hint=instead_of_missing(path),
        )
    inside = weight_folder(folder)
    run = folder if inside != folder else None
    return replace(_on_base(inside, base, base_hint), run=run) if is_adapter(inside) else _whole(inside, run)


def at_revision(weights: Weights, revision: str | None) -> Weights:
    """The same weights with another revision of their base; None: as they are.

    Raises:
        UsageError: the base is a folder, which has no revisions.
    """
    if revision is None:
        return weights
    if Path(weights.base).is_dir():
        raise UsageError(
            f"--revision {revision} is of a model on the hub, and {weights.base} is a folder",
            expected="a hub name such as Qwen/Qwen2.5-VL-3B-Instruct",
            hint="leave --revision out",
        )
    return replace(weights, revision=revision)


def weight_folder(path: Path) -> Path:
    """The folder with the weights: the path itself, a run's best or final one, or its only adapter.

    Raises:
        UsageError: there are no weights, or several adapters.
    """
    if _has_weights(path):
        return path
    for name in WEIGHT_FOLDERS:
        if _has_weights(path / name):
            return path / name
    below = sorted(file.parent for file in path.glob(f"*/{CONFIG}"))
    if len(below) == 1:
        return below[0]
    if below:
        raise UsageError(
            f"{path} holds {len(below)} adapters: {', '.join(one.name for one in below[:5])}",
            expected="one of them",
            hint=str(below[0]),
        )
    is_run = (path / "config.toml").is_file()
    raise UsageError(
        f"{path} has no weights: it is {'a run that has not finished' if is_run else 'neither a model nor a run'}",
        expected=f"a model (config.json), an adapter ({CONFIG}), or a run with one of {', '.join(WEIGHT_FOLDERS)}",
        hint=f"medgrpo train --resume {typed_path(path)}" if is_run else None,
    )


def metadata_file(path: Path) -> Path | None:
    """The `medgrpo.json` of the weights that a path means; None where there is none."""
    try:
        file = weight_folder(path) / METADATA
    except UsageError:
        return None
    return file if file.is_file() else None


def data_seed(metadata: Mapping[str, Any]) -> int | None:
    """The seed that drew the training rows of a mixture, as `medgrpo.json` recorded it; None where it did not."""
    seed = (metadata.get("provenance") or {}).get("seed")
    return seed if isinstance(seed, int) else None


@reads("weights", "an adapter on its base")
def check_fingerprints(weights: Weights, *, force: bool = False) -> list[str]:
    """Refuse a base or adapter that is not the one that was trained, as far as `medgrpo.json` recorded it.

    Args:
        force: give what differs as notes instead.
    Raises:
        UsageError: what differs, and how to go on all the same.
    """
    recorded = weights.metadata.get("fingerprint") or {}
    if weights.adapter is None or not recorded:
        return []
    folder = local_folder(weights.base, weights.revision)
    differs = [
        None if folder is None else check_base(recorded.get("base"), folder, str(weights.adapter)),
        check_adapter(recorded.get("adapter"), weights.adapter),
    ]
    found = [one for one in differs if one]
    if found and not force:
        was = weights.metadata.get("base_model")
        moved = f" (it was {was})" if differs[0] and was and was != weights.base else ""
        raise UsageError(
            f"{found[0]}{moved}",
            expected="the base and the adapter as they were trained: on others the answers are noise",
            hint="name the right base; --force-base (train: --set model.force_base=true) takes it as it is",
        )
    return [f"{one}; taken all the same (force-base)" for one in found]


def check_trust(weights: Weights, *, is_given: bool, option: str) -> bool:
    """Whether the Python that comes with the base is run: only if it is typed, whatever the training recorded.

    Args:
        weights: what is loaded.
        is_given: whether this call says so.
        option: how to say so.
    Raises:
        UsageError: it was trained with such code, and this call does not say to run it.
    """
    if weights.trust_remote_code and not is_given:
        raise UsageError(
            f"{weights.adapter or weights.base} was trained with the Python code that comes with {weights.base}",
            expected="your word for running it: what a medgrpo.json says is not enough for that",
            hint=f"read that code, then: {option}",
        )
    return is_given


def with_fingerprints(metadata: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`medgrpo.json` for weights in this folder: for an adapter with what tells it and its base from others.

    Args:
        metadata: with `base_model` and `revision`.
        folder: where the weights were just written.
    """
    if not is_adapter(folder):
        return metadata
    base = local_folder(str(metadata["base_model"]), metadata.get("revision"))
    known = {"base": None if base is None else base_fingerprint(base), "adapter": adapter_fingerprint(folder)}
    return {**metadata, "fingerprint": known}


def local_folder(base: str, revision: str | None = None) -> Path | None:
    """The folder of a model: its own, or that of a hub model in the cache; None where it is not here."""
    folder = Path(base).expanduser()
    if folder.is_dir():
        return folder
    try:
        from transformers.utils import cached_file

        found = cached_file(base, "config.json", revision=revision or "main", local_files_only=True)
    except (ImportError, OSError, ValueError):
        return None
    return None if found is None else Path(found).parent


def _has_weights(folder: Path) -> bool:
    return is_adapter(folder) or (folder / "config.json").is_file()


def _whole(folder: Path, run: Path | None = None) -> Weights:
    metadata = recorded_metadata(folder)
    return Weights(
        str(folder), trust_remote_code=bool(metadata.get("trust_remote_code")), run=run, metadata=metadata
    )


def _with_adapter(path: str, folder: Path, adapter: Path) -> Weights:
    """A model and an adapter that was named beside it."""
    found = adapter if is_adapter(adapter) else None
    if found is None and adapter.is_dir():
        inside = weight_folder(adapter)
        found = inside if is_adapter(inside) else None
    if found is None:
        raise UsageError(f"no adapter at {adapter}", expected=f"a folder with {CONFIG}")
    below = find_weights(path)
    if below.adapter is not None:
        raise UsageError(
            f"{path} is itself an adapter ({below.adapter}), and {adapter} would lie on top of it",
            expected="the whole model under both",
            hint=f"medgrpo merge-lora {typed_path(below.adapter)} {typed_path(found)} --output MERGED adds both to their base",
        )
    return replace(_on_base(found, below.base), run=below.run)


def _on_base(adapter: Path, override: str | None = None, hint: str | None = None) -> Weights:
    """An adapter with the base that it was trained on, or the one that is named instead."""
    metadata, config = recorded_metadata(adapter), adapter_config(adapter)
    recorded = config.get("base_model_name_or_path") or metadata.get("base_model")
    if override is not None:
        below = find_weights(override)
        if below.adapter is not None:
            raise UsageError(
                f"the base {override} is itself an adapter",
                expected="a whole model",
                hint=f"medgrpo merge-lora {typed_path(override)} first",
            )
        base = below.base
    elif not recorded:
        raise UsageError(
            f"{adapter} does not name its base model", hint=hint or _NAMED_IN.format(adapter / CONFIG)
        )
    else:
        base = _base_here(adapter, str(recorded), metadata, hint)
    if not metadata and Path(base).is_dir():
        metadata = {
            key: value for key, value in recorded_metadata(Path(base)).items() if key != "fingerprint"
        }
    pinned = metadata.get("revision") or config.get("revision")
    return Weights(
        base,
        adapter,
        revision=None if Path(base).is_dir() else pinned,
        trust_remote_code=bool(metadata.get("trust_remote_code"))
        and (Path(base).is_dir() or base == recorded),
        metadata=metadata,
    )


def _base_here(adapter: Path, recorded: str, metadata: dict[str, Any], hint: str | None) -> str:
    """Where the base lies now. A relative path counts from the working directory, as PEFT reads it, or from the adapter;
    a base inside the adapter's run moves with it. Of several that exist the recorded fingerprint decides.

    Raises:
        UsageError: it is nowhere, or two different folders could be meant.
    """
    places: dict[Path, Path] = {}
    for place in _places(adapter, recorded, metadata):
        if (place / "config.json").is_file():
            places.setdefault(place.resolve(), place.absolute())
    found = list(places.values())
    if len(found) > 1:
        wanted = (metadata.get("fingerprint") or {}).get("base")
        found = [place for place in found if wanted and check_base(wanted, place, str(adapter)) is None][
            :1
        ] or found
    if len(found) > 1:
        raise UsageError(
            f"{adapter} names its base {recorded!r}, and two folders could be meant: {found[0]} and {found[1]}",
            hint=hint or _NAMED_IN.format(adapter / CONFIG),
        )
    if found:
        return str(found[0])
    if is_hub_name(recorded) and not recorded.startswith("runs/"):
        return recorded
    raise UsageError(
        f"the base model {recorded} that {adapter} names does not exist here",
        expected="the folder it was trained on, or a hub name",
        hint=hint or _NAMED_IN.format(adapter / CONFIG),
    )


def _places(adapter: Path, recorded: str, metadata: dict[str, Any]) -> Iterator[Path]:
    path = Path(recorded).expanduser()
    yield path
    if not path.is_absolute():
        yield Path(os.path.normpath(adapter / path))
        yield Path(os.path.normpath(adapter.parent / path))
    run = (metadata.get("provenance") or {}).get("run_folder")
    if run and path.is_absolute() and path.is_relative_to(run):
        for above in adapter.parents[
            :3
        ]:  # RUN/best_lora, RUN/checkpoints/checkpoint-10, RUN/stages/1-sft/final_lora
            yield above / path.relative_to(run)

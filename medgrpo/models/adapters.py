"""Puts an adapter on its base through PEFT, and sees that every tensor of it found its place."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medgrpo.alarm import limited
from medgrpo.errors import MedgrpoError, missing_extra
from medgrpo.foreign import reads
from medgrpo.models.adapter_files import AdapterFiles, adapter_config, read_adapter
from medgrpo.models.tensor_files import listed

PATTERN_S = 10.0
"""Longest time for the patterns of an adapter; honest ones take milliseconds."""
_OTHER = (
    "is this the base model it was trained on? Versions of PEFT and Transformers also rename modules: "
    "pip install the versions it was saved with"
)


@reads("folder", "an adapter of that base")
def load_adapter(
    model: Any, folder: Path, *, base: str, is_trainable: bool = False, notes: list[str] | None = None
) -> Any:
    """The model with the adapter, as PEFT's model.

    Args:
        notes: what is to be said of it is added.
    Raises:
        MedgrpoError: files missing or broken, NaN, another rank, or tensors that have no place in this base, or places
            that got no tensor: names the first three and the count.
    """
    try:
        from peft import PeftModel, set_peft_model_state_dict
    except ImportError as error:
        raise missing_extra("peft", "train", "an adapter") from error
    files = read_adapter(folder)
    check_patterns(folder, [name for name, _ in model.named_modules()])
    _refuse_drawn_base(files)
    files = _under_its_names(files, model, notes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing keys: we refuse them below
            adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=is_trainable)
            check_fits(adapted, files, base=base)
            if _is_sharded(adapted):  # ZeRO-3 holds a share of each weight, and PEFT has gathered them
                _refuse_translated(files)
                return adapted
            named = {f"base_model.model.{name}": tensor for name, tensor in files.tensors.items()}
            result = set_peft_model_state_dict(adapted, named, adapter_name="default")
    except (ValueError, RuntimeError, OSError, KeyError, TypeError, AttributeError) as error:
        raise _does_not_fit(folder, base, error) from error
    prefix = _prefix(files.kind)
    missing = [name for name in result.missing_keys if prefix in name and ".default" in name]
    _refuse(folder, base, "has no tensor for", missing, len(files.tensors))
    _refuse(folder, base, "has tensors that find no place:", list(result.unexpected_keys), len(files.tensors))
    return adapted


def _refuse_drawn_base(files: AdapterFiles) -> None:
    """PiSSA's fast start takes a random part out of the base, and PEFT draws another one each time it loads."""
    start = str(files.config.get("init_lora_weights", True)).lower()
    if start.startswith("pissa_niter"):
        raise MedgrpoError(
            f"{files.folder} was begun with init_lora_weights = {start!r}, which changed the base by a draw that was not saved",
            expected="an adapter on the base as it is: loaded as it stands, it is another function each time",
            hint="in the program that trained it, save it with path_initial_model_for_weight_conversion, which PEFT has for this",
        )


def _under_its_names(files: AdapterFiles, model: Any, notes: list[str] | None) -> AdapterFiles:
    """The adapter with the names of another version of Transformers translated, where the model is one of Transformers."""
    from transformers import PreTrainedModel

    from medgrpo.models.adapter_names import named_as_in, translation_note
    from medgrpo.models.skeleton import Skeleton

    if not isinstance(model, PreTrainedModel):
        return files
    found, translated = named_as_in(files, Skeleton.of(model))
    if translated and notes is not None:
        notes.append(translation_note(files, translated))
    return found


def _refuse_translated(files: AdapterFiles) -> None:
    """Where PEFT's own loading has to do, it has passed over the names that were translated here."""
    stored = {name.removeprefix("base_model.model.") for name in read_adapter(files.folder).tensors}
    if other := sorted(stored - files.tensors.keys()):
        raise MedgrpoError(
            f"{len(other)} names of {files.folder} are those of another version of Transformers: {listed(other)}",
            expected="today's names, where the weights are divided over processes (ZeRO-3)",
            hint="train on one GPU or with ZeRO-2 for a step: what is saved then has today's names",
        )


def check_settings(files: AdapterFiles, model: Any, *, base: str) -> None:
    """What `load_adapter` would refuse, asked of a model without weights: names and shapes that PEFT makes of the settings.

    Args:
        files: the adapter under the model's names.
        model: on the meta device; it is copied.
    Raises:
        MedgrpoError: as `check_fits`, or settings that PEFT does not take.
    """
    from copy import deepcopy

    from peft import PeftConfig, get_peft_model

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = PeftConfig.from_pretrained(str(files.folder))
            adapted = get_peft_model(deepcopy(model), config, low_cpu_mem_usage=True)
            check_fits(adapted, files, base=base)
    except (ValueError, RuntimeError, OSError, KeyError, TypeError, AttributeError) as error:
        raise _does_not_fit(files.folder, base, error) from error


def check_fits(adapted: Any, files: AdapterFiles, *, base: str) -> None:
    """Hold the names and shapes of an adapter's file against the adapter of a model, whose weights may be sharded.

    Args:
        adapted: PEFT's model.
        files: what is to be loaded into it.
        base: for the message.
    Raises:
        MedgrpoError: tensors without a place, places without a tensor, other shapes: names the first three and the count.
    """
    from peft import get_peft_model_state_dict

    weights = dict(adapted.named_parameters(remove_duplicate=False)) | dict(adapted.named_buffers())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = get_peft_model_state_dict(adapted, state_dict=dict(weights), save_embedding_layers=False)
    places = {name.removeprefix("base_model.model."): _whole_shape(one) for name, one in found.items()}
    _refuse(
        files.folder,
        base,
        "has no tensor for",
        sorted(places.keys() - files.tensors.keys()),
        len(files.tensors),
    )
    own = {_plain(name) for name in weights}  # PEFT saves an embedding beside an adapter whose module it is
    lost = sorted(name for name in files.tensors.keys() - places.keys() if _plain(name) not in own)
    _refuse(files.folder, base, "has tensors that find no place:", lost, len(files.tensors))
    other = {
        name: (list(tensor.shape), list(places[name]))
        for name, tensor in files.tensors.items()
        if name in places and tuple(tensor.shape) != places[name]
    }
    if other:
        raise _other_shapes(files.folder, base, other)


def _plain(name: str) -> str:
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")


def _whole_shape(weight: Any) -> tuple[int, ...]:
    """Of a weight that ZeRO-3 or FSDP may have cut (a DTensor's own shape is the whole one)."""
    return tuple(getattr(weight, "ds_shape", weight.shape))


def check_patterns(folder: Path, names: Sequence[str]) -> None:
    """Try the patterns of an adapter on the names of a model, so that one made to take for ever says so.

    Raises:
        MedgrpoError: a pattern takes longer than `PATTERN_S`, or is no regular expression.
    """
    settings = adapter_config(folder)
    for key, pattern in _patterns(settings):

        def late(key: str = key) -> MedgrpoError:
            return MedgrpoError(
                f"the pattern {key} in {folder / 'adapter_config.json'} takes longer than {PATTERN_S:g} s on the names of "
                f"this model's {len(names)} modules",
                expected="a list of names, or a pattern that ends",
            )

        with limited(PATTERN_S, late):
            try:
                any(re.fullmatch(pattern, name) for name in names)
            except re.error as error:
                raise MedgrpoError(
                    f"the pattern {key} in {folder / 'adapter_config.json'} is no regular expression: {error}"
                ) from error


def _patterns(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What PEFT reads as a regular expression: settings that are text, and the names in tables of ranks by name."""
    for key in (
        "target_modules",
        "exclude_modules",
        "layers_pattern",
        "modules_to_save",
        "target_parameters",
    ):
        if isinstance(pattern := settings.get(key), str):
            yield key, pattern
        elif key == "layers_pattern" and isinstance(pattern, list):
            yield from ((key, one) for one in pattern if isinstance(one, str))
    for key in ("rank_pattern", "alpha_pattern"):
        if isinstance(table := settings.get(key), dict):
            yield from ((key, rf"(.*\.)?({name})$") for name in table)


def _prefix(kind: str) -> str:
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

    return str(PEFT_TYPE_TO_PREFIX_MAPPING.get(kind, "lora_"))


def _is_sharded(model: Any) -> bool:
    return any(hasattr(weight, "ds_id") for weight in model.parameters())


def _refuse(folder: Path, base: str, what: str, names: list[str], total: int) -> None:
    if names:
        plain = [name.removeprefix("base_model.model.") for name in names]
        raise MedgrpoError(
            f"the adapter {folder} does not fit the model {base}: it {what} {listed(plain)} ({len(names)}; the file has {total} tensors)",
            expected="a tensor for each module that the adapter names, and a module for each tensor",
            hint=_OTHER,
        )


def _does_not_fit(folder: Path, base: str, error: Exception) -> MedgrpoError:
    text = str(error)
    sizes = re.findall(
        r"size mismatch for (\S+): .*?torch\.Size\((\[[^\]]*\])\).*?torch\.Size\((\[[^\]]*\])\)", text
    )
    if sizes:
        return _other_shapes(
            folder, base, {name.removeprefix("base_model.model."): (a, b) for name, a, b in sizes}
        )
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return MedgrpoError(f"the adapter {folder} does not fit the model {base}: {first}", hint=_OTHER)


def _other_shapes(folder: Path, base: str, other: Mapping[str, tuple[Any, Any]]) -> MedgrpoError:
    """Of tensors with the shape that is stored and the one that is expected."""
    stored, wanted = next(iter(other.values()))
    return MedgrpoError(
        f"the adapter {folder} does not fit the model {base}: {len(other)} tensors have another shape: "
        f"{listed(other)} ({stored} in the file, {wanted} expected)",
        expected="r in adapter_config.json as it was trained, and the base it was trained on",
        hint=_OTHER,
    )

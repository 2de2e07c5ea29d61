"""An adapter as it lies on disk: its settings and tensors, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError
from medgrpo.files import foreign_json, read_json, write_json, write_text
from medgrpo.foreign import reads
from medgrpo.models.tensor_files import ADAPTER_FILE, listed, read_config, read_header
from medgrpo.places import found_places, without_places

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"
LARGEST = 65_504
"""Largest number of float16; what is above it in an adapter was not trained."""
_BIN = "adapter_model.bin"
_NAMES_PLACES = {"base_model", "adapter_before"}
_SWITCHES = ("use_rslora", "use_dora", "lora_bias", "fan_in_fan_out")


@dataclass(frozen=True)
class AdapterFiles:
    """Settings and tensors of one adapter; the names lack PEFT's `base_model.model.`."""

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    @property
    def kind(self) -> str:
        """PEFT's word for it, such as LORA or IA3."""
        return str(self.config.get("peft_type", "LORA")).upper()


def is_adapter(folder: Path) -> bool:
    """Whether an adapter lies right in this folder."""
    return (folder / CONFIG).is_file()


def adapter_config(folder: Path) -> dict[str, Any]:
    """The adapter's settings.

    Raises:
        MedgrpoError: they are missing, broken, or of no adapter.
    """
    config = read_config(folder / CONFIG)
    rank = config.get("r")
    if rank is not None and (not isinstance(rank, int) or isinstance(rank, bool) or rank < 1):
        raise MedgrpoError(
            f"{folder / CONFIG}: r is {rank!r}", expected="the rank of the adapter, a whole number from 1 on"
        )
    for name in ("lora_alpha", "alpha"):
        alpha = config.get(name)
        if alpha is not None and not _is_alpha(alpha):
            raise MedgrpoError(
                f"{folder / CONFIG}: {name} is {alpha!r}",
                expected=f"a finite number, which scales the adapter, up to {LARGEST:,}",
            )
    _check_patterns_and_switches(folder, config)
    _check_megatron(folder / CONFIG, config)
    return config


def _check_patterns_and_switches(folder: Path, config: dict[str, Any]) -> None:
    """PEFT asks whether a switch is true, as the text "false" is, and takes any number in a table of ranks."""
    for name in _SWITCHES:
        if not isinstance(config.get(name), bool | None):
            raise MedgrpoError(f"{folder / CONFIG}: {name} is {config[name]!r}", expected="true or false")
    for name, is_right in (("rank_pattern", _is_rank), ("alpha_pattern", _is_alpha)):
        table = config.get(name)
        if table is not None and not (isinstance(table, dict) and all(map(is_right, table.values()))):
            what = "whole numbers from 1 on" if name == "rank_pattern" else "finite numbers"
            raise MedgrpoError(f"{folder / CONFIG}: {name} is {table!r}", expected=f"names with {what}")


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_alpha(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _check_megatron(file: Path, config: dict[str, Any]) -> None:
    """PEFT imports what `megatron_core` names, older versions whatever it is: code that somebody else chose."""
    named = config.get("megatron_core")
    if config.get("megatron_config") and named not in (None, "megatron.core"):
        raise MedgrpoError(
            f"{file}: megatron_core is {named!r:.80}, a module that loading the adapter would run",
            expected="megatron.core, or no megatron_config",
        )


def adapter_tensor_file(folder: Path) -> Path:
    """The file with the adapter's tensors, whole as far as its header says.

    Raises:
        MedgrpoError: it is not there, or cut off.
    """
    file = folder / ADAPTER_FILE
    if file.is_file():
        read_header(file)
        return file
    if (folder / _BIN).is_file():
        return folder / _BIN
    raise MedgrpoError(
        f"the adapter {folder} has no weights",
        expected=f"{ADAPTER_FILE} beside {CONFIG}",
        hint="was the download or the save interrupted?",
    )


@reads("folder", "an adapter: adapter_config.json and its tensors")
def read_adapter(folder: Path) -> AdapterFiles:
    """The adapter with all its tensors, each of them finite.

    Raises:
        MedgrpoError: files missing, broken or cut off; NaN or inf; names the tensors.
    """
    config, file = adapter_config(folder), adapter_tensor_file(folder)
    missing = [name for name in ("r", "lora_alpha") if config.get(name) is None]
    if missing and str(config.get("peft_type", "LORA")).upper() == "LORA":
        raise MedgrpoError(
            f"{folder / CONFIG} names no {' and no '.join(missing)}",
            expected="rank and alpha as it was trained: the change is scaled by alpha / r",
        )
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors = load_file(str(file))
    else:
        tensors = _read_bin(file)
    counters = ("num_batches_tracked",)  # of batch norms
    whole = [
        name for name, one in tensors.items() if not one.is_floating_point() and not name.endswith(counters)
    ]
    if whole:
        raise MedgrpoError(
            f"the adapter {folder} has {len(whole)} of {len(tensors)} tensors in whole numbers: {listed(whole)}",
            expected="floating point: what was rounded to whole numbers is another adapter",
        )
    check_finite(tensors, f"the adapter {folder}")
    check_sizes(tensors, f"the adapter {folder}")
    return AdapterFiles(
        folder, config, {name.removeprefix("base_model.model."): one for name, one in tensors.items()}
    )


def _read_bin(file: Path) -> dict[str, torch.Tensor]:
    import pickle

    import torch

    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise MedgrpoError(
            f"{file} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            hint="the download or the save was interrupted: fetch or save it again",
        ) from error
    if not isinstance(found, dict) or not all(isinstance(one, torch.Tensor) for one in found.values()):
        raise MedgrpoError(f"{file} holds no tensors by name", expected="what PEFT's save_pretrained writes")
    return found


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite; whole numbers and tensors without values are."""
    import torch

    if tensor.numel() == 0 or not tensor.is_floating_point() or tensor.is_meta:
        return True
    if tensor.element_size() < 2:  # float8 has no aminmax
        tensor = tensor.float()
    least, most = torch.aminmax(tensor)  # one pass, no mask in memory; NaN goes through
    return bool(torch.isfinite(least) & torch.isfinite(most))


def check_finite(tensors: Any, what: str) -> None:
    """Refuse NaN and infinity.

    Args:
        tensors: mapping of name to tensor.
        what: whose tensors they are, for the message.
    Raises:
        MedgrpoError: names the first three tensors and the count.
    """
    bad = [name for name, tensor in tensors.items() if not is_finite(tensor)]
    if bad:
        raise MedgrpoError(
            f"{what} has NaN or infinity in {len(bad)} of {len(tensors)} tensors: {listed(bad)}",
            expected="finite numbers: such weights answer with NaN or noise",
            hint="take an earlier checkpoint, or fetch or save it again",
        )


def largest_of(tensor: torch.Tensor) -> float:
    """The largest absolute value, 0 where there is none; NaN goes through."""
    import torch

    if tensor.numel() == 0 or not tensor.is_floating_point() or tensor.is_meta:
        return 0.0
    if tensor.element_size() < 2:  # float8 has no aminmax
        tensor = tensor.float()
    least, most = torch.aminmax(tensor.detach())
    return max(-float(least), float(most))


def check_sizes(tensors: Mapping[str, torch.Tensor], what: str) -> None:
    """Refuse numbers that no training ends with.

    Args:
        tensors: name to tensor, all finite.
        what: whose tensors they are, for the message.
    Raises:
        MedgrpoError: one is above `LARGEST`; names the tensor.
    """
    sizes = [(largest_of(one), name) for name, one in tensors.items()]
    size, name = max(sizes, default=(0.0, ""))
    if size > LARGEST:
        raise MedgrpoError(
            f"{what} has numbers up to {size:.3g} (in {name})",
            expected=f"numbers of a trained adapter, seldom above 1; float16 ends at {LARGEST:,}",
            hint="take an earlier checkpoint, or fetch or save it again: such an adapter answers with NaN or noise",
        )


def recorded_metadata(folder: Path | None) -> dict[str, Any]:
    """The `medgrpo.json` in this folder; empty where there is none.

    Raises:
        MedgrpoError: it is broken.
    """
    if folder is None or not (folder / "medgrpo.json").is_file():
        return {}
    file = folder / "medgrpo.json"
    try:
        found = foreign_json(file)
    except (OSError, ValueError) as error:
        raise MedgrpoError(f"{file} cannot be read: {error}") from error
    return _with_places(found, folder) if isinstance(found, dict) else {}


def _with_places(metadata: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The metadata with those of its entries that name places as they lie now."""
    places = {key: found_places(metadata[key], folder) for key in _NAMES_PLACES & metadata.keys()}
    provenance = metadata.get("provenance")
    if isinstance(provenance, dict):
        places["provenance"] = found_places(provenance, folder)
    return {**metadata, **places}


def without_traces(folder: Path, at: Path | None = None) -> None:
    """Take from what a trainer has saved the paths of this machine: a base is named as it is seen from the adapter, the
    README has its name alone, and `training_args.bin` goes, a pickle that nothing of ours reads.

    Args:
        folder: of a model or an adapter.
        at: the folder that it will be, where that is not beside this one.
    """
    (folder / "training_args.bin").unlink(missing_ok=True)
    for file in sorted(folder.rglob(CONFIG)):  # of the adapter, and of a reference adapter below it
        below = file.parent.relative_to(folder)
        write_json(file, read_json(file), durable=False, at=None if at is None else at / below)
    readme = folder / "README.md"
    if readme.is_file():
        write_text(readme, without_places(readme.read_text("utf-8")), durable=False)

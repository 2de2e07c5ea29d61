"""The tensors of a folder of weights: which file holds which, whole or cut off; read one at a time.

Headers are read by hand (safetensors: a length, a JSON header, the data), so that a truncated download is found
before anything heavy is imported.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError
from medgrpo.files import foreign_json, open_regular
from medgrpo.json_in import TwoValues, json_value
from medgrpo.pictures import leads_out

INDEX = "model.safetensors.index.json"
BIN_INDEX = "pytorch_model.bin.index.json"
ADAPTER_FILE = "adapter_model.safetensors"
LONGEST_HEADER = 25_000_000
"""Bytes of a header: those of a quarter of a million tensors, more than one file of any model has. Unfolded it takes ten times as much."""
_AGAIN = "the download or the save was interrupted: fetch or save it again"


@dataclass(frozen=True)
class Stored:
    """Where one tensor lies: bytes `start` to `end` of the file, counted from its first byte."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(file: Path) -> dict[str, Stored]:
    """The tensors of one safetensors file by name, without their values.

    Raises:
        MedgrpoError: it is cut off, or no safetensors file.
    """
    with open_regular(file) as opened:
        size = os.fstat(opened.fileno()).st_size
        first = opened.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= max(size - 8, 0):
            raise _truncated(file, f"its {size} bytes do not hold the header")
        if length > LONGEST_HEADER:
            raise _truncated(file, f"its header takes {length:,} bytes, the limit is {LONGEST_HEADER:,}")
        try:
            header = json_value(opened.read(length))
            entries = {name: one for name, one in header.items() if name != "__metadata__"}
            found = {name: _stored(file, one, 8 + length) for name, one in entries.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f": {error}" if isinstance(error, TwoValues) else ""
            raise _truncated(file, f"its header is no JSON of tensors{why}") from error
    last = max((one.end for one in found.values()), default=8 + length)
    if size != last:
        raise _truncated(file, f"it has {size} bytes, its header speaks of {last}")
    return found


def _stored(file: Path, entry: Mapping[str, Any], offset: int) -> Stored:
    start, end = entry["data_offsets"]
    return Stored(file, str(entry["dtype"]), tuple(entry["shape"]), offset + int(start), offset + int(end))


def _truncated(file: Path, why: str) -> MedgrpoError:
    return MedgrpoError(
        f"{file} is cut off or damaged: {why}", expected="a whole safetensors file", hint=_AGAIN
    )


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a model's weights, as its index names them, else by their usual names; none: empty.

    Raises:
        MedgrpoError: the index is broken, or names a file that is not there.
    """
    for index in (folder / INDEX, folder / BIN_INDEX):
        if not index.is_file():
            continue
        whole = index.with_name(index.name.removesuffix(".index.json"))
        if whole.is_file():  # Transformers would read this one, and vLLM the shards
            raise MedgrpoError(
                f"{folder} has the weights twice: {whole.name}, and the shards that {index.name} names",
                expected="one of them",
                hint="move aside what is older",
            )
        try:
            names = sorted(set(foreign_json(index)["weight_map"].values()))
            elsewhere = [name for name in names if not name or leads_out(name)]
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise MedgrpoError(
                f"{index} cannot be read: {error}", expected="an object with a weight_map", hint=_AGAIN
            ) from error
        if not names:
            raise MedgrpoError(f"{index} names no tensors", expected="a weight_map", hint=_AGAIN)
        if elsewhere:
            raise MedgrpoError(
                f"{index} names a file outside of the model: {elsewhere[0]!r:.120}",
                expected="every shard beside config.json",
            )
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise MedgrpoError(
                f"{folder} lacks {len(missing)} of the {len(names)} files that its index names: {listed(missing)}",
                expected="every shard beside config.json",
                hint=_AGAIN,
            )
        return [folder / name for name in names]
    single = [folder / name for name in ("model.safetensors", "pytorch_model.bin")]
    found = [file for file in single if file.is_file()][:1]
    return found or sorted(folder.glob("*.safetensors"))


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """All tensors of a model folder by the name that its files give them; empty where it has no safetensors.

    Raises:
        MedgrpoError: a file is missing or cut off, or the index names tensors that no file holds.
    """
    found: dict[str, Stored] = {}
    for file in weight_files(folder):
        if file.suffix == ".safetensors":
            found |= read_header(file)
    if found and (folder / INDEX).is_file():
        named = foreign_json(folder / INDEX)["weight_map"]
        lost = [name for name in named if name not in found]
        if lost:
            raise MedgrpoError(
                f"{folder / INDEX} names {len(lost)} tensors that no file holds: {listed(lost)}", hint=_AGAIN
            )
    return found


def check_files(folder: Path) -> None:
    """Refuse a model folder whose files are missing, cut off or damaged; reads headers only.

    Raises:
        MedgrpoError: what is wrong with which file.
    """
    try:
        stored_tensors(folder)
    except MedgrpoError as error:
        error.problem = f"the model {folder} cannot be loaded: {error.problem}"
        raise


def read_tensor(stored: Mapping[str, Stored], name: str) -> Any:
    """One tensor of a model folder, in the type it is stored in."""
    from safetensors import safe_open

    with safe_open(str(stored[name].file), framework="pt") as opened:
        return opened.get_tensor(name)


def read_config(file: Path) -> dict[str, Any]:
    """A JSON object of settings, such as `config.json`.

    Raises:
        MedgrpoError: it is missing, broken, or no object.
    """
    try:
        found = foreign_json(file)
    except FileNotFoundError as error:
        raise MedgrpoError(f"{file.parent} has no {file.name}", hint=_AGAIN) from error
    except (OSError, ValueError) as error:
        raise MedgrpoError(f"{file} cannot be read: {error}", hint=_AGAIN) from error
    if not isinstance(found, dict):
        raise MedgrpoError(f"{file} is no JSON object", hint=_AGAIN)
    return found


def bytes_of(shape: Iterable[int], dtype: str) -> int:
    """Bytes of a tensor of this shape in a type as safetensors names it (F32, BF16, …)."""
    bits = int("".join(filter(str.isdigit, dtype.split("_", maxsplit=1)[0])) or 8)
    return prod(shape) * max(bits, 8) // 8


def listed(names: Iterable[str]) -> str:
    """The first three names, and that there are more."""
    names = list(names)
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")

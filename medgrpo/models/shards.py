"""The weights of a model folder, one tensor at a time: read from any of the usual files, written as safetensors."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError
from medgrpo.models.tensor_files import INDEX, bytes_of, read_header, weight_files

if TYPE_CHECKING:
    import torch

TORCH_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
"""Types by the names of safetensors and of torch."""
STORED_NAMES = {torch_name: stored for stored, torch_name in TORCH_NAMES.items()}


@dataclass(frozen=True)
class Entry:
    """A tensor's type (as safetensors names it) and shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Its size on disk."""
        return bytes_of(self.shape, self.dtype)


@dataclass
class Shard:
    """One file of weights."""

    file: Path
    entries: dict[str, Entry]
    _pickled: dict[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def open(cls, file: Path) -> Shard:
        """The file's names, types and shapes; values stay on the disk.

        Raises:
            MedgrpoError: it is cut off or damaged.
        """
        if file.suffix == ".safetensors":
            return cls(file, {name: Entry(one.dtype, one.shape) for name, one in read_header(file).items()})
        import torch

        try:
            tensors = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
        except Exception as error:  # pickle raises anything
            raise MedgrpoError(f"{file} cannot be read: {str(error).splitlines()[0]}") from error
        tensors = {name: one for name, one in tensors.items() if hasattr(one, "shape")}
        entries = {
            name: Entry(STORED_NAMES[str(one.dtype).removeprefix("torch.")], tuple(one.shape))
            for name, one in tensors.items()
        }
        return cls(file, entries, tensors)

    def get(self, name: str) -> torch.Tensor:
        """One tensor, as it is stored."""
        if self._pickled:
            return self._pickled[name]
        from safetensors import safe_open

        with safe_open(str(self.file), framework="pt") as opened:
            return opened.get_tensor(name)  # type: ignore[no-any-return]

    @property
    def safe_name(self) -> str:
        """Its name as a safetensors file."""
        return self.file.name.replace("pytorch_model", "model").replace(".bin", ".safetensors")


def open_shards(folder: Path) -> list[Shard]:
    """All files of weights of a model folder.

    Raises:
        MedgrpoError: there are none, or one is missing or cut off.
    """
    shards = [Shard.open(file) for file in weight_files(folder)]
    if not shards:
        raise MedgrpoError(f"{folder} has no weights", expected="*.safetensors beside config.json")
    return shards


def write_shard(
    file: Path,
    entries: Mapping[str, Entry],
    value_of: Callable[[str], torch.Tensor],
    on_tensor: Callable[[int], None],
) -> None:
    """Write a safetensors file with one tensor in memory at a time.

    Args:
        file: where to.
        entries: its tensors.
        value_of: gives each, in the type and shape of its entry.
        on_tensor: told after each.
    """
    import torch

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, entry in entries.items():
        header[name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [place, place + entry.nbytes],
        }
        place += entry.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as opened:
        opened.write(struct.pack("<Q", len(text)) + text)
        for name, entry in entries.items():
            tensor = value_of(name).detach().cpu().contiguous()
            if tuple(tensor.shape) != entry.shape or str(tensor.dtype) != f"torch.{TORCH_NAMES[entry.dtype]}":
                raise AssertionError(f"{name}: {tensor.dtype} {tuple(tensor.shape)} for {entry}")
            opened.write(tensor.view(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
            on_tensor(1)


def write_index(folder: Path, shards: Mapping[str, Mapping[str, Entry]]) -> None:
    """The index of several files; a single one needs none."""
    if len(shards) < 2:
        return
    places = {name: file for file, entries in shards.items() for name in entries}
    size = sum(entry.nbytes for entries in shards.values() for entry in entries.values())
    document = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}
    (folder / INDEX).write_text(json.dumps(document, indent=2), encoding="utf-8")


def all_entries(shards: list[Shard]) -> Iterator[tuple[Shard, str, Entry]]:
    """(file, name, entry) of every tensor."""
    for shard in shards:
        for name, entry in shard.entries.items():
            yield shard, name, entry

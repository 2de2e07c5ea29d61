"""Checkpoints under FSDP2: each process writes and reads its own part, and nobody gathers the optimiser.

torch.distributed.checkpoint keeps them so that another number of processes can read them. Its table of contents
is a pickle, which torch reads as it is; here it is read first by a reader that knows the classes of such tables alone.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError

CONTENTS = ".metadata"
"""torch's name for the table of contents of a folder of parts."""
WEIGHTS = "pytorch_model_fsdp"
"""Transformers' name for the folder of the weights' parts."""
_TABLE = "torch.distributed.checkpoint."
_KNOWN = frozenset({
    ("builtins", "set"), ("collections", "OrderedDict"), ("torch", "Size"), ("torch.serialization", "_get_layout"),
    *((f"{_TABLE}metadata", name) for name in (
        "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta",
        "TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    )),
    ("pathlib", "PosixPath"), ("pathlib", "WindowsPath"), ("pathlib._local", "PosixPath"), ("pathlib._local", "WindowsPath"),
    (f"{_TABLE}filesystem", "_StorageInfo"), (f"{_TABLE}filesystem", "_StoragePrefix"),
})  # fmt: skip
"""What such a table is made of, besides torch's types of numbers."""


@contextmanager
def in_parts(accelerator: Any, checkpoint: Path | None = None) -> Iterator[None]:
    """For the length of the block, FSDP's states are written and read in parts; nothing changes without FSDP.

    Args:
        checkpoint: one to read; None: one is written. Those of older versions are whole and are read as such.

    Raises:
        MedgrpoError: a table of contents holds more than such a table does.
    """
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        yield
        return
    tables = sorted(checkpoint.glob(f"*/{CONTENTS}")) if checkpoint is not None else []
    if checkpoint is not None and not tables:
        yield
        return
    for table in tables:
        check_contents(table)
    names = ("state_dict_type", "state_dict_config", "optim_state_dict_config")
    before = {name: getattr(plugin, name) for name in names}
    for name in names:
        setattr(plugin, name, None)
    try:
        plugin.set_state_dict_type("SHARDED_STATE_DICT")
        with failures_themselves():
            yield
    finally:
        for name, value in before.items():
            setattr(plugin, name, value)


@contextmanager
def failures_themselves() -> Iterator[None]:
    """torch gathers what failed in the processes into an error that is no Exception, and raises it in each of them; in its
    place the failure of the first of them is raised, from it."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        yield
    except CheckpointException as gathered:
        raise gathered.failures[min(gathered.failures)][0] from gathered


@contextmanager
def weights_once() -> Iterator[None]:
    """For the length of the block Transformers writes no parts of the weights: the checkpoint holds them whole already, as any
    command reads them. The parts beside them made a checkpoint of full tuning half as large again."""
    from transformers import trainer

    before = trainer.save_fsdp_model
    trainer.save_fsdp_model = lambda *_, **__: None
    try:
        yield
    finally:
        trainer.save_fsdp_model = before


def has_parts_of_weights(checkpoint: Path) -> bool:
    """Whether a checkpoint holds the weights in parts; one of full tuning did in older versions."""
    return any(checkpoint.glob(f"{WEIGHTS}*/{CONTENTS}"))


def take_up_weights(model: Any, whole: dict[str, Any]) -> None:
    """Give each process its part of whole weights, which every process has read.

    Args:
        model: spread over the processes.
        whole: on the CPU, by the model's names.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    set_model_state_dict(model, whole, options=StateDictOptions(full_state_dict=True, strict=True))


def check_contents(table: Path) -> None:
    """Refuse a table of contents that would run code.

    Raises:
        MedgrpoError: it names anything else than the classes of such a table, or is broken.
    """
    with table.open("rb") as file:
        try:
            _Reader(file).load()
        except Exception as error:  # noqa: BLE001 pickle raises anything
            raise MedgrpoError(
                f"{table} is no table of contents of a checkpoint: {error}",
                expected="what torch.distributed.checkpoint wrote",
                hint="resume from an earlier checkpoint; a file from elsewhere that names other things may run code",
            ) from None


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        import torch

        is_type = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_type or (module, name) in _KNOWN:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")

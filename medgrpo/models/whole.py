"""Whether the files of a base hold every weight of the model, and an adapter's every module: without loading either.

For merge-lora, and for engines such as vLLM that load by themselves and leave out what they find no place for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medgrpo.errors import MedgrpoError
from medgrpo.models.adapter_files import check_finite, is_finite, read_adapter
from medgrpo.models.tensor_files import listed, read_config

if TYPE_CHECKING:
    from medgrpo.models.shards import Shard
    from medgrpo.models.skeleton import Skeleton


def placed(base: Path, skeleton: Skeleton, shards: list[Shard]) -> dict[str, tuple[Shard, str]]:
    """Weight -> file and name that it is stored under.

    Raises:
        MedgrpoError: weights that no file holds, or of another shape; where the base stores every weight as the model
            computes with it, else their names do not tell.
    """
    from medgrpo.models.shards import all_entries

    stored: dict[str, tuple[Shard, str]] = {}
    for shard, name, _ in all_entries(shards):
        if known := skeleton.name_of(name):
            stored[known] = (shard, name)
    if not skeleton.can_run:
        return stored
    missing = [
        name for name in skeleton.shapes if name not in stored and skeleton.source_of(name) not in stored
    ]
    other = [
        name for name, (shard, own) in stored.items() if shard.entries[own].shape != skeleton.shapes[name]
    ]
    for names, words in ((missing, "lacks"), (other, "has in another shape")):
        if names:
            raise MedgrpoError(
                f"the base {base} {words} {len(names)} of the {len(skeleton.shapes)} tensors of {type(skeleton.model).__name__}: {listed(names)}",
                expected="every weight that the model needs",
                hint="truncated or renamed? Fetch the model again",
            )
    return stored


def check_whole(base: Path, adapter: Path | None, *, trust_remote_code: bool = False) -> None:
    """Refuse files that do not make up the model; reads each tensor once, holds one.

    A base that is stored quantised is left to the engine: its tensors have names and types of their own.

    Raises:
        MedgrpoError: missing files or tensors, other shapes, NaN or infinity, an adapter that does not fit; names three
            and the count.
    """
    from medgrpo.models.deltas import check_places
    from medgrpo.models.shards import all_entries, open_shards
    from medgrpo.models.skeleton import Skeleton

    shards, skeleton = open_shards(base), Skeleton.open(base, trust_remote_code=trust_remote_code)
    if not read_config(base / "config.json").get("quantization_config"):
        placed(base, skeleton, shards)
        entries = list(all_entries(shards))
        bad = {name: one for shard, name, _ in entries if not is_finite(one := shard.get(name))}
        check_finite(bad, f"the base {base} of {len(entries)} tensors")
    if adapter is not None:
        check_places(read_adapter(adapter), skeleton)

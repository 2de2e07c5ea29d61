"""Whether the files of a base hold every weight of the model, and an adapter's every module: without loading either.

For merge-lora, and for engines such as vLLM that load by themselves and leave out what they find no place for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medgrpo.errors import MedgrpoError, UsageError, typed_path
from medgrpo.models.adapter_files import AdapterFiles, check_finite, is_finite, read_adapter
from medgrpo.models.adapter_names import LEAF, OTHER_BASE
from medgrpo.models.families import tower_of
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
        files = read_adapter(adapter)
        _check_served(files, skeleton)
        check_places(files, skeleton)


_LEFT_OUT = {
    "rank_pattern": "ranks by name", "alpha_pattern": "alphas by name", "use_dora": "DoRA", "modules_to_save": "whole modules",
    "lora_bias": "biases of its own", "layer_replication": "repeated layers", "trainable_token_indices": "single tokens",
    "target_parameters": "bare parameters", "alora_invocation_tokens": "aLoRA",
}  # fmt: skip
"""Settings that vLLM 0.31 refuses late or reads past: its own list of settings has r, lora_alpha, target_modules, bias,
modules_to_save, use_rslora and use_dora."""


def _check_served(files: AdapterFiles, skeleton: Skeleton) -> None:
    """vLLM computes `W + scale·B·A` with one scale, in the layers of the language model, and leaves out the rest without a word.

    Raises:
        UsageError: the adapter is more than that.
    """
    settings = files.config
    more = [words for name, words in _LEFT_OUT.items() if settings.get(name)]
    if files.kind != "LORA":
        more.append(f"{files.kind} instead of LoRA")
    if str(settings.get("bias") or "none") != "none":
        more.append("trained biases")
    start = str(settings.get("init_lora_weights", True)).lower()
    if start.startswith(OTHER_BASE):
        more.append(f"another base (init_lora_weights = {start!r})")
    outside = [name for name in files.tensors if not _is_served(name, skeleton)]
    if outside and not more:
        more.append(f"{len(outside)} tensors outside the layers of the language model: {listed(outside)}")
    if more:
        raise UsageError(
            f"the adapter {files.folder} has {', '.join(more)}, which vLLM does not compute: its answers would be another model's",
            expected="LoRA with one rank and alpha on the layers of the language model",
            hint=f"medgrpo merge-lora {typed_path(files.folder)} --output MERGED, and MERGED instead; or --engine transformers",
        )


def _is_served(name: str, skeleton: Skeleton) -> bool:
    match = LEAF.fullmatch(name)
    if not match or match["leaf"] not in ("lora_A", "lora_B"):
        return False
    module = match["module"]
    if module not in skeleton.modules:
        return True  # whether it has a place is asked after this
    return tower_of(module) == "language" and "layers" in module.split(".")

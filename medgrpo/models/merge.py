"""Merge adapters into their base model, tensor by tensor, and prove that the merged model is the same function."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.files import finite, write_json
from medgrpo.foreign import reads
from medgrpo.locks import new_folder, refuse_used
from medgrpo.models.adapter_files import (
    AdapterFiles,
    check_finite,
    is_adapter,
    is_finite,
    read_adapter,
    recorded_metadata,
)
from medgrpo.models.families import tower_of
from medgrpo.models.fingerprint import adapter_fingerprint, base_fingerprint
from medgrpo.models.folders import METADATA
from medgrpo.models.tensor_files import INDEX, listed, read_config
from medgrpo.models.weights import (
    Weights,
    check_fingerprints,
    check_trust,
    find_weights,
    local_folder,
    weight_folder,
)

if TYPE_CHECKING:
    import torch

    from medgrpo.models.deltas import Change
    from medgrpo.models.merge_check import Check
    from medgrpo.models.shards import Entry, Shard
    from medgrpo.models.skeleton import Skeleton

DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_OF_PROCESSOR = (
    "tokenizer*.json", "tokenizer.model", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json",
    "chat_template.*", "*processor_config.json",
)  # fmt: skip
"""Files of an adapter's folder that replace the base's: the prompt and picture limits of the training."""
_OF_MODEL = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.py")
_NOT_OF_MODEL = (METADATA, INDEX, "pytorch_model.bin.index.json", "complete.json", "adapter_config.json")


@dataclass(frozen=True)
class Merge:
    """What a merge did.

    Attributes:
        named_tensors: weights that the adapters name, per tower (language, vision, aligner).
        changed_tensors: those of them that differ from the base in the written files.
        check: logits of the written files beside the adapter's; None where nothing was asked.
        notes: what was guessed, forced or left out.
    """

    output: Path
    base: str
    dtype: str
    named_tensors: dict[str, int]
    changed_tensors: dict[str, int]
    check: Check | None
    notes: list[str] = field(default_factory=list)

    @property
    def max_logit_difference(self) -> float | None:
        """Largest difference of a logit between adapter and merged model."""
        return None if self.check is None else max(self.check.rounding, self.check.peft or 0.0)

    @property
    def top1_agreement(self) -> float | None:
        """Share of positions where both would choose the same token."""
        return None if self.check is None else self.check.top1_agreement


@dataclass
class _Plan:
    """All that is decided before the first byte is written."""

    base: Path
    skeleton: Skeleton
    shards: list[Shard]
    stored: dict[str, tuple[Shard, str]]
    """Weight → file and name that it is stored under."""
    changes: dict[str, Change]
    dtype: str | None
    untied: dict[str, str]
    """Weight that gets a tensor of its own → the name it is written under."""
    on_tensor: Callable[[int], None]

    def weight(self, name: str, *, is_changed: bool) -> torch.Tensor:
        """One weight in float32, as the base has it or as the adapters make it."""
        shard, stored = self.stored[name if name in self.stored else self.skeleton.source_of(name)]
        value = shard.get(stored).float()
        return self.changes[name](value) if is_changed and name in self.changes else value


def adapter_folder(path: Path) -> Path:
    """The adapter of a path: the folder itself, the best or final one of a run folder, or the only one in a sub-folder.

    Raises:
        UsageError: there is no adapter; says what was found instead.
    """
    if not path.is_dir():
        raise UsageError(f"no folder at {path}", expected="an adapter folder, or a run folder with one")
    try:
        folder = weight_folder(path)
    except UsageError as error:
        error.problem = f"{path} holds no adapter: {error.problem}"
        raise
    if is_adapter(folder):
        return folder
    raise UsageError(
        f"{path} holds a whole model, not an adapter; there is nothing to merge",
        hint="train with --set tuning.method=lora to get an adapter",
    )


def base_of(adapter: Path, base: str | None) -> str:
    """Path or name of the adapter's base model; `base` overrules what the adapter says."""
    return find_weights(str(adapter), base=base, base_hint="--base MODEL").base


@reads("adapters", "adapters that fit their base")
def merge_adapters(
    adapters: Sequence[tuple[Path, float]],
    output: Path,
    *,
    base: str | None = None,
    dtype: str | None = None,
    verify: int = 4,
    force_base: bool = False,
    trust_remote_code: bool = False,
    on_tensor: Callable[[int], None] | None = None,
) -> Merge:
    """Write base + adapters as a plain model folder that any tool loads, one tensor in memory at a time.

    Args:
        adapters: adapter or run folders, each with the weight that its change is multiplied by.
        output: new folder; written under a temporary name and renamed when it is complete and verified.
        base: base model, where the adapters' own record is wrong or missing.
        dtype: float32, bfloat16 or float16; None: as the base is stored.
        verify: prompts on which the written files are compared with base + adapter; 0: none.
        force_base: take a base or adapter that is not the one that was trained.
        trust_remote_code: run Python code that comes with the base.
        on_tensor: told after each tensor is written.

    Raises:
        UsageError: no adapter, no or another base, kinds that do not add up, or the output exists.
        MedgrpoError: files that are not whole, an adapter that does not fit or changes nothing, a full disk, or a merged
            model that is not the same function. Nothing is written then.
    """
    from medgrpo.models.quiet import quiet_libraries

    refuse_used(output)
    found = [
        find_weights(str(adapter_folder(path)), base=base, base_hint="--base MODEL") for path, _ in adapters
    ]
    notes = _one_base(found, force_base)
    for one in found:
        trust = check_trust(one, is_given=trust_remote_code, option="--trust-remote-code")
    folder = local_folder(found[0].base, found[0].revision)
    if folder is None:
        folder = _downloaded(found[0])
    with quiet_libraries():
        files = [
            (read_adapter(Path(str(one.adapter))), weight)
            for one, (_, weight) in zip(found, adapters, strict=True)
        ]
        plan = _plan(folder, files, dtype, notes, on_tensor or (lambda count: None), trust=trust)
        with new_folder(output, "merge into") as partial:
            changed = _write(plan, partial, [Path(str(one.adapter)) for one in found], notes)
            check = _verified(plan, partial, files, found, verify, notes, trust=trust)
            named = _by_tower(plan.changes)
            merge = Merge(
                output, found[0].base, dtype or "as stored", named, _by_tower(changed), check, notes
            )
            _describe(merge, partial, found, [weight for _, weight in files], folder)
    return merge


def finished_merge(
    adapters: Sequence[tuple[Path, float]], output: Path, *, dtype: str | None = None
) -> dict[str, Any] | None:
    """What `medgrpo.json` in the output says, where it is the finished merge of these adapters as they are now.

    None where it is something else, or nothing.
    """
    made: dict[str, Any] = recorded_metadata(output).get("merged") or {}
    recorded = made.get("adapters")
    if not isinstance(recorded, list) or made.get("dtype") != (dtype or "as stored"):
        return None
    wanted = [
        {"weight": weight, "fingerprint": finite(adapter_fingerprint(adapter_folder(path)))}
        for path, weight in adapters
    ]
    is_same = [{key: one.get(key) for key in ("weight", "fingerprint")} for one in recorded] == wanted
    return made if is_same else None


def merge_adapter(adapter: Path, output: Path, **options: Any) -> Merge:
    """One adapter with its whole change; `options` as of `merge_adapters`."""
    return merge_adapters([(adapter, 1.0)], output, **options)


def _one_base(found: Sequence[Weights], force: bool) -> list[str]:
    """Notes on forced fingerprints; the adapters all belong to one base."""
    others = {one.base for one in found}
    if len(others) > 1:
        raise UsageError(
            f"the adapters name different bases: {listed(sorted(others))}",
            expected="adapters of one base",
            hint="--base MODEL",
        )
    return [note for one in found for note in check_fingerprints(one, force=force)]


def _downloaded(weights: Weights) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(weights.base, revision=weights.revision))
    except Exception as error:  # the hub raises many kinds
        raise MedgrpoError(
            f"the base model {weights.base} is neither here nor on the hub: {str(error).strip().splitlines()[0]}",
            hint="check the name; without a network, --base with the path of a downloaded model folder",
        ) from error


def _plan(
    base: Path,
    files: Sequence[tuple[AdapterFiles, float]],
    dtype: str | None,
    notes: list[str],
    on_tensor: Callable[[int], None],
    *,
    trust: bool,
) -> _Plan:
    from medgrpo.models.deltas import changes_of
    from medgrpo.models.shards import open_shards
    from medgrpo.models.skeleton import Skeleton
    from medgrpo.models.whole import placed

    config = read_config(base / "config.json")
    if config.get("quantization_config"):
        raise UsageError(
            f"{base} is stored quantised: what is merged into it would be rounded to its few levels",
            expected="the base in bfloat16 or float32",
            hint="--base with the model that was quantised",
        )
    shards, skeleton = open_shards(base), Skeleton.open(base, trust_remote_code=trust)
    changes, found = changes_of(files, skeleton)
    notes += found
    stored = placed(base, skeleton, shards)
    lost = [name for name in changes if skeleton.source_of(name) not in stored]
    if lost:
        raise UsageError(
            f"{base} stores {listed(lost)} in another form than the model computes with",
            hint="PEFT's own merge_and_unload",
        )
    untied = _untied(skeleton, changes, stored, files)
    if untied:
        notes.append(
            f"{listed(untied)} shared the embedding's weights in the base and differs from it now: "
            "stored on its own, tie_word_embeddings is false"
        )
    return _Plan(base, skeleton, shards, stored, changes, dtype, untied, on_tensor)


def _untied(
    skeleton: Skeleton,
    changes: dict[str, Change],
    stored: dict[str, Any],
    files: Sequence[tuple[AdapterFiles, float]],
) -> dict[str, str]:
    """Weights that shared another's tensor and cannot any more, with the name they are written under."""
    if any(one.config.get("ensure_weight_tying") for one, _ in files):
        for name in skeleton.ties:
            changes.pop(name, None)
        return {}
    found = {}
    for name, source in skeleton.ties.items():
        if name not in changes and source not in changes:
            continue
        if name in changes and source in changes and changes[name].steps == changes[source].steps:
            del changes[name]  # the same new weight for both: they stay one
            continue
        own = (f"{prefix}{name}" for prefix in ("", "language_model.", "model."))
        written = (
            stored[name][1]
            if name in stored
            else next((one for one in own if skeleton.name_of(one) == name), None)
        )
        if written is None:
            raise UsageError(
                f"{name} is trained and shares {source}, and this base has no name for it on its own"
            )
        found[name] = written
    return found


def _write(plan: _Plan, partial: Path, adapters: Sequence[Path], notes: list[str]) -> list[str]:
    """The folder without its description; gives the weights that differ from the base."""
    from medgrpo.models.shards import Entry, write_index, write_shard

    partial.mkdir(parents=True, exist_ok=True)
    layout = {
        shard.safe_name: {name: _entry(one, plan.dtype) for name, one in shard.entries.items()}
        for shard in plan.shards
    }
    added = {written: name for name, written in plan.untied.items() if name not in plan.stored}
    for written, name in added.items():
        shard, own = plan.stored[plan.skeleton.source_of(name)]
        layout[shard.safe_name][written] = _entry(
            Entry(shard.entries[own].dtype, plan.skeleton.shapes[name]), plan.dtype
        )
    _check_room(partial, sum(one.nbytes for entries in layout.values() for one in entries.values()))
    changed: list[str] = []
    bad: list[str] = []
    names = {stored: name for name, (_, stored) in plan.stored.items()} | added
    for shard in plan.shards:
        entries = layout[shard.safe_name]

        def value_of(stored: str, shard: Shard = shard, entries: dict[str, Entry] = entries) -> torch.Tensor:
            return _merged(plan, shard, stored, names.get(stored), entries[stored], changed, bad)

        write_shard(partial / shard.safe_name, entries, value_of, plan.on_tensor)
    if bad:
        check_finite({name: plan.weight(name, is_changed=False) for name in bad}, f"the base {plan.base}")
        raise MedgrpoError(
            f"merged, {len(bad)} tensors have NaN or infinity: {listed(bad)}",
            expected="finite numbers",
            hint="--dtype float32 holds larger numbers than float16" if plan.dtype == "float16" else None,
        )
    if not changed:
        raise MedgrpoError(
            f"the adapter changes no weight of {plan.base}",
            expected="an adapter that was trained; its B matrices are all zero, or too small for the weights' type",
            hint="--dtype float32 keeps updates that bfloat16 rounds away",
        )
    write_index(partial, layout)
    _copy_files(plan, partial, adapters)
    return changed


def _merged(
    plan: _Plan, shard: Shard, stored: str, name: str | None, entry: Entry, changed: list[str], bad: list[str]
) -> torch.Tensor:
    import torch

    from medgrpo.models.shards import TORCH_NAMES

    dtype = getattr(torch, TORCH_NAMES[entry.dtype])
    if name is None or (name not in plan.changes and name not in plan.untied):
        value = shard.get(stored)
        if not is_finite(value):
            bad.append(name or stored)
        return value.to(dtype)
    value = plan.weight(name, is_changed=True).to(dtype)
    if not is_finite(value):
        bad.append(name)
    if name in plan.changes and not torch.equal(value, plan.weight(name, is_changed=False).to(dtype)):
        changed.append(name)
    return value


def _entry(entry: Entry, dtype: str | None) -> Entry:
    from medgrpo.models.shards import Entry

    is_float = entry.dtype in ("F64", "F32", "F16", "BF16")
    return Entry(DTYPES[dtype], entry.shape) if dtype and is_float else entry


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + (1 << 24):
        raise MedgrpoError(
            f"the merged model takes {needed / 2**30:.2f} GiB, and the disk of {folder.parent} has {free / 2**30:.2f} left",
            hint="make room, or --output on another disk",
        )


def _copy_files(plan: _Plan, partial: Path, adapters: Sequence[Path]) -> None:
    """Configuration, generation settings, processor and chat template; those of the (first) adapter before the base's."""
    for folder, patterns in ((plan.base, _OF_MODEL), (adapters[0], _OF_PROCESSOR)):
        for pattern in patterns:
            for file in folder.glob(pattern):
                if file.is_file() and file.name not in _NOT_OF_MODEL:
                    shutil.copy(file, partial / file.name)
    config = read_config(partial / "config.json")
    for part in (config, *(one for one in config.values() if isinstance(one, dict))):
        if plan.dtype:
            for key in {"dtype", "torch_dtype"} & set(part) or ({"dtype"} if part is config else set()):
                part[key] = plan.dtype
        if plan.untied and (
            part is config or "tie_word_embeddings" in part or part is config.get("text_config")
        ):
            part["tie_word_embeddings"] = False
    (partial / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")


def _verified(
    plan: _Plan,
    partial: Path,
    files: Sequence[tuple[AdapterFiles, float]],
    found: Sequence[Weights],
    prompts: int,
    notes: list[str],
    *,
    trust: bool,
) -> Check | None:
    from medgrpo.models.merge_check import check_merge

    if not prompts:
        return None
    if not plan.skeleton.can_run:
        notes.append(
            "not verified: the base stores some weights in another form than the model computes with"
        )
        return None
    one = found[0]
    alone = Path(str(one.adapter)) if len(files) == 1 and files[0][1] == 1 else None
    return check_merge(
        plan.skeleton,
        partial,
        base=lambda name: plan.weight(name, is_changed=False),
        adapted=lambda name: plan.weight(name, is_changed=True),
        base_folder=plan.base,
        adapter=alone,
        is_quantized=any(each.metadata.get("quantized_base") for each in found),
        dtype=plan.dtype or _most_common(plan),
        prompts=prompts,
        notes=notes,
        trust=trust,
    )


def _most_common(plan: _Plan) -> str:
    sizes: dict[str, int] = {}
    for shard in plan.shards:
        for entry in shard.entries.values():
            sizes[entry.dtype] = sizes.get(entry.dtype, 0) + entry.nbytes
    stored = max(sizes, key=lambda name: sizes[name])
    return {short: name for name, short in DTYPES.items()}.get(stored, "float32")


def _by_tower(names: Any) -> dict[str, int]:
    counts = {"language": 0, "vision": 0, "aligner": 0}
    for name in names:
        counts[tower_of(name)] += 1
    return counts


def _describe(
    merge: Merge, partial: Path, found: Sequence[Weights], weights: Sequence[float], base: Path
) -> None:
    """`medgrpo.json` of the merged model: how it is to be used, and what it was made of."""
    metadata = {key: value for key, value in found[0].metadata.items() if key != "fingerprint"}
    metadata["merged"] = {
        "base": merge.base,
        "revision": found[0].revision,
        "base_fingerprint": base_fingerprint(base),
        "adapters": [
            {
                "path": str(one.adapter),
                "weight": weight,
                "fingerprint": adapter_fingerprint(Path(str(one.adapter))),
            }
            for one, weight in zip(found, weights, strict=True)
        ],
        "dtype": merge.dtype,
        "changed_tensors": merge.changed_tensors,
        "check": None if merge.check is None else merge.check.as_dict(),
        "notes": merge.notes,
    }
    write_json(partial / METADATA, metadata)

"""Which base and which adapter: short records that tell one set of weights from another of the same shape.

Of a base every tensor is touched at three places (a norm or bias is taken whole), which costs a second for a model of
3 billion weights where hashing all of it would take a minute. An adapter is hashed whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError
from medgrpo.models.tensor_files import Stored, read_config, read_header, stored_tensors, weight_files

_SAMPLE = 256
_WHOLE = 65_536
_UNSTEADY = ("transformers_version", "_name_or_path", "use_cache")
"""Settings of a config that do not change what a model computes."""
_PLACES = (
    "base_model_name_or_path",
    "revision",
    "auto_mapping",
    "inference_mode",
    "peft_version",
    "task_type",
)
"""Fields of an adapter_config.json that do not change what it computes."""


def base_fingerprint(folder: Path) -> dict[str, str]:
    """Hashes of a model folder: `config`, `shapes` (names, types and shapes of all tensors) and `values`.

    Raises:
        MedgrpoError: its files are missing or cut off.
    """
    config = read_config(folder / "config.json")
    for name in _UNSTEADY:
        config.pop(name, None)
    stored = stored_tensors(folder)
    shapes = {name: [one.dtype, list(one.shape)] for name, one in sorted(stored.items())}
    return {
        "config": _hash(json.dumps(config, sort_keys=True).encode()),
        "shapes": _hash(json.dumps(shapes or _sizes(folder)).encode()),
        "values": _values(stored) if stored else _whole_files(folder),
    }


def adapter_fingerprint(folder: Path) -> dict[str, Any]:
    """What an adapter computes: its settings word for word, and a hash of its tensors.

    Raises:
        MedgrpoError: its files are missing, broken or cut off.
    """
    from medgrpo.models.adapter_files import adapter_tensor_file

    config = read_config(folder / "adapter_config.json")
    file = adapter_tensor_file(folder)
    state = blake2b(digest_size=16)
    if file.suffix == ".safetensors":
        stored = read_header(file)
        with file.open("rb") as opened:
            for name, one in sorted(stored.items()):
                opened.seek(one.start)
                state.update(f"{name} {one.dtype} {one.shape}".encode())
                state.update(opened.read(one.end - one.start))
    else:
        state.update(file.read_bytes())
    return {"config": settings_of(config), "weights": state.hexdigest()}


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an adapter_config.json that change what it computes, as JSON gives them back."""
    kept = {name: value for name, value in config.items() if name not in _PLACES}
    if isinstance(kept.get("target_modules"), list):
        kept["target_modules"] = sorted(kept["target_modules"])
    return kept


def check_base(recorded: Mapping[str, Any] | None, folder: Path, what: str) -> str | None:
    """What differs between a base and the one that was recorded; None where nothing does or nothing was recorded.

    Args:
        recorded: what `base_fingerprint` gave when the adapter was trained.
        folder: the base as it lies here.
        what: the adapter, for the sentence.
    """
    if not recorded:
        return None
    now = base_fingerprint(folder)
    differs = [name for name in ("config", "shapes", "values") if recorded.get(name) not in (None, now[name])]
    if not differs:
        return None
    words = {
        "config": "config.json",
        "shapes": "names or shapes of tensors",
        "values": "values of the weights",
    }
    return f"{folder} is not the base model that {what} was trained on: other {' and '.join(words[name] for name in differs)}"


def check_adapter(recorded: Mapping[str, Any] | None, folder: Path) -> str | None:
    """What was changed in an adapter since it was trained; None where nothing was, or nothing was recorded."""
    if not recorded:
        return None
    now = adapter_fingerprint(folder)
    before = settings_of(recorded.get("config") or {})
    changed = [
        f"{name} is {now['config'].get(name)!r}, trained with {value!r}"
        for name, value in sorted(before.items())
        if now["config"].get(name) != value
    ]
    if changed:
        return f"{folder / 'adapter_config.json'} was changed after training: {'; '.join(changed[:3])}"
    if recorded.get("weights") != now["weights"]:
        return f"the weights of the adapter {folder} are not those that were saved after training"
    return None


def _values(stored: Mapping[str, Stored]) -> str:
    state = blake2b(digest_size=16)
    by_file: dict[Path, list[tuple[int, str]]] = {}
    for name, one in stored.items():
        by_file.setdefault(one.file, []).append((one.start, name))
    digests: dict[str, bytes] = {}
    for file, places in by_file.items():
        with file.open("rb") as opened:
            for start, name in sorted(places):
                length = stored[name].end - start
                steps = (
                    [(0, length)]
                    if length <= _WHOLE
                    else [(0, _SAMPLE), (length // 2, _SAMPLE), (length - _SAMPLE, _SAMPLE)]
                )
                own = blake2b(digest_size=16)
                for offset, count in steps:
                    opened.seek(start + offset)
                    own.update(opened.read(count))
                digests[name] = own.digest()
    for name in sorted(digests):
        state.update(name.encode() + digests[name])
    return state.hexdigest()


def _sizes(folder: Path) -> dict[str, int]:
    found = {file.name: file.stat().st_size for file in weight_files(folder)}
    if not found:
        raise MedgrpoError(f"{folder} has no weights", expected="*.safetensors beside config.json")
    return found


def _whole_files(folder: Path) -> str:
    state = blake2b(digest_size=16)
    for file in weight_files(folder):
        with file.open("rb") as opened:
            while block := opened.read(1 << 22):
                state.update(block)
    return state.hexdigest()


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()

"""What a model would load, looked at without loading its weights: files, config, tokenizer, and whether the hub has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.foreign import reads
from medgrpo.models.folders import BUILT_IN_MASK_MODELS
from medgrpo.models.tensor_files import weight_files


@reads("path", "a model: config.json, weights, tokenizer")
def what_would_load(path: str, *, revision: str | None = None, trust_remote_code: bool = False) -> list[str]:
    """Lines on the model: its kind, its files, its tokenizer.

    Args:
        path: folder, run, adapter or hub name.
        revision: of a hub model.
        trust_remote_code: run Python that comes with it.
    Raises:
        UsageError: it is no model, or a hub model that is neither in the cache nor can be reached.
        MedgrpoError: its config or tokenizer cannot be read.
    """
    from medgrpo.models.loading import check_model
    from medgrpo.models.weights import find_weights

    weights = find_weights(path)
    if weights.base in BUILT_IN_MASK_MODELS:
        return [f"model: {weights.base}, built here"]
    lines = [] if weights.adapter is None else [f"adapter: {weights.adapter}"]
    if check_model(weights.base, revision=revision) is not None:
        return [*lines, _folder_line(Path(weights.base).expanduser(), trust_remote_code)]
    cached = _cached(weights.base, revision)
    if cached is not None:
        return [*lines, _folder_line(cached, trust_remote_code)]
    return [*lines, _on_the_hub(weights.base, revision)]


def _folder_line(folder: Path, trust_remote_code: bool) -> str:
    import os

    from transformers import AutoConfig, AutoTokenizer

    common: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(folder, **common)
        tokenizer = AutoTokenizer.from_pretrained(folder, **common)
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        raise MedgrpoError(
            f"the model {folder} cannot be loaded: {str(error).splitlines()[0]}",
            expected="config.json and tokenizer files that this Transformers reads",
            hint="fetch the model again, or with the version of Transformers that it was saved with",
        ) from error
    files = weight_files(folder) or sorted(folder.glob("*.bin"))
    size = sum(os.path.getsize(file) for file in files) / 2**30
    return (
        f"model: {folder} ({config.model_type}), {size:.2f} GiB in {len(files)} "
        f"file{'s' if len(files) > 1 else ''}, tokenizer of {len(tokenizer):,} entries"
    )


def _cached(name: str, revision: str | None) -> Path | None:
    """The model's folder in the cache of the hub, where its config is there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _on_the_hub(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_OFFLINE

    hint = "fetch it where there is a network and give its folder: --model FOLDER"
    if HF_HUB_OFFLINE:
        raise UsageError(
            f"{name} is not in the cache of the hub, and HF_HUB_OFFLINE keeps it from being fetched",
            hint=hint,
        )
    try:
        info = HfApi().model_info(name, revision=revision, timeout=10, files_metadata=True)
    except Exception as error:
        raise UsageError(
            f"{name} is not in the cache of the hub, and the hub does not give it: {type(error).__name__}",
            expected="the name of a model that the hub has and that you may read",
            hint=hint,
        ) from error
    size = sum(file.size or 0 for file in info.siblings or ()) / 2**30
    return f"model: {name} on the hub, {size:.1f} GiB to fetch"

"""Merge a LoRA adapter into its base model, and prove that the merged model is the same function."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError, UsageError, missing_extra
from medgrpo.files import rename_folder
from medgrpo.models.adapter_files import is_adapter
from medgrpo.models.families import tower_of
from medgrpo.models.folders import METADATA
from medgrpo.models.weights import find_weights, weight_folder

if TYPE_CHECKING:
    import torch

    from medgrpo.models.loading import LoadedModel


@dataclass(frozen=True)
class Merge:
    """What a merge did.

    Attributes:
        changed_tensors: changed weight tensors per tower (language, vision, aligner).
        max_logit_difference: largest absolute difference of a logit between adapter and merged model.
        top1_agreement: share of positions where both would choose the same token.
    """

    output: Path
    base: str
    changed_tensors: dict[str, int]
    max_logit_difference: float | None
    top1_agreement: float | None


def adapter_folder(path: Path) -> Path:
    """The adapter of a path: the folder itself, or the best or final one of a run folder.

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
    return find_weights(str(adapter), base=base).base


def merge_adapter(adapter: Path, output: Path, *, base: str | None = None, verify: int = 4) -> Merge:
    """Write base + adapter as a plain model folder that any tool loads.

    Args:
        adapter: adapter or run folder.
        output: new folder; written under a temporary name and renamed when complete.
        base: base model, where the adapter's own record is wrong or missing.
        verify: prompts on which the reloaded merged model is compared with base + adapter; 0: none.

    Raises:
        UsageError: no adapter, no base, or the output exists.
        MedgrpoError: the adapter changes no weight.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise missing_extra("peft", "train", "merging an adapter") from error
    from medgrpo.models.quiet import quiet_libraries

    if output.exists() and any(output.iterdir()):
        raise UsageError(f"{output} exists and is not empty", hint="give a new folder with --output")
    folder = adapter_folder(adapter)
    with quiet_libraries():
        return _merge(PeftModel, folder, base_of(folder, base), output, verify)


def _merge(peft_model: Any, folder: Path, base_path: str, output: Path, verify: int) -> Merge:
    from medgrpo.models.loading import load_model

    dtype = _stored_dtype(base_path)
    loaded = load_model(base_path, dtype=dtype)
    processor = loaded.processor
    before = dict(_fingerprints(loaded.model))
    adapted = peft_model.from_pretrained(loaded.model, str(folder)).eval()
    prompts = list(_prompts(loaded, verify))
    expected = [_logits(adapted, prompt) for prompt in prompts]
    merged = adapted.merge_and_unload(safe_merge=True)
    changed = _changed(before, dict(_fingerprints(merged)))
    if not sum(changed.values()):
        raise MedgrpoError(
            f"the adapter {folder} changes no weight of {base_path}",
            expected="an adapter that was trained; its B matrices are all zero, or too small for the weights' type",
        )
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    merged.save_pretrained(partial)
    processor.save_pretrained(partial)
    if (folder / METADATA).is_file():
        shutil.copy(folder / METADATA, partial)
    difference, agreement = None, None
    if prompts:
        reloaded = load_model(str(partial), dtype=dtype).model
        pairs = list(zip(expected, (_logits(reloaded, prompt) for prompt in prompts), strict=True))
        difference = max(float((a - b).abs().max()) for a, b in pairs)
        agreement = float(sum((a.argmax(-1) == b.argmax(-1)).float().mean() for a, b in pairs)) / len(pairs)
    rename_folder(partial, output)
    return Merge(output, base_path, changed, difference, agreement)


def _changed(before: dict[str, str], after: dict[str, str]) -> dict[str, int]:
    counts = {"language": 0, "vision": 0, "aligner": 0}
    for name, fingerprint in after.items():
        if before.get(name) != fingerprint:
            counts[tower_of(name)] += 1
    return counts


def _fingerprints(model: Any) -> Iterator[tuple[str, str]]:
    """(name, hash) of each weight tensor, so that a change is seen without holding a second copy."""
    import torch

    for name, tensor in model.state_dict().items():
        data = tensor.detach().contiguous().view(torch.uint8).cpu().numpy()
        yield name, hashlib.blake2b(data, digest_size=16).hexdigest()


PROMPTS = (
    "Which plane is shown?",
    "Is there evidence of a pleural effusion?",
    "这张图像是什么模态？",
    "Where is the lesion, left or right?",
)


def _prompts(loaded: LoadedModel, count: int) -> Iterator[dict[str, torch.Tensor]]:
    """Model inputs of `count` questions, each with a drawn image where the model takes images."""
    for index in range(count):
        question: Any = PROMPTS[index % len(PROMPTS)]
        if loaded.is_vision:
            question = [{"type": "image"}, {"type": "text", "text": question}]
        text = loaded.processor.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        images = {"images": [_drawn_image(index)]} if loaded.is_vision else {}
        yield dict(loaded.processor(text=[text], return_tensors="pt", **images))


def _stored_dtype(base: str) -> str:
    """The type that the base's weights have on disk, so that the merged model has it too."""
    from transformers import AutoConfig

    stored = AutoConfig.from_pretrained(base, trust_remote_code=False).dtype
    return "float32" if stored is None else str(stored).removeprefix("torch.")


def _drawn_image(index: int) -> Any:
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(index).integers(0, 255, (112, 112, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    import torch

    device = next(model.parameters()).device
    with torch.inference_mode():
        logits = model(**{key: value.to(device) for key, value in inputs.items()}).logits
    return logits.float().cpu()  # type: ignore[no-any-return]

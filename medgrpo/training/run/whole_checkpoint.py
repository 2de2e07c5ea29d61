"""A checkpoint is whole and of this run before anything of it is taken up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError
from medgrpo.models.adapter_files import is_adapter, read_adapter, recorded_metadata
from medgrpo.models.tensor_files import check_files, read_config
from medgrpo.models.weights import Weights, check_fingerprints
from medgrpo.training.run.checkpoints import check_sizes

_EARLIER = "go back to an earlier one: --resume {}/checkpoint-N (the newest is taken without a name)"


def check_checkpoint(checkpoint: Path, weights: Weights, *, force_base: bool) -> list[str]:
    """Notes on what was forced, where the weights of a checkpoint can be gone on with.

    Args:
        checkpoint: its folder.
        weights: what the stage began from; an adapter's base is held against what the checkpoint recorded.
        force_base: take another base, or an edited adapter.
    Raises:
        MedgrpoError: files that are missing, cut off or not finite.
        UsageError: another base than the checkpoint was trained on, or an adapter that was edited.
    """
    try:
        check_sizes(checkpoint)
        check_state(checkpoint / "trainer_state.json")
        if not is_adapter(checkpoint):
            if (checkpoint / "config.json").is_file():
                check_files(checkpoint)
            return []
        read_adapter(checkpoint)
    except MedgrpoError as error:
        error.hint = _EARLIER.format(checkpoint.parent)
        raise
    saved = replace(weights, adapter=checkpoint, metadata=recorded_metadata(checkpoint))
    return check_fingerprints(saved, force=force_base)


def check_state(file: Path) -> None:
    """The state of Transformers' Trainer has the form that it is taken up in.

    Raises:
        MedgrpoError: names the field that has not.
    """
    state = read_config(file)
    callbacks = state.get("stateful_callbacks", {})
    is_fine = {
        "global_step": type(state.get("global_step", 0)) is int and state.get("global_step", 0) >= 0,
        "log_history": _are_objects(state.get("log_history", [])),
        "stateful_callbacks": isinstance(callbacks, dict)
        and _are_objects(
            [one for each in callbacks.values() for one in (each if isinstance(each, list) else [each])]
        ),
    }
    for name, fine in is_fine.items():
        if not fine:
            raise MedgrpoError(
                f"{file}: {name} is {state[name]!r:.80}", expected="what Transformers' Trainer wrote"
            )


def _are_objects(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(one, dict) for one in values)


def check_adapter_of(checkpoint: Path, model: Any, base: str) -> None:
    """Every tensor of a checkpoint's adapter has its place in the model, and every place its tensor.

    Transformers loads what fits and only warns; what is missing would go on from where training began.

    Raises:
        MedgrpoError: names the first three tensors and the count.
    """
    from medgrpo.models.adapters import check_fits

    if is_adapter(checkpoint) and hasattr(model, "peft_config"):
        check_fits(model, read_adapter(checkpoint), base=base)

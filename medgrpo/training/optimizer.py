"""Learning rates by the optimiser's parameter groups: one for the picture's side, and another one after a resume."""

from __future__ import annotations

from typing import Any


def separate_rates(optimizer: Any, model: Any, vision_rate: float) -> None:
    """Split every parameter group in the language's part and that of vision tower and aligner.

    The language's groups come first, so that the logged `learning_rate` is theirs; the schedule scales each
    group from its own peak.

    Args:
        optimizer: new, without state.
        vision_rate: peak learning rate of vision tower and aligner.
    """
    from medgrpo.models.loading import tower_of

    of_pictures = {
        id(parameter) for name, parameter in model.named_parameters() if tower_of(name) != "language"
    }
    language: list[dict[str, Any]] = []
    vision: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        for groups, belongs, rate in ((language, False, group["lr"]), (vision, True, vision_rate)):
            own = [parameter for parameter in group["params"] if (id(parameter) in of_pictures) is belongs]
            if own:
                groups.append({**group, "params": own, "lr": rate})
    optimizer.param_groups[:] = [*language, *vision]


def configured_rates(optimizer: Any) -> list[float]:
    """The peak rate of each group, before a checkpoint replaces it."""
    return [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]


def set_rates(optimizer: Any, scheduler: Any, peaks: list[float]) -> None:
    """Go on with these peak rates where a checkpoint brought others: a resumed run may change them.

    The schedule's place stays. Loading a checkpoint restores the rates it was written with, so that a new
    one would do nothing.
    """
    if configured_rates(optimizer) == peaks or not hasattr(scheduler, "lr_lambdas"):
        return
    scheduler.base_lrs = list(peaks)
    for group, peak, shape in zip(optimizer.param_groups, peaks, scheduler.lr_lambdas, strict=True):
        group["initial_lr"] = peak
        group["lr"] = peak * shape(scheduler.last_epoch)
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]

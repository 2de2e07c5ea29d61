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
    from medgrpo.models.families import tower_of

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


def start_above_zero(scheduler: Any, warmup_steps: int) -> None:
    """Let the first step of a warm-up learn: step s of w takes (s + 1) / (w + 1) of the peak instead of s / w.

    Transformers' schedules begin with a rate of 0, so that the first batch is sampled and scored for nothing, and
    a run of one step learns nothing at all. After the warm-up the schedule is Transformers'.

    Args:
        scheduler: new, before its first step; one without warm-up is left alone.
        warmup_steps: w.
    """
    if not warmup_steps or not hasattr(scheduler, "lr_lambdas"):
        return

    def raised(share: Any) -> Any:
        return lambda step: (step + 1) / (warmup_steps + 1) if step < warmup_steps else share(step)

    if any(share(0) for share in scheduler.lr_lambdas):  # such as a constant rate, which has none
        return
    scheduler.lr_lambdas = [raised(share) for share in scheduler.lr_lambdas]
    rates = [
        peak * share(scheduler.last_epoch)
        for peak, share in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    scheduler._last_lr = rates
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def group_settings(optimizer: Any) -> list[dict[str, Any]]:
    """What the configuration decides of each parameter group."""
    return [
        {key: group[key] for key in ("initial_lr", "weight_decay", "betas", "eps") if key in group}
        for group in optimizer.param_groups
    ]


def apply_settings(optimizer: Any, scheduler: Any, wanted: list[dict[str, Any]]) -> None:
    """Give the groups of a loaded optimiser these settings, and the rate that the schedule has for its step.

    Without a change that is the rate it was saved with.
    """
    for group, settings in zip(optimizer.param_groups, wanted, strict=True):
        group.update(settings)
    peaks = [settings.get("initial_lr") for settings in wanted]
    if None in peaks or not hasattr(scheduler, "lr_lambdas"):
        return
    scheduler.base_lrs = peaks
    rates = [
        peak * share(scheduler.last_epoch) for peak, share in zip(peaks, scheduler.lr_lambdas, strict=True)
    ]
    scheduler._last_lr = rates
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate

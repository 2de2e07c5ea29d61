"""The reward of training, for the metric `reward` of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError
from medgrpo.files import foreign_toml
from medgrpo.places import found_places

if TYPE_CHECKING:
    from medgrpo.rewards.composite import CompositeReward


def reward_of(
    weights: str | None,
    run: Path | None,
    tags: Sequence[str] = ("answer",),
    *,
    trusted: Sequence[Path] = (),
    note: Callable[[str], None] | None = None,
) -> CompositeReward | None:
    """The sum of rewards of a run, or of the weights given; where neither says `balanced`, or `detection` where
    the prompt asked for boxes and no answer.

    Whoever scores adds the tags of the prompt that was answered (`with_settings`).

    Args:
        weights: as `--weights` takes them.
        run: a run folder, whose config.toml says what it was trained with.
        tags: that the prompt asked for.
        trusted: runs whose own Python may be loaded.
        note: told what of it is loaded.
    Raises:
        ForeignReward: the run names a file or an installed package, and is not trusted.
        UsageError: unknown rewards or weights.
        MedgrpoError: the run's configuration cannot be read.
    """
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.rewards.contained import TIMEOUT_S

    if weights is not None:
        return CompositeReward(weights, timeout_s=TIMEOUT_S)
    stated = _of_run(run)
    if run is not None:
        for name in _code_of(stated, run, trusted):
            if note is not None:
                note(f"loading {name}, which {run} names (--trust-rewards)")
    threshold = stated.get("caption_threshold")
    return CompositeReward(
        stated.get("weights", "detection" if "boxes" in tags and "answer" not in tags else "balanced"),
        gate=stated.get("gate"),
        timeout_s=TIMEOUT_S,
        settings={} if threshold is None else {"caption_threshold": threshold},
    )


def _code_of(stated: dict[str, Any], run: Path, trusted: Sequence[Path]) -> list[str]:
    """The run's rewards that are Python, granted; refused where it is not trusted."""
    from medgrpo.rewards.registry import code_among
    from medgrpo.rewards.trust import ForeignReward, grant, is_trusted

    foreign = code_among(stated.get("weights"), stated.get("gate"))
    if foreign and not is_trusted(run, trusted):
        raise ForeignReward(run / "config.toml", foreign, run)
    grant(foreign)
    return foreign


def _of_run(run: Path | None) -> dict[str, Any]:
    if run is None or not (run / "config.toml").is_file():
        return {}
    try:
        section = foreign_toml(run / "config.toml").get("rewards", {})
    except (OSError, ValueError) as error:
        raise MedgrpoError(f"{run / 'config.toml'} cannot be read: {error}") from error
    return found_places(section, run) if isinstance(section, dict) else {}

"""Preference pairs for a DPO stage out of what the same run sampled before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError

if TYPE_CHECKING:
    from medgrpo.data.prepared import PreparedDataset

FOLDER = "pairs"
MARGIN = 0.1
"""Least difference of rewards in a pair, as in `medgrpo make-dpo`."""


class NoPairs(MedgrpoError):
    """What the run sampled holds no pair to learn from; the stage is left out."""


def has_pairs(dataset: PreparedDataset) -> bool:
    """Whether the training rows come with a chosen and a rejected completion."""
    return all(row.get("chosen") and row.get("rejected") for row in dataset.rows("train", 8))


def pairs_of_run(
    run: Path, dataset: PreparedDataset, prompt_template: dict[str, Any], *, at_least: int = 1
) -> PreparedDataset:
    """The best and the worst completion of each prompt that the run's GRPO stages sampled, in `RUN/pairs`.

    They are made once; a resumed run finds them.

    Args:
        at_least: pairs for training that a step cannot do without: one per process.
    Raises:
        NoPairs: fewer prompts have completions whose rewards differ enough.
    """
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.preference.dataset import write_pairs
    from medgrpo.preference.pairs import choose_pairs
    from medgrpo.preference.sources import candidates_of_run

    folder = run / FOLDER
    if (folder / "dataset.json").is_file():
        return _enough(PreparedDataset.open(folder), at_least)
    candidates = candidates_of_run(run)
    pairs = choose_pairs(candidates, margin=MARGIN, per_prompt=1, truncated="avoid")
    if not pairs.pairs:
        dropped = ", ".join(f"{count} {reason}" for reason, count in pairs.dropped.most_common())
        raise NoPairs(f"no pairs: {dropped or 'the run sampled no completions'}")
    rows = dataset.find(pair.prompt_id for pair in pairs.pairs)
    written = write_pairs(folder, pairs, dataset, rows, prompt_template=prompt_template, made_from=[str(run)])
    return _enough(written, at_least)


def _enough(pairs: PreparedDataset, at_least: int) -> PreparedDataset:
    if pairs.count("train") < at_least:
        raise NoPairs(f"too few pairs: {pairs.count('train')} for {at_least} processes")
    return pairs

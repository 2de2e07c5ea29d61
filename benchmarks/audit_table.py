"""The audit table of docs/rewards.md: the best cheat on each reward beside honest answers and masks, on real data.

    python benchmarks/audit_table.py ../shared/data
    python benchmarks/audit_table.py ../shared/data --masks   # what every cheat earns on masks, and what the guard takes

The folder holds `vqa_rad`, `slake`, `vessels` and `model_outputs` as their sources publish them. The cheats are those
of `medgrpo score --audit`; what a model or a network gave is scored beside them where there is some, and masks that a
second observer drew. References earn 1 unless the table says otherwise. Needs the extra `data`; takes about a minute.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgrpo.data.audit import AUDITED_ROWS
from medgrpo.data.binary_masks import binary
from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.rewards.audit import AuditReport, audit
from medgrpo.rewards.completions_file import read_completions
from medgrpo.rewards.composite import CompositeReward
from medgrpo.rewards.mask_cheats import MASK_CHEATS, audit_masks
from medgrpo.rewards.masks import dice, measure, multi_objective, multi_objective_guarded

ANSWER_REWARDS = (
    "answer_match", "answer_match_graded", "exact_match", "token_f1", "token_recall", "levenshtein",
)  # fmt: skip
WHOLE_REWARDS = ("balanced", "text")
MASK_REWARDS = (
    "multi_objective", "multi_objective_guarded", "simple_dice", "recall_focused", "recall_focused_guarded",
)  # fmt: skip
Mask = NDArray[np.bool_]


def main(data: Path) -> None:
    if "--masks" in sys.argv:
        print("| data | mask | Dice | recall | clDice | plain | guarded by area | and by Dice |")
        print("| --- | --- |" + " ---: |" * 6)
        for name, masks in all_mask_sets(data):
            every_cheat(name, *masks)
        return
    print("| data | rows | reward | model | observer 2 | best cheat | earns | of the truth | of the model |")
    print("| --- | ---: | --- | ---: | ---: | --- | ---: | ---: | ---: |")
    slake = read_completions(data / "slake/test.json", require_completions=False).columns
    with tempfile.TemporaryDirectory() as folder:
        vqa, _ = prepare(data / "vqa_rad", Path(folder) / "vqa", PrepareOptions(on_bad_row="skip"))
        rows = list(vqa.rows("train", AUDITED_ROWS))
    whole_rewards("VQA-RAD train", {name: [row[name] for row in rows] for name in rows[0]})
    for language in ("en", "zh"):
        whole_rewards(f"SLAKE test, {language}", picked(slake, slake["language"], language))
    for name, file in (("VQA-RAD test", "tinyllava_ft_vqa_rad"), ("SLAKE test, en", "tinyllava_ft_slake")):
        answers = read_completions(data / f"model_outputs/fm_medvqa/{file}.jsonl")
        answer_rewards(f"{name}, TinyLLaVA", answers.columns, answers.completions)
    answer_rewards("SLAKE test, zh", picked(slake, slake["language"], "zh"))
    for name, masks in all_mask_sets(data):
        mask_rewards(name, *masks)


def all_mask_sets(data: Path) -> Iterator[tuple[str, list[list[Mask]]]]:
    """Name, and masks of a network, of the second and of the first observer, of each set."""
    for name, folders, panels, key in (
        ("DRIVE, LadderNet", ("drive/pred_laddernet", "drive/manual2", "drive/manual"), 3, r"^\d\d"),
        ("STARE, U-Net", ("stare/pred_unet", "stare/manual2", "stare/manual"), 3, r"^im\d+"),
        (
            "CHASE_DB1, SGL",
            ("chase_db1/pred_sgl", "chase_db1/manual2", "chase_db1/manual"),
            1,
            r"^Image_\d+[LR]",
        ),
    ):
        yield name, mask_sets([data / "vessels" / folder for folder in folders], panels, key)


def every_cheat(data: str, network: list[Mask], observer: list[Mask], truth: list[Mask]) -> None:
    """What each cheat and each honest mask earns from multi_objective: plain, guarded, and with the network's Dice held."""
    held = float(np.mean([dice([mask], [one])[0] for mask, one in zip(network, truth, strict=True)]))
    made = {name: [make(one) for one in truth] for name, (_, make) in MASK_CHEATS.items()}
    rewards = (multi_objective, multi_objective_guarded, replace(multi_objective_guarded, dice_start=held))
    for name, masks in {"network": network, "second observer": observer, **made}.items():
        pairs = list(zip(masks, truth, strict=True))
        of = [measure([mask], [one], ("dice", "recall", "cldice")) for mask, one in pairs]
        means = [float(np.mean([each[key][0] for each in of])) for key in ("dice", "recall", "cldice")]
        means += [
            float(np.mean([reward([mask], mask=[one])[0] for mask, one in pairs])) for reward in rewards
        ]
        print(f"| {data} | {name} | " + " | ".join(f"{value:.3f}" for value in means) + " |")


def picked(columns: Mapping[str, Sequence[Any]], by: Sequence[Any], value: Any) -> dict[str, list[Any]]:
    """The rows where a column has that value."""
    rows = [row for row, one in enumerate(by) if one == value]
    return {name: [values[row] for row in rows] for name, values in columns.items()}


def whole_rewards(data: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Sets of weights, on completions in the prompt's form."""
    for name in WHOLE_REWARDS:
        show(data, name, audit(columns, CompositeReward(name)))


def answer_rewards(
    data: str, columns: Mapping[str, Sequence[Any]], completions: Sequence[Any] | None = None
) -> None:
    """Single rewards, on bare answers."""
    for name in ANSWER_REWARDS:
        composite = CompositeReward({name: 1.0}, settings={"plain": True})
        honest = math.nan if completions is None else composite.score(completions, columns).means["total"]
        show(data, name, audit(columns, composite), honest)


def mask_rewards(data: str, network: list[Mask], observer: list[Mask], truth: list[Mask]) -> None:
    """Mask rewards, on masks of full size without a field of view."""
    for name in MASK_REWARDS:
        composite = CompositeReward(name)
        honest = [composite.score(masks, {"mask": truth}).means["total"] for masks in (network, observer)]
        show(data, name, audit_masks(truth, composite), *honest)


def show(
    data: str, reward: str, report: AuditReport, model: float = math.nan, observer: float = math.nan
) -> None:
    """One line of the table; the honest completions of `report` are the references."""
    best = report.best
    numbers = ["–" if math.isnan(value) else f"{value:.3f}" for value in (model, observer)]
    shares = ["–" if math.isnan(value) else f"{value:.2f}" for value in (best.ratio, best.mean / model)]
    print(
        f"| {data} | {max(cheat.rows for cheat in report.cheats)} | `{reward}` | {' | '.join(numbers)} | "
        f"{best.name} | {best.mean:.3f} | {' | '.join(shares)} |"
    )


def mask_sets(folders: Sequence[Path], panels: int, key: str) -> list[list[Mask]]:
    """The masks in each folder of the pictures that all of them have; the first folder has stacked panels."""

    def by_key(folder: Path) -> dict[str, Path]:
        found = {re.search(key, path.name): path for path in sorted(folder.iterdir())}
        return {match[0]: path for match, path in found.items() if match}

    named = [by_key(folder) for folder in folders]
    common = sorted(set.intersection(*map(set, named)))
    return [
        [read_mask(paths[one], panels if number == 0 else 1) for one in common]
        for number, paths in enumerate(named)
    ]


def read_mask(path: Path, panels: int = 1) -> Mask:
    """A mask file; of stacked panels the last one, a probability times 255."""
    with Image.open(path) as picture:
        if panels > 1:
            grey = np.asarray(picture.convert("L"))
            return grey[-(grey.shape[0] // panels) :] > 127
        return np.asarray(binary(picture, is_lossy=path.suffix == ".jpg")) != 0


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data"))

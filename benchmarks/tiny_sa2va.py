"""A tiny Sa2VA learns real vessels: it overfits four crops, then gains by reward on crops of other patients.

    python benchmarks/tiny_sa2va.py                  # all of it, about five minutes of one CPU core
    python benchmarks/tiny_sa2va.py --parts overfit  # four crops alone
    python benchmarks/tiny_sa2va.py --collect *.json # gains pooled over several seeds, of the documents that --output wrote

The model is the demo's: Qwen2.5-VL, MLP and SAM 2 at a thousandth of their size, weights at random; nothing is downloaded. What runs is what
`medgrpo preprocess`, `train`, `merge-lora` and `eval` run.

overfit: four crops of DRIVE, one a patient, learned whole by masks-sft; `eval` prints Dice beside the ceiling of the model's own grid.
reward: crops of DRIVE and CHASE_DB1 split by patient. masks-sft, then LoRA by the guarded reward alone, and beside it by as many more steps of
imitation; SAM's image encoder learns in both. The adapter is merged. Gains are paired crop by crop, intervals draw patients. Prints one JSON
document.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from medgrpo.config.presets import resolve_run
from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.data.prepared import PreparedDataset
from medgrpo.evaluation.statistics import paired_difference
from medgrpo.models.weights import find_weights
from medgrpo.rewards.masks import measure, multi_objective_guarded
from medgrpo.segmentation.examples import Examples
from medgrpo.segmentation.merging import merge_mask_adapter
from medgrpo.segmentation.predicting import PredictedMasks, predict_masks
from medgrpo.segmentation.sa2va.demo import build_demo_sa2va
from medgrpo.training.run.train import train
from medgrpo.training.watch.reporter import SilentReporter

MEASURES = ("dice", "recall", "precision", "cldice")
LEAST_VESSEL = 0.08
"""Share of vessel in a crop that is taken."""
OVERFIT = (
    "training.method=masks-sft",
    "tuning.method=full",
    "training.prompts_per_step=4",
    "validation.before_and_after=false",
    "data.augment=none",
)
START = (
    *OVERFIT[:2],
    "training.prompts_per_step=16",
    "data.augment=flip",
    "validation.rows=96",
    "validation.metric=reward",
)
ADAPTER = (
    "tuning.method=lora",
    "tuning.rank=16",
    "tuning.alpha=32",
    'masks.train_parts=["text_hidden_fcs", "mask_decoder", "vision_encoder"]',
    "training.prompts_per_step=8",
    *START[3:],
)
REWARD = (
    "training.method=masks",
    *ADAPTER,
    "rollout.num_generations=4",
    "training.per_device_train_batch_size=32",
    "masks.cell_px=4",
    "masks.noise=0.5",
    "masks.sharpness=0.5",
)
IMITATION = ("training.method=masks-sft", *ADAPTER)
"""The same weights for as many steps by soft Dice and cross-entropy."""
QUIET = ("logging.report_to=[]", "training.save_steps=100000", "validation.steps=0")


def crops_of(sets: Sequence[Path], side: int, each: int, seed: int) -> dict[str, list[tuple[Any, Any]]]:
    """Up to so many crops of a picture that hold vessels, with their masks, by patient."""
    rows: dict[str, list[tuple[Any, Any]]] = {}
    draw = np.random.default_rng(seed)
    opened = [PreparedDataset.open(data) for data in sets]
    for dataset, row in ((one, row) for one in opened for split in one.splits for row in one.rows(split)):
        example = Examples([row], dataset.path).whole(0)
        assert example.truth is not None
        mask = example.truth.mask
        found = rows.setdefault(f"{dataset.path.name}-{row['patient_id'] or row['image_id']}", [])
        for _ in range(50 * each):
            if len(found) >= each:
                break
            top, left = (int(draw.integers(0, length - side)) for length in mask.shape)
            window = np.s_[top : top + side, left : left + side]
            if mask[window].mean() >= LEAST_VESSEL:
                found.append((example.picture[window], mask[window]))
    return rows


def crop_set(
    crops: dict[str, list[tuple[Any, Any]]], splits: dict[str, Sequence[str]], folder: Path, shares: str
) -> Path:
    """A prepared dataset of crops; each split names its patients."""
    for split, patients in splits.items():
        for role in ("images", "masks"):
            (folder / "source" / role / split).mkdir(parents=True)
        for patient in patients:
            for number, (picture, mask) in enumerate(crops[patient]):
                name = f"{patient.replace('/', '-')}_crop{number}.png"
                Image.fromarray(picture).save(folder / "source" / "images" / split / name)
                Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "source" / "masks" / split / name)
    options = PrepareOptions(task="vessels", near_duplicate_bits=0, split=shares)
    dataset = prepare(folder / "source", folder / "crops", options, workers=1)[0]
    for split, patients in splits.items():  # "auto" would deal the crops of a patient out to all splits
        found = {patient_of(row) for row in dataset.rows(split)}
        assert found == {patient.replace("/", "-") for patient in patients}, (split, found)
    return dataset.path


def patient_of(row: Any) -> str:
    """Whose crop a row shows."""
    return Path(row["images"][0]).name.split("_crop")[0]


def trained(model: Path, data: Path, output: Path, words: Sequence[str]) -> dict[str, Any]:
    """A run from the model; where its weights lie, and what it took."""
    resolved = resolve_run(model=str(model), assignments=(*QUIET, f"data.path={data}", *words))[0]
    started = time.process_time()
    result = train(resolved.config, name=output.name, reporter=SilentReporter(), output=output, logs=None)
    assert result.status == "finished", result
    final = next(output / name for name in ("final_model", "final_lora") if (output / name).is_dir())
    return {"weights": final, "cpu_s": round(time.process_time() - started, 1)}


def measured(model: Path, data: Path, split: str, folder: Path) -> tuple[dict[str, Any], PredictedMasks]:
    """Measures of every crop of a split, as `medgrpo eval` takes them."""
    dataset = PreparedDataset.open(data)
    found = predict_masks(find_weights(str(model), None), dataset, split, folder, dtype="float32")
    values: dict[str, list[float]] = {name: [] for name in (*MEASURES, "reward")}
    for row, path in zip(found.rows, found.files, strict=True):
        truth = Examples([row], dataset.path).whole(0).truth
        assert truth is not None
        assert path is not None
        with Image.open(path) as opened:
            mask = np.asarray(opened) != 0
        for name, value in measure([mask], [truth.mask], MEASURES).items():
            values[name].append(float(value[0]))
        values["reward"].append(float(multi_objective_guarded([mask], mask=[truth.mask])[0] or 0.0))
    return values, found


def overfit(sets: Sequence[Path], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Four crops of four patients, learned whole."""
    crops = crops_of(sets, options.small_side, 1, options.seed)
    patients = [patient for patient in sorted(crops) if crops[patient]][:4]
    held = crop_set(crops, {"train": patients}, folder / "overfit", "1,0,0")
    model = build_demo_sa2va(folder / "tiny", sam_side=128, seed=options.seed)
    before, _ = measured(model, held, "train", folder / "before")
    words = (f"training.max_steps={options.overfit_steps}", f"training.learning_rate={options.overfit_rate}")
    run = trained(model, held, folder / "overfitted", (*OVERFIT, *words))
    after, found = measured(run["weights"], held, "train", folder / "after")
    return {
        "side_px": options.small_side,
        "steps": options.overfit_steps,
        "dice_before": rounded(before["dice"]),
        "dice": rounded(after["dice"]),
        "ceiling": round(found.ceiling or 1.0, 4),
        "cpu_s": run["cpu_s"],
    }


def by_reward(sets: Sequence[Path], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A start by imitation, then LoRA by reward alone, measured on crops of other patients before and after."""
    crops = crops_of(sets, options.side, options.crops, options.seed)
    patients = [patient for patient in sorted(crops) if crops[patient]]
    patients = [patients[place] for place in np.random.default_rng(options.seed).permutation(len(patients))]
    test, validation, rest = patients[:8], patients[8:11], patients[11:]
    held = crop_set(
        crops, {"train": rest, "validation": validation, "test": test}, folder / "held_out", "official"
    )
    model = build_demo_sa2va(folder / "start", sam_side=options.sam_side, seed=options.seed)
    words = (f"training.max_steps={options.start_steps}", f"training.learning_rate={options.start_rate}")
    start = trained(model, held, folder / "by-imitation", (*START, *words))
    before, found = measured(start["weights"], held, "test", folder / "start-masks")
    words = (f"training.max_steps={options.steps}", f"training.learning_rate={options.rate}")
    rewarded = trained(start["weights"], held, folder / "by-reward", (*REWARD, *words))
    after, adapter = measured(rewarded["weights"], held, "test", folder / "adapter-masks")
    clusters = [patient_of(row) for row in found.rows]
    print(f"seed {options.seed}, by reward: {json.dumps(gains(before, after, clusters))}", flush=True)
    imitated = trained(start["weights"], held, folder / "by-more-imitation", (*IMITATION, *words))
    beside, _ = measured(imitated["weights"], held, "test", folder / "imitated-masks")
    merge = merge_mask_adapter(find_weights(str(rewarded["weights"]), None), folder / "merged")
    _, merged = measured(folder / "merged", held, "test", folder / "merged-masks")
    seconds = {"start": start, "by reward": rewarded, "by imitation": imitated}
    return {
        "side_px": options.side,
        "sam_side_px": options.sam_side,
        "crops": {
            "train": sum(len(crops[one]) for one in rest),
            "test": len(clusters),
            "test patients": len(test),
        },
        "ceiling": round(found.ceiling or 1.0, 4),
        "steps": {"start": options.start_steps, "each": options.steps},
        "cpu_s": {name: run["cpu_s"] for name, run in seconds.items()},
        "start": means(before),
        "by reward": means(after),
        "by imitation": means(beside),
        "gain": gains(before, after, clusters),
        "gain by imitation": gains(before, beside, clusters),
        "rows": {"patient": clusters, "start": before, "by reward": after, "by imitation": beside},
        "merged": {
            "files_equal": all(
                same(one, other) for one, other in zip(adapter.files, merged.files, strict=True)
            ),
            "max_logit_difference": merge.max_logit_difference,
        },
    }


def gains(
    before: dict[str, list[float]], after: dict[str, list[float]], clusters: Sequence[str]
) -> dict[str, list[float | None]]:
    """Mean paired gain of each measure with its interval."""
    found = {name: paired_difference(before[name], after[name], clusters) for name in before}
    return {name: rounded([gain.difference, gain.low, gain.high]) for name, gain in found.items()}


def pooled(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Gains over the crops of several seeds; a patient who is tested by two of them is drawn as one."""
    rows = [document["reward"]["rows"] for document in documents]
    clusters = [patient for one in rows for patient in one["patient"]]

    def of_all(name: str) -> dict[str, list[float]]:
        return {key: [value for one in rows for value in one[name][key]] for key in rows[0][name]}

    start = of_all("start")
    found = {name: gains(start, of_all(name), clusters) for name in ("by reward", "by imitation")}
    return {"crops": len(clusters), "patients": len(set(clusters)), "start": means(start), **found}


def same(one: Path | None, other: Path | None) -> bool:
    """Whether two masks are equal byte by byte."""
    assert one is not None
    assert other is not None
    return one.read_bytes() == other.read_bytes()


def means(values: dict[str, list[float]]) -> dict[str, float]:
    """The mean of each."""
    return {name: round(float(np.mean(each)), 4) for name, each in values.items()}


def rounded(values: Sequence[float | None]) -> list[float | None]:
    """To four places."""
    return [None if value is None else round(value, 4) for value in values]


def main() -> None:
    """See the module's first lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = Path(os.environ.get("MEDGRPO_DATA", "../shared/data")) / "vessels"
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--parts", nargs="+", default=["overfit", "reward"], choices=["overfit", "reward"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small-side", type=int, default=32, help="of a crop that is overfitted, in pixels")
    parser.add_argument("--overfit-steps", type=int, default=220)
    parser.add_argument("--overfit-rate", type=float, default=8e-3)
    parser.add_argument("--side", type=int, default=32, help="of a held-out crop, in pixels")
    parser.add_argument("--sam-side", type=int, default=128)
    parser.add_argument("--crops", type=int, default=32, help="of each patient")
    parser.add_argument("--start-steps", type=int, default=220)
    parser.add_argument("--start-rate", type=float, default=8e-3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument(
        "--output", type=Path, help="write the document, with every crop's values, to this file"
    )
    parser.add_argument("--collect", type=Path, nargs="+", help="only pool what --output wrote")
    options = parser.parse_args()
    if options.collect:
        print(json.dumps(pooled([json.loads(path.read_text()) for path in options.collect]), indent=1))
        return
    torch.set_num_threads(1)
    document: dict[str, Any] = {}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        names = ["drive", "chase_db1"] if "reward" in options.parts else ["drive"]
        task = PrepareOptions(task="vessels")
        sets = [prepare(options.data / name, folder / name, task, workers=1)[0].path for name in names]
        if "overfit" in options.parts:
            document["overfit"] = overfit(sets[:1], folder, options)
            print(json.dumps(document["overfit"]), flush=True)
        if "reward" in options.parts:
            document["reward"] = by_reward(sets, folder, options)
    if options.output:
        options.output.write_text(json.dumps(document))
    document.get("reward", {}).pop("rows", None)
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()

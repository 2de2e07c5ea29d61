"""Vessels by reward, beside the usual surrogates: the same warm start, the same time, real pictures, three seeds.

    python benchmarks/vessels_by_reward.py                      # 3 seeds, 6 methods; CPU: 20 min a seed, a GPU: 1
    python benchmarks/vessels_by_reward.py --seeds 0 --seconds 40 --side 384   # a look
    python benchmarks/vessels_by_reward.py --collect results/*.json            # the table of several calls

DRIVE and CHASE_DB1 are split by patient into three folds: seed k tests on fold k, so that over three seeds every picture is
tested once. A U-Net is warmed up by cross-entropy; then each method goes on from there for the same time (processor time on a
CPU, wall time on a GPU). Thresholds are chosen on validation pictures for the guarded reward, for every method alike, the warm
start included. STARE (grey panels) is tested with the models and thresholds of the others; HRF comes without pictures.

Methods: bce, soft_dice, soft_cldice; by_reward (guarded multi_objective, with an anchor of 1: cross-entropy), reward_alone (without
the anchor), recall_focused (its reward, no guard). Writes one JSON a seed and prints the table with paired intervals against the warm start.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from medgrpo.data.augment import Augmentation
from medgrpo.data.images import ImageSettings
from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.rewards.composite import CompositeReward
from medgrpo.rewards.masks import MaskReward, measure, multi_objective_guarded, recall_focused
from medgrpo.segmentation import losses
from medgrpo.segmentation.examples import Example, Examples
from medgrpo.segmentation.measuring import THRESHOLDS, cut_at, predicted_logits
from medgrpo.segmentation.objective import MaskObjective, draw_masks, drawn, judged, policy_loss
from medgrpo.segmentation.samplers import sampler_of
from medgrpo.segmentation.segmenters import PixelSegmenter
from medgrpo.segmentation.unet import UNet, UNetConfig

MEASURES = (
    "dice", "recall", "precision", "cldice", "length_agreement", "area_ratio", "betti0_error", "betti1_error", "hausdorff95",
)  # fmt: skip
SHOWN = ("reward", "dice", "recall", "precision", "cldice", "betti0_error", "hausdorff95")
PICTURES_PER_STEP = 2
AHEAD = 4
"""Threads that prepare pictures for a GPU."""
METHODS = ("by_reward", "bce", "soft_dice", "soft_cldice", "recall_focused", "reward_alone")
KEPT = ("warm start", "by_reward", "bce", "soft_dice")
"""Methods whose weights `--weights` keeps, for tests on further sets."""


def clock() -> float:
    """Seconds that count: of the device where there is one, else of the processor."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def rows_of(data: Path, scratch: Path, name: str, side: int) -> list[dict[str, Any]]:
    """All rows of a set, with absolute paths."""
    options = PrepareOptions(task="vessels", images=ImageSettings(size_px=side))
    dataset, _ = prepare(data / name, scratch / name, options, workers=1)
    found = []
    for split in dataset.splits:
        for row in dataset.rows(split):
            row["images"] = [str(dataset.image_path(row["images"][0]))]
            for key in ("mask", "mask2", "fov"):
                row[key] = str(dataset.image_path(row[key])) if row.get(key) else None
            found.append({**row, "set": name})
    return found


def folds(
    rows: Sequence[dict[str, Any]], seed: int, count: int = 3
) -> tuple[list[Any], list[Any], list[Any]]:
    """Train, validation (1 patient in 6 of the rest) and test rows; patients of each set are dealt out by lot."""
    parts: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        patients = sorted({str(row["patient_id"] or row["image_id"]) for row in own})
        patients = [patients[place] for place in np.random.default_rng(0).permutation(len(patients))]
        test = patients[seed % count :: count]
        rest = [patient for patient in patients if patient not in test]
        validation = rest[: max(1, len(rest) // 4)]
        for row in own:
            patient = str(row["patient_id"] or row["image_id"])
            parts[2 if patient in test else 1 if patient in validation else 0].append(row)
    return parts


class Trial:
    """One seed: its pictures, its network, and how long everything may take."""

    def __init__(
        self, rows: Sequence[Any], stare: Sequence[Any], seed: int, arguments: argparse.Namespace
    ) -> None:
        self.seed, self.arguments = seed, arguments
        train, validation, test = folds(rows, seed)
        varied = Augmentation(flip="swap")
        self.train = Examples(train, Path("/"), variation=varied, seed=seed)
        self.validation, self.test = Examples(validation, Path("/")), Examples(test, Path("/"))
        self.stare = Examples(stare, Path("/"))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(seed)
        network = UNet(UNetConfig(widths=arguments.widths, fold=2)).to(self.device)
        self.start = network.to(memory_format=torch.channels_last)
        self.dice_start: float | None = None

    def learn(
        self, network: UNet, step_loss: Callable[[Any, Example, int, int], Any], seconds: float, rate: float
    ) -> dict[str, Any]:
        """Train for so long; steps made and the seconds of one."""
        segmenter = PixelSegmenter(network)
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
        network.train()
        coming = self.coming()
        started, step = clock(), 0
        while (passed := (clock() - started) / seconds) < 1:
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1, (step + 1) / 10) * (0.5 + 0.5 * np.cos(np.pi * passed))
            for _ in range(PICTURES_PER_STEP):
                example, number = next(coming)
                logits = segmenter.logits(network, [example])[0]
                (step_loss(logits, example, step, number) / PICTURES_PER_STEP).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
        return {"steps": step, "seconds": clock() - started}

    def coming(self) -> Iterator[tuple[Example, int]]:
        """Varied training pictures without end; on a GPU, threads make them ahead of time."""

        def numbered() -> Iterator[tuple[int, int]]:
            for epoch in count():
                order = np.random.default_rng([self.seed, epoch]).permutation(len(self.train))
                yield from ((epoch, int(number)) for number in order)

        def made(place: tuple[int, int]) -> tuple[Example, int]:
            epoch, number = place
            return replace(self.train, epoch=epoch)[number], number

        if self.device == "cpu":
            yield from map(made, numbered())
            return
        places, waiting = numbered(), deque[Future[tuple[Example, int]]]()
        with ThreadPoolExecutor(AHEAD) as pool:
            try:
                while True:
                    while len(waiting) < 2 * AHEAD:
                        waiting.append(pool.submit(made, next(places)))
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def supervised(self, name: str) -> Callable[[Any, Example, int, int], Any]:
        """A surrogate as the loss of one picture."""

        def loss(logits: Any, example: Example, *_: int) -> Any:
            truth = example.truth
            assert truth is not None
            mask = torch.from_numpy(truth.mask).to(logits.device)[None]
            fov = None if truth.fov is None else torch.from_numpy(truth.fov).to(logits.device)[None].float()
            return getattr(losses, name)(logits[None], mask, fov)

        return loss

    def rewarded(
        self, reward: MaskReward, anchor: float, **changed: Any
    ) -> Callable[[Any, Example, int, int], Any]:
        """The policy gradient of drawn masks, as the loss of one picture."""
        options = argparse.Namespace(**{**vars(self.arguments), **changed})
        sampler = sampler_of(
            options.sampler, size=options.cell, scale=options.noise, temperature=options.sharpness
        )
        objective = MaskObjective(
            sampler, reward, CompositeReward("simple_dice"), options.group, window=options.window
        )
        beside = self.supervised(options.anchor_loss)

        def loss(logits: Any, example: Example, step: int, number: int) -> Any:
            generator = torch.Generator(logits.device).manual_seed(
                self.seed * 1_000_003 + step * 1009 + number
            )
            assert example.truth is not None
            draw = draw_masks(objective, logits, generator)
            earned = judged(objective, draw, example.truth)
            group = drawn(objective, draw, logits, earned, example.truth, is_used_once=True)
            total = policy_loss(objective, group, logits)[0]
            return total + anchor * beside(logits, example) if anchor else total

        return loss

    def measured(
        self, network: UNet, examples: Examples, threshold: float, logits: Sequence[Any] | None = None
    ) -> dict[str, Any]:
        """Measures of every picture at a threshold."""
        network.eval()
        found = logits or predicted_logits(PixelSegmenter(network), network, examples)
        values: dict[str, list[float]] = {name: [] for name in MEASURES}
        for number, one in enumerate(found):
            truth = examples.whole(number).truth
            assert truth is not None
            fov = None if truth.fov is None else [truth.fov]
            each = measure([cut_at(one, threshold)], [truth.mask], MEASURES, fov=fov)
            for name in MEASURES:
                values[name].append(float(each[name][0]))
        arrays = {name: np.array(each) for name, each in values.items()}
        for name, reward in (("reward", self.guarded()), ("recall_focused", recall_focused)):
            arrays[name] = reward.combine(arrays)
        return {name: each.tolist() for name, each in arrays.items()}

    def guarded(self) -> MaskReward:
        """multi_objective, guarded by the warm start's Dice as well as by area."""
        return replace(multi_objective_guarded, dice_start=self.dice_start)

    def threshold_for(self, network: UNet, metric: str) -> float:
        """The best on the validation pictures."""
        network.eval()
        logits = predicted_logits(PixelSegmenter(network), network, self.validation)
        return max(
            THRESHOLDS,
            key=lambda level: np.mean(self.measured(network, self.validation, level, logits)[metric]),
        )

    def result(self, network: UNet, metric: str = "reward") -> dict[str, Any]:
        """Threshold, and measures of the test pictures and of STARE."""
        threshold = self.threshold_for(network, metric)
        found = {"threshold": threshold, "test": self.measured(network, self.test, threshold)}
        if len(self.stare):
            found["stare"] = self.measured(network, self.stare, threshold)
        return found

    def run(self) -> dict[str, Any]:
        """Warm start, then every method from it."""
        options = self.arguments
        made = self.learn(self.start, self.supervised("bce"), options.warm_seconds, 3e-3)
        level = self.threshold_for(self.start, "dice")
        self.dice_start = float(np.mean(self.measured(self.start, self.validation, level)["dice"]))
        patients = [str(row["patient_id"] or row["image_id"]) for row in self.test.rows]
        document: dict[str, Any] = {
            "seed": self.seed,
            "patients": patients,
            "arguments": {**vars(options), "data": str(options.data), "output": str(options.output)},
        }
        document["methods"] = {"warm start": {**self.result(self.start), **made}}
        self.tell("warm start", document, self.start)
        document["observer"] = self.observer()
        for name in options.methods:
            network = deepcopy(self.start)
            if name == "by_reward":
                loss = self.rewarded(self.guarded(), 1.0)
            elif name == "reward_alone":
                loss = self.rewarded(self.guarded(), 0.0)
            elif name == "recall_focused":
                loss = self.rewarded(recall_focused, 0.0)
            else:
                loss = self.supervised(name)
            made = self.learn(network, loss, options.seconds, options.rate)
            metric = "recall_focused" if name == "recall_focused" else "reward"
            document["methods"][name] = {**self.result(network, metric), **made}
            self.tell(name, document, network)
        return document

    def tell(self, name: str, document: dict[str, Any], network: UNet) -> None:
        """A line for the person, and what is known so far on the disk: a call that is cut off loses one method."""
        found = document["methods"][name]
        means = {key: round(float(np.mean(found["test"][key])), 3) for key in SHOWN}
        print(
            f"seed {self.seed} {name}: {found['steps']} steps, threshold {found['threshold']}",
            means,
            flush=True,
        )
        (self.arguments.output / f"seed-{self.seed}.json").write_text(json.dumps(document))
        if self.arguments.weights and name in KEPT:
            place = self.arguments.output / f"seed-{self.seed}-{name.replace(' ', '-')}.safetensors"
            kept = {key: value.contiguous().cpu() for key, value in network.state_dict().items()}
            save_file(kept, place)

    def observer(self) -> dict[str, list[float]]:
        """The second observer on the test pictures that have one."""
        values: dict[str, list[float]] = {name: [] for name in MEASURES}
        for row in self.test.rows:
            if not row.get("mask2"):
                continue
            other = Examples([{**row, "mask": row["mask2"]}], Path("/")).whole(0).truth
            truth = Examples([row], Path("/")).whole(0).truth
            assert truth is not None
            assert other is not None
            fov = None if truth.fov is None else [truth.fov]
            each = measure([other.mask], [truth.mask], MEASURES, fov=fov)
            for name in MEASURES:
                values[name].append(float(each[name][0]))
        arrays = {name: np.array(each) for name, each in values.items()}
        return {**values, "reward": self.guarded().combine(arrays).tolist()}


def interval(differences: np.ndarray, patients: Sequence[str], rounds: int = 2000) -> tuple[float, float]:
    """95 % interval of a mean difference, patients drawn with replacement."""
    names = sorted(set(patients))
    sums = np.array(
        [
            [differences[np.array(patients) == name].sum(), (np.array(patients) == name).sum()]
            for name in names
        ]
    )
    chosen = np.random.default_rng(0).integers(0, len(names), (rounds, len(names)))
    means = sums[chosen, 0].sum(1) / sums[chosen, 1].sum(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def table(documents: Sequence[dict[str, Any]]) -> str:
    """Markdown: means over all test pictures, and paired differences to the warm start with intervals."""
    lines = ["| method | " + " | ".join(SHOWN) + " |", "| --- |" + " ---: |" * len(SHOWN)]
    seeds = [f"{document['seed']}-" for document in documents]
    patients = [
        seed + one for seed, document in zip(seeds, documents, strict=True) for one in document["patients"]
    ]

    def pooled(method: str, name: str, where: str = "test") -> np.ndarray:
        return np.concatenate([document["methods"][method][where][name] for document in documents])

    methods = [
        name for name in documents[0]["methods"] if all(name in document["methods"] for document in documents)
    ]
    for method in methods:
        lines.append(
            f"| {method} | " + " | ".join(f"{pooled(method, name).mean():.3f}" for name in SHOWN) + " |"
        )
    second = {
        name: np.concatenate([document["observer"][name] for document in documents]).mean() for name in SHOWN
    }
    lines.append("| second observer | " + " | ".join(f"{second[name]:.3f}" for name in SHOWN) + " |")
    names = ("reward", "dice", "recall", "precision", "cldice")
    lines += ["", "| beyond the warm start | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for method in methods[1:]:
        cells = []
        for name in names:
            gained = pooled(method, name) - pooled("warm start", name)
            low, high = interval(gained, patients)
            cells.append(f"{gained.mean():+.3f} ({low:+.3f} to {high:+.3f})")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    tested = [name for name in methods if all("stare" in document["methods"][name] for document in documents)]
    if tested:
        lines += [
            "",
            "| STARE (trained on DRIVE and CHASE_DB1) | " + " | ".join(SHOWN) + " |",
            "| --- |" + " ---: |" * len(SHOWN),
        ]
        for method in tested:
            lines.append(
                f"| {method} | "
                + " | ".join(f"{pooled(method, name, 'stare').mean():.3f}" for name in SHOWN)
                + " |"
            )
    return "\n".join(lines)


def further(options: argparse.Namespace) -> None:
    """Adds STARE to results whose weights were kept: measured with the thresholds that they have."""
    with TemporaryDirectory() as folder:
        stare = rows_of(options.data, Path(folder), "stare", options.side)
        for path in options.further:
            document = json.loads(path.read_text())
            trial = Trial(stare, stare, document["seed"], options)
            for name, found in document["methods"].items():
                place = path.with_name(f"{path.stem}-{name.replace(' ', '-')}.safetensors")
                if place.is_file():
                    trial.start.load_state_dict(load_file(place))
                    found["stare"] = trial.measured(trial.start, trial.stare, found["threshold"])
            path.write_text(json.dumps(document))


def main() -> None:
    """See the module's first lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = Path(os.environ.get("MEDGRPO_DATA", "../shared/data")) / "vessels"
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--output", type=Path, default=Path("vessels_by_reward"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--side", type=int, default=512, help="longest side of a picture, in pixels")
    parser.add_argument("--seconds", type=float, default=8 if on_gpu else 120, help="of each method")
    parser.add_argument("--warm-seconds", type=float, default=10 if on_gpu else 120)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--sampler", default="cells")
    parser.add_argument("--cell", type=int, default=8, help="side of a cell, in pixels")
    parser.add_argument("--noise", type=float, default=0.5)
    parser.add_argument("--sharpness", type=float, default=0.5)
    parser.add_argument("--group", type=int, default=4, help="masks of a picture")
    parser.add_argument("--window", type=int, default=3, help="side over which a pixel answers for skeletons")
    parser.add_argument("--anchor-loss", default="bce", help="supervised loss beside by_reward")
    parser.add_argument("--no-stare", action="store_true")
    parser.add_argument("--weights", action="store_true", help="keep weights of some methods beside the JSON")
    parser.add_argument("--collect", type=Path, nargs="+", help="only the table, from JSON of earlier calls")
    parser.add_argument(
        "--further", type=Path, nargs="+", help="test kept weights on STARE: JSON of earlier calls"
    )
    options = parser.parse_args()
    if options.further:
        further(options)
        options.collect = options.further
    if on_gpu:
        torch.set_num_threads(2)  # the CPU only prepares: a pool as large as the host would wait for itself
    if options.collect:
        print(table([json.loads(path.read_text()) for path in options.collect]))
        return
    options.output.mkdir(parents=True, exist_ok=True)
    documents = []
    with TemporaryDirectory() as folder:
        rows = [
            row
            for name in ("drive", "chase_db1")
            for row in rows_of(options.data, Path(folder), name, options.side)
        ]
        stare = [] if options.no_stare else rows_of(options.data, Path(folder), "stare", options.side)
        for seed in options.seeds:
            started = clock()
            document = Trial(rows, stare, seed, options).run()
            document["seconds"] = clock() - started
            (options.output / f"seed-{seed}.json").write_text(json.dumps(document))
            documents.append(document)
            print(f"seed {seed}: {document['seconds']:.0f} s", flush=True)
    print(table(documents))


if __name__ == "__main__":
    main()

"""What the demo gains by reward: blind baseline, after SFT and after GRPO, on the test pictures of each run.

    for seed in 11 12 13; do medgrpo train --seed $seed --output runs/demo-$seed; done
    python benchmarks/demo_gain.py runs/demo-11 runs/demo-12 runs/demo-13

Greedy completions of every test question by the model after the warm start and by the final one; the
differences are paired by question and their 95 % intervals clustered by picture. Runs with different
seeds have different pictures, so pooling them counts no picture twice.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from medgrpo.data.prepared import PreparedDataset
from medgrpo.data.prompts import load_template
from medgrpo.evaluation.baseline import constant_completions
from medgrpo.evaluation.statistics import paired_difference
from medgrpo.generation.generate import Sampling, generate
from medgrpo.models.loading import load_model
from medgrpo.rewards.composite import CompositeReward

METRICS = ("reward", "answer_match", "format", "plane_match", "modality_match")
TEMPLATE = load_template("short")


def score(texts, rows):
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    table = CompositeReward("balanced").score(texts, columns)
    return {name: table.column("total" if name == "reward" else name) for name in METRICS}


def complete(folder, dataset, rows, sampling):
    loaded = load_model(str(folder))
    texts = [""] * len(rows)
    for done in generate(
        loaded.model,
        loaded.processor,
        rows,
        TEMPLATE,
        image_path=dataset.image_path,
        sampling=sampling,
        batch_size=128,
    ):
        texts[done.index] = done.completions[0]
    return texts


def measure(run):
    import torch

    torch.manual_seed(0)
    dataset = PreparedDataset.open(run / "demo" / "data")
    rows = list(dataset.rows("test"))
    train = list(dataset.rows("train"))
    sft, grpo = run / "stages" / "1-sft" / "final_model", run / "final_model"
    stages = {
        "blind": score(constant_completions(rows, train, TEMPLATE.tags, "blind"), rows),
        "after SFT": score(complete(sft, dataset, rows, Sampling(40)), rows),
        "after GRPO": score(complete(grpo, dataset, rows, Sampling(40)), rows),
        "after SFT, sampled": score(complete(sft, dataset, rows, Sampling(40, temperature=1.0)), rows),
        "after GRPO, sampled": score(complete(grpo, dataset, rows, Sampling(40, temperature=1.0)), rows),
    }
    return stages, [f"{run.name}/{row['image_id']}" for row in rows], rows


def main(runs):
    measured = [measure(Path(run)) for run in runs]
    clusters = [cluster for _, names, _ in measured for cluster in names]
    document = {"runs": runs, "questions": len(clusters), "pictures": len(set(clusters))}
    for stage in measured[0][0]:
        document[stage] = {
            metric: {
                "runs": [round(float(stages[stage][metric].mean()), 4) for stages, _, _ in measured],
                "mean": round(float(np.mean([stages[stage][metric].mean() for stages, _, _ in measured])), 4),
            }
            for metric in METRICS
        }
    pairs = {"GRPO - SFT": ("after SFT", "after GRPO"), "SFT - blind": ("blind", "after SFT")}
    for label, (first, second) in pairs.items():
        document[label] = {}
        for metric in ("reward", "answer_match"):
            before, after = (
                np.concatenate([stages[stage][metric] for stages, _, _ in measured])
                for stage in (first, second)
            )
            difference = paired_difference(before, after, clusters)
            document[label][metric] = {
                "value": round(difference.difference, 4),
                "low": round(difference.low, 4),
                "high": round(difference.high, 4),
                "p": difference.p_value,
                "per_run": [
                    round(float((stages[second][metric] - stages[first][metric]).mean()), 4)
                    for stages, _, _ in measured
                ],
            }
    for group in ("question_type", "language"):
        document[f"answer_match by {group}"] = {
            value: {
                stage: round(
                    float(
                        np.mean(
                            [
                                x
                                for stages, _, rows in measured
                                for x, row in zip(stages[stage]["answer_match"], rows, strict=True)
                                if row[group] == value
                            ]
                        )
                    ),
                    3,
                )
                for stage in ("blind", "after SFT", "after GRPO")
            }
            for value in sorted({row[group] for _, _, rows in measured for row in rows})
        }
    print(json.dumps(document, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main(sys.argv[1:])

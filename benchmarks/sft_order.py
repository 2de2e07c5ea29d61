"""Whether bringing rows of a picture together (`data.rows_of_a_picture`) changes what SFT learns: the demo, over several seeds.

    python benchmarks/sft_order.py --out runs/order --seeds 0 1 2 --rows 1 4

Per seed the same data, steps and weights to begin with; what differs is which rows meet in a step. Judged by greedy answers to
the test questions of each seed. The interval of a difference is paired by question and clustered by picture: it says how sure
the difference is for these trained models, its sign over the seeds whether the order matters. Every run has one thread and no
GPU; a second call goes on with the runs that are missing.
"""

from __future__ import annotations

import argparse
import json
import resource
from pathlib import Path

import numpy as np
from compare_recipes import train
from demo_gain import complete, score

METRICS = ("reward", "answer_match")
LONGEST = 40
"""Tokens of an answer."""


def trained(out: Path, rows: int, seed: int, extra: list[str]) -> dict:
    """What the test questions earn after SFT, and the CPU seconds that training took."""
    result = out / f"rows-{rows}-seed-{seed}.json"
    if result.is_file():
        return json.loads(result.read_text())
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.generation.generate import Sampling

    run = out / f"rows-{rows}-seed-{seed}"
    words = [
        "training.max_steps=1",
        *extra,
        f"data.rows_of_a_picture={rows}",
    ]  # of the GRPO stage, which is not used
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    train(out, run, ["--seed", str(seed), *(part for word in words for part in ("--set", word))])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    dataset = PreparedDataset.open(run / "demo" / "data")
    asked = list(dataset.rows("test"))
    texts = complete(run / "stages" / "1-sft" / "final_model", dataset, asked, Sampling(LONGEST))
    scores = {name: values.tolist() for name, values in score(texts, asked).items() if name in METRICS}
    document = {
        "clusters": [row["image_id"] for row in asked],
        "texts": texts,
        "scores": scores,
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }
    result.write_text(json.dumps(document))
    return document


def report(found: dict[tuple[int, int], dict], rows: list[int], seeds: list[int]) -> str:
    """The differences to the first order, as Markdown."""
    from medgrpo.evaluation.statistics import paired_difference

    lines = [
        "| rows of a picture | metric | by seed | difference by seed | all seeds | CPU seconds |",
        "| ---: | --- | --- | --- | --- | ---: |",
    ]
    for number in rows:
        seconds = np.mean([found[number, seed]["cpu_s"] for seed in seeds])
        for metric in METRICS:
            values = [np.array(found[number, seed]["scores"][metric]) for seed in seeds]
            first = [np.array(found[rows[0], seed]["scores"][metric]) for seed in seeds]
            means = " ".join(f"{np.nanmean(one):.4f}" for one in values)
            by_seed, whole = "–", "–"
            if number != rows[0]:
                by_seed = " ".join(
                    f"{np.nanmean(one - other):+.4f}" for one, other in zip(values, first, strict=True)
                )
                clusters = [f"{seed}/{name}" for seed in seeds for name in found[number, seed]["clusters"]]
                gap = paired_difference(np.concatenate(first), np.concatenate(values), clusters)
                whole = f"{gap.difference:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
            lines.append(f"| {number} | {metric} | {means} | {by_seed} | {whole} | {seconds:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--set", action="append", default=[], help="A setting of every run, key=value.")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    found = {
        (rows, seed): trained(out, rows, seed, options.set) for seed in options.seeds for rows in options.rows
    }
    print(report(found, options.rows, options.seeds))


if __name__ == "__main__":
    main()

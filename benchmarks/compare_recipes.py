"""Dynamic sampling, GDPO, a curriculum by pass rate, batches sampled a step ahead, and the engine off: each against plain GRPO on the
demo, over several seeds.

    python benchmarks/compare_recipes.py --out runs/recipes --jobs 12

Per seed one warm start (SFT on the demo's careless reports); every recipe starts from its weights and sees
its data, so that what differs is the recipe. Steps and prompts per step are equal; what a recipe samples
besides (dynamic sampling replaces groups, the curriculum measures pass rates) shows in its seconds. Judged
by the test pictures of each seed, greedily and sampled. The interval of a difference is paired by question
and clustered by picture: it says how sure the difference is for these trained models. Whether the recipe
helps in general is said by its sign over the seeds. Every run has one thread and no GPU; a second call goes
on with the runs that are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from demo_gain import complete, score

ROOT = Path(__file__).resolve().parents[1]
RECIPES = {
    "plain": [],
    "dynamic sampling": ["rollout.dynamic_sampling=3"],
    "GDPO": ["rewards.aggregation=normalize_then_sum"],
    "curriculum": ["curriculum.by=pass_rate"],
    "ahead": ["rollout.ahead=1"],
    "prompts apart": ["engine.shared_prompt=off"],
}
WARM = "after SFT"
SHOWN = ("reward", "answer_match")
TESTED_TOKENS = 40


def settings_file(out, seed, recipe, extra):
    """The demo's settings with the recipe's, from the warm start's weights on."""
    from medgrpo.config.layers import to_toml
    from medgrpo.config.presets import resolve_run

    words = [*extra, *RECIPES[recipe], "stages.sft.enabled=false", f"run.seed={seed}"]
    config = resolve_run(assignments=tuple(words))[0].config
    file = out / f"{folder_name(recipe, seed)}.toml"
    file.write_text(to_toml(config))
    return file


def folder_name(recipe, seed):
    return f"{recipe.replace(' ', '-')}-{seed}"


def warm_up(out, seed, extra):
    """The run whose SFT weights and demo data every recipe of a seed starts from; one GRPO step, unused."""
    run = out / f"warm-{seed}"
    words = [*extra, "training.max_steps=1"]
    train(out, run, ["--seed", str(seed), *(part for word in words for part in ("--set", word))])
    return run


def train(out, run, options):
    if (run / "final_model" / "complete.json").is_file():
        return
    shutil.rmtree(run, ignore_errors=True)
    always = ["--set", "validation.before_and_after=false", "--set", "logging.report_to=[]", "--quiet"]
    command = [sys.executable, "-m", "medgrpo.cli.main", "train", "--output", str(run), *always, *options]
    with (out / f"{run.name}.log").open("w") as log:
        done = subprocess.run(command, check=False, stdout=log, stderr=subprocess.STDOUT, cwd=out)
    if done.returncode:
        sys.exit(f"{run.name} failed: {(out / f'{run.name}.log').read_text()[-2000:]}")


def run_job(job):
    """Train one recipe with one seed and measure it; the process of its own that `--job` starts."""
    out, seed, recipe = Path(job["out"]), job["seed"], job["recipe"]
    warm = out / f"warm-{seed}"
    data, weights = warm / "demo" / "data", warm / "stages" / "1-sft" / "final_model"
    started = time.perf_counter()
    run = warm
    if recipe != WARM:
        run = out / folder_name(recipe, seed)
        config = settings_file(out, seed, recipe, job["set"])
        train(out, run, ["--config", str(config), "--model", str(weights), "--data", str(data)])
        weights = run / "final_model"
    seconds = time.perf_counter() - started
    document = {"seconds": seconds, **measured(run, weights, data)}
    result_file(job).write_text(json.dumps(document))


def result_file(job):
    return Path(job["out"]) / f"{folder_name(job['recipe'], job['seed'])}.json"


def measured(run, weights, data):
    """Per test question what the weights earn, greedily and sampled, and what the training log says."""
    import torch

    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.generation.generate import Sampling
    from medgrpo.records import json_objects

    torch.manual_seed(0)
    dataset = PreparedDataset.open(data)
    rows = list(dataset.rows("test"))
    document = {"clusters": [row["image_id"] for row in rows]}
    for name, temperature in (("greedy", 0.0), ("sampled", 1.0)):
        texts = complete(weights, dataset, rows, Sampling(TESTED_TOKENS, temperature=temperature))
        document[name] = {metric: values.tolist() for metric, values in score(texts, rows).items()}
    log = json_objects(run / "log.jsonl")
    last = log[-10:]
    for key in ("reward", "frac_reward_zero_std", "dynamic_sampling/replaced", "curriculum/difficulty"):
        values = [entry[key] for entry in last if entry.get(key) is not None]
        document[key] = float(np.mean(values)) if values else None
    return document


def start(job):
    """Run a job in a process of its own, unless its result is there."""
    if result_file(job).is_file():
        return
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{job['recipe']}, seed {job['seed']}: {done.stderr[-3000:]}")
    print(f"{job['recipe']}, seed {job['seed']}: done", file=sys.stderr, flush=True)


def report(out, seeds, recipes):
    """The tables, as Markdown."""
    from medgrpo.evaluation.statistics import paired_difference

    results = {
        (recipe, seed): json.loads(result_file({"out": out, "recipe": recipe, "seed": seed}).read_text())
        for recipe in [WARM, *recipes]
        for seed in seeds
    }
    clusters = [f"{seed}/{name}" for seed in seeds for name in results["plain", seed]["clusters"]]
    lines = [
        f"{len(seeds)} seeds ({', '.join(map(str, seeds))}), {len(clusters)} test questions over "
        f"{len(set(clusters))} pictures; mean ± standard deviation over the seeds.",
        "",
        "| recipe | reward, greedy | answer, greedy | reward, sampled | answer, sampled | training s |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for recipe in [WARM, *recipes]:
        cells = []
        for how in ("greedy", "sampled"):
            for metric in SHOWN:
                means = [np.mean(results[recipe, seed][how][metric]) for seed in seeds]
                cells.append(f"{np.mean(means):.3f} ± {np.std(means, ddof=min(1, len(seeds) - 1)):.3f}")
        seconds = "–" if recipe == WARM else f"{np.mean([results[recipe, s]['seconds'] for s in seeds]):.0f}"
        lines.append(f"| {recipe} | {' | '.join(cells)} | {seconds} |")
    lines += [
        "",
        "| minus plain | decoding | metric | difference | 95 % interval | by seed |",
        "| --- | --- | --- | ---: | ---: | --- |",
    ]
    for recipe in [recipe for recipe in recipes if recipe != "plain"]:
        for how in ("greedy", "sampled"):
            for metric in SHOWN:
                plain, other = (
                    [np.asarray(results[name, seed][how][metric]) for seed in seeds]
                    for name in ("plain", recipe)
                )
                paired = paired_difference(np.concatenate(plain), np.concatenate(other), clusters)
                each = ", ".join(f"{(b - a).mean():+.3f}" for a, b in zip(plain, other, strict=True))
                lines.append(
                    f"| {recipe} | {how} | {metric} | {paired.difference:+.3f} | "
                    f"{paired.low:+.3f} to {paired.high:+.3f} | {each} |"
                )
    lines += [
        "",
        "| last 10 steps of training | reward | groups without spread | groups replaced a step | difficulty, by rank |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for recipe in recipes:
        cells = []
        for key in ("reward", "frac_reward_zero_std", "dynamic_sampling/replaced", "curriculum/difficulty"):
            values = [results[recipe, seed][key] for seed in seeds]
            cells.append("–" if None in values else f"{np.mean(values):.3f}")
        lines.append(f"| {recipe} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"), help="folder of runs and results")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="runs at the same time, a thread each"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--set", action="append", default=[], help="a setting of all runs, key=value")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        run_job(json.loads(options.job))
        return
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "MEDGRPO_CACHE": str(out / "cache"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    started = time.perf_counter()
    recipes = list(dict.fromkeys(["plain", *options.recipes]))
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda seed: warm_up(out, seed, options.set), options.seeds))
        jobs = [
            {"out": str(out), "seed": seed, "recipe": recipe, "set": options.set}
            for recipe in sorted(recipes, key=lambda name: name == "plain")  # the longest runs first
            for seed in options.seeds
        ]
        jobs += [
            {"out": str(out), "seed": seed, "recipe": WARM, "set": options.set} for seed in options.seeds
        ]
        list(pool.map(start, jobs))
    text = report(out, options.seeds, recipes)
    (out / "table.md").write_text(text + "\n")
    print(text)
    print(f"\n{time.perf_counter() - started:.0f} s with {options.jobs} jobs", file=sys.stderr)


if __name__ == "__main__":
    main()

"""What a GRPO run's own completions are still worth: DPO and best-of-n SFT against going on with GRPO, on the demo.

    python benchmarks/after_grpo.py --out runs/after --jobs 12

Per seed one run (SFT warm start, then `--steps` of GRPO); from its weights, each on its data: GRPO going on, DPO on pairs of
the run's completions, SFT on the best completion of each prompt. A branch keeps checkpoints at a constant learning rate, so
that each of them is what a run of that length gives, and each is measured on test questions, greedily and sampled. Branches
are compared at equal seconds: of the optimiser steps, and for DPO and best-of-n of the whole `make-dpo` command besides.
Every run has one thread and no GPU; a second call goes on with what is missing.
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
PAIRS = ["training.prompts_per_step=32", "training.per_device_train_batch_size=32"]
BRANCHES = {
    "GRPO goes on": (
        "grpo",
        None,
        [
            "training.prompts_per_step=16",
            "training.per_device_train_batch_size=128",
            "training.learning_rate=3e-4",
        ],
    ),
    "DPO": ("dpo", [], [*PAIRS, "training.learning_rate=3e-4"]),
    "DPO with SFT term": ("dpo", [], [*PAIRS, "training.learning_rate=3e-4", "dpo.sft_weight=1"]),
    "best of n": (
        "sft",
        ["--kind", "sft", "--threshold", "0.9"],
        [*PAIRS, "training.learning_rate=3e-4"],
    ),
}
"""Method, options of make-dpo (None: trains on the run's own data), settings; GRPO's rate is the demo's."""
START = "the run itself"
KEPT = 2
"""Checkpoints of a branch."""


def call(out, name, words):
    """One medgrpo command; gives its wall seconds."""
    started = time.perf_counter()
    with (out / f"{name}.log").open("w") as log:
        command = [sys.executable, "-m", "medgrpo.cli.main", *words]
        done = subprocess.run(command, check=False, stdout=log, stderr=subprocess.STDOUT, cwd=out)
    if done.returncode:
        raise SystemExit(f"{name} failed: {(out / f'{name}.log').read_text()[-2000:]}")
    return time.perf_counter() - started


def begin(out, seed, options):
    """The run whose weights, data and completions the branches start from."""
    run = out / f"run-{seed}"
    if not (run / "final_model" / "complete.json").is_file():
        shutil.rmtree(run, ignore_errors=True)
        words = [
            f"training.max_steps={options.steps}",
            "validation.before_and_after=false",
            "logging.report_to=[]",
            *options.set,
        ]
        sets = [part for word in words for part in ("--set", word)]
        call(out, run.name, ["train", "--output", str(run), "--seed", str(seed), "--quiet", *sets])


def settings_of(seed, method, steps, extra):
    """The demo's settings with the branch's, as TOML."""
    from medgrpo.config.layers import to_toml
    from medgrpo.config.presets import resolve_run

    words = [
        *extra,
        "stages.sft.enabled=false",
        f"training.method={method}",
        f"training.max_steps={steps}",
        "training.lr_scheduler_type=constant",
        f"training.save_steps={max(1, steps // KEPT)}",
        f"training.save_total_limit={2 * KEPT}",
        "validation.before_and_after=false",
        "logging.report_to=[]",
        f"run.seed={seed}",
    ]
    return to_toml(resolve_run(assignments=tuple(words))[0].config)


def run_job(job):
    """Train one branch of one seed and measure its checkpoints; the process of its own that `--job` starts."""
    from medgrpo.records import json_objects
    from medgrpo.training.run.checkpoints import checkpoint_step, complete_checkpoints

    out, seed, name = Path(job["out"]), job["seed"], job["branch"]
    start = out / f"run-{seed}"
    data = start / "demo" / "data"
    if name == START:
        points = [{"step": 0, "seconds": 0.0, **measured(start / "final_model", data, job["rows"])}]
        result_file(job).write_text(json.dumps({"points": points, "making": 0.0}))
        return
    method, make, extra = BRANCHES[name]
    slug, making, trained_on = slug_of(job), 0.0, data
    run = out / slug
    shutil.rmtree(run, ignore_errors=True)
    if make is not None:
        trained_on = out / f"{slug}-data"
        shutil.rmtree(trained_on, ignore_errors=True)
        making = call(
            out, trained_on.name, ["make-dpo", str(start), "--output", str(trained_on), "--quiet", *make]
        )
    config = out / f"{slug}.toml"
    config.write_text(settings_of(seed, method, job["steps"][method], [*extra, *job["set"]]))
    places = ["--model", str(start), "--data", str(trained_on), "--config", str(config)]
    call(out, slug, ["train", "--output", str(run), "--quiet", *places])
    log = json_objects(run / "log.jsonl")
    prompts = 16 if method == "grpo" else 32
    each = {line["step"]: line["s_per_prompt"] * prompts for line in log if "s_per_prompt" in line}
    points = []
    for folder in complete_checkpoints(run / "checkpoints"):
        step = checkpoint_step(folder)
        seconds = making + sum(value for at, value in each.items() if at <= step)
        points.append({"step": step, "seconds": seconds, **measured(folder, data, job["rows"])})
        result_file(job).write_text(json.dumps({"points": points, "making": making}))


def slug_of(job):
    return f"{job['branch'].lower().replace(',', '').replace(' ', '-')}-{job['seed']}"


def result_file(job):
    return Path(job["out"]) / f"result-{slug_of(job)}.json"


def measured(weights, data, limit):
    """What the weights earn on test questions, greedily and sampled."""
    import torch

    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.generation.generate import Sampling

    torch.manual_seed(0)
    dataset = PreparedDataset.open(data)
    rows = list(dataset.rows("test", limit))
    found = {}
    for how, temperature in (("greedy", 0.0), ("sampled", 1.0)):
        values = score(complete(weights, dataset, rows, Sampling(40, temperature=temperature)), rows)
        found |= {f"{metric}, {how}": float(values[metric].mean()) for metric in ("reward", "answer_match")}
    return found


def start_job(job):
    """Run a job in a process of its own, unless its result is there."""
    if result_file(job).is_file():
        return
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    if done.returncode:
        print(
            f"{job['branch']}, seed {job['seed']} FAILED: {done.stderr[-2000:]}", file=sys.stderr, flush=True
        )
    else:
        print(f"{job['branch']}, seed {job['seed']}: done", file=sys.stderr, flush=True)


FIGURES = ("reward, greedy", "answer_match, greedy", "reward, sampled", "answer_match, sampled")


def at_seconds(points, seconds):
    """Figures after so many seconds, on the line between the checkpoints around it; the last ones beyond them."""
    return {
        figure: float(np.interp(seconds, [p["seconds"] for p in points], [p[figure] for p in points]))
        for figure in FIGURES
    }


def seconds_to(points, figure, value):
    """Seconds until a figure is first reached; None where it never is."""
    before = points[0]
    for point in points:
        if point[figure] >= value:
            gain = point[figure] - before[figure]
            share = 1.0 if gain <= 0 else (value - before[figure]) / gain
            return before["seconds"] + share * (point["seconds"] - before["seconds"])
        before = point
    return None


def report(out, seeds):
    """The tables, as Markdown, of the seeds whose branches are all there."""
    read = {}
    for seed in seeds:
        for name in (START, *BRANCHES):
            file = result_file({"out": out, "branch": name, "seed": seed})
            if file.is_file() and json.loads(file.read_text())["points"]:
                read[name, seed] = json.loads(file.read_text())
    whole = [seed for seed in seeds if all((name, seed) in read for name in (START, *BRANCHES))]
    if not whole:
        return "no seed has all of its branches"
    first = {seed: read[START, seed]["points"][0] for seed in whole}
    curve = {key: [first[key[1]], *value["points"]] for key, value in read.items() if key[1] in first}
    lines = [
        f"Seeds {', '.join(map(str, whole))}; mean ± standard deviation over them.",
        "",
        "| branch | steps | making data, s | steps, s | reward, greedy | answer, greedy | reward, sampled | answer, sampled |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]

    def cells(found):
        for figure in FIGURES:
            values = [one[figure] for one in found]
            yield f"{np.mean(values):.3f} ± {np.std(values, ddof=min(1, len(values) - 1)):.3f}"

    lines.append(f"| {START} | – | – | – | {' | '.join(cells(first.values()))} |")
    for name in BRANCHES:
        for place in range(max(len(read[name, s]["points"]) for s in whole)):
            found = [read[name, s]["points"][place] for s in whole if place < len(read[name, s]["points"])]
            making = np.mean([read[name, s]["making"] for s in whole])
            spent = np.mean([one["seconds"] for one in found]) - making
            lines.append(
                f"| {name} | {found[0]['step']} | {making:.1f} | {spent:.1f} | {' | '.join(cells(found))} |"
            )
    lines += [
        "",
        "Each branch at its end, beside GRPO going on for the same seconds (read between its checkpoints):",
        "",
    ]
    lines += [
        "| branch | seconds | figure | branch | GRPO | by seed | GRPO needs, s |",
        "| --- | ---: | --- | ---: | ---: | --- | --- |",
    ]
    for name in [name for name in BRANCHES if name != "GRPO goes on"]:
        for figure in FIGURES:
            last = {s: read[name, s]["points"][-1] for s in whole}
            grpo = {s: at_seconds(curve["GRPO goes on", s], last[s]["seconds"])[figure] for s in whole}
            needs = [seconds_to(curve["GRPO goes on", s], figure, last[s][figure]) for s in whole]
            each = ", ".join(f"{last[s][figure] - grpo[s]:+.3f}" for s in whole)
            lines.append(
                f"| {name} | {np.mean([one['seconds'] for one in last.values()]):.1f} | {figure} | "
                f"{np.mean([one[figure] for one in last.values()]):.3f} | {np.mean(list(grpo.values())):.3f} | {each} | "
                f"{', '.join('never' if one is None else f'{one:.0f}' for one in needs)} |"
            )
    went = [read["GRPO goes on", s]["points"][-1]["seconds"] for s in whole]
    lines += ["", f"GRPO went on for {', '.join(f'{one:.0f}' for one in went)} s."]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/after"), help="folder of runs and results")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="runs at the same time, a thread each"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--steps", type=int, default=50, help="GRPO steps of the run itself")
    parser.add_argument("--branch-steps", type=int, nargs=3, default=[50, 50, 50], help="of GRPO, DPO, SFT")
    parser.add_argument("--rows", type=int, default=400, help="test questions")
    parser.add_argument("--set", action="append", default=[], help="a setting of all runs, key=value")
    parser.add_argument("--report", action="store_true", help="only the tables, of what is there")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        run_job(json.loads(options.job))
        return
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    if options.report:
        print(report(out, options.seeds))
        return
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "MEDGRPO_CACHE": str(out / "cache"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    started = time.perf_counter()
    steps = dict(zip(("grpo", "dpo", "sft"), options.branch_steps, strict=True))
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda seed: begin(out, seed, options), options.seeds))
        print(f"runs done after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        jobs = [
            {
                "out": str(out),
                "seed": seed,
                "branch": name,
                "steps": steps,
                "rows": options.rows,
                "set": options.set,
            }
            for name in (*BRANCHES, START)
            for seed in options.seeds
        ]
        list(pool.map(start_job, jobs))
    text = report(out, options.seeds)
    (out / "table.md").write_text(text + "\n")
    print(text)
    print(f"\n{time.perf_counter() - started:.0f} s with {options.jobs} jobs", file=sys.stderr)


if __name__ == "__main__":
    main()

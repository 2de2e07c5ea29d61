"""Rows for the estimate's table: short real training runs, what each step took by phase, and the most memory.

    python benchmarks/random_model.py PROCESSOR model-3b
    python benchmarks/estimate_rows.py CASES.json --models MODELS --results rows.jsonl

CASES.json is a list of `{"name", "model", "size", "set", "steps", "pair_tokens", "together", "limit_gib"}`: MODELS/model-<model> is
trained with these settings for `steps` steps; cases with the same `together` share one process and one vLLM; `limit_gib` limits
what torch may hold, and the row says whether the run ended in an out-of-memory error. Each group of cases has a process of its own,
which has imported everything while others ran, so that a case costs its steps and not its imports. A JSON line for each, as it ends.
"""

import argparse
import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
import traceback
from contextlib import nullcontext
from pathlib import Path

os.environ.setdefault(
    "PYTORCH_NVML_BASED_CUDA_CHECK", "1"
)  # asking for a GPU must not start CUDA before the fork
sys.path.insert(0, str(Path(__file__).resolve().parent))

import gpu_training

LETTERS = Path(gpu_training.__file__).resolve()
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


def configuration(case: dict, model: Path, data: Path):
    from medgrpo.config.presets import resolve_run

    settings = {
        "data.path": data,
        "training.max_steps": case["steps"],
        "training.save_steps": 1000,
        "training.largest_first": "false",
        "training.learning_rate": 1e-6,
        "model.max_pixels": 1_048_576,
        "model.context_length": 4096,
        "validation.before_and_after": "false",
        "logging.report_to": "[]",
        "data.shuffle": "false",
        "rewards.weights": json.dumps({f"{LETTERS}:letters": 1.0}).replace('":', '" ='),
        **case.get("set", {}),
    }
    words = tuple(f"{key}={value}" for key, value in settings.items())
    return resolve_run("balanced", model=str(model), assignments=words)[0].config


def run_case(case: dict, arguments: argparse.Namespace) -> dict:
    import torch

    from medgrpo.training.run.train import train
    from medgrpo.training.watch.phases import PHASES
    from medgrpo.training.watch.reporter import SilentReporter

    gc.collect()
    on_gpu = torch.cuda.is_available()
    held = 0.0
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() / 2**30
        if case.get("limit_gib"):
            total = torch.cuda.get_device_properties(0).total_memory / 2**30
            torch.cuda.set_per_process_memory_fraction(min(1.0, case["limit_gib"] / total))
    data = arguments.work / f"noise-{case['size']}-{case.get('pair_tokens', 0)}"
    if not data.exists():
        gpu_training.write_dataset(data, case["size"], arguments.rows, 1, 0.0, case.get("pair_tokens", 0))
    config = configuration(case, arguments.models / f"model-{case['model']}", data)
    folder = arguments.work / f"run-{case['name']}-{time.time():.0f}"
    reporter = SilentReporter()
    begin = time.perf_counter()
    train(config, name=case["name"], reporter=reporter, output=folder, logs=None)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    steps = [one for one in log if "s_per_prompt" in one]
    kept = steps[1:] or steps
    row = {
        "s_per_prompt": round(statistics.median(one["s_per_prompt"] for one in kept), 4),
        "each": [round(one["s_per_prompt"], 3) for one in steps],
        "phases_s": {
            phase: round(statistics.median(one.get(f"time/{phase}", 0.0) for one in kept), 4)
            for phase in PHASES
            if any(one.get(f"time/{phase}") for one in kept)
        },
        "wall_s": round(time.perf_counter() - begin, 1),
        "tokens": [one.get("num_tokens") for one in steps],
        "mean_length": steps[-1].get("completions/mean_length"),
        "notes": [
            note for note in [*reporter.notes, *reporter.warnings] if "shared" in note or "TRL" in note
        ],
    }
    if on_gpu:
        row["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30 - held, 2)
        row["reserved_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
        row["gpu"] = torch.cuda.get_device_name(0)
    return row


def one_vllm(cases: list[dict]):
    if cases[0].get("set", {}).get("rollout.engine") != "vllm" or len(cases) == 1:
        return nullcontext()
    import grpo_side_by_side

    return grpo_side_by_side.one_vllm()


def in_child(cases: list[dict], arguments: argparse.Namespace) -> None:
    with one_vllm(cases):
        for case in cases:
            try:
                found = run_case(case, arguments)
            except BaseException as error:  # noqa: BLE001 the other rows are still worth having
                found = {"error": f"{type(error).__name__}: {error}"[:400]}
                if not case.get("limit_gib"):
                    found["trace"] = traceback.format_exc()[-1500:]
            line = json.dumps({**case, "measured": found})
            print(line, flush=True)
            with arguments.results.open("a") as file:
                file.write(line + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--processor", type=Path, help="build the models that are missing")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("estimate-rows"))
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1e9, help="start no case after so many")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.worker:
        work(arguments)
        return
    begin = time.perf_counter()
    cases = json.loads(arguments.cases.read_text())
    groups = [
        [case for _, case in group]
        for _, group in itertools.groupby(enumerate(cases), lambda pair: pair[1].get("together", pair[0]))
    ]
    waiting = [Worker() for _ in range(AHEAD)]  # they import while others run
    if arguments.processor:
        build_models({case["model"] for case in cases}, arguments)
        print(f"models there after {time.perf_counter() - begin:.0f} s", flush=True)
    for number, part in enumerate(groups):
        if time.perf_counter() - begin > arguments.seconds:
            print(f"left out for want of time: {[case['name'] for case in part]}", flush=True)
            continue
        worker = waiting.pop(0)
        if number + AHEAD < len(groups):
            waiting.append(Worker())
        code = worker.run(part)
        print(f"… {time.perf_counter() - begin:.0f} s" + (f", exit code {code}" if code else ""), flush=True)
    for worker in waiting:
        worker.process.kill()


AHEAD = 3
"""Processes that import beside the one that runs."""


class Worker:
    """A process of its own for one group of cases: CUDA does not survive a fork."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *sys.argv, "--worker"], stdin=subprocess.PIPE, text=True
        )

    def run(self, part: list[dict]) -> int:
        """Hand it the cases and wait for its end."""
        self.process.communicate(json.dumps(part) + "\n")
        return self.process.returncode


def work(arguments: argparse.Namespace) -> None:
    """Import everything, wait for the cases, run them."""
    for name in PACKAGES:
        __import__(name)
    import medgrpo.training.run.one_stage
    import medgrpo.training.run.train
    import medgrpo.training.trainers.grpo  # noqa: F401

    line = sys.stdin.readline()
    if line:
        in_child(json.loads(line), arguments)
    sys.stdout.flush()
    os._exit(0)  # vLLM's threads need not be waited for


def build_models(names: set[str], arguments: argparse.Namespace) -> None:
    """All models that are missing, beside each other."""
    script = Path(__file__).resolve().parent / "random_model.py"
    missing = [
        name for name in sorted(names) if not (arguments.models / f"model-{name}" / "config.json").exists()
    ]
    builders = [
        subprocess.Popen(
            [
                sys.executable,
                str(script),
                str(arguments.processor),
                str(arguments.models / f"model-{name}"),
                "--size",
                name,
            ],
            stderr=subprocess.DEVNULL,
        )
        for name in missing
    ]
    for builder in builders:
        builder.wait()


if __name__ == "__main__":
    main()

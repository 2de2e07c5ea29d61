"""Rows for the estimate's table: short real training runs, what each step took by phase, and the most memory.

    python benchmarks/random_model.py PROCESSOR model-3b
    python benchmarks/estimate_rows.py CASES.json --models MODELS --results rows.jsonl

CASES.json is a list of `{"name", "model", "size", "set", "steps", "pair_tokens", "together", "limit_share", "probe", "gpus", "needs"}`:
a group that needs more seconds than are left is left out (`needs`). MODELS/model-<model> is trained with these settings for `steps` steps on pictures of `size` px (or of several sizes in turn).
Each row says beside it what `estimate-time` expects, computed before the run. `probe` first asks `estimate-time --probe`.
Cases with the same `together` share one process and one vLLM; every other one has a process of its own. `limit_share` limits
torch to so much of the expected peak, and the row says whether the run ended in an out-of-memory error. With `--beside` these load
while another case trains; only one trains at a time. A JSON line for each, as it ends. After `--stop` seconds, or where this
process is ended, the processes of the cases are ended with it.
"""

import argparse
import fcntl
import gc
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import traceback
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import ClassVar

os.environ.setdefault(
    "PYTORCH_NVML_BASED_CUDA_CHECK", "1"
)  # asking for a GPU must not start CUDA before the fork
sys.path.insert(0, str(Path(__file__).resolve().parent))

import gpu_training

LETTERS = Path(gpu_training.__file__).resolve()
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
NAMES = {"3b": "Qwen2.5-VL-3B", "7b": "Qwen2.5-VL-7B", "tiny": "Qwen2.5-VL-3B"}
OWN_TOKENS = 3
"""Tokens of a pair's answer beside its words."""


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
        "rollout.engine": "transformers",
        **case.get("set", {}),
    }
    words = tuple(f"{key}={value}" for key, value in settings.items())
    return resolve_run("balanced", model=str(model), assignments=words)[0].config


def expected(case: dict, config, data: Path) -> dict:
    """What the estimate says of a case, completions being as long as they can be."""
    from medgrpo.estimate.estimate import Facts
    from medgrpo.estimate.facts import situation_of
    from medgrpo.estimate.memory import GIB, Memory
    from medgrpo.estimate.time import phases

    facts = Facts(
        model=NAMES[case["model"]],
        data=data,
        gpu=case.get("card", "H200"),
        gpus=case.get("gpus", 1),
        completion_share=1.0,
        target_tokens=case["pair_tokens"] + OWN_TOKENS if case.get("pair_tokens") else None,
    )
    work = situation_of(config, facts).work
    seconds, memory = phases(work), Memory(work)
    return {
        "s_per_prompt": round(seconds.total, 4),
        "gib": round(memory.torch_peak / GIB, 2),
        "vllm_gib": round(memory.vllm_share / GIB, 2),
        "phases": {name: round(value, 4) for name, value in vars(seconds).items() if value},
    }


def run_case(case: dict, arguments: argparse.Namespace) -> dict:
    import torch

    gc.collect()
    on_gpu = torch.cuda.is_available()
    held = 0.0
    data = dataset_of(case, arguments)
    config = configuration(case, arguments.models / f"model-{case['model']}", data)
    row = {"expected": expected(case, config, data)}
    if on_gpu:
        torch.cuda.empty_cache()
        held = torch.cuda.memory_allocated() / 2**30
        if case.get("limit_share"):
            row["limit_gib"] = round(case["limit_share"] * row["expected"]["gib"], 2)
            total = torch.cuda.get_device_properties(0).total_memory / 2**30
            torch.cuda.set_per_process_memory_fraction(min(1.0, row["limit_gib"] / total))
    if case.get("probe"):
        row["probe"] = probe(config, case, data)
        gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return row | {"measured": train_case(case, config, arguments, held)}


def probe(config, case: dict, data: Path) -> dict:
    """What `estimate-time --probe` says."""
    from medgrpo.estimate.estimate import Facts
    from medgrpo.training import probe as probing

    kept, original, begin = [], probing._train, time.perf_counter()

    def train(*args, **kwargs):
        entries, peak = original(*args, **kwargs)
        kept.extend(entries)
        return entries, peak

    probing._train = train
    try:
        facts = Facts(model=config.model.path, data=data, gpus=case.get("gpus", 1))
        found = probing.measure(config, facts)
    finally:
        probing._train = original
    return {
        **found["probe"],
        "each": found["probe"]["s_per_prompt"],
        "s_per_prompt": round(found["s_per_prompt"], 4),
        "gib": round(found["memory_gib"]["peak"], 2),
        "wall_s": round(time.perf_counter() - begin, 1),
        "log": [figures_of(entry) for entry in kept],
    }


def figures_of(entry: dict) -> dict:
    """The figures of a step's line in the log that say where its time went."""
    kept = {
        name: value
        for name, value in entry.items()
        if name.startswith("time/") or name in ("s_per_prompt", "num_tokens", "completions/mean_length")
    }
    return {name: round(value, 4) for name, value in kept.items() if value is not None}


def train_case(case: dict, config, arguments: argparse.Namespace, held: float) -> dict:
    import torch

    from medgrpo.training.run.train import train
    from medgrpo.training.watch.phases import PHASES
    from medgrpo.training.watch.reporter import SilentReporter

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
        "log": [figures_of(one) for one in steps],
        "phases_s": {
            phase: round(statistics.median(one.get(f"time/{phase}", 0.0) for one in kept), 4)
            for phase in PHASES
            if any(one.get(f"time/{phase}") for one in kept)
        },
        "wall_s": round(time.perf_counter() - begin, 1),
        "tokens": [one.get("num_tokens") for one in steps],
        "mean_length": steps[-1].get("completions/mean_length"),
        "notes": [
            note
            for note in [*reporter.notes, *reporter.warnings]
            if any(word in note for word in ("shared", "TRL", "engine:", "pass"))
        ],
    }
    if torch.cuda.is_available():
        row["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        row["reserved_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
        row["held_before_gib"] = round(held, 2)
        row["gpu"] = torch.cuda.get_device_name(0)
    return row


def dataset_of(case: dict, arguments: argparse.Namespace) -> Path:
    sizes = case["size"] if isinstance(case["size"], list) else [case["size"]]
    data = arguments.work / f"noise-{'-'.join(map(str, sizes))}-{case.get('pair_tokens', 0)}"
    if not data.exists():
        gpu_training.write_dataset(data, sizes, arguments.rows, 1, 0.0, case.get("pair_tokens", 0))
    return data


def runs_of(case: dict) -> int:
    return 2 if case.get("probe") else 1


def one_vllm(cases: list[dict]):
    if cases[0].get("set", {}).get("rollout.engine") != "vllm" or sum(runs_of(case) for case in cases) == 1:
        return nullcontext()
    import grpo_side_by_side

    return grpo_side_by_side.one_vllm()


def in_child(cases: list[dict], arguments: argparse.Namespace) -> None:
    left = sum(runs_of(case) for case in cases)
    lock = (arguments.work / "training.lock").open("w")
    one_trains_at_a_time(lock, arguments.work, left)
    with one_vllm(cases):
        for case in cases:
            try:
                found = run_case(case, arguments)
            except BaseException as error:  # noqa: BLE001 the other rows are still worth having
                found = {"error": f"{type(error).__name__}: {error}"[:400]}
                if not case.get("limit_share"):
                    found["trace"] = traceback.format_exc()[-1500:]
            fcntl.flock(lock, fcntl.LOCK_UN)
            line = json.dumps({**case, **found})
            print(line, flush=True)
            with arguments.results.open("a") as file:
                file.write(line + "\n")


def one_trains_at_a_time(lock, folder: Path, left: int) -> None:
    """Trainers wait for each other; the last one of this process says when the next process may load."""
    from transformers import Trainer

    original, still = Trainer.train, [left]

    def train(self, *args, **kwargs):
        fcntl.flock(lock, fcntl.LOCK_EX)
        still[0] -= 1
        if still[0] == 0:
            (folder / f"last-{os.getpid()}").touch()
        try:
            return original(self, *args, **kwargs)
        finally:
            if still[0] > 0:
                fcntl.flock(lock, fcntl.LOCK_UN)

    Trainer.train = train


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--processor", type=Path, help="build the models that are missing")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("estimate-rows"))
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1e9, help="start no case after so many")
    parser.add_argument("--stop", type=float, default=1e9, help="end what still runs after so many")
    parser.add_argument(
        "--beside", action="store_true", help="load cases of limited memory while others train"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.worker:
        work(arguments)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("no time is left: what still runs is ended"))
    signal.setitimer(signal.ITIMER_REAL, min(arguments.stop, 1e6))
    try:
        all_cases(arguments)
    finally:
        for one in Worker.all:
            one.end()


def all_cases(arguments: argparse.Namespace) -> None:
    begin = time.perf_counter()
    cases = json.loads(arguments.cases.read_text())
    groups = [
        [case for _, case in group]
        for _, group in itertools.groupby(enumerate(cases), lambda pair: pair[1].get("together", pair[0]))
    ]
    waiting = [Worker(arguments.work) for _ in range(AHEAD)]  # they import while others run
    builders = build_models(list(dict.fromkeys(case["model"] for case in cases)), arguments)
    running: list[Worker] = []
    for number, part in enumerate(groups):
        for model in {case["model"] for case in part} & builders.keys():
            builders.pop(model).wait()
            print(f"model {model} there after {time.perf_counter() - begin:.0f} s", flush=True)
        uses_vllm = part[0].get("set", {}).get("rollout.engine") == "vllm"
        is_timed = not (part[0].get("limit_share") and arguments.beside)
        for (
            before
        ) in running:  # vLLM measures the memory that is free, and what loads beside a run slows it down
            before.wait(to_end=uses_vllm or is_timed)
        for before in running:
            if before.is_done:
                before.end()  # what it left running holds memory
        running = [one for one in running if not one.is_done]
        for before in running[:-1]:
            before.wait(to_end=True)
        if time.perf_counter() - begin > arguments.seconds - part[0].get("needs", 0):
            print(f"left out for want of time: {[case['name'] for case in part]}", flush=True)
            continue
        worker = waiting.pop(0)
        if number + AHEAD < len(groups):
            waiting.append(Worker(arguments.work))
        worker.give(part)
        running.append(worker)
        print(f"… {time.perf_counter() - begin:.0f} s: {part[0]['name']} loads", flush=True)
    for one in running:
        one.wait(to_end=True)
    print(f"… {time.perf_counter() - begin:.0f} s", flush=True)


AHEAD = 1
"""Processes that import beside those that run."""


class Worker:
    """A process of its own for one group of cases: CUDA does not survive a fork."""

    all: ClassVar[list["Worker"]] = []

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *sys.argv, "--worker"], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        self.all.append(self)
        self._sign = folder / f"last-{self.process.pid}"

    def give(self, part: list[dict]) -> None:
        """Hand it its cases."""
        self.process.stdin.write(json.dumps(part) + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """End it, with every process that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    @property
    def is_done(self) -> bool:
        return self.process.poll() is not None

    def wait(self, *, to_end: bool) -> None:
        """Until it ends, or its last training begins."""
        while not self.is_done and (to_end or not self._sign.exists()):
            time.sleep(0.1)


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


def build_models(names: list[str], arguments: argparse.Namespace) -> dict[str, subprocess.Popen]:
    """All models that are missing, beside each other."""
    if not arguments.processor:
        return {}
    script = Path(__file__).resolve().parent / "random_model.py"
    missing = [name for name in names if not (arguments.models / f"model-{name}" / "config.json").exists()]
    return {
        name: subprocess.Popen(
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
    }


if __name__ == "__main__":
    main()

"""Kills a short run again and again, at random moments and at random file operations, and resumes it.

One process imports everything once and forks the runs, so that a trial costs seconds: what a fork runs is
the command line, `medgrpo train --resume auto`. `python -m tests.training.killing FOLDER --seed 1` prints
what it did; the tests run it with fewer kills.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

STEPS, SFT_STEPS = 8, 3
SETTINGS = (
    "rollout.num_generations=4",
    "rollout.max_completion_length=8",
    "training.prompts_per_step=2",
    "training.per_device_train_batch_size=8",
    "training.num_iterations=2",
    f"training.max_steps={STEPS}",
    "training.save_steps=3",
    "training.save_total_limit=2",
    f"stages.sft.max_steps={SFT_STEPS}",
    "stages.sft.prompts_per_step=4",
    "stages.sft.per_device_train_batch_size=4",
    "data.rows=7",
    "validation.steps=2",
    "validation.rows=2",
    "validation.metric=reward",
    "logging.report_to=[]",
    f'rewards.weights={{"{Path(__file__).with_name("rewards.py")}:digits_and_letters" = 1.0}}',
)
FILE_EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.link")


class Trials:
    """Runs of one folder each, forked from a process that has imported what training needs."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self.settings = [word for text in (*SETTINGS, f"data.path={data}") for word in ("--set", text)]
        import_everything()

    def start(self, name: str, kill_at: int | None = None) -> int:
        """The process of one run; it kills itself before its `kill_at`-th change to a file, if given."""
        process = os.fork()
        if process:
            return process
        try:
            os.chdir(self.folder)
            said = os.open(f"{name}.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(said, 1)
            os.dup2(said, 2)
            count_file_events(self.folder / name, self.folder / f"{name}.events", kill_at)
            from medgrpo.cli.main import main

            main(["train", "--output", name, "--resume", "auto", "--quiet", *self.settings])
        except SystemExit as end:
            os._exit(int(end.code or 0))
        finally:
            os._exit(99)

    def finish(self, name: str) -> float:
        """Seconds that the run needs to its end; raises if it fails."""
        began = time.monotonic()
        code = os.waitstatus_to_exitcode(os.waitpid(self.start(name), 0)[1])
        if code:
            raise AssertionError(f"{name} ended with {code}:\n{(self.folder / (name + '.out')).read_text()}")
        return time.monotonic() - began

    def kill_at_time(self, name: str, delay_s: float) -> bool:
        """Start the run, kill it after so long; whether it was still going."""
        process = self.start(name)
        deadline = time.monotonic() + delay_s
        while time.monotonic() < deadline:
            if os.waitpid(process, os.WNOHANG)[0]:
                return False
            time.sleep(0.002)
        os.kill(process, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL

    def kill_at_file_event(self, name: str, number: int) -> bool:
        """Start the run, which is killed just before its n-th change to a file; whether it came to that."""
        process = self.start(name, kill_at=number)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL

    def file_events(self, name: str) -> int:
        """How often the run's last process changed a file."""
        return len((self.folder / f"{name}.events").read_text().splitlines())


def import_everything() -> None:
    """What a run imports, so that forks need not."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessor  # noqa: F401

    torch.set_num_threads(1)


def count_file_events(run: Path, journal: Path, kill_at: int | None) -> None:
    """Note every change to a file of the run, and die before the `kill_at`-th."""
    seen = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    count = 0
    here = (str(run), run.name + "/", str(run.parent / "logs"), "logs/")

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event not in FILE_EVENTS:
            return
        inside_a_tree_that_goes = event in ("os.remove", "os.rmdir") and arguments[-1] != -1
        if not (str(arguments[0]).startswith(here) or inside_a_tree_that_goes):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        count += 1
        os.write(seen, f"{event} {arguments[0]}\n".encode())
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


# ------------------------------------------------------------------------------------------ checking


def outcome(run: Path) -> dict:
    """What must not depend on interruptions: log lines, completions, weights, the record."""
    import hashlib

    from medgrpo.files import read_json
    from medgrpo.records import json_objects
    from medgrpo.runs.store import read_completions

    def lines(path: Path) -> list:
        timeless = ("s_per_prompt", "epoch")
        return [
            {key: value for key, value in entry.items() if not key.startswith(timeless) and "time" not in key}
            for entry in json_objects(path)
        ]

    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    stored = read_completions(run).drop_columns(["image_id"]).to_pylist()
    info = read_json(run / "training_info.json")
    return {
        "log": lines(run / "log.jsonl"),
        "sft": lines(run / "stages/1-sft/log.jsonl"),
        "completions": sorted(json.dumps(row, sort_keys=True) for row in stored),
        "weights": {
            name: digest(run / name / "model.safetensors")
            for name in ("stages/1-sft/final_model", "best_model", "final_model")
        },
        "best": [read_json(run / "best_model" / "complete.json").get("step"), info.get("best")],
        "validation": info.get("validation"),
        "finished": info.get("finished"),
        "copies": [
            read_json(copy).get("finished") for copy in (run.parent / "logs").glob(f"{run.name}*.json")
        ],
        "left over": sorted(str(path.relative_to(run)) for path in run.rglob(".*") if path.name != ".lock"),
    }


def check(run: Path, uninterrupted: dict) -> None:
    """Raise when the run differs from the one that nobody interrupted."""
    now = outcome(run)
    assert [entry["step"] for entry in now["log"]] == list(range(1, STEPS + 1)), now["log"]
    for key, value in uninterrupted.items():
        assert now[key] == value, f"{run.name}: {key} is\n{now[key]}\nand was\n{value}"


def kill_and_resume(folder: Path, data: Path, *, seed: int, kills: int) -> dict[str, int]:
    """So many kills, half by the clock and half at file operations; counts of what was done."""
    trials = Trials(folder, data)
    seconds = trials.finish("whole")
    events = trials.file_events("whole")
    whole = outcome(folder / "whole")
    assert whole["finished"]
    assert whole["copies"] == [True]
    assert whole["left over"] == []
    chance = random.Random(seed)
    done = {"runs": 0, "kills": 0, "by the clock": 0, "at a file operation": 0}
    print(f"uninterrupted: {seconds:.1f} s, {events} file operations", flush=True)
    while done["kills"] < kills:
        name = f"run-{done['runs']}"
        going = True
        while going and done["kills"] < kills:
            if chance.random() < 0.5:
                moment = f"{(delay := chance.uniform(0, seconds)):.2f} s"
                going, how = trials.kill_at_time(name, delay), "by the clock"
            else:
                moment = f"operation {(number := chance.randint(1, events))}"
                going, how = trials.kill_at_file_event(name, number), "at a file operation"
            if going:
                done["kills"] += 1
                done[how] += 1
                last = (folder / f"{name}.events").read_text().splitlines()[-1:]
                print(f"{name}: killed at {moment} ({how}), last {last}", flush=True)
        trials.finish(name)
        check(folder / name, whole)
        done["runs"] += 1
        print(f"{name}: as uninterrupted", flush=True)
    return done


def kill_at_operations(folder: Path, data: Path, numbers: list[int]) -> list[str]:
    """A run killed before each of these file operations and resumed once; what went wrong, a line each."""
    trials = Trials(folder, data)
    trials.finish("whole")
    whole = outcome(folder / "whole")
    events = (folder / "whole.events").read_text().splitlines()
    wrong = []
    for number in numbers or range(1, len(events) + 1):
        name = f"at-{number}"
        if not trials.kill_at_file_event(name, number):
            continue
        try:
            trials.finish(name)
            check(folder / name, whole)
        except AssertionError as error:
            wrong.append(f"{number} {events[number - 1]}: {str(error)[:600]}")
            print(wrong[-1], flush=True)
        else:
            import shutil

            shutil.rmtree(folder / name)
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--operations", help="instead: kill before each of these file operations; 0: before every one"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.data is None:
        from medgrpo.data.demo import DemoSize, write_demo_dataset

        options.data = options.folder / "data"
        write_demo_dataset(options.data, size=DemoSize(train=40, validation=8, test=8))
    where = (options.folder.absolute(), options.data.absolute())
    if options.operations:
        numbers = [int(number) for number in options.operations.split(",")]
        sys.exit(bool(kill_at_operations(*where, [] if numbers == [0] else numbers)))
    print(json.dumps(kill_and_resume(*where, seed=options.seed, kills=options.kills)))

"""Every command, killed at random moments and file operations, and on disks that fill up at every size; then called again.

`python -m tests.interrupted --kills 100` and `--disks` print what was done. What a second call makes must be what one call makes
that nobody interrupts, with nothing half-written beside it.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.training.killing import FILE_EVENTS

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MUST_AGREE = (".parquet", ".csv", ".png", ".safetensors", ".jsonl")
ROOT = Path(__file__).parents[1]


def commands(world: Path) -> dict[str, Callable[[Path], tuple[str, ...]]]:
    """Command → its words, given the folder it writes in; `world` holds what it reads."""
    rows, model, run, data = (str(world / name) for name in ("rows.jsonl", "model", "run", "data"))
    return {
        "preprocess": lambda out: ("preprocess", rows, f"{out}/set", "--missing-image", "text", "--workers", "1", "--split", ".6,.2,.2"),
        "preprocess pictures": lambda out: ("preprocess", f"{world}/pictures", f"{out}/set", "--workers", "1"),
        "score": lambda out: ("score", rows, "--output", f"{out}/scores.csv"),
        "eval --predictions": lambda out: ("eval", "--predictions", rows, "--output", f"{out}/eval", "--review", "3"),
        "eval": lambda out: ("eval", model, data, "--limit", "3", "--max-new-tokens", "3", "--output", f"{out}/eval"),
        "compare": lambda out: ("compare", run, "--html", "--output", f"{out}/page"),
        "merge-lora": lambda out: ("merge-lora", f"{run}/final_lora", "--output", f"{out}/merged", "--verify", "0"),
        "make-dpo": lambda out: ("make-dpo", f"{world}/answers.jsonl", "--from", "models", "--data", data, "--output", f"{out}/pairs", "--margin", "0"),
        "make-dpo, exported": lambda out: ("make-dpo", f"{world}/answers.jsonl", "--from", "models", "--data", data, "--output", f"{out}/pairs", "--margin", "0", "--format", "jsonl"),
        "doctor": lambda out: ("doctor", "--sbom", f"{out}/bill.json", "--extra", "data"),
    }  # fmt: skip


def world_at(folder: Path) -> Path:
    """What the commands read: rows, pictures, a dataset, a model, a run of two steps."""
    from PIL import Image

    from medgrpo.data.prepared import PreparedDataset
    from tests.planted import made

    folder.mkdir(parents=True, exist_ok=True)
    made(folder)
    rows = [
        {
            "id": str(n),
            "question": f"Is {n} seen?",
            "answer": ("yes", "no")[n % 2],
            "completion": "<answer>yes</answer>",
        }
        for n in range(40)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pictures = folder / "pictures"
    pictures.mkdir()
    for n in range(6):
        Image.new("L", (32, 32), 40 * n).save(pictures / f"{n}.png")
    (pictures / "rows.json").write_text(
        json.dumps([{**row, "image": f"{n % 6}.png"} for n, row in enumerate(rows)])
    )
    asked = list(PreparedDataset.open(folder / "data").rows("train"))
    answers = [
        {"id": row["id"], "completion": text}
        for row in asked
        for text in (f"<answer>{row['answer']}</answer>", "?")
    ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    return folder


def started(
    words: tuple[str, ...], place: Path, kill_at: int | None = None, sign: int = signal.SIGKILL
) -> int:
    """The process of one call, forked from this one, which has imported all; it signals itself before that file operation."""
    process = os.fork()
    if process:
        return process
    code = 99
    try:
        os.chdir(place)
        said = os.open(place.parent / f"{place.name}.said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        _count(place, kill_at, sign)
        from medgrpo.cli.main import main

        main([*words, "--quiet"])
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        os._exit(code)


def _count(place: Path, kill_at: int | None, sign: int) -> None:
    """Note every change to a file in the place, and die before the `kill_at`-th."""
    journal = os.open(place.parent / f"{place.name}.events", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event not in FILE_EVENTS or not str(arguments[0]).startswith(str(place)):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        count += 1
        os.write(journal, b".")
        if count == kill_at:
            os.kill(os.getpid(), sign)
            time.sleep(0.2 if sign != signal.SIGKILL else 0)

    sys.addaudithook(hook)


def ended(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def outcome(place: Path) -> dict[str, object]:
    """What must not depend on interruptions; times and pages are left out, JSON must be whole."""
    found: dict[str, object] = {}
    for file in sorted(place.rglob("*")):
        name = file.relative_to(place).as_posix()
        if not file.is_file() or file.match("report-*-*.html"):  # of a call that was done but for its end
            continue
        if file.suffix == ".json":
            json.loads(file.read_text("utf-8"))
        if file.suffix == ".parquet":
            from pyarrow import parquet

            found[name] = parquet.read_table(file).to_pylist()
        else:
            found[name] = file.read_bytes() if file.suffix in MUST_AGREE else True
    return found


def check(place: Path, whole: dict[str, object], what: str) -> None:
    """Raise where the folder differs from what one call makes."""
    now = outcome(place)
    assert sorted(now) == sorted(whole), f"{what}: {sorted(set(now) ^ set(whole))}"
    for name, value in whole.items():
        assert now[name] == value, f"{what}: {name} differs"


def kill_commands(folder: Path, *, kills: int, seed: int = 0, only: tuple[str, ...] = ()) -> dict[str, int]:
    """So many kills, spread over the commands; how many of each. Raises where a second call does not mend what a kill left."""
    import torch

    torch.set_num_threads(1)
    world = world_at(folder / "world")
    chance = random.Random(seed)
    chosen = {name: words for name, words in commands(world).items() if not only or name in only}
    whole, operations, seconds = {}, {}, {}
    for name, words in chosen.items():
        place = folder / f"whole-{len(whole)}"
        place.mkdir()
        began = time.monotonic()
        code = ended(started(words(place), place))
        assert code == 0, (name, code, (folder / f"{place.name}.said").read_text()[-2000:])
        seconds[name] = time.monotonic() - began
        whole[name] = outcome(place)
        operations[name] = len((folder / f"{place.name}.events").read_text())
        shutil.rmtree(place)
    done = dict.fromkeys(chosen, 0)
    for number in range(10**6):
        if sum(done.values()) >= kills:
            return done
        name = list(chosen)[number % len(chosen)]
        place = folder / "here"  # the same name, so that what is written agrees
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        sign = chance.choice(SIGNALS)
        if chance.random() < 0.3:
            moment = chance.uniform(0, seconds[name])
            process = started(chosen[name](place), place)
            time.sleep(moment)
            os.kill(process, sign)
            what = f"{name}, signal {sign} after {moment:.2f} s"
        else:
            at = chance.randint(1, max(1, operations[name]))
            process = started(chosen[name](place), place, at, sign)
            what = f"{name}, signal {sign} before operation {at} of {operations[name]}"
        first = ended(process)
        if first in (0, 2) and not any(place.rglob("*")):
            continue
        done[name] += 1
        second = ended(started(chosen[name](place), place))
        said = (folder / "here.said").read_text()
        is_there = second == 2 and ("already exists" in said or "exists and is not empty" in said)
        assert second == 0 or (is_there and first in (0, -sign, 130, 143)), (
            f"{what}: {first}, then {second}: {said[-1500:]}"
        )
        check(place, whole[name], what)
        print(f"{what}: {first}, then as uninterrupted", flush=True)
    raise AssertionError("nothing could be killed")


def fill_disks(
    folder: Path, *, sizes: int = 8, only: tuple[str, ...] = (), jobs: int = 1
) -> tuple[int, list[str]]:
    """Each command on real disks of growing size, from next to nothing to what it needs: tries, and what went wrong."""
    world = world_at(folder / "world")
    (folder / "room").mkdir(exist_ok=True)
    chosen = {name: words for name, words in commands(world).items() if not only or name in only}
    with ThreadPoolExecutor(jobs) as pool:  # each process sees disks of its own at the same place
        found = pool.map(lambda name: filled(folder, name, chosen[name](folder / "room"), sizes), chosen)
        wrong = [one for faults in found for one in faults]
    return sizes * len(chosen), wrong


def filled(folder: Path, name: str, words: tuple[str, ...], sizes: int) -> list[str]:
    """One command on disks of so many sizes: what went wrong."""
    room, wrong = folder / "room", []
    call = " ".join(f"'{word}'" for word in (sys.executable, "-m", "medgrpo.cli.main", *words, "--quiet"))
    needed = _kib(call, room)
    for part in range(sizes):
        size = max(4, int(needed * part / sizes))
        script = (
            f"cd '{folder}' && mount -t tmpfs -o size={size}k none '{room}' || exit 77\n{call}; first=$?\n"
            f"mount -o remount,size=1g '{room}'; {call}; echo \"codes $first $?\"; find '{room}' -name '.*.partial' -newer '{folder}/world'"
        )
        done = _in_namespace(script)
        if done.returncode == 77:
            raise OSError(f"no private mounts here: {done.stderr[-200:]}")
        codes = next(line for line in done.stdout.splitlines() if line.startswith("codes ")).split()[1:]
        left = [line for line in done.stdout.splitlines() if line.endswith(".partial")]
        is_worded = codes[0] == "0" or (
            ("error: " in done.stderr and "full" in done.stderr) or "room" in done.stderr
        )
        is_bug = "looks like a bug" in done.stderr or "Traceback" in done.stderr
        is_whole = codes[1] == "0" or (codes[0] == "0" and codes[1] == "2")
        if codes[0] not in "012" or is_bug or not is_worded or not is_whole or left:
            wrong.append(
                f"{name} on {size} KiB of {needed}: exits {codes}, left {left}: {done.stderr[-600:]}"
            )
            print(wrong[-1], flush=True)
    print(f"{name}: {sizes} disks up to {needed} KiB", flush=True)
    return wrong


def _kib(call: str, room: Path) -> int:
    done = _in_namespace(
        f"mount -t tmpfs -o size=1g none '{room}' || exit 77\n{call} >/dev/null && df -k --output=used '{room}' | tail -1"
    )
    if done.returncode:
        raise OSError(f"{done.returncode}: {done.stderr[-600:]}")
    return int(done.stdout.split()[-1])


def _in_namespace(script: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--disks", type=int, default=0, help="sizes of disk for each command")
    parser.add_argument("--jobs", type=int, default=1, help="commands at once, for --disks")
    parser.add_argument("--only", action="append", default=[])
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as name:
        if options.kills:
            print(
                json.dumps(
                    kill_commands(
                        Path(name) / "kills", kills=options.kills, seed=options.seed, only=tuple(options.only)
                    )
                )
            )
        if options.disks:
            count, faults = fill_disks(
                Path(name) / "disks", sizes=options.disks, only=tuple(options.only), jobs=options.jobs
            )
            print(f"{count} disks, {len(faults)} faults")
            sys.exit(bool(faults))

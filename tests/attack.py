"""The attack table of docs/security.md: area, tries, failures. One command, about 25 minutes on two quiet cores.

python -m tests.attack            all areas, printed
python -m tests.attack --write    and written into docs/security.md
python -m tests.attack --only bombs --only kills
"""

import argparse
import datetime
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- attack table: python -m tests.attack --write -->", "<!-- end of the attack table -->"
Result = tuple[int, int]
"""Tries and failures."""


def suite(*files: str, environment: dict[str, str] | None = None) -> Callable[[], Result]:
    """The test functions of these files, each a try."""

    def run() -> Result:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            words = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *files]
            done = subprocess.run(
                words,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                capture_output=True,
                text=True,
                check=False,
            )
            if not report.is_file():
                print(done.stdout[-2000:] + done.stderr[-2000:])
                return 0, 1
            found = next(ET.parse(report).getroot().iter("testsuite"))  # our own file
            counts = {name: int(found.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
            if wrong := counts["failures"] + counts["errors"]:
                print(done.stdout[-3000:])
            return counts["tests"] - counts["skipped"], wrong

    return run


def module(name: str, *words: str) -> Callable[[], Result]:
    """A module of tests that prints `N tries, M faults` or a JSON of counts as its last line."""

    def run() -> Result:
        with tempfile.TemporaryDirectory() as folder:
            given = [word.format(folder=folder) for word in words]
            done = subprocess.run(
                [sys.executable, "-m", f"tests.{name}", *given], cwd=ROOT, capture_output=True, text=True, check=False,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        lines = done.stdout.strip().splitlines()
        last = lines[-1] if lines else ""
        if found := re.search(r"^(\d+) \w+, (\d+) ", last):
            if int(found[2]):
                print(done.stdout[-3000:])
            return int(found[1]), int(found[2])
        if last.startswith("{") and done.returncode == 0:
            counts = json.loads(last)
            return int(counts.get("kills", sum(counts.values()) if "kills" not in counts else 0)), 0
        print(done.stdout[-2000:] + done.stderr[-2000:])
        return len(lines), 1

    return run


def rows() -> Result:
    """Every odd value in every field with every command."""
    from tests.test_planted_inputs import FIELDS, FILES, VALUES

    _, failures = suite("tests/test_planted_inputs.py", environment={"MEDGRPO_PLANTED": "all"})()
    return 4 * (len(FIELDS) * len(VALUES) + len(FILES)), failures


AREAS: dict[str, tuple[str, Callable[[], Result]]] = {
    "code": ("code that travels: a planted file in every artefact, every command", suite("tests/test_foreign_code.py")),
    "keys": ("keys: redirects, echoes, logs; slow and endless servers", suite("tests/test_web.py", "tests/test_masking.py")),
    "network": ("look-ups of every command in a namespace without routes", suite("tests/test_network.py")),
    "names": ("names of persons and machines in what is written", suite("tests/test_places.py", "tests/test_sharing.py", "tests/test_sheets.py")),
    "flow": ("the same in every file of a whole flow, from base to merged", suite("tests/examples/test_flow.py")),
    "bombs": ("files that unfold, claim or never end", module("bombs")),
    "bomb limits": ("the limits that stop them", suite("tests/test_bombs.py")),
    "hangs": ("pipes, devices, orphans; rewards that hang or exit", suite("tests/test_irregular_files.py", "tests/rewards/test_contained.py")),
    "rows": ("odd values in fields of rows, odd files", rows),
    "artefacts": ("odd values in models, adapters, datasets, runs", module("planted", "--every", "3")),
    "strange": ("odd pictures, checkpoints, earlier evaluations, named files, calls, rewards", module("strange", "--every", "3")),
    "servers": ("odd replies of a server; files of one evaluation", suite("tests/generation/test_server.py", "tests/evaluation/test_outputs_together.py")),
    "fuzz": ("mutated files, 13 parsers, 20 s each", module("fuzz", "--seconds", "20")),
    "unicode": ("all of Unicode through every form", suite("tests/test_unicode.py")),
    "kills": ("signals to every command, then called again", module("interrupted", "--kills", "100")),
    "kills of training": ("signals inside of SFT and GRPO steps, then resumed bit for bit", module("training.killing", "{folder}", "--kills", "10")),
    "disks": ("disks that fill up, every command", module("interrupted", "--disks", "6")),
    "system": ("what the system refuses", suite("tests/test_system_errors.py", "tests/models/test_merge_again.py")),
    "growth": ("twice the rows, at most 2.3 times the work", suite("tests/test_scaling.py")),
}  # fmt: skip
"""Short name → what is attacked, and how."""


def cpu_seconds() -> float:
    """CPU time of the processes that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(only: list[str], *, is_written: bool) -> int:
    results: dict[str, Result] = {}
    for name, (_, run) in AREAS.items():
        if only and name not in only:
            continue
        began, worked = time.monotonic(), cpu_seconds()
        tries, failures = run()
        results[name] = (tries, failures)
        took = f"{cpu_seconds() - worked:.0f} s of CPU, {time.monotonic() - began:.0f} s"
        print(f"{name}: {tries} tries, {failures} failures, {took}", flush=True)
    table = ["| area | tries | failures |", "| --- | --: | --: |"]
    table += [f"| {AREAS[name][0]} | {tries:,} | {failures} |" for name, (tries, failures) in results.items()]
    total, wrong = (sum(one[place] for one in results.values()) for place in (0, 1))
    table.append(f"| together | {total:,} | {wrong} |")
    print("\n".join(table))
    if is_written:
        text = PAGE.read_text("utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        today = datetime.datetime.now(datetime.UTC).date()
        PAGE.write_text(
            f"{before}{BEGIN}\nMade on {today}.\n\n" + "\n".join(table) + f"\n\n{END}{after}",
            encoding="utf-8",
        )
    return int(wrong > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", default=[], choices=list(AREAS))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.exit(main(options.only, is_written=options.write))

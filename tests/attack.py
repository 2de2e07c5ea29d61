"""The attack table of docs/security.md: area, tries, failures. One command, about 25 minutes on two quiet cores.

python -m tests.attack            all areas, printed
python -m tests.attack --write    and written into docs/security.md
python -m tests.attack --jobs 10  so many areas at once
python -m tests.attack --only bombs --only kills
python -m tests.attack --results FILE   what FILE (JSON) holds is not tried again; the rest is added to it: in parts, on several machines
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
INSIDE = "2"
"""Processes at once within an area that can."""
BEGIN, END = "<!-- attack table: python -m tests.attack --write -->", "<!-- end of the attack table -->"


@dataclass
class Result:
    """Tries and failures of an area, what it said of them, and CPU seconds of its processes."""

    tries: int
    failures: int
    said: str = ""
    cpu_s: float = 0.0
    where: str = ""
    """Version of Python, processor and day."""


def ended(words: list[str], environment: dict[str, str]) -> tuple[int, str, str, float]:
    """Exit code, stdout, stderr and CPU seconds (of all its processes that ended) of a process."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            words, cwd=ROOT, env={**os.environ, **environment}, stdout=out, stderr=errors
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        return process.returncode, out.read(), errors.read(), used.ru_utime + used.ru_stime


def suite(*files: str, environment: dict[str, str] | None = None) -> Callable[[], Result]:
    """The test functions of these files, each a try."""

    def run() -> Result:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            words = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *files]
            _, out, errors, cpu_s = ended(words, environment or {})
            if not report.is_file():
                return Result(0, 1, out[-2000:] + errors[-2000:], cpu_s)
            found = next(ET.parse(report).getroot().iter("testsuite"))  # our own file
            counts = {name: int(found.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
            wrong = counts["failures"] + counts["errors"]
            return Result(counts["tests"] - counts["skipped"], wrong, out[-3000:] if wrong else "", cpu_s)

    return run


def module(name: str, *words: str) -> Callable[[], Result]:
    """A module of tests that prints `N tries, M faults` or a JSON of counts as its last line."""

    def run() -> Result:
        with tempfile.TemporaryDirectory() as folder:
            given = [word.format(folder=folder, jobs=INSIDE) for word in words]
            path = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")
            code, out, errors, cpu_s = ended(
                [sys.executable, "-m", f"tests.{name}", *given], {"PYTHONPATH": path}
            )
        lines = out.strip().splitlines()
        last = lines[-1] if lines else ""
        if found := re.search(r"^(\d+) \w+, (\d+) ", last):
            return Result(int(found[1]), int(found[2]), out[-3000:] if int(found[2]) else "", cpu_s)
        if last.startswith("{") and code == 0:
            counts = json.loads(last)
            tries = int(counts.get("kills", sum(counts.values()) if "kills" not in counts else 0))
            return Result(tries, 0, "", cpu_s)
        return Result(len(lines), 1, out[-2000:] + errors[-2000:], cpu_s)

    return run


def rows() -> Result:
    """Every odd value in every field with every command."""
    from tests.test_planted_inputs import FIELDS, FILES, VALUES

    found = suite("tests/test_planted_inputs.py", environment={"MEDGRPO_PLANTED": "all"})()
    return replace(found, tries=4 * (len(FIELDS) * len(VALUES) + len(FILES)))


AREAS: dict[str, tuple[str, Callable[[], Result]]] = {
    "code": ("code that travels: a planted file in every artefact, every command", suite("tests/test_foreign_code.py")),
    "keys": ("keys: redirects, echoes, logs; slow and endless servers", suite("tests/test_web.py", "tests/test_masking.py")),
    "network": ("look-ups of every command in a namespace without routes", suite("tests/test_network.py")),
    "names": ("names of persons and machines in what is written", suite("tests/test_places.py", "tests/test_sharing.py", "tests/test_sheets.py")),
    "flow": ("the same in every file of a whole flow, from base to merged", suite("tests/examples/test_flow.py")),
    "bombs": ("files that unfold, claim or never end", module("bombs")),
    "bomb limits": ("the limits that stop them", suite("tests/test_bombs.py")),
    "named": ("what files of others name on this machine; names that stand twice in JSON; what turns or hides a text", suite("tests/test_named_places.py", "tests/test_two_values.py", "tests/test_foreign_words.py")),
    "hangs": ("pipes, devices, orphans; rewards that hang or exit", suite("tests/test_irregular_files.py", "tests/rewards/test_contained.py")),
    "rows": ("odd values in fields of rows, odd files", rows),
    "artefacts": ("odd values in models, adapters, datasets, runs", module("planted", "--every", "4")),
    "strange": ("odd pictures, checkpoints, earlier evaluations, named files, calls, rewards", module("strange", "--every", "3")),
    "unforeseen": ("settings, sources, pictures, models, servers, streams, limits that nobody had thought of before", module("unforeseen", "--without", "doors", "--without", "pages", "--every", "4", "--jobs", "{jobs}")),
    "doors": ("working folders, chat templates, tokenizers, offsets of tensors, packed files, links and `..`, names of other places", module("unforeseen", "--kind", "doors", "--every", "2", "--jobs", "{jobs}")),
    "pages": ("markup, formulas and orders to a terminal in every text that a page, a table or a note shows", module("unforeseen", "--kind", "pages", "--every", "2", "--jobs", "{jobs}")),
    "servers": ("odd replies of a server; files of one evaluation", suite("tests/generation/test_server.py", "tests/evaluation/test_outputs_together.py")),
    "fuzz": ("mutated files, every parser, 8 s each", module("fuzz", "--seconds", "8")),
    "unicode": ("all of Unicode through every form", suite("tests/test_unicode.py")),
    "kills": ("signals to every command, then called again", module("interrupted", "--kills", "100")),
    "kills of training": ("signals inside of SFT and GRPO steps, then resumed bit for bit", module("training.killing", "{folder}", "--kills", "10")),
    "disks": ("disks that fill up, every command", module("interrupted", "--disks", "4", "--jobs", "{jobs}")),
    "system": ("what the system refuses", suite("tests/test_system_errors.py", "tests/models/test_merge_again.py")),
    "growth": ("twice the rows, at most 2.3 times the work", suite("tests/test_scaling.py")),
}  # fmt: skip
"""Short name → what is attacked, and how."""
LONG = ("flow", "disks", "unforeseen", "doors", "kills of training", "kills", "artefacts", "fuzz", "bombs")


def here() -> str:
    """Version of Python, processor and day."""
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpu.read_text()) if cpu.is_file() else None
    day = datetime.datetime.now(datetime.UTC).date()
    return f"Python {platform.python_version()}, {found[1] if found else platform.processor()}, {day}"


def attacked(name: str) -> Result:
    """One area, with a line about it as soon as it is done."""
    began = time.monotonic()
    found = replace(AREAS[name][1](), where=here())
    took = f"{found.cpu_s:.0f} s of CPU, {time.monotonic() - began:.0f} s"
    print(f"{found.said}{name}: {found.tries} tries, {found.failures} failures, {took}", flush=True)
    return found


def all_attacked(chosen: list[str], jobs: int, file: Path | None) -> dict[str, Result]:
    """The areas, so many at once; what the file holds is taken from there, what is new is added as soon as it is done."""
    before = json.loads(file.read_text("utf-8")) if file is not None and file.is_file() else {}
    results = {name: Result(**before[name]) for name in AREAS if name in before}
    waiting = [name for name in chosen if name not in results]
    waiting.sort(
        key=lambda name: name not in LONG
    )  # the long ones first, so that none of them is alone at the end
    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed({pool.submit(lambda one=name: (one, attacked(one))) for name in waiting}):
            name, result = done.result()
            results[name] = result
            if file is not None:
                file.write_text(json.dumps({one: asdict(found) for one, found in results.items()}, indent=1))
    return {name: results[name] for name in AREAS if name in results}


def table(results: dict[str, Result]) -> list[str]:
    """The lines of the page: area, tries, failures, and where they were counted."""
    total, wrong = (sum(one.tries for one in results.values()), sum(one.failures for one in results.values()))
    seconds = sum(one.cpu_s for one in results.values())
    return [
        f"{seconds / 60:.0f} minutes of CPU. {'; '.join(sorted({one.where for one in results.values()}))}.",
        "",
        "| area | tries | failures |",
        "| --- | --: | --: |",
        *(f"| {AREAS[name][0]} | {one.tries:,} | {one.failures} |" for name, one in results.items()),
        *(f"| {what} | not tried then | |" for name, (what, _) in AREAS.items() if name not in results),
        f"| together | {total:,} | {wrong} |",
    ]


def main(only: list[str], *, jobs: int, is_written: bool, file: Path | None) -> int:
    results = all_attacked([name for name in AREAS if not only or name in only], jobs, file)
    lines = "\n".join(table(results))
    print(lines)
    if is_written:
        text = PAGE.read_text("utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n{lines}\n\n{END}{after}", encoding="utf-8")
    return int(any(one.failures for one in results.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", default=[], choices=list(AREAS))
    parser.add_argument("--jobs", type=int, default=2, help="areas at once")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--results", type=Path, help="JSON that is taken up and added to")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.exit(main(options.only, jobs=options.jobs, is_written=options.write, file=options.results))

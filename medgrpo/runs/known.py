"""The runs that are known here, newest first, and the one that the word `latest` means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.errors import UsageError
from medgrpo.files import read_toml
from medgrpo.json_in import json_value
from medgrpo.places import found_place
from medgrpo.run_files import training_info
from medgrpo.runs.status import UNFINISHED, Status, status_of

RUNS, LOGS = Path("runs"), Path("logs")
LATEST = "latest"
DEMO = "demo"
"""What a run without --model or --data trains, or trains on."""


@dataclass(frozen=True)
class KnownRun:
    """One run, as its folder says."""

    name: str
    path: Path
    preset: str | None
    method: str | None
    model: str
    data: str
    status: Status | None
    step: int | None
    total_steps: int | None
    metric: str | None
    best: float | None
    """Best held-out value of `metric`; None before the first validation."""
    started: str | None
    error: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self.__dict__, "path": str(self.path)}


def run_folders(runs: Path = RUNS, logs: Path = LOGS) -> list[Path]:
    """Folders of the runs under `runs`, and of those elsewhere that have a log copy in `logs`; newest first."""
    found: dict[Path, Path] = {}
    for folder in (*_inside(runs), *_copied(logs)):
        if (folder / "training_info.json").is_file():
            found.setdefault(folder.resolve(), folder)
    return sorted(found.values(), key=_started, reverse=True)


def _inside(runs: Path) -> Iterator[Path]:
    """Run folders, links left out: `latest` is one."""
    with suppress(OSError):
        yield from (folder for folder in runs.iterdir() if folder.is_dir() and not folder.is_symlink())


def _copied(logs: Path) -> Iterator[Path]:
    for copy in sorted(logs.glob("*.json")):
        with suppress(OSError, ValueError):
            # The name of the folder stands before the history, which may be long.
            if (place := _place_of(copy)) is not None and place.is_dir():
                yield _short(place)


def _place_of(copy: Path) -> Path | None:
    import re

    with copy.open(encoding="utf-8", errors="replace") as file:
        head = file.read(20_000)
    match = re.search(r'"run":\s*("(?:[^"\\]|\\.)*")', head)
    return Path(found_place(json_value(match[1]), copy.parent)) if match else None


def _short(place: Path) -> Path:
    """The path from here where the folder lies below."""
    with suppress(ValueError):
        return place.relative_to(Path.cwd())
    return place


def _started(folder: Path) -> tuple[str, float]:
    """When the run was begun or taken up again; ties by what was written last."""
    file = folder / "training_info.json"
    info = training_info(folder)
    times = [str(info.get("started") or ""), *map(str, info.get("resumed") or [])]
    return max(times), file.stat().st_mtime


def known_runs(runs: Path = RUNS, logs: Path = LOGS) -> list[KnownRun]:
    """Every run that is known here, newest first."""
    return [_known(folder) for folder in run_folders(runs, logs)]


def _known(folder: Path) -> KnownRun:
    info = training_info(folder)
    config: dict[str, dict[str, Any]] = {}
    with suppress(Exception):  # a half-written file is no reason to hide the run
        stated = read_toml(folder / "config.toml")
        config = {name: section for name, section in stated.items() if isinstance(section, dict)}
    best = info.get("best") or {}
    metric, value = _best(info, best)
    return KnownRun(
        name=str(info.get("name") or folder.resolve().name),
        path=folder,
        preset=info.get("preset"),
        method=config.get("training", {}).get("method"),
        model=_named(config, "model", folder),
        data=_named(config, "data", folder),
        status=status_of(info, folder),
        step=_last_step(folder, info),
        total_steps=info.get("total_steps"),
        metric=metric,
        best=value,
        started=info.get("started"),
        error=info.get("error"),
    )


def _named(config: dict[str, dict[str, Any]], section: str, folder: Path) -> str:
    """The model or the data as the run's settings name them, seen from here."""
    place = found_place(str(config.get(section, {}).get("path") or DEMO), folder)
    return str(_short(Path(place))) if Path(place).is_absolute() else place


def _best(info: dict[str, Any], best: dict[str, Any]) -> tuple[str | None, float | None]:
    """The best held-out value: of the validations during training, else what it had at its end."""
    if best.get("value") is not None:
        return str(best.get("metric")), float(best["value"])
    after = (info.get("validation") or {}).get("after") or {}
    for metric, measured in after.items():
        value = measured.get("value") if isinstance(measured, dict) else None
        if value is not None:
            return str(metric), float(value)
    return None, None


def _last_step(folder: Path, info: dict[str, Any]) -> int | None:
    if isinstance(info.get("steps"), int):
        return int(info["steps"])
    log = folder / "log.jsonl"
    if not log.is_file():
        return None

    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = file.read().splitlines()
    for line in reversed(lines):
        with suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return int(json_value(line)["step"])
    return 0


def is_stillborn(folder: Path) -> bool:
    """Whether the run ended before its first step: it left settings and an error, and nothing to look at."""
    return status_of(training_info(folder), folder) in UNFINISHED and not any(
        log.stat().st_size
        for log in (*folder.glob("log.jsonl"), *folder.glob("stages/*/log.jsonl"))
        if log.is_file()
    )


def latest_run(runs: Path = RUNS, logs: Path = LOGS) -> Path:
    """Folder of the run that was begun or taken up last; one that ended before its first step only if all did.

    A run that cannot load its model would else stand before the one whose results are asked for.

    Raises:
        UsageError: there is none yet.
    """
    found = run_folders(runs, logs)
    if not found:
        raise UsageError(
            "there is no latest run: runs/ and logs/ know none",
            expected="a run folder",
            hint="medgrpo train --preset balanced makes one",
        )
    return next((folder for folder in found if not is_stillborn(folder)), found[0])


def meant(word: str) -> str:
    """The path that a word for a run means: `latest` and `runs/latest`, also with a folder below, are `latest_run`.

    What lies under that name itself, unless it is the link to the newest run, is left as it is.

    Raises:
        UsageError: the newest run is meant, and there is none.
    """
    head, _, rest = word.removeprefix("./").removeprefix("runs/").partition("/")
    if head != LATEST or word.startswith("/"):
        return word
    place = Path(word.removesuffix(f"/{rest}") if rest else word)
    if place.exists() and not place.is_symlink():
        return word
    newest = latest_run()
    return str(newest / rest) if rest else str(newest)


def name_latest(run: Path) -> None:
    """Make `latest` beside the run a link to it; nothing where that cannot be, or is something else."""
    link = run.parent / LATEST
    with suppress(OSError):
        if link.exists() and not link.is_symlink():
            return
        made = run.parent / f".{LATEST}.{run.name}"
        made.unlink(missing_ok=True)
        made.symlink_to(run.name, target_is_directory=True)
        made.replace(link)

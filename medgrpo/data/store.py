"""Storing many pictures with several processes, in a way that can be taken up again."""

from __future__ import annotations

import errno
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from medgrpo.data.hashing import settings_hash
from medgrpo.data.images import ImageJob, StoredImage, store
from medgrpo.errors import MedgrpoError

JOURNAL = "images.jsonl"
"""In the unfinished dataset: what became of each picture, a line each, appended as they are stored."""
CHUNK = 8
"""Pictures that a worker is given at a time."""
ALONE = 24
"""So few pictures are stored without starting other processes."""

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def store_all(
    jobs: Sequence[ImageJob],
    workers: int,
    *,
    label: str,
    progress: Progress | None = None,
    stop_at_problem: bool = False,
) -> dict[str, StoredImage]:
    """Stores pictures that are not stored yet; returns what became of each, by key.

    Args:
        stop_at_problem: return at the first picture that cannot be used (the others are then missing).

    Raises:
        MedgrpoError: the disk is full or may not be written to, or a worker was killed.
    """
    folder = jobs[0].folder
    (folder / ("masks" if jobs[0].kind == "mask" else "images")).mkdir(exist_ok=True)
    done = _journalled(folder, jobs)
    missing = [job for job in jobs if job.ref.key not in done]
    bar = progress(label, len(jobs)) if progress else nullcontext(lambda _count: None)
    with bar as advance, (folder / JOURNAL).open("a", encoding="utf-8") as written:
        advance(len(done))
        try:
            for chunk, results in _stored(missing, workers):
                for job, result in zip(chunk, results, strict=True):
                    done[result.key] = result
                    if not result.problem:
                        written.write(json.dumps({"stamp": _stamp(job), **asdict(result)}) + "\n")
                written.flush()
                advance(len(chunk))
                if stop_at_problem and any(result.problem for result in results):
                    return _in_order(jobs, done)
        except OSError as error:
            raise _write_error(error, folder) from error
        except BrokenProcessPool as error:
            raise MedgrpoError(
                "a worker process was killed, most likely for lack of memory",
                hint="run the same command again with fewer --workers; what is stored is kept",
            ) from error
    return _in_order(jobs, done)


def _in_order(jobs: Sequence[ImageJob], done: dict[str, StoredImage]) -> dict[str, StoredImage]:
    return {job.ref.key: done[job.ref.key] for job in jobs if job.ref.key in done}


def _stored(jobs: Sequence[ImageJob], workers: int) -> Iterator[tuple[Sequence[ImageJob], list[StoredImage]]]:
    chunks = [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]
    if workers == 1 or len(jobs) <= ALONE:
        for chunk in chunks:
            yield chunk, store_chunk(chunk)
        return
    context = get_context("spawn" if os.name == "nt" else "forkserver")
    with ProcessPoolExecutor(min(workers, len(chunks)), mp_context=context) as pool:
        waiting: deque[tuple[Sequence[ImageJob], Future[list[StoredImage]]]] = deque()
        try:
            for chunk in chunks:
                waiting.append((chunk, pool.submit(store_chunk, chunk)))
                if len(waiting) > 4 * workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def store_chunk(chunk: Sequence[ImageJob]) -> list[StoredImage]:
    """Stores a few pictures: the work of one process at a time."""
    return [store(job) for job in chunk]


def _stamp(job: ImageJob) -> str:
    """Changes when the source file or the way it is stored does."""
    status = (job.root / job.ref.path).stat()
    settings = {**asdict(job.settings), "size": job.size, "kind": job.kind}
    return settings_hash({"file": [job.ref.key, status.st_size, status.st_mtime_ns], "settings": settings})


def journal(folder: Path) -> Iterator[dict[str, Any]]:
    """What became of each picture, as far as it was written down; the broken last line of a killed run is
    left out."""
    file = folder / JOURNAL
    if not file.is_file():
        return
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _journalled(folder: Path, jobs: Sequence[ImageJob]) -> dict[str, StoredImage]:
    """What an earlier, interrupted call stored and is still right."""
    wanted = {job.ref.key: job for job in jobs}
    done: dict[str, StoredImage] = {}
    for entry in journal(folder):
        stamp = entry.pop("stamp")
        result = StoredImage(**entry)
        job = wanted.get(result.key)
        if job is not None and (folder / result.path).is_file() and stamp == _stamp(job):
            done[result.key] = result
    return done


def _write_error(error: OSError, folder: Path) -> MedgrpoError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MedgrpoError(
            f"the disk is full: {folder.parent} has no room left",
            expected="room for the stored pictures",
            hint="make room and run the same command again: what is stored is kept; "
            f"or remove {folder} to give up",
        )
    return MedgrpoError(f"{error.filename or folder} cannot be written: {error.strerror}")

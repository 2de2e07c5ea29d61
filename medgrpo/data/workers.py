"""Work on many pictures, spread over processes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import TypeVar

from medgrpo.errors import MedgrpoError

CHUNK = 8
"""Pictures that a worker is given at a time."""
ALONE = 24
"""So few pictures are worked on without starting other processes."""
PRELOADED = ("medgrpo.data.decode", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "imagehash", "scipy.fftpack")
"""Imported once, by the server that workers are forked from."""

Job = TypeVar("Job")
Result = TypeVar("Result")


def spread(
    work: Callable[[Sequence[Job]], list[Result]], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[Sequence[Job], list[Result]]]:
    """A few jobs at a time with their results, in order.

    Args:
        work: a function that can be pickled; it gets a few jobs and returns as many results.

    Raises:
        MedgrpoError: a worker was killed.
    """
    chunks = [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]
    if workers == 1 or len(jobs) <= ALONE:
        for chunk in chunks:
            yield chunk, work(chunk)
        return
    context = get_context("spawn" if os.name == "nt" else "forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    size = min(workers, len(chunks))
    with ProcessPoolExecutor(size, mp_context=context, initializer=_end_with_parent) as pool:
        waiting: deque[tuple[Sequence[Job], Future[list[Result]]]] = deque()
        try:
            for chunk in chunks:
                waiting.append((chunk, pool.submit(work, chunk)))
                if len(waiting) > 4 * workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        except BrokenProcessPool as error:
            raise MedgrpoError(
                "a worker process was killed, most likely for lack of memory",
                hint="run the same command again with fewer --workers; what is stored is kept",
            ) from error
        finally:
            for _, future in waiting:
                future.cancel()


def _end_with_parent() -> None:
    """End this worker when the command ends, however it ends: a worker that waits for work would hold the command's
    standard output for ever, and a pipeline behind it with it."""
    parent = parent_process()
    if parent is not None:
        Thread(target=_leave_after, args=(parent.sentinel,), daemon=True).start()


def _leave_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)

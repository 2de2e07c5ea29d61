"""A vLLM server that dies or stands still: noticed within half a minute, and said.

TRL asks a server without a limit of time and tries a dead one again for a minute; a transfer of weights to it waits in NCCL, which
nothing interrupts. So a thread asks the server how it is, and ends the process where nothing comes back.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medgrpo.errors import MedgrpoError

ASK_EVERY_S = 5.0
ANSWER_WITHIN_S = 8.0
"""A server that samples answers at once."""
MISSES = 3


class ServerWatch:
    """Asks a server how it is as long as it is open.

    Args:
        url: of the server.
        gone: called once, from a thread, with what went wrong.
        limit_s: most seconds that one request for completions may take.
        ask_every_s: seconds between two questions.
        answer_within_s: seconds that an answer may take.
    """

    def __init__(
        self,
        url: str,
        gone: Callable[[MedgrpoError], None],
        *,
        limit_s: float,
        ask_every_s: float = ASK_EVERY_S,
        answer_within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        self._url, self._gone, self._limit_s = url, gone, limit_s
        self._ask_every_s, self._answer_within_s = ask_every_s, answer_within_s
        self._since: float | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="vllm-server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """A request under way: it may take so long."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def _watch(self) -> None:
        misses = 0
        while not self._closed.wait(self._ask_every_s):
            misses = 0 if self._is_well() else misses + 1
            since = self._since
            if misses >= MISSES:
                self._tell(f"the vLLM server at {self._url} does not answer")
            elif since is not None and time.monotonic() - since > self._limit_s:
                self._tell(f"the vLLM server at {self._url} has not sampled in {self._limit_s:g} s")
            else:
                continue
            return

    def _is_well(self) -> bool:
        place = urlsplit(self._url)
        kind = HTTPSConnection if place.scheme == "https" else HTTPConnection
        connection = kind(place.hostname or "", place.port, timeout=self._answer_within_s)
        try:
            connection.request("GET", f"{place.path}/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _tell(self, problem: str) -> None:
        if not self._closed.is_set():
            self._gone(
                MedgrpoError(
                    problem,
                    hint="look at its log and start it again; --resume goes on from the last checkpoint "
                    "(vllm.server_timeout_s is the longest that it may sample)",
                )
            )


def end_with(error: MedgrpoError, context: Any) -> None:
    """Say why and end this process at once: its own thread may wait in a call that nothing interrupts."""
    from medgrpo.training.before.failures import FOLDER, write_down

    if folder := os.environ.get(FOLDER):
        write_down(error, Path(folder), int(os.environ.get("RANK", "0")), cause=error)
    else:
        print(f"error: {error}", file=sys.stderr, flush=True)
    if context.is_main_process:
        with suppress(OSError):
            context.writer.finish("failed", error=error.problem)
    os._exit(error.exit_code)


def no_server(url: str | None) -> MedgrpoError:
    """The error for a server that cannot be reached to begin with."""
    return MedgrpoError(
        f"no vLLM server answers at {url}",
        expected="a server that was started before the run",
        hint='vllm serve MODEL --weight-transfer-config \'{"backend": "nccl"}\' on a GPU that the run does not use, then '
        "--set vllm.server_base_url=http://HOST:PORT",
    )

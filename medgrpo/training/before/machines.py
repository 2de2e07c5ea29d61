"""What the launchers of several machines tell each other: what they start, that one failed, is gone, or is done.

Without it the processes of the other machines wait for those of the failed one until torch's timeout.
"""

from __future__ import annotations

import errno
import json
import selectors
import socket
import time
from collections.abc import Mapping
from typing import Any

from medgrpo.json_in import json_value
from medgrpo.training.before.agreement import HINT, difference
from medgrpo.training.before.stopping import SIGNALS

CALL_EVERY_S = 1.0
"""A machine tries to reach the first one's launcher so often, until the processes have met."""
AFTERWARDS_S = 60.0
"""How long it tries on then."""


class Machines:
    """One launcher among those of all machines: the first listens, the others connect to it.

    A machine whose connection ends before it said that it is done is gone. Where none comes about, as behind a firewall,
    nothing is known of the others, and torch's timeout decides.

    Args:
        number: of this machine.
        count: of the machines.
        address: of the first.
        port: that its launcher listens on.
        facts: what all of them must have in common (`agreement.py`).
    """

    hint = "what went wrong is said there"
    """What to do about what `failed` says."""

    def __init__(
        self, number: int, count: int, address: str, port: int, facts: Mapping[str, str] | None = None
    ) -> None:
        self._number, self._count = number, count
        self._address = (address, port)
        self._facts = dict(facts or {})
        self._events = selectors.DefaultSelector()
        self._peers: dict[socket.socket, dict[str, Any]] = {}
        self._listener: socket.socket | None = None
        self._until = float("inf")
        self._next_call = 0.0
        self.is_asked = False
        """Whether another machine asks where the processes of this one stand."""
        self.places: dict[int, str] = {}
        """Where those of the others stand, by number."""
        self.stopped_by: int | None = None
        """The signal that stopped another machine before all had met."""
        self._problem: str | None = None

    def __enter__(self) -> Machines:
        if self._count > 1 and self._number == 0:
            try:
                self._listener = socket.create_server(self._address)
                self._listener.setblocking(False)
                self._events.register(self._listener, selectors.EVENT_READ)
            except OSError as error:
                self._listener = None
                if error.errno == errno.EADDRINUSE:
                    self._problem = (
                        f"the port {self._address[1]} of {self._address[0]}, at which the machines meet, is taken: by another "
                        "run, or by a machine that was started with NODE_RANK=0 too"
                    )
                    self.hint = (
                        "give each machine a NODE_RANK of its own; another run needs another MASTER_PORT"
                    )
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self._peers:
            peer.close()
        if self._listener is not None:
            self._listener.close()
        self._events.close()

    def failed(self) -> str | None:
        """What another machine failed of; None as long as nothing is known."""
        if self._count == 1:
            return None
        now = time.monotonic()
        if self._number and not self._peers and self._next_call <= now < self._until:
            self._connect()
            self._next_call = time.monotonic() + CALL_EVERY_S
        if self._events.get_map():
            for key, _ in self._events.select(timeout=0):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._read(key.fileobj)
        return self._problem

    def tell(self, problem: str, stopped_by: int | None = None) -> None:
        """That this machine failed, or was stopped by a signal."""
        self._send({"machine": self._number, "problem": problem, "stopped_by": stopped_by})

    def ask_places(self) -> None:
        """Ask the other machines where their processes stand."""
        self._send({"machine": self._number, "asks": True})

    def tell_places(self, places: Mapping[int, str]) -> None:
        """Where processes of this machine stand, by number."""
        named = {str(number): place for number, place in places.items()}
        self._send({"machine": self._number, "places": named})

    def stop_calling(self) -> None:
        """The processes have met: where the first launcher was not reached by now, its port is closed."""
        self._until = time.monotonic() + AFTERWARDS_S

    def missing(self) -> list[str]:
        """The machines that are not there yet, in words."""
        if self._number:
            where = f"{self._address[0]}:{self._address[1] - 1}"
            first = f"the first machine (NODE_RANK=0), at {where} (MASTER_ADDR, MASTER_PORT)"
            return [] if self._peers else [first]
        there = {one["machine"] for one in self._peers.values()}
        away = [number for number in range(1, self._count) if number not in there]
        if not away or self._listener is None:
            return []
        more = f" and {len(away) - 4} more" if len(away) > 4 else ""
        return [f"machine {', '.join(map(str, away[:4]))}{more} of {self._count} (NODE_RANK)"]

    def done(self) -> None:
        """That this machine is done; its connection may end."""
        self._send({"machine": self._number, "done": True})

    def _connect(self) -> None:
        try:
            peer = socket.create_connection(self._address, timeout=1)
        except OSError:
            return
        self._add(peer, machine=0)
        self._send({"machine": self._number, "facts": self._facts})

    def _accept(self) -> None:
        assert self._listener is not None
        peer, _ = self._listener.accept()
        self._add(peer, machine=None)

    def _add(self, peer: socket.socket, machine: int | None) -> None:
        peer.setblocking(False)
        self._peers[peer] = {"machine": machine, "is_done": False, "text": b""}
        self._events.register(peer, selectors.EVENT_READ)

    def _read(self, peer: Any) -> None:
        state = self._peers[peer]
        try:
            text = peer.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            text = b""
        if not text:
            self._events.unregister(peer)
            is_one_of_us = state["machine"] is not None  # a scanner of ports comes and goes
            if is_one_of_us and not state["is_done"] and self._problem is None:
                self._problem = f"machine {state['machine']} is gone"
            return
        state["text"] += text
        *lines, state["text"] = state["text"].split(b"\n")
        for line in lines:
            self._hear(state, line)

    def _hear(self, state: dict[str, Any], line: bytes) -> None:
        try:
            said = json_value(line)
        except ValueError:
            return  # a stranger at the port
        if not isinstance(said, dict):
            return
        if state["machine"] is None:
            if said.get("machine") not in range(1, self._count):
                return
            is_twice = any(one["machine"] == said["machine"] for one in self._peers.values())
            state["machine"] = said["machine"]
            self._compare(said, is_twice=is_twice)
        state["is_done"] |= bool(said.get("done"))
        self.is_asked |= bool(said.get("asks"))
        if isinstance(places := said.get("places"), dict):
            self.places |= {int(key): str(place)[:200] for key, place in places.items() if key.isdecimal()}
        if self._number == 0 and ("asks" in said or "places" in said):  # the others know only the first
            self._send(said)
        if "problem" in said and self._problem is None:
            self._problem = f"machine {said.get('machine')}: {str(said['problem'])[:500]}"
            self.stopped_by = number if (number := said.get("stopped_by")) in SIGNALS else None
            if self._number == 0:
                self._send(said)

    def _compare(self, said: dict[str, Any], *, is_twice: bool) -> None:
        """What a machine says when it comes; where it is not as here, all of them hear why."""
        number, facts = said["machine"], said.get("facts")
        theirs = {str(key): str(value) for key, value in facts.items()} if isinstance(facts, dict) else {}
        problem = difference(self._facts, theirs, f"machine {number}") if theirs and self._facts else None
        if is_twice:
            problem = f"two machines were started with NODE_RANK={number}"
        if problem is not None and self._problem is None:
            self._problem = problem
            self.hint = "give each machine a NODE_RANK of its own, from 0 on" if is_twice else HINT
            self._send({"machine": self._number, "problem": problem})

    def _send(self, said: dict[str, Any]) -> None:
        for peer in self._peers:
            try:
                peer.sendall(json.dumps(said).encode() + b"\n")
            except OSError:
                continue

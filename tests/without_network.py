"""Runs in a network namespace of its own, without routes, and records every name that anyone looks up.

`unshare --net --mount python -m tests.without_network WORK`: reads `WORK/commands.json`, a list of command lines, runs
each through `medgrpo.cli.main.main`, and writes `WORK/seen.json`: exit codes, names looked up, packets without a route.
"""

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from fcntl import ioctl
from itertools import pairwise
from pathlib import Path

SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        ioctl(one, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))


def use_resolver(folder):
    """All look-ups go to this machine's port 53, where `Resolver` listens."""
    conf = folder / "resolv.conf"
    conf.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    target = Path("/etc/resolv.conf").resolve()
    subprocess.run(["mount", "--bind", str(conf), str(target)], check=True)


class Resolver(threading.Thread):
    """Answers every question with "no such name" and remembers it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.names = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))

    def run(self):
        while True:
            data, sender = self.socket.recvfrom(4096)
            labels, place = [], 12
            while data[place]:
                labels.append(data[place + 1 : place + 1 + data[place]].decode("ascii", "replace"))
                place += data[place] + 1
            self.names.append(".".join(labels))
            self.socket.sendto(data[:2] + b"\x81\x83" + data[4:6] + b"\0\0" * 3 + data[12:], sender)


def packets_without_route():
    counted = 0
    for file in ("/proc/net/snmp", "/proc/net/snmp6"):
        lines = Path(file).read_text().splitlines()
        for names, values in pairwise(lines):
            if names.startswith("Ip:") and "OutNoRoutes" in names and values.startswith("Ip:"):
                counted += int(values.split()[names.split().index("OutNoRoutes")])
        counted += sum(int(line.split()[1]) for line in lines if line.startswith("Ip6OutNoRoutes"))
    return counted


def main(folder):
    loopback_up()
    use_resolver(folder)
    resolver = Resolver()
    resolver.start()
    from medgrpo.cli.main import main as command_line

    seen = []
    for words in json.loads((folder / "commands.json").read_text()):
        names, packets = len(resolver.names), packets_without_route()
        code = 0
        try:
            if words[0] == "python":  # the recorder is tried out
                exec(words[1])
            else:
                command_line(words)
        except SystemExit as ended:
            code = ended.code or 0
        time.sleep(0.3)  # a report may be sent from a thread
        seen.append(
            {
                "words": words,
                "code": code,
                "names": resolver.names[names:],
                "packets": packets_without_route() - packets,
            }
        )
        (folder / "seen.json").write_text(json.dumps(seen))
    time.sleep(2)
    seen.append(
        {"words": ["afterwards"], "code": 0, "names": resolver.names[:], "packets": packets_without_route()}
    )
    (folder / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

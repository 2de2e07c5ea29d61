"""A server that answers slowly, endlessly, with other forms and numbers; the same as a judge."""

import gzip
import json
import os
import signal
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable

from tests.planted import Artefacts
from tests.unforeseen.plants import Call, Plants, completions

LATE_S = 3.0


def reply(body: bytes | str | object, status: str = "200 OK", *headers: str) -> bytes:
    data = (
        body
        if isinstance(body, bytes)
        else (body if isinstance(body, str) else json.dumps(body)).encode("utf-8", "surrogatepass")
    )
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + data


def said(content: object, **more: object) -> bytes:
    return reply({"choices": [{"message": {"content": content, **more}, "finish_reason": "stop"}]})


def endless(start: bytes, part: bytes, pause_s: float = 0.0) -> Callable[[socket.socket], None]:
    def run(to: socket.socket) -> None:
        to.sendall(start)
        while True:
            to.sendall(part)
            time.sleep(pause_s)

    return run


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
MODELS = reply({"data": [{"id": "served"}]})
Answer = bytes | Callable[[socket.socket], None]
ANSWERS: dict[str, Answer] = {
    "come back in a year": reply("busy", "429 Too Many Requests", "Retry-After: 31536000"), "come back never": reply("busy", "429 Too Many Requests", "Retry-After: inf"),
    "come back not a number": reply("busy", "503 Busy", "Retry-After: nan"), "come back before": reply("busy", "429 Too", "Retry-After: -9"),
    "come back on a day": reply("busy", "429 Too", "Retry-After: Wed, 21 Oct 2099 07:28:00 GMT"), "nothing": b"", "no content": reply(b"", "204 No Content"),
    "not modified": reply(b"", "304 Not Modified"), "a page": reply("<html>hello</html>", "200 OK", "Content-Type: text/html"), "I am a teapot": reply("x", "418 Teapot"),
    "a status of 999": reply("x", "999 Odd"), "a status of 0": reply("x", "0 Odd"), "no status": b"HTTP/1.1\r\n\r\n", "older than 1.0": b"hello there\n", "binary": bytes(range(256)) * 9,
    "a long header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**6 + b"\r\n\r\n{}", "ten thousand headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10**4 + b"\r\n{}",
    "early hints without end": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "a byte at a time": endless(HEAD, b" ", 0.05), "blanks without end": endless(HEAD, b" " * 65536),
    "brackets without end": endless(HEAD, b"[" * 65536), "headers without end": endless(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"), "a length that lies": b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{}",
    "a length below zero": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}", "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 7\r\n\r\n{}",
    "broken chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}", "a chunk of 2**60": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000000\r\n{}",
    "gzip of 1 GB": reply(gzip.compress(bytes(2**20), 9) * 1024, "200 OK", "Content-Encoding: gzip"),
    "gzip in gzip in gzip": reply(gzip.compress(gzip.compress(gzip.compress(bytes(2**26)))), "200 OK", "Content-Encoding: gzip, gzip, gzip"),
    "gzip that is none": reply(b"hello", "200 OK", "Content-Encoding: gzip"), "deflate": reply(zlib.compress(bytes(2**27)), "200 OK", "Content-Encoding: deflate"),
    "an unknown coding": reply(b"\x01\x02", "200 OK", "Content-Encoding: smoke"), "redirect to itself": reply("", "302 Found", "Location: ?again"), "redirect nowhere": reply("", "302 Found", "Location: "),
    "redirect to a file": reply("", "302 Found", "Location: file:///etc/passwd"), "redirect to nonsense": reply("", "302 Found", "Location: http://[::1"), "redirect to a port": reply("", "302 Found", "Location: //127.0.0.1:99999/"),
    "UTF-16": reply(json.dumps({"choices": []}).encode("utf-16")), "a mark before": reply(b"\xef\xbb\xbf" + json.dumps({"choices": []}).encode()),
    "two documents": reply('{"choices": []}{"choices": []}'), "a stream of events": reply('data: {"choices": [{"delta": {"content": "x"}}]}\n\ndata: [DONE]\n', "200 OK", "Content-Type: text/event-stream"),
    "numbers of 10,000 digits": reply('{"choices": ' + "9" * 10_000 + "}"), "not a number": reply('{"choices": NaN}'), "deep": reply("[" * 10**6), "keys twice": reply('{"choices": [], "choices": 3}'),
    "choices a mapping": reply({"choices": {"0": {}}}), "choices a text": reply({"choices": "yes"}), "a choice null": reply({"choices": [None]}), "no message": reply({"choices": [{"text": "yes"}]}),
    "message a list": reply({"choices": [{"message": ["yes"]}]}), "parts": said([{"type": "text", "text": "yes"}]), "content null": said(None, refusal="no"), "content a number": said(7), "content true": said(True),
    "content a surrogate": said("\ud800<answer>yes</answer>"), "content with a terminal's orders": said("\x1b]0;owned\x07\x1b[2J<answer>yes</answer>"), "content with zeros": said("\0" * 99), "content of 9 MB": said("yes " * 2**21),
    "content turned round": said("\u202e<answer>yes</answer>"), "many choices": reply({"choices": [{"message": {"content": "a"}}] * 5000}), "an error inside": reply({"error": {"message": "\x1b[31mno", "code": []}}),
    "finish a list": reply({"choices": [{"message": {"content": "a"}, "finish_reason": []}]}), "tool calls": said(None, tool_calls=[{"function": {"name": "os.system"}}]), "reasoning": said("", reasoning_content="x"),
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
}  # fmt: skip
VERDICTS = ("NaN", "1e999", "5/0", "right wrong", "", "\0", "rıght", "RIGHT" * 10**5, '{"verdict": "right"}', "<think>" * 999 + "right", "\u202eright", "正确", "-1", "right\n\nwrong",
            "Ignore all that. right")  # fmt: skip


class Server:
    """A process with a socket: `/plant/N/…` answers as the N-th of the answers does, for the models where it says so."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.process = os.fork()
        if self.process == 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                self._serve()
            finally:
                os._exit(0)

    def stop(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)

    def _serve(self) -> None:
        while True:
            to, _ = self.socket.accept()
            threading.Thread(target=self._one, args=(to,), daemon=True).start()

    @staticmethod
    def _one(to: socket.socket) -> None:
        try:
            to.settimeout(60)
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += to.recv(65536)
            path = asked.split(b" ")[1].decode().split("/")
            head, _, body = asked.partition(b"\r\n\r\n")
            lines = [
                line.split(b":")[1]
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            ]
            while lines and len(body) < int(lines[0]):
                body += to.recv(65536)
            where, number = path[1], int(path[2])
            answer: Answer = said(VERDICTS[number]) if where == "verdict" else list(ANSWERS.values())[number]
            if path[-1].startswith("models") and where != "models":
                answer = MODELS
            answer(to) if callable(answer) else to.sendall(answer)
        except (OSError, ValueError, IndexError) as error:
            if os.environ.get("MEDGRPO_DEBUG"):
                print(error, file=sys.stderr)
        finally:
            to.close()


def hurried() -> None:
    """Less patience, so that a try takes seconds; everything else of the client is as it is."""
    from medgrpo import web

    limits = web.Limits(tries=3, total_s=LATE_S, connect_s=LATE_S, first_pause_s=0.05, longest_pause_s=0.2)
    web.ask_json.__kwdefaults__["limits"] = limits


def servers(url: str) -> Plants:
    for number, name in enumerate(ANSWERS):

        def engine(a: Artefacts, number: int = number) -> Call:
            words = (
                "eval",
                str(a.model),
                str(a.data),
                "--engine",
                f"{url}/answers/{number}",
                "--limit",
                "2",
                "--output",
                str(a.folder / "eval"),
            )
            return Call(words, before=hurried, environment={"OPENAI_API_KEY": "sk-planted-secret-of-tests"})

        yield f"a server answers {name}: eval --engine", engine

        def models(a: Artefacts, number: int = number) -> Call:
            words = (
                "eval",
                str(a.model),
                str(a.data),
                "--engine",
                f"{url}/models/{number}",
                "--limit",
                "2",
                "--output",
                str(a.folder / "eval"),
            )
            return Call(words, before=hurried)

        if number % 3 == 0:
            yield f"a server names its models by {name}: eval --engine", models

        def judge(a: Artefacts, number: int = number) -> Call:
            return Call(
                (
                    "eval",
                    "--predictions",
                    completions(a),
                    "--judge",
                    f"{url}/answers/{number}",
                    "--output",
                    str(a.folder / "eval"),
                ),
                before=hurried,
            )

        if number % 3 == 1:
            yield f"a judge answers {name}: eval --judge", judge
    for number, verdict in enumerate(VERDICTS):
        yield f"a judge says {verdict[:20]!r}: eval --judge", lambda a, number=number: Call(
            ("eval", "--predictions", completions(a), "--judge", f"{url}/verdict/{number}", "--output", str(a.folder / "eval")), before=hurried)  # fmt: skip
    for odd in (
        "http://",
        "http://[::1",
        "http://127.0.0.1:99999",
        "ftp://127.0.0.1/x",
        "http://127.0.0.1:1/\x00",
        "http://user:secret-word@127.0.0.1:1",
        "http://\u202e/",
        "http://127.0.0.1:1/?key=secret-word#a",
        "//x",
        "http://a b/",
    ):
        yield (
            f"--engine {odd!r}: eval",
            lambda a, odd=odd: Call(
                (
                    "eval",
                    str(a.model),
                    str(a.data),
                    "--engine",
                    odd,
                    "--limit",
                    "1",
                    "--output",
                    str(a.folder / "eval"),
                ),
                before=hurried,
            ),
        )

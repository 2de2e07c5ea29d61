"""The client of servers: where the key goes, what an answer may cost, what is tried again; real servers, on this machine."""

import gzip
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medgrpo import web
from medgrpo.cli.main import main
from medgrpo.errors import UsageError
from medgrpo.web import Limits, NoAnswer, ask_json

KEY = "sk-very-secret-0123456789"
QUICK = Limits(tries=2, total_s=1.0, first_pause_s=0.01)


class Handler(BaseHTTPRequestHandler):
    """Answers with what `server.script` says, a function of the handler."""

    def log_message(self, *_):
        pass

    def handle_one(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        self.server.seen.append(
            {
                "path": self.path,
                "key": self.headers.get("Authorization"),
                "body": self.body,
                "by": self.command,
            }
        )
        self.server.script(self)

    do_GET = do_POST = handle_one

    def answer(self, document, status=200, **headers):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def serve(monkeypatch):
    """A function: script -> a server that follows it, with `.url` and `.seen`."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    running = []

    def start(script):
        httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        httpd.seen, httpd.script, httpd.daemon_threads = [], script, True
        httpd.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((httpd, thread))
        return httpd

    yield start
    for httpd, thread in running:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("body", [None, {"prompt": "of a patient"}])
def test_neither_key_nor_data_follow_a_redirect_to_another_origin(serve, status, body):
    other = serve(lambda handler: handler.answer({}))
    first = serve(lambda handler: handler.answer({}, status, Location=f"{other.url}/v1/models"))
    with pytest.raises(NoAnswer, match=r"another place, http://127\.0\.0\.1:\d+/v1/models") as raised:
        ask_json(f"{first.url}/v1/models", body)
    assert other.seen == []
    assert first.seen[0]["key"] == f"Bearer {KEY}"
    assert other.url in raised.value.hint


@pytest.mark.parametrize(
    "there", ["https://127.0.0.1:{port}/x", "//localhost:{port}/x", "http://localhost:{port}/x"]
)
def test_another_scheme_or_name_of_the_same_machine_is_another_origin(serve, there):
    def redirect(handler):
        handler.answer({}, 307, Location=there.format(port=handler.server.server_address[1]))

    httpd = serve(redirect)
    with pytest.raises(NoAnswer, match="another place"):
        ask_json(httpd.url, {})
    assert len(httpd.seen) == 1


def test_a_redirect_within_the_origin_is_followed_with_what_was_posted(serve):
    def script(handler):
        if handler.path == "/old":
            handler.answer({}, 308, Location="/new")
        else:
            handler.answer({"got": json.loads(handler.body)})

    httpd = serve(script)
    assert ask_json(f"{httpd.url}/old", {"a": 1}) == {"got": {"a": 1}}
    assert [one["by"] for one in httpd.seen] == ["POST", "POST"]
    loop = serve(lambda handler: handler.answer({}, 308, Location=handler.path))
    with pytest.raises(NoAnswer, match="more than 5 redirects"):
        ask_json(loop.url, {})


def test_the_key_of_an_address_is_sent_and_not_shown(serve, capsys):
    httpd = serve(lambda handler: handler.answer({"error": dict(handler.headers)}, 401))
    address = httpd.url.replace("http://", "http://reader:hunter2hunter2@") + "?api_key=geheim"
    with pytest.raises(NoAnswer) as raised:
        ask_json(address)
    said = str(raised.value)
    assert "hunter2" not in said
    assert "geheim" not in said
    assert KEY not in said
    assert "***" in said
    assert "401 Unauthorized" in said


def test_a_busy_server_and_a_dropped_connection_are_tried_again(serve, monkeypatch):
    pauses = []
    monkeypatch.setattr(web.time, "sleep", pauses.append)

    def script(handler):
        number = len(handler.server.seen)
        if number == 1:
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
        elif number == 2:
            handler.answer({}, 503)
        elif number == 3:
            handler.answer({}, 429, Retry_After="7")
        elif number == 4:
            handler.answer(b'{"cut": ', 200, Content_Length="99")
            handler.close_connection = True
        else:
            handler.answer({"at": "last"})

    httpd = serve(script)
    assert ask_json(httpd.url, {}) == {"at": "last"}
    assert len(httpd.seen) == 5
    assert pauses[0] < pauses[1] < pauses[3]
    assert pauses[2] >= 7


def test_a_refusal_is_not_tried_again(serve):
    httpd = serve(lambda handler: handler.answer({"error": "no"}, 400))
    with pytest.raises(NoAnswer, match="400 Bad Request"):
        ask_json(httpd.url, {})
    assert len(httpd.seen) == 1


@pytest.mark.parametrize("part", ["headers", "body", "nothing"])
def test_an_answer_of_a_byte_a_second_ends_with_the_limit(serve, part):
    def script(handler):
        drip = b"HTTP/1.1 200 OK\r\nX-Long: " if part == "headers" else b"HTTP/1.1 200 OK\r\n\r\n"
        try:
            if part != "nothing":
                handler.wfile.write(drip)
            for _ in range(100):
                time.sleep(0.1)
                if part != "nothing":
                    handler.wfile.write(b"1")
                    handler.wfile.flush()
        except OSError:
            pass
        handler.close_connection = True

    httpd = serve(script)
    started = time.monotonic()
    with pytest.raises(NoAnswer, match="within 1 s"):
        ask_json(httpd.url, {}, limits=QUICK)
    assert time.monotonic() - started < 8  # two tries of a second, on a busy machine
    assert len(httpd.seen) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
@pytest.mark.parametrize("body", ["endless", "a byte a second", "packed", "larger than it says", "no end"])
def test_a_refusal_is_said_by_its_number_whatever_its_body(serve, monkeypatch, status, body):
    monkeypatch.setattr(web, "ERROR_S", 0.5)
    data = gzip.compress(b"wrong key " * 2**20) if body == "packed" else b"wrong key "

    def script(handler):
        handler.send_response(status)
        if body == "packed":
            handler.send_header("Content-Encoding", "gzip")
        if body in ("larger than it says", "packed"):
            handler.send_header("Content-Length", str(len(data) + 9 * (body != "packed")))
        handler.end_headers()
        try:
            handler.wfile.write(data)
            for _ in range(10**4 if body == "endless" else 20 if body == "a byte a second" else 0):
                handler.wfile.write(b"x" * 2**16 if body == "endless" else b"x")
                handler.wfile.flush()
                time.sleep(0.3 if body == "a byte a second" else 0)
            if body == "no end":
                time.sleep(3)
        except OSError:
            pass
        handler.close_connection = True

    httpd = serve(script)
    started = time.monotonic()
    with pytest.raises(NoAnswer, match=f"{status} .*: wrong key") as raised:
        ask_json(httpd.url, {}, limits=Limits(tries=2, total_s=30.0, first_pause_s=0.01, size=2**40))
    assert time.monotonic() - started < 8
    assert len(httpd.seen) == (2 if status == 500 else 1)
    assert len(raised.value.problem) < 1000


@pytest.mark.parametrize("packed", [False, True])
def test_a_large_answer_is_not_taken_in(serve, packed):
    data = b'"' + b"x" * (4 * 2**20) + b'"'
    headers = {"Content_Encoding": "gzip"} if packed else {}
    httpd = serve(lambda handler: handler.answer(gzip.compress(data) if packed else data, **headers))
    with pytest.raises(NoAnswer, match="larger than 1 MiB"):
        ask_json(httpd.url, {}, limits=Limits(size=2**20))
    assert len(httpd.seen) == 1


@pytest.mark.parametrize("data", [b"<html>busy</html>", b"", b"[" * 100_000])
def test_an_answer_that_is_no_json_is_tried_again_and_then_said(serve, data):
    httpd = serve(lambda handler: handler.answer(data))
    with pytest.raises(NoAnswer, match="its answer is no JSON"):
        ask_json(httpd.url, {}, limits=QUICK)
    assert len(httpd.seen) == 2


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "http://", "http://host:port", "file:///etc/passwd", "//host"]
)
def test_what_is_no_address_of_a_server_is_refused(url):
    with pytest.raises(UsageError, match="no URL"):
        ask_json(url)


def test_no_server_is_said_so():
    with pytest.raises(NoAnswer, match=r"http://127.0.0.1:1/x does not answer: no connection"):
        ask_json("http://127.0.0.1:1/x", limits=QUICK)


def test_an_echoed_key_is_in_nothing_that_eval_prints_or_writes(serve, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def script(handler):
        if handler.command == "GET":
            handler.answer({"data": [{"id": f"model {KEY}"}]})
            return
        text = f"<answer>{handler.headers['Authorization']}</answer> {handler.headers['Authorization']}"
        handler.answer({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})

    httpd = serve(script)
    rows = [{"id": str(i), "completion": "yes", "answer": "yes", "question": "q?"} for i in range(3)]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    address = httpd.url.replace("http://", "http://reader:hunter2hunter2@")
    with pytest.raises(SystemExit) as ended:
        main(["eval", "--predictions", "said.jsonl", "--judge", address, "--output", "out", "--json"])
    assert not ended.value.code
    said = capsys.readouterr()
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    for secret in (KEY, "hunter2hunter2"):
        assert secret not in said.out + said.err
        assert secret.encode() not in written
    assert json.loads(said.out)["judge"]["model"] == "model ***"
    assert httpd.seen[0]["key"]  # it was sent, and to this server alone

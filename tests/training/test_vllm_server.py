"""A vLLM server that dies, stands still or samples without end."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medgrpo.training.trainers.vllm_server import ServerWatch


class Server:
    """Answers /health as long as it is told to."""

    def __init__(self):
        self.is_still = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if server.is_still.is_set():
                    time.sleep(2)
                self.send_response(200 if self.path == "/health" else 404)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def die(self):
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.is_still.clear()


@pytest.fixture
def watch(server):
    """(the watch, what it said)."""
    said = []
    made = ServerWatch(server.url, said.append, limit_s=0.6, ask_every_s=0.05, answer_within_s=0.2)
    yield made, said
    made.close()


def wait_for(said, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not said and time.monotonic() < deadline:
        time.sleep(0.02)
    return [str(error.problem) for error in said]


def test_a_server_that_is_well_is_left_alone(watch):
    made, said = watch
    with made.request():
        time.sleep(0.3)
    time.sleep(0.6)  # between two requests it may rest
    assert said == []


@pytest.mark.parametrize("how", ["dies", "stands still"])
def test_a_server_that_is_gone_is_said_once(how, server, watch):
    if how == "dies":
        server.die()
    else:
        server.is_still.set()
    assert wait_for(watch[1]) == [f"the vLLM server at {server.url} does not answer"]
    time.sleep(0.3)
    assert len(watch[1]) == 1


def test_a_server_that_answers_and_samples_without_end_is_said(server, watch):
    made, said = watch
    with made.request():
        assert wait_for(said) == [f"the vLLM server at {server.url} has not sampled in 0.6 s"]

"""Completions and verdicts from a server that speaks the OpenAI protocol: a real one, on this machine."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from medgrpo import web
from medgrpo.data.prompts import load_template
from medgrpo.errors import MedgrpoError
from medgrpo.evaluation.judge import judge_answers, read_verdict
from medgrpo.evaluation.score import score_predictions
from medgrpo.generation.generate import Sampling
from medgrpo.generation.server import ServerEngine, ask_server


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.reply({"data": [{"id": "served"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        if self.server.failures:
            self.send_error(self.server.failures.pop())
            return
        text = self.server.answer(body)
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        self.reply({"choices": [choice] * body.get("n", 1)})

    def reply(self, document):
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setattr(web.time, "sleep", lambda _: None)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.bodies, httpd.failures, httpd.answer = [], [], lambda _: "<answer>yes</answer>"
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    httpd.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_a_row_is_sent_with_its_picture_and_comes_back_in_order(endpoint, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    endpoint.answer = lambda body: body["messages"][-1]["content"][-1]["text"][:9]
    rows = [{"id": i, "question": f"question{i}", "images": ["a.png"], "language": "en"} for i in range(9)]
    engine = ServerEngine(endpoint.url, "mine")
    done = list(
        engine.generate(rows, load_template("answer"), lambda name: tmp_path / name, Sampling(32), None)
    )
    assert [one.completions for one in done] == [[f"question{i}"] for i in range(9)]
    assert [one.index for one in done] == list(range(9))
    body = endpoint.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"], body["n"]) == ("served", 0.0, 32, 1)
    url = body["messages"][-1]["content"][0]["image_url"]["url"]
    assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == (tmp_path / "a.png").read_bytes()


def test_samples_are_asked_for_together(endpoint):
    rows = [{"id": 1, "question": "q", "images": [], "language": "en"}]
    sampling = Sampling(8, temperature=0.7, num_generations=3)
    done = list(
        ServerEngine(endpoint.url + "/v1", "served").generate(
            rows, load_template("answer"), str, sampling, None
        )
    )
    assert len(done[0].completions) == 3


def test_a_busy_server_is_asked_again(endpoint):
    endpoint.failures = [503, 429]
    assert ask_server(endpoint.url, "chat/completions", {"n": 1})["choices"]
    assert len(endpoint.bodies) == 3


def test_a_refusal_is_reported_at_once(endpoint):
    endpoint.failures = [400]
    with pytest.raises(MedgrpoError, match="400 Bad Request"):
        ask_server(endpoint.url, "chat/completions", {})
    assert len(endpoint.bodies) == 1


def test_a_server_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(web.time, "sleep", lambda _: None)
    with pytest.raises(MedgrpoError, match=r"http://127.0.0.1:1/v1/models does not answer"):
        ask_server("http://127.0.0.1:1", "models")


def judged_rows():
    rows = [
        {"id": i, "question": "Is it?", "answer": "yes", "image_id": str(i), "answer_type": "closed"}
        for i in range(4)
    ]
    return score_predictions(rows, ["yes", "no", "", "yes"])


def test_the_judge_is_compared_with_the_scorer(endpoint, tmp_path):
    endpoint.answer = lambda body: (
        "right" if "<<<answer>>>\nyes" in body["messages"][0]["content"] else "wrong"
    )
    found = judge_answers(judged_rows(), endpoint.url, cache=tmp_path / "judged.jsonl")
    assert found["model"] == "served"
    assert found["accuracy"]["value"] == 0.5
    assert found["agreement"]["value"] == 1
    assert found["kappa"] == 1
    assert len(endpoint.bodies) == 3  # the empty answer is wrong without asking


def test_what_was_judged_is_not_asked_again(endpoint, tmp_path):
    cache = tmp_path / "judged.jsonl"
    endpoint.answer = lambda _: "wrong"
    first = judge_answers(judged_rows(), endpoint.url, cache=cache)
    asked = len(endpoint.bodies)
    cache.write_text(cache.read_text() + '{"key": "cut o')
    assert judge_answers(judged_rows(), endpoint.url, cache=cache) == first
    assert len(endpoint.bodies) == asked


def test_an_unclear_verdict_is_counted_and_not_guessed(endpoint):
    endpoint.answer = lambda _: "it depends"
    found = judge_answers(judged_rows(), endpoint.url)
    assert found["unclear"] == 3
    assert found["n"] == 1


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("right", 1),
        ("Wrong.", 0),
        ("**Correct**", 1),
        ("incorrect", 0),
        ("<think>could be right</think>wrong", 0),
        ("right or wrong", None),
        ("", None),
        ("rightly", None),
    ],
)
def test_a_verdict_is_one_word(reply, verdict):
    assert read_verdict(reply) == verdict


ODD = [
    b"{}",
    b"null",
    b"[]",
    b'{"choices": []}',
    b'{"choices": null}',
    b'{"choices": [null]}',
    b'{"choices": [{"message": null}]}',
    b'{"choices": [{"message": "stop"}]}',
    b'{"choices": ["stop"]}',
    b'{"choices": [{"message": {"content": ["x"]}}]}',
    b'{"choices": [{"finish_reason": "stop"}]}',
]


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_reply_costs_a_retry_and_no_more(endpoint, odd):
    replies = [odd]
    usual = Handler.reply

    def reply(self, document):
        if self.command == "POST" and replies:
            data = replies.pop()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        usual(self, document)

    Handler.reply = reply
    try:
        rows = [{"id": 1, "question": "q", "images": [], "language": "en"}]
        engine = ServerEngine(endpoint.url, "served")
        (done,) = engine.generate(rows, load_template("answer"), str, Sampling(8), None)
    finally:
        Handler.reply = usual
    assert (done.completions, done.failed) == (["<answer>yes</answer>"], None)
    assert len(endpoint.bodies) == 2


def test_a_row_without_an_answer_is_one_row_with_its_reason(endpoint, tmp_path):
    from medgrpo.generation.resumable import generate_resumably

    endpoint.is_well = False
    rows = [{"id": i, "question": f"question{i}", "images": [], "language": "en"} for i in range(9)]
    engine = ServerEngine(endpoint.url, "served", parallel=1)

    def do_POST(self):  # the row fails at every try
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        if "question5" in str(body["messages"]) and not endpoint.is_well:
            self.send_error(500)
            return
        self.reply({"choices": [{"message": {"content": "yes \ud800"}, "finish_reason": "stop"}]})

    before, Handler.do_POST = Handler.do_POST, do_POST
    try:

        def ask():
            return generate_resumably(
                rows,
                lambda missing: engine.generate(missing, load_template("answer"), str, Sampling(8), None),
                tmp_path / "said.jsonl",
                {},
            )

        done = ask()
        assert [one["completions"] for one in done] == [["yes \ufffd"]] * 5 + [[""]] + [["yes \ufffd"]] * 3
        assert "500" in done[5]["failed"]
        asked = len(endpoint.bodies)
        endpoint.is_well = True
        again = ask()
        assert [one.get("failed") for one in again] == [None] * 9
        assert len(endpoint.bodies) == asked + 1  # what was answered is kept, what failed is asked again
    finally:
        Handler.do_POST = before


def test_a_server_that_is_gone_does_not_take_the_night(endpoint):
    endpoint.failures = [500] * 10_000
    rows = [{"id": i, "question": "q", "images": [], "language": "en"} for i in range(400)]
    engine = ServerEngine(endpoint.url, "served", parallel=2)
    with pytest.raises(MedgrpoError, match="24 rows in a row got no answer"):
        list(engine.generate(rows, load_template("answer"), str, Sampling(8), None))
    assert len(endpoint.bodies) < 40 * 5


def test_a_judge_that_drops_a_row_judges_the_others(endpoint, tmp_path):
    endpoint.failures = [400]
    cache = tmp_path / "judged.jsonl"
    endpoint.answer = lambda _: "right"
    found = judge_answers(judged_rows(), endpoint.url, cache=cache)
    assert found["unanswered"] == 1
    assert "400" in found["unanswered_because"]
    assert judge_answers(judged_rows(), endpoint.url, cache=cache)["unanswered"] == 0

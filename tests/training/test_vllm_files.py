"""Pictures for a vLLM server as files: what is asked of it, and that it made the trainer's prompt of them."""

import base64
import io
import os
import socket
import subprocess

import pytest

from medgrpo.errors import MedgrpoError
from medgrpo.models.picture_tokens import PictureTokens
from medgrpo.training.trainers.vllm_files import PictureFiles, hand_over_files

Image = pytest.importorskip("PIL.Image")
IMAGE = 9
PROMPTS = [[1, IMAGE, IMAGE, IMAGE, 2], [3, 4]]


class Answer:
    def __init__(self, fields):
        self.status_code, self._fields = 200, fields

    def json(self):
        return {
            "components": {
                "schemas": {"GenerateRequest": {"properties": {name: {} for name in self._fields}}}
            }
        }


class Client:
    """What TRL's client has, with a server that expands a picture to so many tokens."""

    base_url, model = "http://server", "m"

    def __init__(self, expands_to=3, fields=("content_parts", "return_token_ids")):
        self.session, self.asked, self._to, self._fields = self, [], expands_to, fields

    def get(self, url, timeout):
        assert url == "http://server/openapi.json"
        return Answer(self._fields)

    def _post(self, url, json):
        self.asked.append(json)
        made = [
            one for token in json["token_ids"] for one in ([token] * self._to if token == IMAGE else [token])
        ]
        return {
            "prompt_token_ids": made if json.get("return_token_ids") else None,
            "choices": [{"token_ids": [5], "logprobs": None}],
        }


def ask(client):
    pytest.importorskip("trl")
    picture = Image.new("RGB", (8, 8), (1, 2, 3))
    features = client.image_features([[picture], None])
    return client._generate_from_features(PROMPTS, features, {"n": 1})


def test_a_prompt_goes_with_the_file_and_one_token_a_picture(monkeypatch):
    vllm_client = pytest.importorskip("trl.generation.vllm_client")
    monkeypatch.setattr(vllm_client, "parse_logprobs", lambda _: (None, None))
    client = Client()
    assert hand_over_files(client, PictureTokens(IMAGE))
    given = ask(client)
    assert (given["prompt_ids"], given["completion_ids"]) == (PROMPTS, [[5], [5]])
    shown, text = sorted(client.asked, key=lambda one: "content_parts" not in one)
    assert shown["token_ids"] == [1, IMAGE, 2]
    (part,) = shown["content_parts"]
    file = base64.b64decode(part["url"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(file)).getpixel((0, 0)) == (1, 2, 3)
    assert (text["token_ids"], "content_parts" in text, "features" in text) == ([3, 4], False, False)


def test_a_server_that_makes_another_prompt_of_a_picture_is_refused():
    client = Client(expands_to=4)
    files = PictureFiles(client, PictureTokens(IMAGE))
    client.image_features, client._generate_from_features = files.image_features, files.generate
    with pytest.raises(MedgrpoError, match="a prompt of 6 tokens of what the trainer sees as 5"):
        ask(client)


@pytest.mark.parametrize("fields", [(), ("features",), ("content_parts",)])
def test_a_server_that_does_not_know_files_is_not_sent_any(fields):
    client = Client(fields=fields)
    assert not hand_over_files(client, PictureTokens(IMAGE))
    assert not hasattr(client, "image_features")
    assert not hand_over_files(Client(), None)  # a text model


@pytest.fixture
def served(tmp_path):
    """(address of a real server, folder of the demo-size model that it serves)."""
    from medgrpo.models.demo import build_demo_model

    folder = build_demo_model(tmp_path / "model", ["Is there a lesion?"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        os.environ["MEDGRPO_VLLM_PYTHON"], "-m", "vllm.entrypoints.cli.main", "serve", folder, "--port", port, "--max-model-len", 256,
        "--enforce-eager", "--dtype", "float32", "--enable-scale-out", "--logprobs-mode", "processed_logprobs",
    ]  # fmt: skip
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen([str(word) for word in command], env=environment, stdout=log, stderr=log)
    yield f"http://127.0.0.1:{port}", folder
    server.terminate()
    server.wait(60)


@pytest.mark.slow
@pytest.mark.skipif(
    "MEDGRPO_VLLM_PYTHON" not in os.environ, reason="MEDGRPO_VLLM_PYTHON names no Python with vLLM"
)
def test_a_real_server_gives_the_same_completions_for_files_as_for_features(served, monkeypatch):
    vllm_client = pytest.importorskip("trl.generation.vllm_client")
    from transformers import AutoProcessor
    from trl.generation.vllm_generation import VLLMGeneration

    monkeypatch.setattr(vllm_client, "is_vllm_available", lambda *_, **__: True)
    address, folder = served
    client = vllm_client.VLLMClient(base_url=address, connection_timeout=900)
    processor = AutoProcessor.from_pretrained(folder)
    pictures = [[Image.effect_noise((56, 56), 90).convert("RGB")] for _ in range(3)]
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is there a lesion?"}]}],
        add_generation_prompt=True,
        tokenize=False,
    )
    prompts = [processor(text=[text], images=shown)["input_ids"][0] for shown in pictures]
    generation = type("Generation", (), {"processing_class": processor})()

    def completions():
        features = client.image_features(pictures)
        placed = [
            VLLMGeneration._place_features(generation, *pair) for pair in zip(features, prompts, strict=True)
        ]
        given = client.generate(prompts, placed, n=4, max_tokens=8, top_k=1, logprobs=0)
        return given["prompt_ids"], given["completion_ids"], given["logprobs"]

    as_features = completions()
    assert hand_over_files(client, PictureTokens(processor.image_token_id))
    assert completions() == as_features

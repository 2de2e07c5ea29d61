"""Completions from a server that speaks the OpenAI protocol (vLLM, SGLang, llama.cpp, …)."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.data.prompts import PromptTemplate, build_messages
from medgrpo.errors import MedgrpoError
from medgrpo.generation.generate import Generated, Sampling
from medgrpo.masking import without_credentials
from medgrpo.rows import Row
from medgrpo.web import ask_json


def ask_server(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The JSON that a server answers; tried again while it is busy or starting.

    Args:
        url: up to and with `/v1`, or without it.
        path: below `/v1`, as `chat/completions`.
        body: posted; None: a GET.
    Raises:
        NoAnswer: no answer after all tries, or a refusal; says which (see `medgrpo.web`).
    """
    base, mark, query = url.partition("?")
    base = base.rstrip("/")
    return ask_json(f"{base if base.endswith('/v1') else base + '/v1'}/{path}{mark}{query}", body)


def first_model(url: str) -> str:
    """The name of the first model that a server offers."""
    offered = ask_server(url, "models").get("data") or []
    if not offered:
        raise MedgrpoError(
            f"the server {without_credentials(url)} offers no model", hint="name it: --judge-model NAME"
        )
    return str(offered[0]["id"])


@dataclass
class ServerEngine:
    """A model behind a URL."""

    url: str
    model: str
    parallel: int = 8
    """Requests under way at the same time; the server batches them."""
    seed: int = 0
    name: str = "server"

    def generate(
        self,
        rows: Sequence[Row],
        template: PromptTemplate,
        image_path: Callable[[str], Path],
        sampling: Sampling,
        on_batch: Callable[[int], None] | None,
    ) -> Iterator[Generated]:
        """The completions of each row, in the order given."""
        offered = [one["id"] for one in ask_server(self.url, "models").get("data") or []]
        model = self.model if self.model in offered else first_model(self.url)

        def one(index: int) -> Generated:
            return self._complete(index, rows[index], model, template, image_path, sampling)

        with ThreadPoolExecutor(self.parallel) as pool:
            for result in pool.map(one, range(len(rows))):
                yield result
                if on_batch is not None:
                    on_batch(1)

    def _complete(
        self,
        index: int,
        row: Row,
        model: str,
        template: PromptTemplate,
        image_path: Callable[[str], Path],
        sampling: Sampling,
    ) -> Generated:
        copies = sampling.num_generations if sampling.temperature > 0 else 1
        body: dict[str, Any] = {
            "model": model,
            "messages": server_messages(row, template, image_path),
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "n": copies,
            "seed": self.seed + index,
        }
        if sampling.top_k > 0:
            body["top_k"] = sampling.top_k
        if sampling.temperature > 0:  # names that vLLM and its like take, beyond OpenAI's own
            body |= {} if sampling.min_p is None else {"min_p": sampling.min_p}
            body |= (
                {}
                if sampling.repetition_penalty == 1
                else {"repetition_penalty": sampling.repetition_penalty}
            )
        choices = ask_server(self.url, "chat/completions", body)["choices"]
        texts = [str(choice["message"].get("content") or "") for choice in choices]
        return Generated(index, row, texts, [choice.get("finish_reason") == "length" for choice in choices])


def server_messages(
    row: Row, template: PromptTemplate, image_path: Callable[[str], Path]
) -> list[dict[str, Any]]:
    """The row's chat messages with its pictures as data URLs."""
    pictures = iter(row.get("images") or [])
    messages = []
    for message in build_messages(row, template):
        content = message["content"]
        if not isinstance(content, str):
            content = [_part(part, pictures, image_path) for part in content]
        messages.append({"role": message["role"], "content": content})
    return messages


def _part(part: dict[str, Any], pictures: Iterator[str], image_path: Callable[[str], Path]) -> dict[str, Any]:
    if part["type"] != "image":
        return part
    path = image_path(next(pictures))
    kind = mimetypes.guess_type(path.name)[0] or "image/png"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}

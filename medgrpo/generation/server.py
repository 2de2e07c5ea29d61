"""Completions from a server that speaks the OpenAI protocol (vLLM, SGLang, llama.cpp, …)."""

from __future__ import annotations

import base64
import mimetypes
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.data.prompts import PromptTemplate, build_messages
from medgrpo.errors import MedgrpoError
from medgrpo.generation.generate import Generated, Sampling
from medgrpo.masking import without_credentials
from medgrpo.rows import Row
from medgrpo.web import NoAnswer, ask_json

GIVE_UP = 24
"""So many rows in a row without an answer: the server is gone, and the night is not spent on asking it."""


def ask_server(
    url: str, path: str, body: dict[str, Any] | None = None, read: Callable[[Any], Any] | None = None
) -> Any:
    """The JSON that a server answers, or what `read` takes from it; tried again while it is busy or starting.

    Args:
        url: up to and with `/v1`, or without it.
        path: below `/v1`, as `chat/completions`.
        body: posted; None: a GET.
        read: see `medgrpo.web.ask_json`.
    Raises:
        NoAnswer: no answer after all tries, or a refusal; says which (see `medgrpo.web`).
    """
    base, mark, query = url.partition("?")
    base = base.rstrip("/")
    return ask_json(f"{base if base.endswith('/v1') else base + '/v1'}/{path}{mark}{query}", body, read=read)


def texts_of(document: Any) -> list[tuple[str, bool]]:
    """Text of each choice of a chat completion, and whether it hit the length limit.

    Raises:
        LookupError, TypeError, ValueError: there are none, or they are no texts.
    """
    found = []
    for choice in document["choices"]:
        message = choice["message"]
        if not isinstance(message, dict):
            raise TypeError("the message is no object")
        content = message.get("content")
        if content is not None and not isinstance(content, str):
            raise TypeError("the content is no text")
        found.append((content or "", choice.get("finish_reason") == "length"))
    if not found:
        raise LookupError("no choices")
    return found


def first_model(url: str) -> str:
    """The name of the first model that a server offers."""
    offered = offered_models(url)
    if not offered:
        raise MedgrpoError(
            f"the server {without_credentials(url)} offers no model", hint="name it: --judge-model NAME"
        )
    return offered[0]


def offered_models(url: str) -> list[str]:
    """The names of the models that a server offers."""
    found: list[str] = ask_server(
        url, "models", read=lambda document: [str(one["id"]) for one in document.get("data") or []]
    )
    return found


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
        model = self.model if self.model in offered_models(self.url) else first_model(self.url)

        copies = sampling.num_generations if sampling.temperature > 0 else 1

        def one(index: int) -> Generated:
            try:
                return self._complete(index, rows[index], model, template, image_path, sampling)
            except NoAnswer as error:
                return Generated(index, rows[index], [""] * copies, [False] * copies, failed=error.problem)

        in_a_row = 0
        for result in _in_order(one, len(rows), self.parallel):
            in_a_row = 0 if result.failed is None else in_a_row + 1
            if in_a_row >= GIVE_UP:
                raise NoAnswer(
                    f"{in_a_row} rows in a row got no answer; the last: {result.failed}",
                    expected="an OpenAI-compatible server that answers",
                    hint="what was answered is kept: run the same command again when it does",
                )
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
        choices = ask_server(self.url, "chat/completions", body, texts_of)
        return Generated(index, row, [text for text, _ in choices], [is_cut for _, is_cut in choices])


def _in_order(work: Callable[[int], Generated], count: int, parallel: int) -> Iterator[Generated]:
    """The results of 0, 1, … in order, `parallel` at a time and only a few ahead: what fails for good stops the rest."""
    with ThreadPoolExecutor(parallel) as pool:
        waiting: deque[Future[Generated]] = deque()
        try:
            for index in range(count):
                waiting.append(pool.submit(work, index))
                if len(waiting) >= 4 * parallel:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


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

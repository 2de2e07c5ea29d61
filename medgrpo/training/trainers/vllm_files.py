"""Pictures for a vLLM server as files, where it takes them.

TRL 1.16 has the server process each picture, gets the pixels back as text and sends them again with the prompt: about 70 MB a
picture of 1024 px each way. vLLM takes token ids with files since it has `content_parts`: the file goes there once, a few MB at
most, and nothing comes back. The server expands each picture itself, so that it is handed prompts as a colocated vLLM is; it says
what it made of them, which has to be the trainer's prompt.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError

if TYPE_CHECKING:
    from medgrpo.models.picture_tokens import PictureTokens

AT_ONCE = 64
"""Requests under way; the server batches within."""
ROUTE = "/inference/v1/generate"


class PictureFiles:
    """In place of what a client of TRL does about pictures.

    Args:
        client: TRL's client of a server that takes files.
        written: how the model's pictures stand in its prompts.
    """

    def __init__(self, client: Any, written: PictureTokens) -> None:
        self._client, self._written = client, written

    def image_features(self, images: Sequence[Sequence[Any] | None]) -> list[dict[str, Any] | None]:
        """The files of each prompt, in the form in which TRL carries features; None for a prompt without pictures."""
        with ThreadPoolExecutor(8) as executor:  # compressing leaves Python's lock
            return list(executor.map(_as_files, images))

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        features: Sequence[dict[str, Any] | None],
        sampling_params: dict[str, Any],
    ) -> dict[str, Any]:
        """As TRL's `_generate_from_features`: a request for each prompt, its completions one after the other.

        Raises:
            MedgrpoError: the server made another prompt of a picture than the trainer.
        """
        from trl.generation.vllm_client import parse_logprobs

        params = {**sampling_params, "output_kind": 2}  # all of a prompt's completions, see TRL
        with ThreadPoolExecutor(min(AT_ONCE, len(prompts))) as executor:
            answers = list(executor.map(self._ask, prompts, features, repeat(params)))
        choices = [choice for answer in answers for choice in answer["choices"]]
        logprobs, ids = parse_logprobs([choice["logprobs"] for choice in choices])
        return {
            "prompt_ids": [list(prompt) for prompt in prompts],
            "completion_ids": [choice["token_ids"] for choice in choices],
            "logprobs": logprobs,
            "logprob_token_ids": ids,
        }

    def _ask(
        self, prompt: Sequence[int], shown: dict[str, Any] | None, params: dict[str, Any]
    ) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "request_id": f"medgrpo-{uuid.uuid4().hex}",
            "model": self._client.model,
            "token_ids": list(prompt),
            "sampling_params": params,
        }
        if shown is not None:
            files = shown["files"]
            asked["token_ids"] = self._written.collapsed(prompt, len(files))
            asked["content_parts"] = [{"type": "image_url", "url": file} for file in files]
            asked["return_token_ids"] = True
        answer: dict[str, Any] = self._client._post(f"{self._client.base_url}{ROUTE}", json=asked)
        made = answer.get("prompt_token_ids")
        if shown is not None and made is not None and list(made) != list(prompt):
            raise MedgrpoError(
                f"the vLLM server made a prompt of {len(made)} tokens of what the trainer sees as {len(prompt)}",
                expected="the same tokens for each picture: one model folder, with the picture limits of the run or larger ones",
                hint="start the server with the run's model folder; or --set rollout.engine=transformers",
            )
        return answer


def hand_over_files(client: Any, written: PictureTokens | None) -> bool:
    """Have a client hand pictures over as files where its server takes them; whether it does."""
    if written is None or not takes_files(client):
        return False
    files = PictureFiles(client, written)
    client.image_features, client._generate_from_features = files.image_features, files.generate
    return True


def takes_files(client: Any) -> bool:
    """Whether the server knows files beside token ids; one that does not would leave them out without a word."""
    answer = client.session.get(f"{client.base_url}/openapi.json", timeout=30)
    if answer.status_code != 200:
        return False
    schemas = answer.json().get("components", {}).get("schemas", {})
    fields = schemas.get("GenerateRequest", {}).get("properties", {})
    return {"content_parts", "return_token_ids"} <= set(fields)


def _as_files(pictures: Sequence[Any] | None) -> dict[str, Any] | None:
    if not pictures:
        return None
    files = [f"data:image/png;base64,{_png(picture)}" for picture in pictures]
    return {"files": files, "mm_placeholders": {"image": [None] * len(files)}}


def _png(picture: Any) -> str:
    import base64
    from io import BytesIO

    room = BytesIO()
    picture.save(room, format="PNG", compress_level=1)  # without loss; more would take longer than it saves
    return base64.b64encode(room.getvalue()).decode("ascii")

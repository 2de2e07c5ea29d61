"""The one place that asks a server: no other origin is followed to, time and size are limited, failures are retried.

Commands contact only what a person names (`--engine URL`, `--judge URL`). The key goes to that origin (scheme,
host and port) and to no other; what comes back is masked before anyone reads it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from medgrpo.errors import MedgrpoError, UsageError, missing_extra
from medgrpo.json_in import json_value
from medgrpo.masking import masked, secrets_of_url, without_credentials

if TYPE_CHECKING:
    import ssl

    import httpx2 as httpx

BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Answers that are worth another try."""
REDIRECTS = 5
KEPT_OF_ERROR = 500
"""Characters of a refusal that are shown."""
READ_OF_ERROR, ERROR_S = 2**16, 5.0
"""Bytes of a refusal that are read, and for how long: its number says what there is to know."""


@dataclass(frozen=True)
class Limits:
    """What one question may cost."""

    tries: int = 5
    total_s: float = 600.0
    """Of one try, from the look-up of the name to the last byte."""
    connect_s: float = 20.0
    size: int = 32 * 2**20
    """Bytes of an answer, unpacked."""
    first_pause_s: float = 1.0
    """Doubles with every try, with up to half of it more, so that many rows do not come back at once."""
    longest_pause_s: float = 60.0


class NoAnswer(MedgrpoError):
    """A server did not answer, or not in a way that can be used."""


class _TryAgain(Exception):
    """What may pass: a busy server, a connection that dropped; `after_s` where the server says when."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


def ask_json(
    url: str,
    body: dict[str, Any] | None = None,
    *,
    limits: Limits = Limits(),
    read: Callable[[Any], Any] | None = None,
) -> Any:
    """The JSON document that a server answers, or what `read` takes from it.

    Args:
        url: http or https. User and password in it are sent to its host alone and shown nowhere.
        body: posted as JSON; None: a GET. The key of `OPENAI_API_KEY` goes with it.
        limits: of tries, time and size.
        read: takes what is wanted from the document; what it cannot read is an odd reply, which is worth another try.
    Raises:
        UsageError: it is no such URL.
        NoAnswer: no answer after all tries, a refusal, a redirect to another origin, or an answer that is no JSON,
            too large or too slow; says which.
    """
    _check_url(url)
    data = None if body is None else json.dumps(body).encode("utf-8", "replace")
    reason = ""
    for attempt in range(limits.tries):
        try:
            return _read(_document(asyncio.run(_ask(url, data, limits))), read)
        except _TryAgain as error:
            reason = str(error)
            if attempt + 1 < limits.tries:
                time.sleep(_pause(attempt, error.after_s, limits))
    raise _no_answer(url, f"{reason} ({limits.tries} tries)")


def _check_url(url: str) -> None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"{masked(url)} is no URL: {error}", expected="http://HOST:PORT") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{masked(url)} is no URL of a server", expected="http://HOST:PORT or https://HOST")


def _pause(attempt: int, after_s: float | None, limits: Limits) -> float:
    wanted = limits.first_pause_s * 2.0**attempt * random.uniform(1.0, 1.5)
    return min(limits.longest_pause_s, wanted if after_s is None else max(wanted, after_s))


async def _ask(url: str, data: bytes | None, limits: Limits) -> str:
    """The text of one try."""
    try:
        import httpx2 as httpx
    except ImportError as error:
        raise missing_extra("httpx2", "data", "asking a server") from error
    timeout = httpx.Timeout(limits.total_s, connect=limits.connect_s)
    try:
        async with (
            asyncio.timeout(limits.total_s),
            httpx.AsyncClient(timeout=timeout, follow_redirects=False, verify=_trusted_roots()) as client,
        ):
            return await _followed(client, httpx.URL(url), data, limits)
    except TimeoutError as error:
        raise _TryAgain(f"no whole answer within {limits.total_s:g} s") from error
    except httpx.ConnectError as error:
        raise _TryAgain(f"no connection: {_first_line(error)}") from error
    except httpx.TimeoutException as error:
        raise _TryAgain(f"{type(error).__name__} after {limits.total_s:g} s at most") from error
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise _TryAgain(f"the connection broke: {_first_line(error)}") from error
    except httpx.InvalidURL as error:
        raise UsageError(f"{masked(url)} is no URL: {error}") from error


async def _followed(client: httpx.AsyncClient, url: httpx.URL, data: bytes | None, limits: Limits) -> str:
    origin = url
    for _ in range(REDIRECTS + 1):
        request = client.build_request(
            "GET" if data is None else "POST", url, content=data, headers=_headers()
        )
        response = await client.send(request, stream=True)
        try:
            if not response.has_redirect_location:
                return await _text(response, url, limits)
            url = url.join(response.headers["Location"])
        finally:
            await response.aclose()
        if _origin(url) != _origin(origin):
            raise NoAnswer(
                f"the server {without_credentials(str(origin))} sends us on to another place, "
                f"{without_credentials(str(url))}: neither key nor data go there",
                expected=f"answers from {_shown(_origin(origin))}",
                hint=f"where that is what you want, give its address: {without_credentials(str(url))}",
            )
    raise _no_answer(str(origin), f"more than {REDIRECTS} redirects")


async def _text(response: httpx.Response, url: httpx.URL, limits: Limits) -> str:
    if not response.is_success:
        await _refused(response, url)
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > limits.size:
            raise _no_answer(str(url), f"its answer is larger than {limits.size // 2**20} MiB")
    return _masked(b"".join(parts), url)


async def _refused(response: httpx.Response, url: httpx.URL) -> NoReturn:
    """Raise what the number of a refusal means, with its words as far as they come soon: a body may be endless."""
    import httpx2 as httpx

    words = b""
    with suppress(TimeoutError, OSError, httpx.HTTPError):
        async with asyncio.timeout(ERROR_S):
            async for part in response.aiter_bytes():
                words += part
                if len(words) > READ_OF_ERROR:
                    break
    said = _masked(words, url)[:KEPT_OF_ERROR].strip()
    reason = f"{response.status_code} {response.reason_phrase}: {said}"
    if response.status_code in BUSY:
        raise _TryAgain(reason, _seconds(response.headers.get("Retry-After")))
    raise _no_answer(str(url), reason)


def _masked(words: bytes, url: httpx.URL) -> str:
    return masked(words.decode("utf-8", "replace"), also=secrets_of_url(str(url)))


def _document(text: str) -> Any:
    try:
        return json_value(text)
    except ValueError as error:
        raise _TryAgain(f"its answer is no JSON: {text[:80]!r}") from error


def _read(document: Any, read: Callable[[Any], Any] | None) -> Any:
    if read is None:
        return document
    try:
        return read(document)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        shown = json.dumps(document)[:80]
        raise _TryAgain(f"its answer is not what was asked for: {shown}") from error


def _headers() -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "medgrpo"}
    if os.environ.get("OPENAI_API_KEY"):
        headers["Authorization"] = f"Bearer {os.environ['OPENAI_API_KEY']}"
    return headers


@cache
def _trusted_roots() -> ssl.SSLContext:
    """The certificates of the system and of certifi, read once."""
    import httpx2 as httpx

    return httpx.create_ssl_context()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _shown(origin: tuple[str, str, int | None]) -> str:
    scheme, host, port = origin
    return f"{scheme}://{host}:{port}"


def _seconds(stated: str | None) -> float | None:
    try:
        return max(0.0, float(stated)) if stated else None
    except ValueError:
        return None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _no_answer(url: str, reason: str) -> NoAnswer:
    return NoAnswer(
        f"the server {without_credentials(url)} does not answer: {reason}",
        expected="an OpenAI-compatible server",
        hint="is it running? a key is read from OPENAI_API_KEY",
    )

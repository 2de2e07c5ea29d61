"""Secrets stay out of what is printed and written: keys and tokens of the environment, and what looks like a header.

A server may echo the key that it was sent, a library may name it in an error: whatever leaves through the
streams of a command, through `medgrpo.files` or out of a server's reply passes `masked` first.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, TextIO, cast
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from medgrpo.terminal import without_orders

MASK = "***"
SHORTEST = 8
"""Shorter values are no secrets (`EMPTY`, `1`), and masking them would blot out ordinary words."""
_NAMES = re.compile(
    r"(?:^|_)(?:TOKEN|KEY|SECRET|CREDENTIAL|AUTHORIZATION|PAT)S?(?:_?\d+)?$|(?:API_?KEY|PASSWORD|PASSWD|PASSPHRASE)S?(?:_?\d+)?$|_PWD$",
    re.IGNORECASE,
)
"""As people call them: `HF_TOKEN`, `OPENAI_API_KEY_2`, `PGPASSWORD`, `MYSQL_PWD`, `GITHUB_PAT`."""
_HEADER = re.compile(
    r"""(?P<name>\b(?:proxy-)?authorization["']?\s*[:=]\s*["']?(?:bearer|basic|token)\s+|\b(?:x-)?api-key["']?\s*[:=]\s*["']?)"""
    r"""[^\s"',;}<]{8,}""",
    re.IGNORECASE,
)
_IN_URL = re.compile(
    r"""(?P<before>\b[a-z][a-z0-9+.-]*://)[^\s/@:"']*:[^\s/@"']+(?P<after>@)"""
    r"""|(?P<name>[?&](?:api[_-]?key|key|token|access_token|password)=)[^\s&#"']+""",
    re.IGNORECASE,
)


def secret_values(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The values of `*_TOKEN`, `*_KEY`, `*_SECRET`, `*_PASSWORD` and `AUTHORIZATION`, each as it is and as it looks
    in JSON, in a URL and in base64; the longest first."""
    given = os.environ if environment is None else environment
    found: set[str] = set()
    for name, value in given.items():
        if not _NAMES.search(name) or not _is_secret(value):
            continue
        for secret in {value, *value.split()} if "AUTHORIZATION" in name.upper() else {value}:
            if len(secret) >= SHORTEST:
                found |= _spellings(secret)
    return tuple(sorted(found, key=lambda secret: (-len(secret), secret)))


def _is_secret(value: str) -> bool:
    is_file = value.startswith(("/", "./", "~")) and os.path.exists(os.path.expanduser(value))
    return len(value) >= SHORTEST and not is_file


@lru_cache(maxsize=256)
def _spellings(secret: str) -> frozenset[str]:
    raw = secret.encode("utf-8", "surrogateescape")
    encoded = base64.b64encode(raw).decode("ascii").rstrip("=")
    return frozenset({secret, json.dumps(secret)[1:-1], quote(raw, safe=""), encoded})


def masked(text: str, *, headers: bool = False, also: Iterable[str] = ()) -> str:
    """The text with `***` where a secret stood: one that the environment holds, or one inside a URL.

    Args:
        text: anything that is to be printed or written.
        also: further secrets, as they are (see `secrets_of_url`).
        headers: also what follows `Authorization: Bearer` and the like, whosever it is; for messages, not for data.
    """
    for secret in (*secret_values(), *also):
        if secret in text:
            text = text.replace(secret, MASK)
    if "://" in text:
        text = _IN_URL.sub(_without_secret, text)
    return _HEADER.sub(rf"\g<name>{MASK}", text) if headers else text


def _without_secret(found: re.Match[str]) -> str:
    return f"{found['name']}{MASK}" if found["name"] else f"{found['before']}{MASK}{found['after']}"


def secrets_of_url(url: str) -> list[str]:
    """User, password and key that stand in a URL, in every spelling; the longest first."""
    parts = urlsplit(url)
    found = [value for name, value in parse_qsl(parts.query) if _NAMES.search(name)]
    if parts.password is not None:
        user, password = unquote(parts.username or ""), unquote(parts.password)
        found += [f"{user}:{password}", password]
    spellings = {spelling for secret in found if len(secret) >= 4 for spelling in _spellings(secret)}
    return sorted(spellings, key=lambda secret: (-len(secret), secret))


def without_credentials(url: str) -> str:
    """The URL without user, password, query and fragment: what may be shown, written and compared."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


class MaskingStream:
    """A text stream that lets no secret and no order to a terminal through; all else is the stream's own.

    Args:
        may_fail: what cannot be said is left unsaid: a night's training does not end because the terminal is gone or the
            disk of its notes is full.
    """

    def __init__(self, stream: TextIO, *, may_fail: bool = False) -> None:
        self.stream = stream
        self.let_go: tuple[type[Exception], ...] = (OSError,) if may_fail else ()

    def write(self, text: str) -> int:
        """Write the text masked; gives the length of what was asked for."""
        with suppress(*self.let_go):
            self.stream.write(without_orders(masked(text, headers=True)))
        return len(text)

    def flush(self) -> None:
        """Hand on what waits."""
        with suppress(*self.let_go):
            self.stream.flush()

    def writelines(self, lines: Any) -> None:
        """Write each of the lines masked."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.stream)


@contextmanager
def masked_streams() -> Iterator[None]:
    """Within it nothing that is printed holds a secret, whoever prints it."""
    before = sys.stdout, sys.stderr
    sys.stdout = cast(TextIO, MaskingStream(sys.stdout))
    sys.stderr = cast(TextIO, MaskingStream(sys.stderr, may_fail=True))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before

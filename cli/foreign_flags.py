"""Flags as users of TRL, Transformers, ms-swift and LLaMA-Factory type them.

A flag `learning_rate` with its value becomes `--set training.learning_rate=1e-5`, with a note; one that is an option of
ours in another spelling becomes `--max-new-tokens`; what has no counterpart is answered with the line to type instead.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from medgrpo.cli.output import spoken
from medgrpo.errors import UsageError

FOR_SET = "assignments"
"""Python name of the parameter `--set`; commands that have it take every setting as a flag."""
QUIET = {"--quiet", "-q"}
NO_FILE = re.compile(r"-(\d|\.\d)")
"""A negative number is a value, not a flag."""


def understand_foreign_flags(command: Any) -> None:
    """Let the command take flags that other trainers use."""
    own = command.parse_args

    def parse_args(context: Any, args: list[str]) -> Any:
        return own(context, translate(command, args, context.command_path))

    command.parse_args = parse_args


def translate(command: Any, args: Sequence[str], path: str = "medgrpo") -> list[str]:
    """The arguments with foreign flags put into the command's own words.

    Args:
        command: the command; its options are asked for their names.
        args: as typed.
        path: how the command is called, for errors.
    Raises:
        UsageError: a flag has no counterpart here; says what to type instead.
    """
    known = {name: option for option in command.params for name in getattr(option, "opts", [])}
    known |= {name: option for option in command.params for name in getattr(option, "secondary_opts", [])}
    takes_settings = any(option.name == FOR_SET for option in command.params)
    words = list(args)
    quiet = bool(QUIET & set(words)) or "LOCAL_RANK" in os.environ
    out: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--":
            return [*out, word, *words]
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or flag in known or flag in ("--help", "--version"):
            out.append(word)
            if flag in known and not equals and _has_value(known[flag]) and words:
                out.append(words.pop(0))  # a value is never a flag, whatever it looks like
            continue
        if own := next((same for same in _spellings(flag) if same in known), None):
            out.append(own + equals + value)
            continue
        if not takes_settings:
            out.append(word)
            continue
        values = [value] if equals else list(_values(words))
        assignment = _assignment(flag, values, known, path)
        if not quiet:
            print(spoken(f"{word}: taken as --set {assignment}"), file=sys.stderr)
        out += ["--set", assignment]
    return out


def _has_value(option: Any) -> bool:
    return not getattr(option, "is_flag", False) and not getattr(option, "count", False)


def _spellings(flag: str) -> Iterator[str]:
    name = flag[2:]
    yield f"--{name.replace('_', '-')}"
    yield f"--{name.replace('-', '_')}"


def _values(words: list[str]) -> Iterator[str]:
    """The values of a flag, taken from the front."""
    while words and (not words[0].startswith("-") or NO_FILE.match(words[0])):
        yield words.pop(0)


def _assignment(flag: str, values: list[str], known: dict[str, Any], path: str) -> str:
    """`key=value` of a flag that is a setting, by whatever name."""
    from medgrpo.config.aliases import translated
    from medgrpo.config.layers import full_key, parse_value

    name = flag[2:].replace("-", "_")
    parsed = [parse_value(value) for value in values or ["true"]]
    value: Any = parsed[0] if len(parsed) == 1 else parsed
    if not values and not _is_switch(name):
        key = _key_of(name) or name
        raise UsageError(f"{flag} has no value", expected=f"{flag} VALUE", hint=f"--set {key}=VALUE")
    if found := translated(name.rpartition(".")[2], value):
        return f"{found[0]}={_written(found[1])}"
    try:
        key = full_key(name)
    except UsageError as error:
        from difflib import get_close_matches

        near = get_close_matches(flag, known, n=1)
        hint = f"did you mean {near[0]}?" if near else error.hint
        if hint and hint.startswith("did you mean '"):
            hint = f"did you mean --set {hint.removeprefix('did you mean ').strip('?').strip(chr(39))}=VALUE?"
        raise UsageError(f"no such option: {flag}", hint=hint or f"{path} --help") from error
    return f"{key}={_written(value)}"


def _key_of(name: str) -> str | None:
    """The full key that a name means; None for an unknown one."""
    from medgrpo.config.aliases import ALIASES
    from medgrpo.config.layers import full_key

    try:
        return ALIASES.get(name.rpartition(".")[2]) or full_key(name)
    except UsageError:
        return None


def _is_switch(name: str) -> bool:
    """Whether a name alone, without a value, says something: that it is on. An unknown name is judged later."""
    from typing import get_args

    from medgrpo.config.aliases import ELSEWHERE, is_switch
    from medgrpo.config.sections import RunConfig

    key = _key_of(name)
    if key is None or name in ELSEWHERE or is_switch(name):
        return True
    section, _, leaf = key.partition(".")
    info = RunConfig.model_fields[section].annotation if section in RunConfig.model_fields else None
    field = getattr(info, "model_fields", {}).get(leaf)
    return field is not None and bool in (field.annotation, *get_args(field.annotation))


def _written(value: Any) -> str:
    """A value as `--set` reads it."""
    import json

    if isinstance(value, str):
        return value
    if value is None:
        return "none"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)

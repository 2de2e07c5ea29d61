"""Conversations: the turns of ShareGPT, OpenAI, TRL, ms-swift and XTuner as one list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from medgrpo.data.fields import Fields
from medgrpo.data.readers.base import BadRow
from medgrpo.data.readers.values import optional, peeked, text_of
from medgrpo.records import json_cell

USER_ROLES = ("user", "human", "question", "prompter", "patient")
ASSISTANT_ROLES = ("assistant", "gpt", "bot", "model", "chatgpt", "doctor")
SYSTEM_ROLES = ("system", "developer")
TURNS = ("messages", "conversations", "conversation", "dialogue")
SYSTEM_NOTE = "system prompt not used: the prompt template has its own (--prompt)"
_READ = ("from", "role", "value", "content", "text")
_NOT_LEARNED = ("loss", "weight", "loss_weight", "train_on_turn")


@dataclass
class Chat:
    """The turns of a conversation, and the pictures that its parts name."""

    turns: list[tuple[str, str]] = field(default_factory=list)
    """(`user`, `assistant` or `system`, text) with `<image>` where a part was a picture."""
    pictures: list[Any] = field(default_factory=list)
    """Paths, or what a parquet file has in their place."""
    learned: list[bool] = field(default_factory=list)
    """For each turn whether the file means it to be learned."""


def parsed(value: Any) -> Any:
    """A list that a table holds as JSON text."""
    if isinstance(value, str) and value.lstrip()[:2] in ("[{", "[\n", "[ "):
        with suppress(ValueError):
            return json_cell(value, "messages")
    return value


def turns_field(record: Mapping[str, Any]) -> str | None:
    """The field with the conversation; None where there is none."""
    for name in (*TURNS, "prompt"):
        if _are_turns(parsed(peeked(record, name))):
            return name
    return None


def _are_turns(value: Any) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return False
    return all(isinstance(turn, Mapping) and _is_turn(turn) for turn in value)


def _is_turn(turn: Mapping[str, Any]) -> bool:
    return bool({"from", "role", "input"} & turn.keys()) or {"human", "assistant"} <= turn.keys()


def read_chat(value: Any, name: str, fields: Fields) -> Chat:
    """The conversation in a list of turns, one turn, or a text that the assistant says.

    Raises:
        BadRow: a turn has an unknown role, calls a tool, or holds what is no text and no picture.
    """
    chat, value = Chat(), parsed(value)
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, str):
        value = [{"role": "assistant", "content": value}]
    for turn in value or ():
        if not isinstance(turn, Mapping):
            raise BadRow("turn is no object", name, f"{turn!r:.60}", "objects with role and content")
        for part in _split(turn):
            _take(part, name, chat, fields)
    return chat


def _split(turn: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Question and reply in one turn: XTuner's system, input, output; ms-swift's human, assistant."""
    if "role" in turn or "from" in turn:
        return [turn]
    order = (("system", "system"), ("user", "input"), ("assistant", "output"))
    if "human" in turn:
        order = (("system", "system"), ("user", "human"), ("assistant", "assistant"))
    return [{"role": role, "content": turn[key]} for role, key in order if text_of(turn.get(key))]


def _take(turn: Mapping[str, Any], name: str, chat: Chat, fields: Fields) -> None:
    said = str(turn.get("from") or turn.get("role") or "").strip().lower()
    role = (
        "user"
        if said in USER_ROLES
        else "assistant"
        if said in ASSISTANT_ROLES
        else "system"
        if said in SYSTEM_ROLES
        else None
    )
    if role is None or turn.get("tool_calls") or turn.get("function_call"):
        what = "calls a tool" if role else f"has the role {said!r}"
        raise BadRow(
            "turn that is not understood", name, f"a turn {what}", "turns of system, user and assistant"
        )
    content = next((turn[key] for key in ("value", "content", "text") if turn.get(key) is not None), None)
    text = _text(content, name, chat, fields)
    for key, value in turn.items():
        if key not in (*_READ, *_NOT_LEARNED) and value not in (None, "", [], {}):
            fields.unread_parts[f"{name}[].{key}"] += 1
    if text:
        chat.turns.append((role, text))
        chat.learned.append(all(turn.get(key, 1) not in (False, 0, 0.0) for key in _NOT_LEARNED))


def _text(content: Any, name: str, chat: Chat, fields: Fields) -> str:
    """A turn's text; pictures among its parts become `<image>` and are kept."""
    if not isinstance(content, Sequence) or isinstance(content, str):
        if isinstance(content, Mapping):
            return _text([content], name, chat, fields)
        return text_of(content) or ""
    parts = [_part(part, name, chat) for part in content]
    return "\n".join(text for text in parts if text).replace("<image>\n", "<image>")


def _part(part: Any, name: str, chat: Chat) -> str | None:
    if isinstance(part, str):
        return text_of(part)
    if isinstance(part, Mapping):
        kind = str(part.get("type") or ("text" if "text" in part else "")).lower()
        if kind in ("text", "input_text", "output_text"):
            return text_of(part.get("text", part.get("value", part.get("content"))))
        if kind in ("reasoning", "thinking"):
            said = text_of(part.get("text", part.get("value", part.get("thinking", part.get("content")))))
            return said and f"<think>{said}</think>"
        inline = next((part[key] for key in ("inline_data", "inlineData") if key in part), None)  # Gemini
        if inline is not None or "image" in kind or "image" in part or "image_url" in part:
            keys = ("image_url", "image", "path", "url", "value", "source", "base64", "data", "bytes")
            named = next((part[key] for key in keys if part.get(key)), inline)
            if named is not None:
                chat.pictures.append(named)
            return "<image>"
    raise BadRow(
        "part of a turn is not understood",
        name,
        f"{str(part)[:60]!r} is neither a text nor a picture",
        "parts of the types text and image",
    )


def question_of(turns: Sequence[tuple[str, str]], fields: Fields) -> tuple[str, str | None]:
    """The last thing the user says, and what was said before it.

    Raises:
        BadRow: the user does not speak last.
    """
    if any(role == "system" for role, _ in turns):
        fields.notes.append(SYSTEM_NOTE)
    spoken = [(role, text) for role, text in turns if role != "system"]
    if not spoken or spoken[-1][0] != "user":
        raise BadRow(
            "chat without a question", "conversations", "no question before the reply", "a user turn"
        )
    before = "\n".join(f"{role}: {text}" for role, text in spoken[:-1])
    return spoken[-1][1], before or None


def note_system(fields: Fields) -> None:
    """Notes that a record's own system prompt is not used."""
    if optional(fields, "system", "system_prompt"):
        fields.notes.append(SYSTEM_NOTE)


def history_of(record: Mapping[str, Any]) -> str | None:
    """Earlier turns, written as a list of [question, reply].

    Raises:
        BadRow: it is no such list.
    """
    history = record.get("history")
    if history in (None, "", []):
        return None
    pairs = history if isinstance(history, list) else [None]
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise BadRow("history not understood", "history", f"{history!r:.60}", "a list of [question, reply]")
    turns = [
        (role, text_of(text))
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair or (), strict=True)
    ]
    return "\n".join(f"{role}: {text}" for role, text in turns if text) or None

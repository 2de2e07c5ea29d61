"""Text-only rows: instructions, chats, preference pairs, PubMedQA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from medgrpo.data.readers.base import BadRow, Item, Record, RecordReader
from medgrpo.data.readers.generic import answer_type_of, find_images, split_of
from medgrpo.data.readers.values import folded, optional, required, text_of
from medgrpo.data.schema import Task, guess_language, new_row
from medgrpo.data.source import Source

USER_ROLES = ("user", "human", "question")
ASSISTANT_ROLES = ("assistant", "gpt", "bot", "model", "chatgpt")


class InstructionReader(RecordReader):
    """Alpaca: `instruction`, `input` (often empty), `output`."""

    name: ClassVar[str] = "instruction"
    task: ClassVar[Task] = "text"
    describe: ClassVar[str] = "Alpaca: instruction, input, output"

    def accepts(self, record: Record) -> bool:
        """An instruction and an output."""
        return {"instruction", "output"} <= record.keys()

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row; a non-empty input follows the instruction on a line of its own."""
        instruction = required(record, "instruction")
        extra = optional(record, "input")
        answer = required(record, "output")
        question = f"{instruction}\n{extra}" if extra else instruction
        row = new_row(question=question, answer=answer, language=guess_language(question))
        row["answer_type"] = answer_type_of({}, answer)
        return Item(row, find_images(folded(record), source, file), split=split_of(file))


class PreferenceReader(RecordReader):
    """Preference pairs: `chosen` and `rejected`, as texts or messages, with the prompt beside them."""

    name: ClassVar[str] = "preference"
    task: ClassVar[Task] = "text"
    describe: ClassVar[str] = "preference pairs: chosen, rejected, and prompt, question or conversations"

    def accepts(self, record: Record) -> bool:
        """Both sides of a pair."""
        return {"chosen", "rejected"} <= record.keys()

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row; the reference answer is the preferred completion unless the record has one."""
        chosen, rejected = (_last_reply(record, side) for side in ("chosen", "rejected"))
        if chosen == rejected:
            raise BadRow("pair of equals", "rejected", "chosen and rejected are the same", "two completions")
        question, context = _prompt(record)
        row = new_row(
            question=question,
            context=context,
            answer=optional(record, "answer") or chosen,
            chosen=chosen,
            rejected=rejected,
            language=guess_language(question),
            answer_type="open",
        )
        return Item(row, find_images(folded(record), source, file), split=split_of(file))


class ChatReader(RecordReader):
    """Chats: ShareGPT `conversations` with from/value, or `messages` with role/content."""

    name: ClassVar[str] = "chat"
    task: ClassVar[Task] = "text"
    describe: ClassVar[str] = "ShareGPT conversations (from, value) or messages (role, content)"

    def accepts(self, record: Record) -> bool:
        """A list of turns."""
        return bool(_turns(record))

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row: the last question of the user and its reply; what was said before is the context."""
        turns = _turns(record)
        if len(turns) < 2 or turns[-1][0] != "assistant":
            roles = ", ".join(role for role, _ in turns) or "none"
            raise BadRow(
                "chat without a reply", "conversations", f"the turns are {roles}", "user, then assistant"
            )
        question, context = _question_of(turns[:-1])
        answer = turns[-1][1]
        row = new_row(question=question, context=context, answer=answer, language=guess_language(question))
        row["answer_type"] = answer_type_of({}, answer)
        return Item(row, find_images(folded(record), source, file), split=split_of(file))


class PubMedReader(RecordReader):
    """PubMedQA: an object keyed by PMID; yes, no or maybe from an abstract."""

    name: ClassVar[str] = "pubmedqa"
    task: ClassVar[Task] = "text"
    describe: ClassVar[str] = "PubMedQA: QUESTION, CONTEXTS, final_decision"

    def accepts(self, record: Record) -> bool:
        """PubMedQA's field names, which are in capitals."""
        return {"QUESTION", "CONTEXTS", "final_decision"} <= record.keys()

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row; LONG_ANSWER, the abstract's conclusion, tells the answer and is left out."""
        contexts = record["CONTEXTS"]
        if not isinstance(contexts, Sequence) or isinstance(contexts, str):
            raise BadRow("no context", "CONTEXTS", f"{contexts!r} is no list", "the parts of the abstract")
        question = required(record, "QUESTION")
        row = new_row(
            question=question,
            answer=required(record, "final_decision"),
            context="\n".join(text for part in contexts if (text := text_of(part))),
            language=guess_language(question),
            answer_type="closed",
            question_type="YES/NO/MAYBE",
        )
        return Item(row, split=split_of(file))


def _turns(record: Record) -> list[tuple[str, str]]:
    """(role, text) of each turn, roles as user, assistant or system; empty where it is no chat."""
    turns = record.get("conversations") or record.get("messages") or record.get("conversation")
    return _as_turns(turns)


def _as_turns(turns: Any) -> list[tuple[str, str]]:
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        return []
    found = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            return []
        role = str(turn.get("from") or turn.get("role") or "").lower()
        text = _content(turn.get("value", turn.get("content")))
        if text:
            known = "user" if role in USER_ROLES else "assistant" if role in ASSISTANT_ROLES else role
            found.append((known, text))
    return found


def _content(value: Any) -> str:
    """A turn's text; of parts the text ones. `<image>` marks are left out: the row names its pictures."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        parts = [part.get("text") for part in value if isinstance(part, Mapping)]
        value = "\n".join(text for part in parts if (text := text_of(part)))
    return (text_of(value) or "").replace("<image>", "").strip()


def _question_of(turns: Sequence[tuple[str, str]]) -> tuple[str, str | None]:
    """The last thing the user says, and what was said before it.

    Raises:
        BadRow: the user does not speak last.
    """
    spoken = [(role, text) for role, text in turns if role != "system"]
    if not spoken or spoken[-1][0] != "user":
        raise BadRow(
            "chat without a question", "conversations", "no question before the reply", "a user turn"
        )
    before = "\n".join(f"{role}: {text}" for role, text in spoken[:-1])
    return spoken[-1][1], before or None


def _prompt(record: Record) -> tuple[str, str | None]:
    prompt = record.get("prompt")
    turns = _turns(record) or _as_turns(prompt)
    if not turns and not isinstance(record["chosen"], str):
        turns = _as_turns(record["chosen"])[:-1]
    if turns:
        return _question_of(turns)
    return required(record, "prompt", "question", "instruction", "query"), None


def _last_reply(record: Record, side: str) -> str:
    value = record[side]
    if isinstance(value, Sequence) and not isinstance(value, str):
        turns = _as_turns(value)
        if turns:
            return turns[-1][1]
    return required(record, side)

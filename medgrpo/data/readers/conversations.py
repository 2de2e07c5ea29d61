"""Rows that are conversations: with a reply, with a reference beside them, with places in the picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from medgrpo.data.fields import Fields
from medgrpo.data.readers.answers import answer_part, full_reply
from medgrpo.data.readers.base import BadRow, Item, Record, RecordReader
from medgrpo.data.readers.chats import Chat, history_of, note_system, question_of, read_chat, turns_field
from medgrpo.data.readers.generic import (
    DIFFICULTY,
    answer_type_of,
    difficulty_of,
    find_images,
    refuse_unwanted,
    split_of,
)
from medgrpo.data.readers.grounding import grounded
from medgrpo.data.readers.values import folded, optional, required, texts_of
from medgrpo.data.schema import Task, guess_language, new_row
from medgrpo.data.source import Source

REFERENCE = (
    "solution",
    "ground_truth",
    "gt",
    "answer",
    "target",
    "reference",
    "reference_answer",
    "final_answer",
)
"""Fields beside a conversation that hold its reference answer: a reward compares with them, not with the reply."""


class ChatReader(RecordReader):
    """Chats: ShareGPT `conversations` with from/value, or `messages` with role/content."""

    name: ClassVar[str] = "chat"
    task: ClassVar[Task] = "text"
    describe: ClassVar[str] = (
        "ShareGPT conversations (from, value), messages (role, content) or TRL's prompt and completion; "
        "solution, objects, images beside them"
    )

    def accepts(self, record: Record) -> bool:
        """A list of turns."""
        return turns_field(record) is not None

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row: the last question of the user and its reply; what was said before is the context."""
        fields = folded(record)
        refuse_unwanted(fields)
        chat = conversation(fields)
        reference = _reference(fields)
        reply = chat.turns[-1][1] if chat.turns and chat.turns[-1][0] == "assistant" else None
        if reply is None and not reference:
            roles = ", ".join(role for role, _ in chat.turns) or "none"
            raise BadRow(
                "chat without a reply", "conversations", f"the turns are {roles}", "user, then assistant"
            )
        if reply is not None and not chat.learned[-1]:
            raise BadRow(
                "reply that is not to be learned", "loss", "the last reply has loss 0", "a reply to learn"
            )
        question, context = question_of(chat.turns[:-1] if reply is not None else chat.turns, fields)
        images = find_images(fields, source, file, chat.pictures)
        if fields.get("objects") not in (None, {}, []):
            return Item(grounded(fields, question, reply, images, source), images, split=split_of(file))
        answer = reference[0] if reference else answer_part(reply or "", "conversations")
        row = new_row(
            question=question,
            context=context,
            answer=answer,
            answers=reference or [answer],
            chosen=full_reply(reply, answer),
            language=guess_language(question),
            difficulty=difficulty_of(optional(fields, *DIFFICULTY)),
        )
        if reference and reply and row["chosen"] is None and answer_part(reply) != answer:
            row["chosen"] = reply
        row["answer_type"] = answer_type_of({}, answer)
        return Item(row, images, split=optional(fields, "split") or split_of(file))


def conversation(fields: Fields) -> Chat:
    """The turns of a record; TRL's `completion` follows its `prompt`."""
    name = turns_field(fields)
    if name is None:
        return Chat()
    chat = read_chat(fields[name], name, fields)
    if name == "prompt" and fields.get("completion") is not None:
        reply = read_chat(fields["completion"], "completion", fields)
        chat.turns += reply.turns
        chat.learned += reply.learned
        chat.pictures += reply.pictures
    note_system(fields)
    return chat


def _reference(fields: Fields) -> list[str]:
    name = next((name for name in REFERENCE if name in fields and fields[name] not in (None, "", [])), None)
    return [] if name is None else [answer_part(text, name) for text in texts_of(fields[name])]


class PreferenceReader(RecordReader):
    """Preference pairs: two replies to one prompt, under the names of TRL, LLaMA-Factory, ms-swift and OpenAI."""

    name: ClassVar[str] = "preference"
    task: ClassVar[Task] = "text"
    describe: ClassVar[str] = (
        "preference pairs: chosen and rejected (texts, turns), rejected_response beside messages, "
        "preferred_output and non_preferred_output; with prompt, question, instruction and input, or conversations"
    )
    harmless: ClassVar[frozenset[str]] = frozenset(
        (
            "score_chosen",
            "score_rejected",
            "chosen_score",
            "rejected_score",
            "chosen_rating",
            "rejected_rating",
        )
    )
    CHOSEN = (
        "chosen",
        "preferred_output",
        "preferred",
        "chosen_messages",
        "response_chosen",
        "chosen_response",
    )
    REJECTED = (
        *("rejected", "non_preferred_output", "dispreferred", "rejected_messages", "response_rejected"),
        *("rejected_response", "reject", "rejected_answer"),
    )

    def accepts(self, record: Record) -> bool:
        """Both sides of a pair, or the worse one beside a conversation that ends in the better."""
        fields = folded(record)
        worse = any(name in fields for name in self.REJECTED)
        better = any(name in fields for name in self.CHOSEN)
        return worse and (better or turns_field(record) is not None or "response" in fields)

    def convert(self, record: Record, source: Source, file: Path) -> Item:
        """The row; the reference answer is the preferred completion unless the record has one."""
        fields = folded(record)
        worse = next(
            (name for name in self.REJECTED if fields.get(name) not in (None, "", [])), self.REJECTED[0]
        )
        _refuse_other_scores(fields)
        prompt, chosen, pictures = _spoken_texts(fields) or self._better(fields)
        rejected = _last_reply(fields, worse)
        if (
            isinstance(fields[worse], str)
            and (told := _SPEAKER.split(fields[worse]))[0] == ""
            and len(told) > 2
        ):
            rejected = told[-1].strip()
        if chosen == rejected:
            raise BadRow("pair of equals", worse, "chosen and rejected are the same", "two completions")
        question, context = prompt
        _same_prompt(fields, worse, question)
        row = new_row(
            question=question,
            context=context,
            answer=optional(fields, "answer", "solution") or answer_part(chosen, "chosen"),
            chosen=chosen,
            rejected=rejected,
            language=guess_language(question),
            answer_type="open",
        )
        return Item(row, find_images(fields, source, file, pictures), split=split_of(file))

    def _better(self, fields: Fields) -> tuple[tuple[str, str | None], str, list[Any]]:
        """Question and context, the better reply, and the pictures of the conversation."""
        name = next((name for name in self.CHOSEN if fields.get(name) not in (None, "", [])), None)
        own = fields.get("input")
        if isinstance(own, dict) and isinstance(own.get("messages"), list):  # OpenAI
            chat = read_chat(own["messages"], "input.messages", fields)
        else:
            chat = conversation(fields)
        if name is None:
            if not chat.turns:
                return _asked(fields), required(fields, "response"), []
            if chat.turns[-1][0] != "assistant":
                raise BadRow(
                    "pair of one side", "chosen", "no better reply in the conversation", "an assistant turn"
                )
            return question_of(chat.turns[:-1], fields), chat.turns[-1][1], chat.pictures
        if not chat.turns and not isinstance(fields[name], str):
            whole = read_chat(fields[name], name, fields)
            if len(whole.turns) > 1:
                return question_of(whole.turns[:-1], fields), whole.turns[-1][1], whole.pictures
        chosen = _last_reply(fields, name)
        if chat.turns and chat.turns[-1] == (
            "assistant",
            chosen,
        ):  # UltraFeedback repeats the better conversation
            chat.turns.pop()
        if chat.turns:
            return question_of(chat.turns, fields), chosen, chat.pictures
        return _asked(fields), chosen, []


_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


def _spoken_texts(fields: Fields) -> tuple[tuple[str, str | None], str, list[Any]] | None:
    """Question and context, and the better reply, of two whole conversations as texts (HH-RLHF): `\\n\\nHuman: …`.

    Raises:
        BadRow: the two do not share all but their last reply.
    """
    sides = [fields.peek(name) for name in ("chosen", "rejected")]
    if turns_field(fields) or "prompt" in fields or not all(isinstance(side, str) for side in sides):
        return None
    better, worse = ([part.strip() for part in _SPEAKER.split(str(side))] for side in sides)
    if better[0] or len(better) < 5 or better[-2] != "Assistant" or better[-4] != "Human":
        return None
    if better[:-1] != worse[:-1]:
        raise BadRow(
            "sides with other questions", "rejected", f"{worse[-3:-2]!r:.60}", "one conversation, two replies"
        )
    before = "\n".join(
        f"{'user' if who == 'Human' else 'assistant'}: {said}"
        for who, said in zip(better[1:-4:2], better[2:-4:2], strict=True)
    )
    fields.get("chosen")
    return (better[-3], before or None), better[-1], []


def _refuse_other_scores(fields: Fields) -> None:
    """Scores beside a pair that say the other side is the better one."""
    for better, worse in (
        ("score_chosen", "score_rejected"),
        ("chosen_score", "rejected_score"),
        ("chosen_rating", "rejected_rating"),
    ):
        one, other = fields.peek(better), fields.peek(worse)
        if all(isinstance(score, int | float) for score in (one, other)) and one < other:
            raise BadRow(
                "scores that turn the pair round",
                better,
                f"{better} is {one} and {worse} {other}",
                "the better reply as chosen",
            )


def _asked(fields: Fields) -> tuple[str, str | None]:
    from medgrpo.data.readers.texts import instruction_of

    if optional(fields, "instruction"):
        return instruction_of(fields)
    question = required(fields, "prompt", "question", "instruction", "query")
    extra = optional(fields, "input")
    before = "\n".join(text for text in (optional(fields, "context"), history_of(fields)) if text)
    return f"{question}\n{extra}" if extra else question, before or None


def _last_reply(fields: Fields, side: str) -> str:
    if fields[side] is not None and not isinstance(fields[side], str | list | dict):
        return required(fields, side)
    value = fields[side]
    if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        if len(value) > 1:
            raise BadRow("several replies on one side", side, f"{len(value)} texts", "one text")
        value = value[0]
    if isinstance(value, list | dict) and value:
        chat = read_chat(value, side, fields)
        if not chat.turns or chat.turns[-1][0] != "assistant":
            raise BadRow(
                "pair of one side", side, "the last turn is not the assistant's", "an assistant turn"
            )
        return chat.turns[-1][1]
    return required({side: value}, side)


def _same_prompt(fields: Fields, worse: str, question: str) -> None:
    value = fields[worse]
    if isinstance(value, list) and len(value) > 1 and isinstance(value[0], dict):
        asked = [text for role, text in read_chat(value, worse, fields).turns if role == "user"]
        if asked and asked[-1] != question:
            raise BadRow(
                "sides with other questions", worse, f"{asked[-1][:60]!r}", "the question of the better side"
            )

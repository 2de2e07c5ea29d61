"""Chat templates of strangers: Jinja runs them in a sandbox, which bounds neither their time nor their memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from medgrpo.alarm import LARGE, LATE, measured_apart
from medgrpo.errors import MedgrpoError

TEMPLATE_S = 10.0
"""Longest time for a few short questions; honest templates take a millisecond."""
TEMPLATE_BYTES = 2**29
LONGEST_PROMPT = 1_000_000
"""Characters of a short question's prompt; honest templates write some hundred, the longest system texts some ten thousand."""
LONGEST_REPEAT = 1000


def check_template(processor: Any, path: str) -> None:
    """Refuse the chat template of a processor or tokenizer, as `check_rendering` does.

    Raises:
        MedgrpoError: says why.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    texts: list[str] = []
    for holder in {id(one): one for one in (processor, tokenizer)}.values():
        template = getattr(holder, "chat_template", None)
        every = template.values() if isinstance(template, dict) else [template]
        texts += [text for text in every if isinstance(text, str)]

    def render(talk: list[dict[str, Any]], *, opens: bool) -> str:
        return str(processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=opens))

    check_rendering(texts, render, path)


def check_rendering(texts: Iterable[str], render: Callable[..., str], path: str) -> None:
    """Refuse a chat template that would fill the memory, does not end, or writes a book for one short question.

    Other faults of it come up where the first prompt is written.

    Args:
        texts: the template, or templates.
        render: writes the prompt of a talk; `opens`: up to where the reply begins.
        path: of the model, for the message.

    Raises:
        MedgrpoError: says which.
    """
    for text in texts:
        if why := _is_explosive(text):
            raise _refused(path, f"{why}, which could fill the memory")
    written = measured_apart(lambda: _longest(render), seconds=TEMPLATE_S, memory=TEMPLATE_BYTES)
    if written == LATE:
        raise _refused(path, f"takes longer than {TEMPLATE_S:g} s for one short question")
    if written == LARGE:
        raise _refused(path, f"takes more than {TEMPLATE_BYTES >> 20} MiB of memory for one short question")
    if written is not None and written > LONGEST_PROMPT:
        raise _refused(path, f"writes {written:,} characters for one short question")


def _refused(path: str, why: str) -> MedgrpoError:
    return MedgrpoError(
        f"the chat template of {path} {why}",
        expected="a template that joins texts, and ends",
        hint="look at chat_template.jinja: who wrote this model?",
    )


def _longest(render: Callable[..., str]) -> int:
    """Characters of the longest prompt of some talks: with and without a system text, a picture, an answer before."""
    picture = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
    talks: list[list[dict[str, Any]]] = [
        [{"role": "user", "content": "?"}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is there a mass? " * 20}],
        [{"role": "user", "content": picture}],
        [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": picture},
            {"role": "assistant", "content": [{"type": "text", "text": "No."}]},
            {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
        ],
    ]
    found = 0
    for talk in talks:
        for opens in (True, False):
            try:
                made = render(talk, opens=opens)
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001  (whatever it says: the first real prompt will say it)
                continue
            found = max(found, len(made))
    return found


def _is_explosive(text: str) -> str | None:
    """What in a template makes long texts of short ones; None where nothing does."""
    from jinja2 import Environment, TemplateError, nodes

    try:
        tree = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(text)
    except (TemplateError, RecursionError):
        return None  # told where it is used
    if any(True for _ in tree.find_all(nodes.Pow)):
        return "takes powers"
    for product in tree.find_all(nodes.Mul):
        sides = (product.left, product.right)
        if any(list(side.find_all(nodes.Mul)) or isinstance(side, nodes.Mul) for side in sides):
            return "multiplies products"
        numbers = [side.value for side in sides if isinstance(side, nodes.Const)]
        if any(isinstance(one, int) and one > LONGEST_REPEAT for one in numbers):
            return f"multiplies by more than {LONGEST_REPEAT}"
    return None

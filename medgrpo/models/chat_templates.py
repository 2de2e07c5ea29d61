"""Chat templates of strangers: Jinja runs them in a sandbox, which bounds neither their time nor their memory."""

from __future__ import annotations

from typing import Any

from medgrpo.alarm import limited
from medgrpo.errors import MedgrpoError

TEMPLATE_S = 10.0
"""Longest time for one short question; honest templates take a millisecond."""
LONGEST_REPEAT = 1000


def check_template(processor: Any, path: str) -> None:
    """Refuse a chat template that would fill the memory, or does not end on one short question.

    Other faults of it come up where the first prompt is written.

    Raises:
        MedgrpoError: says which.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    for holder in {id(one): one for one in (processor, tokenizer)}.values():
        template = getattr(holder, "chat_template", None)
        texts = template.values() if isinstance(template, dict) else [template]
        for text in texts:
            if isinstance(text, str) and (why := _is_explosive(text)):
                raise MedgrpoError(
                    f"the chat template of {path} {why}, which could fill the memory",
                    expected="a template that joins texts",
                    hint="look at chat_template.jinja: who wrote this model?",
                )
    talk = [{"role": "user", "content": "?"}]

    def late() -> MedgrpoError:
        return MedgrpoError(
            f"the chat template of {path} takes longer than {TEMPLATE_S:g} s for one short question",
            expected="a template that ends",
        )

    with limited(TEMPLATE_S, late):
        try:
            tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        except MedgrpoError:
            raise
        except Exception:  # noqa: BLE001  (whatever it says of this question: the first real prompt will say it)
            return


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

"""How many tokens a model was made for: beyond them positions are ones that it never saw, and what it writes is noise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from medgrpo.figures import is_finite_number
from medgrpo.files import foreign_json
from medgrpo.foreign import reads

UNSTATED = 2**17
"""Tokens that are tried where neither model nor tokenizer says how many are read: attention takes time and, with padding, memory
by their square."""
SANE = 10**9
"""A tokenizer that says more (1e30) says that it does not know."""


def context_of(model: Any, tokenizer: Any = None) -> int | None:
    """Tokens of prompt and completion together that the model's configuration speaks of; None where nothing does.

    With YaRN and its like, those that its positions are stretched to. Where the configuration says nothing, those of the
    tokenizer: only then, as many a tokenizer states the length of the last training's texts, without the pictures.
    """
    config: Any = getattr(model, "config", None)
    text: Any = config.get_text_config() if hasattr(config, "get_text_config") else config
    positions = _whole(getattr(text, "max_position_embeddings", None))
    stated = [positions]
    for name in ("rope_parameters", "rope_scaling"):
        rope = getattr(text, name, None)
        if isinstance(rope, dict) and is_finite_number(rope.get("factor")) and rope["factor"] > 1:
            is_simple = rope.get("rope_type", rope.get("type")) in ("linear", "dynamic")
            before = _whole(rope.get("original_max_position_embeddings")) or (
                positions if is_simple else None
            )
            stated.append(int(before * rope["factor"]) if before else None)
    most = max((one for one in stated if one), default=None)
    return most or _whole(getattr(tokenizer, "model_max_length", None))


@reads("folder", "a model folder, its config.json an object")
def context_of_folder(folder: Path) -> int | None:
    """The same by the files of a model folder, before anything is loaded; None where they do not say.

    A size that Transformers knows for the family and the file leaves out is not known here.
    """

    def stored(name: str) -> dict[str, Any]:
        found = foreign_json(folder / name) if (folder / name).is_file() else {}
        return found if isinstance(found, dict) else {}

    whole = stored("config.json")
    texts = (whole.get("text_config"), whole.get("llm_config"), whole)
    text = next(one for one in texts if isinstance(one, dict) and one) if whole else {}
    length = stored("tokenizer_config.json").get("model_max_length")
    return context_of(
        SimpleNamespace(config=SimpleNamespace(**{str(name): value for name, value in text.items()})),
        SimpleNamespace(model_max_length=length),
    )


def _whole(value: object) -> int | None:
    """A number of tokens that may be meant: transformers writes 1e30 as a whole number for "not known"."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 < value < SANE else None  # type: ignore[operator,return-value]

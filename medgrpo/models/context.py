"""How many tokens a model was made for: beyond them positions are ones that it never saw, and what it writes is noise."""

from __future__ import annotations

from typing import Any


def context_of(model: Any) -> int | None:
    """Tokens of prompt and completion together that the model's configuration speaks of; None where it does not.

    With YaRN and its like, those that its positions are stretched to.
    """
    config = getattr(model, "config", None)
    if config is None:
        return None
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    stated = [_whole(getattr(text, "max_position_embeddings", None))]
    for name in ("rope_parameters", "rope_scaling"):
        rope = getattr(text, name, None)
        if isinstance(rope, dict) and isinstance(rope.get("factor"), int | float):
            before = _whole(rope.get("original_max_position_embeddings"))
            stated.append(int(before * rope["factor"]) if before and rope["factor"] > 1 else None)
    return max((one for one in stated if one), default=None)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

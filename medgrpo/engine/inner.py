"""The parts of a model that the stream needs to know, under whatever wraps it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def base_of(model: Any) -> Any:
    """The Transformers model inside an adapter and the wrappers of several processes."""
    while hasattr(model, "module"):
        model = model.module
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def inner_of(model: Any) -> Any:
    """The model without its head."""
    base = base_of(model)
    return getattr(base, base.base_model_prefix)


def text_config_of(model: Any) -> Any:
    """The configuration of the language model."""
    return base_of(model).config.get_text_config()


def picture_ids(model: Any) -> tuple[int, ...]:
    """Ids that stand for a piece of a picture or video in the model's prompts."""
    config = base_of(model).config
    names = ("image_token_id", "image_token_index", "video_token_id")
    found = (getattr(config, name, None) for name in names)
    return tuple(dict.fromkeys(int(number) for number in found if number is not None))


@contextmanager
def nothing_dropped(model: Any) -> Iterator[None]:
    """Inside, no dropout layer drops anything, so that two ways through the model can be compared."""
    import torch

    layers = [one for one in model.modules() if isinstance(one, torch.nn.Dropout) and one.training]
    for one in layers:
        one.training = False
    try:
        yield
    finally:
        for one in layers:
            one.training = True

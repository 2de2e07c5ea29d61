"""What a frozen vision tower makes of a picture, computed once and handed to every pass that shows the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

from medgrpo.engine.inner import base_of
from medgrpo.engine.kept import KeptFeatures
from medgrpo.engine.shown import Shown, joined_pictures

AT_ONCE = 8
"""Prompts whose pictures go through the tower together."""


def is_frozen(inner: Any) -> bool:
    """Whether nothing of vision tower and aligner is trained, adapters included.

    Args:
        inner: the model without its head.
    """
    language = {id(weight) for weight in inner.get_decoder().parameters()}
    return not any(weight.requires_grad and id(weight) not in language for weight in inner.parameters())


def spare_frozen_tower(model: Any) -> int:
    """Take away what sends every step backwards through a vision tower that nothing learns in; how many places.

    With recomputation Transformers has the output of every embedding need a gradient, that of the tower's patches too
    (Qwen2-VL, Qwen2.5-VL, InternVL, Gemma-3).
    """
    base = base_of(model)
    inner = getattr(base, getattr(base, "base_model_prefix", ""), None)
    if inner is None or not hasattr(inner, "get_decoder") or not is_frozen(inner):
        return 0
    language = {id(module) for module in inner.get_decoder().modules()}
    found = [
        (module, key)
        for module in inner.modules()
        if id(module) not in language
        for key, hook in module._forward_hooks.items()
        if getattr(hook, "__name__", "").startswith(_NEEDS_GRADIENT)
    ]
    for module, key in found:
        del module._forward_hooks[key]
    return len(found)


_NEEDS_GRADIENT = "make_inputs_require_grad"
"""How Transformers, PEFT and TRL name such a hook."""


def keep_features(
    inner: Any,
    shown: Sequence[Shown],
    device: Any,
    autocast: Any = nullcontext,
    kept: KeptFeatures | None = None,
) -> None:
    """Put the features of each prompt's pictures beside it, on the device; those that are there stay.

    Prompts that are known to show the same pictures (`content`) have the tower look once.

    Args:
        inner: the model without its head; its tower is frozen.
        autocast: gives a context in which the model is called.
        kept: what was seen in earlier steps. With it the tower looks at each prompt's pictures alone, so that what it makes of
            them does not depend on which others were known already.
    """
    import torch

    unique = {id(one): one for one in shown}.values()  # rows of a group share theirs
    waiting: dict[bytes | int, list[Shown]] = {}
    for one in unique:
        if one["pictures"] and "features" not in one:
            waiting.setdefault(_key(one), []).append(one)
    for key in list(waiting):
        found = kept.take(key, torch.device(device)) if kept is not None and isinstance(key, bytes) else None
        if found is not None:
            for one in waiting.pop(key):
                one["features"] = found
    new = list(waiting.items())
    at_once = AT_ONCE if kept is None else 1
    known = _known_names(inner)
    for start in range(0, len(new), at_once):
        part = [same[0] for _, same in new[start : start + at_once]]
        pictures = {name: value.to(device) for name, value in joined_pictures(part).items()}
        with torch.no_grad(), autocast():
            made = inner.get_image_features(
                **{name: value for name, value in pictures.items() if name in known}, return_dict=True
            )
        for (key, same), features in zip(new[start : start + at_once], _split(made, part), strict=True):
            for one in same:
                one["features"] = features
            if kept is not None and isinstance(key, bytes):
                kept.put(key, features)


def _key(one: Shown) -> bytes | int:
    """What a prompt's pictures are known by; the entry itself where nobody looked."""
    content = one.get("content")
    return id(one) if content is None else content.cpu().numpy().tobytes()


@contextmanager
def handed_over(
    inner: Any, shown: Sequence[Shown], asked: Callable[[int], int] = lambda _: 1
) -> Iterator[dict[str, Any]]:
    """Inside, the model takes the kept features for those of these prompts' pictures, in this order.

    Gives what stands for the pictures in the call.

    Args:
        asked: from the length of the pixels that the model would have looked at, how often each prompt's pictures follow
            each other in them.
    """
    import torch

    kept = [one["features"] for one in shown if one["pictures"]]
    device = kept[0]["pooled"][0].device

    @wraps(inner.get_image_features)  # `generate` reads the names of what it takes
    def remembered(pixel_values: Any, *_: Any, **__: Any) -> Any:
        times = asked(len(pixel_values))
        return _joined([one for one in kept for _ in range(times)])

    inner.get_image_features = remembered
    try:
        yield {"pixel_values": torch.zeros(1, 1, device=device)}
    finally:
        del inner.get_image_features


def with_pictures(inner: Any, shown: Sequence[Shown], device: Any) -> AbstractContextManager[dict[str, Any]]:
    """The inputs that show these prompts' pictures once each: kept features, or the pictures themselves."""
    if not any(one["pictures"] for one in shown):
        return nullcontext({})
    if all("features" in one for one in shown if one["pictures"]):
        return handed_over(inner, shown)
    return nullcontext({name: value.to(device) for name, value in joined_pictures(shown).items()})


def _known_names(inner: Any) -> set[str]:
    import inspect

    return set(inspect.signature(inner.get_image_features).parameters)


def _split(made: Any, shown: Sequence[Shown]) -> Iterator[dict[str, Any]]:
    """The tower's output by prompt. Families give a list by picture, or one tensor by tile."""
    is_list = isinstance(made.pooler_output, list | tuple)
    deep = getattr(made, "deepstack_features", None) or []
    start = seen = 0
    for one in shown:
        count = one["images"] if is_list else len(one["pictures"]["pixel_values"])
        part = slice(start, start + count)
        pooled = list(made.pooler_output[part]) if is_list else [made.pooler_output[part]]
        tokens = sum(len(picture) for picture in pooled)
        yield {
            "pooled": pooled,
            "is_list": is_list,
            # Transformers before 5.20 gives what Qwen3-VL adds to deeper layers for all pictures in one
            "deep": [
                [layer[seen : seen + tokens]] if hasattr(layer, "shape") else list(layer[part])
                for layer in deep
            ],
            "deep_is_list": not any(hasattr(layer, "shape") for layer in deep),
        }
        start, seen = start + count, seen + tokens


def _joined(kept: Sequence[dict[str, Any]]) -> Any:
    """As the tower gives it."""
    import torch
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    pooled = [part for one in kept for part in one["pooled"]]
    deep: list[Any] = [
        [part for one in kept for part in one["deep"][layer]] for layer in range(len(kept[0]["deep"]))
    ]
    if not kept[0]["deep_is_list"]:
        deep = [torch.cat(layer) for layer in deep]
    joined = BaseModelOutputWithPooling(pooler_output=pooled if kept[0]["is_list"] else torch.cat(pooled))
    joined.deepstack_features = deep or None
    return joined

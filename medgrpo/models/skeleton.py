"""A model without its weights: its modules, what the files call them, and a forward pass that fetches weights by layer.

The forward pass holds what lies outside the layers (embeddings, norms, the head) and one layer at a time, so that a
model is run that is larger than the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError

if TYPE_CHECKING:
    import torch


@dataclass
class Skeleton:
    """The modules of a model, its parameters on the meta device, its computed buffers real."""

    model: Any
    is_vision: bool
    shapes: dict[str, tuple[int, ...]]
    """Of every weight that files may hold, by the name that the model gives it."""
    ties: dict[str, str]
    """Weight -> the weight that it is a second name of."""
    modules: dict[str, Any]
    name: str
    """Of its folder, for messages."""
    _renamings: list[Any]
    _converters: list[Any]

    @classmethod
    def open(cls, folder: Path, *, trust_remote_code: bool = False) -> Skeleton:
        """The modules of the model in this folder.

        Raises:
            MedgrpoError: Transformers does not know it.
        """
        import torch
        from accelerate import init_empty_weights
        from huggingface_hub.errors import StrictDataclassError
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

        from medgrpo.models.loading import is_vision_config

        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
            is_vision = is_vision_config(config)
            kind = AutoModelForImageTextToText if is_vision else AutoModelForCausalLM
            with init_empty_weights(include_buffers=False):
                model = kind.from_config(
                    config, dtype=torch.float32, trust_remote_code=trust_remote_code
                ).eval()
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, StrictDataclassError) as error:
            raise MedgrpoError(
                f"the model {folder} cannot be opened: {str(error).splitlines()[0]}"
            ) from error
        return cls.of(model, str(folder))

    @classmethod
    def of(cls, model: Any, name: str = "") -> Skeleton:
        """The modules of a model that is already here."""
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter

        from medgrpo.models.loading import is_vision_config

        mapping = get_model_conversion_mapping(model)
        return cls(
            model,
            is_vision_config(model.config),
            {name: tuple(one.shape) for name, one in model.state_dict().items()},
            dict(getattr(model, "all_tied_weights_keys", None) or {}),
            dict(model.named_modules()),
            name,
            [one for one in mapping if not isinstance(one, WeightConverter)],
            [one for one in mapping if isinstance(one, WeightConverter)],
        )

    @cached_property
    def _state(self) -> dict[str, Any]:
        """Gathered once: each weight of an adapter asks."""
        return dict(self.model.state_dict())

    def name_of(self, stored: str) -> str | None:
        """What the model calls a weight that files call `stored`; None where it knows no such weight, or stores it in
        another form than it computes with."""
        if stored in self.shapes and not self._converters:
            return stored
        from transformers.core_model_loading import rename_source_key

        prefix = self.model.base_model_prefix
        name, converted = rename_source_key(stored, self._renamings, self._converters, prefix, self._state)
        return name if converted is None and name in self.shapes else None

    def source_of(self, name: str) -> str:
        """The weight that this one is a second name of; itself where it stands alone."""
        return self.ties.get(name, name)

    @property
    def can_run(self) -> bool:
        """Whether every weight is stored as it is computed with."""
        return not self._converters

    @contextmanager
    def running(self, fetch: Callable[[str], torch.Tensor]) -> Iterator[Any]:
        """The model, its weights taken from `fetch` (by name, float32) when they are needed."""
        import torch

        inside = _layers(self.model)
        owner: dict[int, Any] = {id(one): layer for layer in inside for one in layer.modules()}
        placed: list[tuple[Any, str]] = []
        hooks = []
        kept: dict[str, torch.nn.Parameter] = {}
        room: dict[Any, torch.Tensor] = {}  # used again by each layer: new memory each time frays the heap

        def put(module: Any, key: str, name: str, slot: Any = None) -> None:
            source = self.source_of(name)
            value = kept.get(source)
            if value is None:
                found = fetch(source).float() if slot is None else _into(room, slot, fetch(source))
                value = torch.nn.Parameter(found, requires_grad=False)
                if source in self.ties.values():
                    kept[source] = value
            if key in module._parameters:
                module._parameters[key] = value
            else:
                module._buffers[key] = value.data

        def load(layer: Any, *_: Any) -> None:
            for module, key, name, slot in layer._medgrpo_weights:
                put(module, key, name, slot)

        def free(layer: Any, *_: Any) -> None:
            for module, key, *_rest in layer._medgrpo_weights:
                _empty(module, key)

        for layer in inside:
            layer._medgrpo_weights = []
        for prefix, module in self.modules.items():
            for key, name in _own(module, prefix, self.shapes):
                layer = owner.get(id(module))
                if layer is None:
                    put(module, key, name)
                    placed.append((module, key))
                else:
                    weights = layer._medgrpo_weights
                    weights.append((module, key, name, (type(layer), len(weights), self.shapes[name])))
        try:
            for layer in inside:
                hooks += [layer.register_forward_pre_hook(load), layer.register_forward_hook(free)]
            yield self.model
        finally:
            for hook in hooks:
                hook.remove()
            for layer in inside:
                free(layer)
                del layer._medgrpo_weights
            for module, key in placed:
                _empty(module, key)


def _into(room: dict[Any, torch.Tensor], slot: Any, value: torch.Tensor) -> torch.Tensor:
    """The value in float32, in the memory of this slot."""
    import torch

    if slot not in room:
        room[slot] = torch.empty(value.shape, dtype=torch.float32)
    return room[slot].copy_(value)


def _empty(module: Any, key: str) -> None:
    import torch

    if key in module._parameters:
        module._parameters[key] = torch.nn.Parameter(module._parameters[key].to("meta"), requires_grad=False)


def _own(module: Any, prefix: str, shapes: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, str]]:
    for key in (*module._parameters, *module._buffers):
        name = f"{prefix}.{key}" if prefix else key
        if name in shapes:
            yield key, name


def _layers(model: Any) -> list[Any]:
    """The elements of the outermost lists of modules: decoder layers, vision blocks."""
    import torch

    found: list[Any] = []

    def look(module: Any) -> None:
        for child in module.children():
            if isinstance(module, torch.nn.ModuleList):
                found.append(child)
            else:
                look(child)

    look(model)
    return found

"""From the trainer's weights to a colocated vLLM's: what an adapter changes, and nothing else.

TRL 1.16 merges the adapter into the trainer's own weights, sends all of them one by one, and takes the adapter out
again, which leaves bfloat16 rounding behind in every step. Here base and adapter are added in a tensor of their own, and
after the first time only the weights under the adapter are sent, in one call, from memory to memory. Under FSDP2 the base
is gathered weight by weight, and of the adapter its two thin factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medgrpo.engine.features import is_frozen
from medgrpo.engine.inner import inner_of
from medgrpo.errors import MedgrpoError
from medgrpo.training.trainers.sharding import is_whole, whole_weight

if TYPE_CHECKING:
    import torch


def can_send_adapter(trainer: Any) -> bool:
    """Whether the trainer's model is one that `send_weights` knows: plain LoRA on unquantised weights, not under ZeRO-3."""
    from peft import PeftModel
    from peft.tuners.lora import Linear

    generation = trainer.vllm_generation
    if generation.mode != "colocate" or generation.tensor_parallel_size > 1 or generation.enable_sleep_mode:
        return False
    if not (is_whole(trainer) or trainer.is_fsdp_enabled) or not isinstance(trainer.model, PeftModel):
        return False
    configs = trainer.model.peft_config.values()
    layers = [layer for _, layer in adapted_layers(trainer.model)]
    return (
        all(
            config.peft_type == "LORA"
            and not config.use_dora
            and config.bias == "none"
            and not config.modules_to_save
            for config in configs
        )
        and bool(layers)
        and all(isinstance(layer, Linear) for layer in layers)
        and all(layer.get_base_layer().weight.is_floating_point() for layer in layers)
    )


def adapted_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Layers under the adapter, with the names that the model has without it."""
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield plain_name(name), module


def plain_name(name: str) -> str:
    """A weight's name without what PEFT adds to it."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "")


def merged_weight(layer: Any) -> torch.Tensor:
    """Base and adapter of a layer added, in the base's type; neither is changed."""
    import torch

    base = whole_weight(layer.get_base_layer().weight.detach())
    with torch.no_grad():
        total = base.float()
        for adapter in layer.active_adapters:
            if adapter in layer.lora_A:
                total = total + _adapter_weight(layer, adapter)
    merged: torch.Tensor = total.to(base.dtype)
    return merged


def _adapter_weight(layer: Any, adapter: str) -> torch.Tensor:
    """What one adapter adds to a linear layer's weight, as PEFT's `get_delta_weight`, of factors that may be shared out."""
    narrow, wide = (
        whole_weight(part[adapter].weight.detach()).float() for part in (layer.lora_A, layer.lora_B)
    )
    delta: torch.Tensor = wide @ narrow * layer.scaling[adapter]
    return delta.T if layer.fan_in_fan_out else delta


def policy_weights(model: Any, *, only_adapted: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """The policy's weights, adapter added, by the names of the model's folder.

    Args:
        only_adapted: those under the adapter alone.
    """
    for name, layer in adapted_layers(model):
        yield f"{name}.weight", merged_weight(layer)
    if only_adapted:
        return
    adapted = {f"{name}.weight" for name, _ in adapted_layers(model)}
    for name, weight in model.named_parameters():
        plain = plain_name(name)
        if "lora_" not in name and plain not in adapted:
            yield plain, whole_weight(weight.detach())


def send_weights(generation: Any, model: Any, *, is_first: bool) -> None:
    """Put the policy's weights into a colocated vLLM.

    Args:
        generation: TRL's `VLLMGeneration`.
        is_first: all weights; vLLM's are those of the folder, which a warm start may have changed.
    Raises:
        MedgrpoError: vLLM did not take what it was given.
    """
    runner = generation.llm.llm_engine.model_executor.driver_worker.model_runner
    seen: dict[str, torch.Tensor] = {}

    def noted() -> Iterator[tuple[str, torch.Tensor]]:
        for name, weight in policy_weights(model, only_adapted=not is_first):
            kept = sum(one is not _NOTHING for one in seen.values())
            seen[name] = weight if name.endswith(UNFUSED) and kept < MOST_CHECKED else _NOTHING
            yield name, weight

    loaded = runner.model.load_weights(noted())
    check_taken(
        {name: weight for name, weight in seen.items() if weight is not _NOTHING},
        dict(runner.model.named_parameters()),
        taken=None if loaded is None else len(loaded),
    )
    generation.llm.reset_prefix_cache()
    if not is_frozen(inner_of(model)):
        _forget_pictures(generation.llm)


UNFUSED = ("o_proj.weight", "down_proj.weight")
"""Weights that vLLM holds as they are given, and not joined with others."""
MOST_CHECKED = 4
_NOTHING: Any = object()


def check_taken(given: dict[str, torch.Tensor], held: dict[str, torch.Tensor], *, taken: int | None) -> None:
    """Stop where vLLM holds other weights than it was given: it would sample from an old policy.

    Args:
        given: some of the weights sent.
        held: vLLM's.
        taken: how many vLLM says that it took; None where it does not say.
    Raises:
        MedgrpoError: it does.
    """
    import torch

    hint = "--set rollout.engine=transformers, or report the model's family"
    if taken == 0:
        raise MedgrpoError("vLLM took none of the weights that it was given", hint=hint)
    for name, weight in given.items():
        ending = ".".join(name.split(".")[-5:])
        match = next((one for other, one in held.items() if other.endswith(ending)), None)
        if match is not None and match.shape == weight.shape and not torch.equal(match, weight.to(match)):
            raise MedgrpoError(
                f"vLLM does not hold the weights that it was given ({name}): it would sample from an old policy",
                hint=hint,
            )


def _forget_pictures(llm: Any) -> None:
    """A tower that learns makes other features of the same picture; vLLM keeps those of the last steps."""
    for holder in (llm, llm.llm_engine):
        for name in ("reset_encoder_cache", "reset_mm_cache"):
            if hasattr(holder, name):
                getattr(holder, name)()


@contextmanager
def asked_for(generation: Any, each: int, never: Sequence[int] = ()) -> Iterator[None]:
    """Inside, a colocated vLLM gives ids alone, and so many completions for each request; 0: one, as TRL asks for.

    Words are of no use here, and vLLM makes them token by token, for every completion, between two steps of the GPU.

    Args:
        never: ids that no completion may hold: those that stand for a picture, which the trainer's model would look for.
    """
    before = generation.generation_kwargs
    ruled_out = {"logit_bias": dict.fromkeys(never, RULED_OUT)} if never else {}
    several = {"n": each} if each else {}
    generation.generation_kwargs = {"detokenize": False, **ruled_out, **before, **several}
    try:
        yield
    finally:
        generation.generation_kwargs = before


RULED_OUT = -100.0
"""Added to a logit: nothing is drawn of it."""

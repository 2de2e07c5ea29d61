"""What an adapter does to each weight, computed from its files alone: `W + scale·B·A` and its relatives.

Nothing here loads through PEFT. Which modules the settings name is asked of PEFT's matching of names only, so that a
tensor that is missing is found.

Sources: LoRA (Hu et al. 2021, arXiv:2106.09685), rsLoRA (Kalajdzievski 2023, arXiv:2312.03732), DoRA (Liu et al. 2024,
arXiv:2402.09353), IA3 (Liu et al. 2022, arXiv:2205.05638), LoHa (Hyeon-Woo et al. 2021, arXiv:2108.06098).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.models.adapter_files import AdapterFiles
from medgrpo.models.adapter_names import LEAF, OTHER_BASE, named_as_in, plain_name, translation_note, unfit
from medgrpo.models.tensor_files import listed

if TYPE_CHECKING:
    import torch

    from medgrpo.models.skeleton import Skeleton

KINDS = ("LORA", "IA3", "LOHA")
_REFUSED = {
    "layer_replication": "repeats layers",
    "trainable_token_indices": "trains single tokens",
    "target_parameters": "adapts bare parameters",
    "alora_invocation_tokens": "works from a token on only (aLoRA)",
    "use_qalora": "groups the inputs (QA-LoRA)",
    "monteclora_config": "draws its weights",
}


@dataclass
class Change:
    """What is done to one weight: steps from W (float32) to W' (float32), in order."""

    steps: list[Callable[[torch.Tensor], torch.Tensor]] = field(default_factory=list)
    is_replaced: bool = False
    """Whether the adapter brings the whole weight (`modules_to_save`)."""

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        """The changed weight."""
        for step in self.steps:
            weight = step(weight)
        return weight


def changes_of(
    adapters: Sequence[tuple[AdapterFiles, float]], skeleton: Skeleton
) -> tuple[dict[str, Change], list[str]]:
    """Weight name → what the adapters do to it, and notes on what was done to find the weights.

    Args:
        adapters: each with the weight that its change is multiplied by.
        skeleton: of the base.
    Raises:
        MedgrpoError: tensors without a module, modules without a tensor, another rank or shape; names three and the count.
        UsageError: a kind of adapter that is not known, or kinds that cannot be added up.
    """
    from medgrpo.models.adapters import check_settings

    changes: dict[str, Change] = {}
    notes: list[str] = []
    for given, weight in adapters:
        _check_kind(given, is_alone=len(adapters) == 1 and weight == 1)
        files, translated = named_as_in(given, skeleton)
        if translated:
            notes.append(translation_note(files, translated))
        modules, whole = _grouped(files, skeleton)
        _check_complete(files, skeleton, modules, whole)
        for module, parts in modules.items():
            for name, step in _steps(files, module, parts, skeleton, weight).items():
                changes.setdefault(name, Change()).steps.append(step)
        check_settings(files, skeleton.model, base=skeleton.name)
        for name, step in _replacements(files, skeleton, whole).items():
            if name in changes and changes[name].is_replaced:
                raise UsageError(f"two adapters bring the whole weight {name}", expected="one that does")
            changes[name] = Change([step, *changes.get(name, Change()).steps], True)
    return changes, notes


def check_places(given: AdapterFiles, skeleton: Skeleton) -> None:
    """Every tensor of an adapter has its module in the base, and every module that its settings name its tensors.

    Raises:
        MedgrpoError: what has no counterpart, another rank or shape; names three and the count.
    """
    from medgrpo.models.adapters import check_settings

    files, translated = named_as_in(given, skeleton)
    if translated:
        raise unfit(
            given,
            f"has {translated} names of another version of Transformers, which the engine would pass over",
        )
    modules, whole = _grouped(files, skeleton)
    _check_complete(files, skeleton, modules, whole)
    for module, parts in modules.items():
        _steps(files, module, parts, skeleton, 1.0)
    check_settings(files, skeleton.model, base=skeleton.name)


def _check_kind(files: AdapterFiles, *, is_alone: bool) -> None:
    config, folder = files.config, files.folder
    if files.kind not in KINDS:
        raise UsageError(
            f"{folder} is a {files.kind} adapter",
            expected=f"one of {', '.join(KINDS)}",
            hint="PEFT's own merge_and_unload",
        )
    for name, does in _REFUSED.items():
        if config.get(name):
            raise UsageError(
                f"{folder} {does} ({name}), which is not merged here", hint="PEFT's own merge_and_unload"
            )
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(OTHER_BASE):
        raise UsageError(
            f"{folder} was begun with init_lora_weights = {start!r}, which changed the base too",
            expected="an adapter on the base as it is",
            hint="save it with path_initial_model_for_weight_conversion, which PEFT has for this",
        )
    if not is_alone and (files.kind == "IA3" or config.get("use_dora")):
        raise UsageError(
            f"{folder} multiplies weights ({'DoRA' if files.kind == 'LORA' else files.kind}): it cannot be weighted or added to others",
            expected="LoRA or LoHa adapters, whose changes add up",
        )


def _grouped(
    files: AdapterFiles, skeleton: Skeleton
) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Parts by module, and whole weights by name."""
    modules: dict[str, dict[str, torch.Tensor]] = {}
    whole: dict[str, torch.Tensor] = {}
    unknown = []
    for stored, tensor in files.tensors.items():
        match = LEAF.fullmatch(stored)
        if match and match["module"] in skeleton.modules:
            leaf = match["leaf"] + (".bias" if match["end"] == ".bias" else "")
            parts = modules.setdefault(match["module"], {})
            if leaf in parts:
                raise unfit(files, f"has {leaf} of {match['module']} twice, under two names")
            parts[leaf] = tensor
            continue
        name = plain_name(stored)
        if match or name not in skeleton.shapes:
            unknown.append(stored)
        elif skeleton.shapes[name] != tuple(tensor.shape):
            raise MedgrpoError(
                f"the adapter {files.folder} brings {name} with shape {tuple(tensor.shape)}, the base has {skeleton.shapes[name]}",
                expected="the base it was trained on; a larger vocabulary is resized in the base first",
            )
        elif name in whole:
            raise unfit(files, f"has {name} twice, under two names")
        else:
            whole[name] = tensor
    if unknown:
        raise unfit(
            files,
            f"has tensors that find no place: {listed(unknown)} ({len(unknown)} of {len(files.tensors)})",
        )
    return modules, whole


def _check_complete(
    files: AdapterFiles, skeleton: Skeleton, modules: Mapping[str, Any], whole: Mapping[str, Any]
) -> None:
    """Every module that the settings name has its tensors."""
    from peft import PeftConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    from medgrpo.models.adapters import check_patterns

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # settings of another kind: held against the tensors below
            config = PeftConfig.from_pretrained(str(files.folder))
    except (ValueError, KeyError, TypeError) as error:
        raise unfit(files, f"has settings that PEFT does not take: {str(error).splitlines()[0]}") from error
    check_patterns(files.folder, list(skeleton.modules))
    targets: Any = getattr(config, "target_modules", None)
    missing = []
    if targets == "all-linear":
        missing += [name for name in _all_linear(skeleton) if name not in modules]
    elif targets is not None:
        beyond = [name for name in modules if not _is_named(check_target_module_exists(config, name))]
        if beyond:
            raise unfit(
                files,
                f"has tensors that find no place: for {listed(beyond)} ({len(beyond)} modules), which its settings do not name",
            )
        for name in skeleton.modules:
            if (
                f"{name}.weight" in skeleton.shapes
                and name not in modules
                and _is_named(check_target_module_exists(config, name))
            ):
                missing.append(name)
    for wanted in config.modules_to_save or () if hasattr(config, "modules_to_save") else ():
        named = [name for name in skeleton.shapes if _is_of(name, wanted)]
        missing += [name for name in named if name not in whole and skeleton.source_of(name) not in whole]
    missing += [name for name in _biases(files, skeleton, modules) if name not in whole]
    if missing:
        raise unfit(
            files, f"has no tensor for {listed(missing)} ({len(missing)} of the modules that it names)"
        )


def _all_linear(skeleton: Skeleton) -> list[str]:
    """What PEFT's `all-linear` names: every linear layer but the head."""
    import torch

    head = skeleton.model.get_output_embeddings()
    return [
        name for name, one in skeleton.modules.items() if isinstance(one, torch.nn.Linear) and one is not head
    ]


def _is_of(name: str, module: str) -> bool:
    return re.fullmatch(rf"(.*\.)?{re.escape(module)}\.[^.]+", name) is not None


def _replacements(
    files: AdapterFiles, skeleton: Skeleton, whole: Mapping[str, torch.Tensor]
) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Weight name → the step that puts the adapter's whole weight in its place.

    What `modules_to_save` names became a copy of its own. Any other weight beside an adapter is the base's, which
    PEFT saves with a trained embedding, and it stays one with the weights that share it.
    """
    import torch

    found: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
    saved = files.config.get("modules_to_save") or ()
    of_base: dict[str, torch.Tensor] = {}
    for name, tensor in whole.items():
        if any(_is_of(name, module) for module in saved):
            found[name] = _replaced(tensor)
            continue
        source = skeleton.source_of(name)
        if source in of_base and not torch.equal(of_base[source], tensor):
            raise unfit(files, f"has two values for {source} and {name}, which are one weight in this base")
        of_base[source] = tensor
    for source, tensor in of_base.items():
        step = _replaced(tensor)  # one step, so that weights that stay equal are known by it
        shared = [name for name, its in skeleton.ties.items() if its == source]
        found |= {name: step for name in (source, *shared) if name not in found}
    return found


def _biases(files: AdapterFiles, skeleton: Skeleton, modules: Mapping[str, Any]) -> list[str]:
    """The base's biases that an adapter was told to train too."""
    told = files.config.get("bias") or "none"
    of_base = [name for name in skeleton.shapes if name.endswith(".bias")]
    if told == "all":
        return of_base
    return (
        [name for name in of_base if name.removesuffix(".bias") in modules]
        if str(told).endswith("_only")
        else []
    )


def _is_named(found: Any) -> bool:
    return bool(found)


def _steps(
    files: AdapterFiles, module: str, parts: Mapping[str, torch.Tensor], skeleton: Skeleton, weight: float
) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    name = f"{module}.weight"
    leaves = set(parts)
    if files.kind == "IA3" and leaves == {"ia3_l"}:
        return _ia3(files, module, parts["ia3_l"].float(), skeleton)
    if {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"} == leaves:
        one, two = (parts[f"hada_w{n}_a"].float() @ parts[f"hada_w{n}_b"].float() for n in (1, 2))
        scale = weight * _scale(files, module, parts["hada_w1_b"].shape[0])
        return {name: _added((one * two).reshape(_fitting(files, name, one.shape, skeleton)) * scale)}
    if {"lora_embedding_A", "lora_embedding_B"} == leaves:
        a, b = parts["lora_embedding_A"].float(), parts["lora_embedding_B"].float()
        _fitting(files, name, (a.shape[1], b.shape[0]), skeleton)
        scale = weight * _scale(files, module, a.shape[0])
        return {name: lambda w: w + (b @ a).T * scale}
    if {"lora_A", "lora_B"} <= leaves <= {"lora_A", "lora_B", "lora_magnitude_vector", "lora_B.bias"}:
        return _lora(files, module, parts, skeleton, weight)
    raise unfit(files, f"has an incomplete set of tensors for {module}: {', '.join(sorted(leaves))}")


def _lora(
    files: AdapterFiles, module: str, parts: Mapping[str, torch.Tensor], skeleton: Skeleton, weight: float
) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    import torch

    name = f"{module}.weight"
    a, b = parts["lora_A"].float(), parts["lora_B"].float()
    if b.shape[1] != a.shape[0]:
        raise unfit(files, f"has A of rank {a.shape[0]} and B of rank {b.shape[1]} for {module}")
    scale = weight * _scale(files, module, a.shape[0])
    # PEFT sets it back on a layer whose weight is stored as (out, in)
    is_turned = (
        bool(files.config.get("fan_in_fan_out")) and type(skeleton.modules[module]).__name__ == "Conv1D"
    )
    shape = (b.shape[0], a.shape[1], *a.shape[2:])
    _fitting(files, name, shape[::-1] if is_turned and a.ndim == 2 else shape, skeleton)

    def delta() -> torch.Tensor:
        product = (b.flatten(1) @ a.flatten(1)).reshape(shape)
        return (product.T if is_turned and a.ndim == 2 else product) * scale

    found: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
    magnitude = parts.get("lora_magnitude_vector")
    if (magnitude is not None) != bool(files.config.get("use_dora")):
        has, says = ("a", "no ") if magnitude is not None else ("no", "")
        raise unfit(files, f"has {has} lora_magnitude_vector for {module}, and its settings say {says}DoRA")
    if magnitude is None:
        found[name] = lambda w: w + delta()
    elif a.ndim != 2 or is_turned:
        raise UsageError(f"{files.folder}: DoRA of {module}, which is no linear layer, is not merged here")
    else:
        length = magnitude.float().reshape(-1, 1)
        if length.shape[0] != b.shape[0]:
            raise unfit(files, f"has {length.shape[0]} magnitudes for the {b.shape[0]} rows of {module}")

        def turned(w: torch.Tensor) -> torch.Tensor:
            moved = w + delta()
            return torch.mul(moved, length / torch.linalg.norm(moved, dim=1, keepdim=True))

        found[name] = turned
    if (bias := parts.get("lora_B.bias")) is not None:
        if f"{module}.bias" not in skeleton.shapes:
            raise UsageError(f"{files.folder}: a bias for {module}, which has none, is not merged here")
        found[f"{module}.bias"] = _added(bias.float() * scale)
    return found


def _ia3(
    files: AdapterFiles, module: str, scale: torch.Tensor, skeleton: Skeleton
) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    shape = skeleton.shapes[f"{module}.weight"]
    if tuple(scale.shape) not in ((shape[0], 1), (1, shape[-1])):
        raise unfit(files, f"has scales of shape {tuple(scale.shape)} for {module} of shape {shape}")
    found: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {f"{module}.weight": lambda w: w * scale}
    is_output = scale.shape[-1] == 1 and scale.shape[0] == shape[0]
    if is_output and f"{module}.bias" in skeleton.shapes:
        found[f"{module}.bias"] = lambda bias: bias * scale.reshape(-1)
    return found


def _replaced(new: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda _: new.float()


def _added(delta: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda w: w + delta


def _fitting(files: AdapterFiles, name: str, shape: Sequence[int], skeleton: Skeleton) -> tuple[int, ...]:
    """The base's shape, where the adapter's agrees with it."""
    base = skeleton.shapes[name]
    flat = (shape[0], _product(shape[1:])) == (base[0], _product(base[1:]))
    if tuple(shape) != base and not (flat and len(shape) == 2):
        raise unfit(files, f"changes {name} as a weight of shape {tuple(shape)}, and the base has {base}")
    return base


def _product(sizes: Sequence[int]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result


def _scale(files: AdapterFiles, module: str, rank: int) -> float:
    """What B·A is multiplied by: alpha / rank, with rsLoRA alpha / √rank.

    Raises:
        MedgrpoError: the settings say another rank than the tensors have.
    """
    config = files.config
    alpha_key = "alpha" if files.kind == "LOHA" else "lora_alpha"
    stated = _by_pattern(config.get("rank_pattern"), module, config.get("r"))
    if stated != rank:
        raise MedgrpoError(
            f"the adapter {files.folder} has tensors of rank {rank} for {module}, and its settings say {stated}",
            expected="r and rank_pattern in adapter_config.json as it was trained",
            hint="the scale is alpha / r: with another r the merged model is another function",
        )
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get(alpha_key))
    if not isinstance(alpha, int | float):
        raise MedgrpoError(f"{files.folder / 'adapter_config.json'} names no {alpha_key}")
    return float(alpha) / (sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that the end of the module's name matches."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default

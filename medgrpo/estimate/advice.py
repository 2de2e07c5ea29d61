"""Changes that save time or memory: each is applied as it would be typed, estimated, and listed with what it saves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pydantic import ValidationError

from medgrpo.config.checks import check
from medgrpo.config.sections import RunConfig
from medgrpo.errors import MedgrpoError
from medgrpo.estimate.facts import Facts, situation_of
from medgrpo.estimate.memory import GIB, Memory
from medgrpo.estimate.time import hours
from medgrpo.estimate.workload import Workload
from medgrpo.models.families import image_family

WORTH = 0.05  # changes that save less than this share are not listed
MOST = 8
SECOND = 1 / 3600
MOST_OF_A_CARD = 0.95
"""Share of a card beyond which a colocated vLLM leaves nothing to train with."""


@dataclass(frozen=True)
class Change:
    """What to type, what it costs, and the settings that it sets."""

    typed: str
    costs: str
    settings: dict[str, object]
    gpus: int | None = None
    kind: str = ""
    """Of changes of one kind, growing, none is tried after one that fits."""


@dataclass(frozen=True)
class Advice:
    """One change, and its saving by itself: share of the hours, GiB of the peak."""

    change: str
    saves_hours: float
    saves_gib: float
    costs: str
    fits: bool
    """Whether the run fits with it."""

    def as_dict(self) -> dict[str, object]:
        """The entry of `advice` in the JSON document."""
        saving = []
        if self.saves_hours > 0.05:
            saving.append(f"{self.saves_hours:.1f} h")
        elif self.saves_hours > SECOND and self.saves_gib <= 0.1:  # of a short run
            minutes = 60 * self.saves_hours
            saving.append(f"{minutes:.0f} min" if minutes >= 1 else f"{60 * minutes:.0f} s")
        if self.saves_gib > 0.1:
            saving.append(f"{self.saves_gib:.1f} GiB")
        return {
            "change": self.change,
            "saving": " and ".join(saving),
            "saves_hours": self.saves_hours,
            "saves_gib": self.saves_gib,
            "costs": self.costs,
            "fits": self.fits,
        }


def advise(
    config: RunConfig, facts: Facts, before: Workload, *, is_short: bool | None = None, factor: float = 1.0
) -> list[Advice]:
    """Changes worth making: where memory is short those that make it fit first, else the largest saving of time first.

    Args:
        before: the workload of configuration and facts.
        is_short: whether memory is short, where that was found out; None: as estimated.
        factor: what the hours are multiplied with, where earlier runs of this machine correct them.
    """
    memory = Memory(before)
    short = not memory.fits if is_short is None else is_short
    now = sum(hours(before))
    advice = []
    settled: set[str] = set()
    for change in _changes(before):
        if change.kind in settled:
            continue
        after = applied(config, facts, change)
        if after is None:
            continue
        then = Memory(after)
        if change.kind and then.fits:
            settled.add(change.kind)
        saves_hours = factor * (now - sum(hours(after)))
        saves_gib = (memory.peak - then.peak) / GIB
        saves_gib = saves_gib if abs(saves_gib) > 0.005 else 0.0
        entry = Advice(change.typed, saves_hours, saves_gib, change.costs, then.fits)
        saves_memory = saves_gib > WORTH * memory.peak / GIB
        if short:
            worth = (then.fits and not memory.fits) or saves_memory
        else:  # what would not fit any more saves nothing
            worth = saves_hours > WORTH * factor * now and then.fits
        if worth:
            advice.append(entry)
    if short:
        if not any(one.fits for one in advice) and (several := several_together(config, facts, before)):
            then = Memory(several[1])
            saves_hours = factor * (now - sum(hours(several[1])))
            saves_gib = (memory.peak - then.peak) / GIB
            advice.append(Advice(several[0].typed, saves_hours, saves_gib, several[0].costs, then.fits))
        enough = {
            _name(one) for one in advice if one.fits
        }  # half of a step that is enough in quarters is no advice
        useful = [one for one in advice if one.fits or _name(one) not in enough]
        return sorted(useful, key=lambda one: not one.fits)[:MOST]
    return sorted(advice, key=lambda one: -one.saves_hours)[:MOST]


def _name(advice: Advice) -> str:
    """What a line changes, without the value."""
    return advice.change.partition("=")[0]


def several_together(config: RunConfig, facts: Facts, before: Workload) -> tuple[Change, Workload] | None:
    """Two or three changes on the GPUs that are there with which the run fits, each the one that leaves least; None: no such.

    Only what does the same training in less memory: no fewer or shorter completions and no smaller pictures.
    """
    chosen: list[Change] = []
    work = before
    for _ in range(MOST_TOGETHER):
        tried = []
        for change in _same_training(work):
            joined = _joined([*chosen, change])
            if (after := applied(config, facts, joined)) is not None:
                tried.append((Memory(after), change))
        if not tried:
            return None
        best, change = min(tried, key=lambda pair: (not pair[0].fits, pair[0].peak))
        if best.peak >= Memory(work).peak and not best.fits:
            return None
        chosen.append(change)
        work = replace(before, config=best.work.config)
        if best.fits:
            joined = _joined(chosen)
            after = applied(config, facts, joined)
            return None if after is None else (joined, after)
    return None


MOST_TOGETHER = 3
AND = " + "
"""Between the costs of several changes."""


def _same_training(work: Workload) -> Iterator[Change]:
    for change in (*_free(work), *(() if work.gpu.is_cpu else _of_sampling(work)), *_of_training(work)):
        if not change.gpus and "training.num_iterations" not in change.settings:
            yield change


def _joined(changes: list[Change]) -> Change:
    """One change of several: of a setting that two of them make the later counts."""
    words: dict[str, str] = {}
    for change in changes:
        for option, value in re.findall(r"(--\S+) (\S+)", change.typed):
            words[value.partition("=")[0] if option == "--set" else option] = f"{option} {value}"
    settings = {key: value for change in changes for key, value in change.settings.items()}
    costs = AND.join(dict.fromkeys(change.costs for change in changes))
    return Change(" ".join(words.values()), costs, settings)


def applied(config: RunConfig, facts: Facts, change: Change) -> Workload | None:
    """The workload with a change, validated and estimated as if it were typed; None where it would be refused."""
    try:
        changed = with_settings(config, change.settings)
        gpus = change.gpus or facts.gpus
        if gpus > 1:
            changed = with_settings(changed, {"launch.gpus": gpus})
        check(changed, world_size=gpus)
        work = situation_of(changed, replace(facts, gpus=gpus)).work
        _ = work.plan
    except (MedgrpoError, ValidationError):
        return None
    return work


def with_settings(config: RunConfig, settings: dict[str, object]) -> RunConfig:
    """A configuration with other values, by full key, validated anew."""
    document = config.model_dump()
    for key, value in settings.items():
        section, name = key.split(".")
        document[section][name] = value
    return RunConfig.model_validate(document)


def _set(values: dict[str, object], costs: str) -> Change:
    words = " ".join(f"--set {key}={_typed(value)}" for key, value in values.items())
    return Change(words, costs, values)


def _typed(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _changes(work: Workload) -> Iterator[Change]:
    """From the harmless to the drastic; only what has an effect on this method."""
    yield from _free(work)
    if not work.gpu.is_cpu:
        yield from _of_sampling(work)
    yield from _of_training(work)
    yield from _of_content(work)
    if not work.gpu.is_cpu:
        yield from _of_several_gpus(work)


def _free(work: Workload) -> Iterator[Change]:
    config, plan = work.config, work.plan
    if config.training.gradient_checkpointing is False and not work.shape.widths:
        yield _set({"training.gradient_checkpointing": True}, "time for recomputing")
    if (work.method.samples_texts or work.method.needs_pairs) and config.engine.shared_prompt == "off":
        yield _set({"engine.shared_prompt": "auto"}, "nothing: the same step")
    if plan.per_device_train_batch_size > 1 and not work.draws_masks:  # there a pass is one picture
        half = max(
            size
            for size in range(1, plan.per_device_train_batch_size)
            if plan.per_device_train_batch_size % size == 0
        )
        values: dict[str, object] = {"training.per_device_train_batch_size": half}
        if config.training.gradient_accumulation_steps is not None:  # the same step, in more passes
            passes = plan.per_device_train_batch_size // half
            values["training.gradient_accumulation_steps"] = plan.gradient_accumulation_steps * passes
        yield _set(values, "a little speed")
    if work.shares_weights and config.validation.before_and_after:
        yield _set({"validation.before_and_after": False}, "no score before and after, whole on one GPU")
    if work.is_colocated:
        memory = Memory(work)
        least = memory.least_share
        is_other = least < config.vllm.gpu_memory_utilization - 0.01 or not memory.share_is_enough
        if is_other and least <= MOST_OF_A_CARD:
            costs = "fewer completions at once in vLLM"
            yield _set({"vllm.gpu_memory_utilization": max(0.05, least)}, costs)
        if not config.vllm.enable_sleep_mode:
            asleep: dict[str, object] = {"vllm.enable_sleep_mode": True}
            yield _set(asleep, "seconds a step for moving vLLM's weights")
            if not memory.share_is_enough and least <= MOST_OF_A_CARD:
                asleep = {"vllm.gpu_memory_utilization": least, **asleep}
                yield _set(asleep, "seconds a step for moving vLLM's weights")


def _of_sampling(work: Workload) -> Iterator[Change]:
    config = work.config
    if not work.method.samples_texts:
        return
    if config.rollout.engine == "transformers":
        memory = Memory(replace(work, config=with_settings(config, {"rollout.engine": "vllm"})))
        share = min(0.9, max(0.3, memory.least_share))
        values: dict[str, object] = {"rollout.engine": "vllm", "vllm.mode": "colocate"}
        typed = "--vllm colocate"
        if share > config.vllm.gpu_memory_utilization or config.vllm.gpu_memory_utilization != 0.3:
            values["vllm.gpu_memory_utilization"] = share
            typed += f" --set vllm.gpu_memory_utilization={share}"
        yield Change(typed, "needs the extra [vllm] and memory for a second copy", values)
    elif config.vllm.mode == "colocate":
        yield _set({"rollout.engine": "transformers"}, "slower sampling, no second copy of the model")


def _of_training(work: Workload) -> Iterator[Change]:
    config = work.config
    if config.training.beta > 0 and work.method.has_reference and not work.method.needs_pairs:
        yield _set({"training.beta": 0.0}, "no KL to the reference model")
    if config.tuning.method == "full":
        if not work.gpu.is_cpu and config.training.optim != "adamw_8bit":
            yield _set({"training.optim": "adamw_8bit"}, "needs the extra [qlora]; 8-bit optimiser states")
        if work.shape.widths:  # a U-Net has no place for an adapter
            return
        yield _set(
            {"tuning.method": "lora", "training.learning_rate": max(1e-5, config.training.learning_rate)},
            "fewer weights are trained",
        )
    is_quantisable = not (work.gpu.is_cpu or work.uses_vllm or work.shares_weights or work.draws_masks)
    if config.tuning.method in {"lora", "dora"} and is_quantisable:
        yield _set({"tuning.method": "qlora"}, "4-bit base: a little accuracy and speed")
    if config.tuning.method == "dora":
        yield _set({"tuning.method": "lora"}, "DoRA's magnitudes")
    if config.training.num_iterations > 1 and work.method.samples:
        yield _set({"training.num_iterations": 1}, "each batch is learned from once")


def _of_content(work: Workload) -> Iterator[Change]:
    config = work.config
    work = work.at_largest
    family = image_family(work.shape.family) if work.shape.vision_layers else None
    tokens = work.image_tokens // work.images  # the limit is each picture's
    if family is not None and tokens > 256 and family.layout == "patches":
        pixels = tokens // 2 * family.factor**2
        yield _set({"model.max_pixels": pixels}, "finer detail is lost")
    longest = config.rollout.max_completion_length
    if longest > 128 and work.method.samples_texts:
        yield _set({"rollout.max_completion_length": longest // 2}, "longer reasoning is cut off")
    if work.method.samples and config.rollout.num_generations > 4:
        yield _set({"rollout.num_generations": config.rollout.num_generations // 2}, "noisier advantages")
    if config.rollout.dynamic_sampling:
        yield _set({"rollout.dynamic_sampling": 0}, "groups without spread teach nothing")


def _of_several_gpus(work: Workload) -> Iterator[Change]:
    more = work.gpus * 2
    launch = work.config.launch
    yield Change(f"--gpus {more}", f"{more} GPUs instead of {work.gpus}", {}, more)
    is_small = bool(work.shape.widths)
    if launch.deepspeed is not None or launch.fsdp or work.config.tuning.method == "qlora" or is_small:
        return
    for name, typed, values in (
        ("zero3", "--deepspeed zero3", {"launch.deepspeed": "zero3"}),
        ("fsdp", "--fsdp", {"launch.fsdp": True}),
    ):
        for gpus in sorted({work.gpus, 2, 4, 8, 16}):
            if gpus < max(2, work.gpus):
                continue
            costs = "weights go over the link in each pass"
            if gpus == work.gpus:
                yield Change(typed, costs, dict(values), gpus, name)
            else:
                costs += f"; {gpus} GPUs instead of {work.gpus}"
                yield Change(f"--gpus {gpus} {typed}", costs, dict(values), gpus, name)

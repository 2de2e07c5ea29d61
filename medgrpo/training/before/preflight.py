"""What is checked before anything heavy is loaded, so that a wrong call costs a second and not an hour."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from medgrpo.config.checks import check, check_machine
from medgrpo.config.plan import StagePlan, enabled_stages, plan_stage
from medgrpo.config.sections import RunConfig
from medgrpo.errors import MedgrpoError, UsageError, choice_error
from medgrpo.estimate.room import rows_too_long
from medgrpo.methods import METHODS
from medgrpo.rows import as_row
from medgrpo.training.before.launch import (
    check_launcher,
    deepspeed_file,
    host_memory_needed,
    is_child,
)

if TYPE_CHECKING:
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.data.prompts import PromptTemplate
    from medgrpo.rewards.composite import CompositeReward

AUDITED_ROWS = 200
MASK_REWARDS = "medgrpo.rewards.masks"
CHEAT_LIMIT = 0.8
"""Ratio of best cheat to references above which the run is warned of its reward."""


@dataclass(frozen=True)
class Preflight:
    """What the checks opened, to be used by the run."""

    dataset: PreparedDataset | None
    """None for the demo, whose data is made by the run."""
    composite: CompositeReward
    template: PromptTemplate
    plans: list[StagePlan]
    """One per stage, the main one last; numbers before over-long rows are dropped."""
    warnings: list[str]


def preflight(config: RunConfig, *, world_size: int = 1) -> Preflight:
    """Check settings, data, rewards and model path; torch is not imported.

    Raises:
        UsageError, MedgrpoError: the first thing that cannot work.
    """
    from medgrpo.data.mixture import open_data
    from medgrpo.data.prompts import load_template
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.rewards.trial import trial_rows

    check_launcher(config.launch, os.environ)
    if config.launch.deepspeed is not None:
        deepspeed_file(config.launch.deepspeed)
    warnings = check(config, world_size=world_size)
    check_machine(config)
    _check_gpus(config)
    template = load_template(config.data.prompt_template).with_system(config.data.system_prompt)
    if config.model.thinking == "off" and "think" in template.tags:
        warnings.append(
            'model.thinking = "off" closes <think> in the prompt, and the prompt template asks for it again in the '
            "completion: take a template without it"
        )
    composite = CompositeReward(
        config.rewards.weights,
        gate=config.rewards.gate,
        aggregation=config.rewards.aggregation,
        on_error=config.rewards.on_error,
        rewards=_written_masks(config),
        timeout_s=config.rewards.timeout_s,
        settings={
            **template.reward_settings,
            "caption_threshold": config.rewards.caption_threshold,
        },
    )
    _check_names(config, composite)
    dataset = None if config.data.path is None else open_data(config.data.path, seed=config.run.seed)
    if reads_masks(composite):
        composite = composite.with_settings(data_folder=_folder_of_masks(config, dataset))
    rows = _demo_rows() if dataset is None else dataset.count("train")
    if not rows:
        raise UsageError(f"{config.data.path} has no training rows")
    plans = [
        plan_stage(config, rows, stage=stage, world_size=world_size)
        for stage in [*enabled_stages(config), None]
    ]
    warnings += _check_pairs(plans, dataset)
    warnings += _check_reasoning(config, plans, template, dataset)
    with TemporaryDirectory() as folder:
        sample = dataset or _some_of_the_demo(Path(folder), config)
        warnings += _check_curriculum(config, sample, plans)
        warnings += _check_metric(config, sample, template, composite)
        if any(METHODS[plan.method].samples for plan in plans):
            if any(METHODS[plan.method].samples_texts for plan in plans):
                probe = trial_rows(sample.rows("train"))
                warnings += _try_rewards(composite, probe, template)
            warnings += _audit(composite, sample, config.rewards.audit_limit)
    if config.training.early_stopping_patience is not None and not config.validation.steps:
        warnings.append("training.early_stopping_patience waits for validations: set validation.steps")
    base = None
    if config.model.path is not None:
        base = _check_model(config.model.path, config.model.thinking, config.model.force_base)
        if not is_child():
            warnings += rows_too_long(config, base, dataset, template) or []
    warnings += host_memory_needed(config.launch, None if base is None else Path(base).expanduser())
    return Preflight(dataset, composite, template, plans, warnings)


def _check_gpus(config: RunConfig) -> None:
    """The GPUs asked for are in this machine: without them the processes would all take themselves for the first."""
    import os

    from medgrpo.estimate.drivers import installed_gpus

    wanted = config.launch.gpus or 1
    if wanted == 1 or config.launch.cpu:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    here = len(installed_gpus() if visible is None else list(filter(str.strip, visible.split(","))))
    if here < wanted:
        raise UsageError(
            f"launch.gpus = {wanted}, and this machine shows {here or 'no'} CUDA GPU{'s' if here > 1 else ''}",
            hint=f"--gpus {here}" if here else "--set launch.cpu=true tries out several processes on the CPU",
        )


def _written_masks(config: RunConfig) -> dict[str, Any]:
    """The mask rewards among the run's, for a model that writes masks as text; none for one that draws them."""
    from medgrpo.rewards.registry import BUILT_IN, load_reward
    from medgrpo.rewards.weights import resolve_weights
    from medgrpo.rewards.written_masks import WrittenMasks

    if METHODS[config.training.method].needs == ("mask",):
        return {}
    names = [name for name in resolve_weights(config.rewards.weights) if BUILT_IN.get(name) == MASK_REWARDS]
    sam = None
    if names and config.masks.sam is not None:
        from medgrpo.segmentation.prompted import FrozenSam

        sam = FrozenSam(config.masks.sam)
    return {name: WrittenMasks(load_reward(name), sam) for name in names}  # type: ignore[arg-type]


def reads_masks(composite: CompositeReward) -> bool:
    """Whether a reward reads masks out of texts."""
    from medgrpo.rewards.written_masks import WrittenMasks

    return any(isinstance(reward, WrittenMasks) for reward in composite.functions)


def _folder_of_masks(config: RunConfig, dataset: PreparedDataset | None) -> str:
    """Where the rows' masks lie.

    Raises:
        UsageError: the data has none.
    """
    if dataset is None or not any(row.get("mask") for row in dataset.rows("train", limit=AUDITED_ROWS)):
        raise UsageError(
            f"rewards.weights = {config.rewards.weights} compares masks, and the data has none",
            expected="a dataset of masks",
            hint="medgrpo preprocess SOURCE OUTPUT --task vessels",
        )
    return str(dataset.path)


def _check_names(config: RunConfig, composite: CompositeReward) -> None:
    """Names that are looked up during the run are known, and rewards can judge what a model writes."""
    from medgrpo.rewards.registry import BUILT_IN, load_reward
    from medgrpo.runs.rules import RULES

    draws_masks = METHODS[config.training.method].needs == ("mask",)
    for name in composite.sources:
        module = BUILT_IN.get(name)
        if draws_masks and module is not None and module != MASK_REWARDS:
            raise UsageError(
                f"the reward {name} judges texts, and {config.training.method} draws masks",
                expected="multi_objective, simple_dice or recall_focused, each also _guarded, or a reward of your own",
                hint="--set rewards.weights=multi_objective_guarded",
            )
    rules = {rule.name for rule in RULES}
    for name in config.training.stop_on:
        if name not in rules:
            raise choice_error("health rule for training.stop_on", name, rules)
    if draws_masks:
        _check_mask_metric(config.validation.metric, composite)
    elif config.validation.metric not in ("reward", *composite.names):
        try:
            load_reward(config.validation.metric)
        except MedgrpoError as error:
            raise UsageError(
                f"validation.metric: {error.problem}", expected=error.expected, hint=error.hint
            ) from error


def _check_mask_metric(name: str, composite: CompositeReward) -> None:
    from medgrpo.segmentation.measuring import MEASURED

    known = ("reward", *composite.names, *MEASURED)
    if name not in known:
        short = {key.removeprefix("mask_"): key for key in MEASURED}
        raise choice_error("measure of masks for validation.metric", short.get(name, name), known)


def _check_metric(
    config: RunConfig, dataset: PreparedDataset, template: PromptTemplate, composite: CompositeReward
) -> list[str]:
    """A metric that can judge no row would choose no weights and stop nothing, without a word."""
    import numpy as np

    from medgrpo.data.prompts import build_target
    from medgrpo.rewards.registry import BUILT_IN
    from medgrpo.training.trainers.scoring import row_columns

    metric = config.validation.metric
    cheap = BUILT_IN.get(metric) in ("medgrpo.rewards.text", "medgrpo.rewards.boxes")  # no model to load
    if not (config.validation.steps and cheap and dataset.count("validation")):
        return []
    rows = list(dataset.rows("validation", limit=AUDITED_ROWS))
    targets = [build_target(as_row({**row, "chosen": None}), template) for row in rows]
    if not np.isnan(composite.alone(metric).score(targets, row_columns(rows)).total).all():
        return []
    return [
        f"validation.metric = {metric} judges none of the first {len(rows)} validation rows: without a value there are "
        "no best weights and no early stopping"
    ]


def _try_rewards(
    composite: CompositeReward, rows: list[Mapping[str, Any]], template: PromptTemplate
) -> list[str]:
    """Every reward, plug-ins included, on a few rows with their own reference as the completion."""
    from medgrpo.data.prompts import build_target
    from medgrpo.rewards.plugins import RewardError
    from medgrpo.rewards.trial import try_rewards
    from medgrpo.training.trainers.scoring import row_columns

    targets = [build_target(as_row({**row, "chosen": None}), template) for row in rows]
    try:
        table, notes = try_rewards(composite, targets, row_columns(rows))
    except RewardError as error:
        if error.row is not None:
            error.hint = (
                f"that is row {rows[error.row]['id']!r} of the data with its reference as the completion; "
                "--set rewards.on_error=skip counts such rows and goes on"
            )
        raise
    if not any(value > 0 for value in table.total):
        notes.append("the references themselves earn 0 on the trial rows: do rewards and template agree?")
    return notes


def _audit(composite: CompositeReward, dataset: PreparedDataset, limit: float | None) -> list[str]:
    """A warning where a cheat would earn nearly as much as the references (`medgrpo score DATA --audit`).

    Raises:
        MedgrpoError: the best cheat is above the limit that the user set.
    """
    from medgrpo.data.audit import audit_dataset

    report = audit_dataset(dataset, composite, limit=AUDITED_ROWS)
    if not report.exceeds(CHEAT_LIMIT if limit is None else limit):
        return []
    finding = f"the cheat {report.best.name} ({report.best.description}) earns {report.ratio:.2f} of what the references earn"
    if limit is not None:
        raise MedgrpoError(
            finding,
            expected=f"at most {limit:g} (rewards.audit_limit)",
            hint="medgrpo score DATA --audit says which reward is fooled",
        )
    return [f"{finding}: medgrpo score DATA --audit says which reward is fooled"]


def _check_pairs(plans: list[StagePlan], dataset: PreparedDataset | None) -> list[str]:
    """A stage that learns from pairs needs some: in the data, or completions sampled before it to make them from."""
    from medgrpo.training.before.own_pairs import has_pairs

    methods = [METHODS[plan.method] for plan in plans]
    first = next((place for place, method in enumerate(methods) if method.needs_pairs), None)
    if first is None or (dataset is not None and has_pairs(dataset)):
        return []
    if not any(method.samples_texts for method in methods[:first]):
        raise UsageError(
            "the data has no preference pairs (columns chosen and rejected)",
            expected=f"a folder written by `medgrpo make-dpo`, or a GRPO stage before the {methods[first].name.upper()} stage",
            hint="medgrpo make-dpo RUN --output PAIRS",
        )
    return [
        f"the {methods[first].name.upper()} stage takes its pairs from this run's own completions, at most one for each prompt; "
        "the plan counts one pair for every row. Fewer pairs make smaller steps; without any pair the stage is left out"
    ]


def _check_reasoning(
    config: RunConfig, plans: list[StagePlan], template: PromptTemplate, dataset: PreparedDataset | None
) -> list[str]:
    """What SFT would teach a real model to think, where the rows bring no reasons of their own."""
    from medgrpo.data.prompts import build_target

    learns = [plan.name for plan in plans if METHODS[plan.method].teaches == ("target",)]
    if not learns or "think" not in template.tags or dataset is None or config.model.path is None:
        return []
    if config.data.reasoning == "free":
        return []
    row = next((row for row in dataset.rows("train", limit=AUDITED_ROWS) if not row.get("chosen")), None)
    if row is None:
        return []
    thought = build_target(row, template).partition("<think>")[2].partition("</think>")[0]
    return [
        f"the {learns[0]} stage teaches to think as the labels say, in one line ({thought!r}); a model that reasons by "
        "itself would unlearn to: --set data.reasoning=free leaves its thinking alone"
    ]


def _check_curriculum(config: RunConfig, dataset: PreparedDataset, plans: list[StagePlan]) -> list[str]:
    from medgrpo.training.before.curriculum import check_column
    from medgrpo.training.before.datasets import ChosenRows

    if config.curriculum.by is None:
        return []
    warnings = check_column(ChosenRows.first(dataset.view("train"), config.data.rows), config.curriculum)
    if others := [plan.name for plan in plans[:-1]]:
        warnings.append(
            f"curriculum.by orders the rows of the main stage; {' and '.join(others)} take them as data.shuffle says"
        )
    if config.curriculum.schedule == "sorted" and plans[-1].epochs < 1:
        warnings.append(
            f"curriculum.schedule = sorted over {plans[-1].epochs:.2f} epochs never asks the hardest rows; linear does"
        )
    return warnings


def _check_model(path: str, thinking: str, force_base: bool) -> str:
    """The base model's folder or name."""
    from medgrpo.models.folders import BUILT_IN_MASK_MODELS
    from medgrpo.models.loading import check_model, check_thinking
    from medgrpo.models.weights import check_fingerprints, find_weights

    weights = find_weights(path)
    base = weights.base
    if base in BUILT_IN_MASK_MODELS:
        return base
    check_model(base)
    check_fingerprints(weights, force=force_base)
    if thinking != "template":
        check_thinking(Path(base))
    return base


def _some_of_the_demo(folder: Path, config: RunConfig) -> PreparedDataset:
    """A few of the rows that the run will make, to try rewards and curriculum on."""
    from medgrpo.data.demo import DemoSize, write_demo_dataset

    return write_demo_dataset(folder / "demo", seed=config.run.seed, size=DemoSize(30, 1, 1))


def _demo_rows() -> int:
    from medgrpo.data.demo import DemoSize

    size = DemoSize()
    return size.train * size.questions_per_picture

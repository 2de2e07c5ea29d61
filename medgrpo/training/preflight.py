"""What is checked before anything heavy is loaded, so that a wrong call costs a second and not an hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medgrpo.config.checks import check, check_machine
from medgrpo.config.plan import StagePlan, enabled_stages, plan_stage
from medgrpo.config.sections import RunConfig
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.training.launch import deepspeed_file

if TYPE_CHECKING:
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.data.prompts import PromptTemplate
    from medgrpo.rewards.composite import CompositeReward

AUDITED_ROWS = 200
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

    if config.launch.deepspeed is not None:
        deepspeed_file(config.launch.deepspeed)
    warnings = check(config, world_size=world_size)
    check_machine(config)
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
        settings={
            **template.reward_settings,
            "caption_threshold": config.rewards.caption_threshold,
        },
    )
    dataset = None if config.data.path is None else open_data(config.data.path, seed=config.run.seed)
    rows = _demo_rows() if dataset is None else dataset.count("train")
    if not rows:
        raise UsageError(f"{config.data.path} has no training rows")
    plans = [
        plan_stage(config, rows, stage=stage, world_size=world_size)
        for stage in [*enabled_stages(config), None]
    ]
    warnings += _check_pairs(plans, dataset)
    if dataset is not None:
        warnings += _check_curriculum(config, dataset, plans[-1])
        if any(plan.method == "grpo" for plan in plans):
            probe = trial_rows(dataset.rows("train"))
            warnings += _try_rewards(composite, probe, template)
            warnings += _audit(composite, dataset, config.rewards.audit_limit)
    if config.training.early_stopping_patience is not None and not config.validation.steps:
        warnings.append("training.early_stopping_patience waits for validations: set validation.steps")
    if config.model.path is not None:
        _check_model(config.model.path)
    return Preflight(dataset, composite, template, plans, warnings)


def _try_rewards(
    composite: CompositeReward, rows: list[Mapping[str, Any]], template: PromptTemplate
) -> list[str]:
    """Every reward, plug-ins included, on a few rows with their own reference as the completion."""
    from medgrpo.data.prompts import build_target
    from medgrpo.rewards.plugins import RewardError
    from medgrpo.rewards.trial import try_rewards
    from medgrpo.training.scoring import row_columns

    targets = [build_target({**row, "chosen": None}, template) for row in rows]
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
    """A DPO stage needs pairs: in the data, or completions of a GRPO stage before it to make them from."""
    from medgrpo.training.own_pairs import has_pairs

    methods = [plan.method for plan in plans]
    if "dpo" not in methods or (dataset is not None and has_pairs(dataset)):
        return []
    if "grpo" not in methods[: methods.index("dpo")]:
        raise UsageError(
            "the data has no preference pairs (columns chosen and rejected)",
            expected="a folder written by `medgrpo make-dpo`, or a GRPO stage before the DPO stage",
            hint="medgrpo make-dpo RUN --output PAIRS",
        )
    return [
        "the DPO stage takes its pairs from this run's own completions, at most one for each prompt; "
        "the plan counts a pair for every row (with fewer than a step's its steps are smaller, without any it is left out)"
    ]


def _check_curriculum(config: RunConfig, dataset: PreparedDataset, plan: StagePlan) -> list[str]:
    from medgrpo.training.curriculum import check_column
    from medgrpo.training.datasets import ChosenRows

    if config.curriculum.by is None:
        return []
    warnings = check_column(ChosenRows.first(dataset.view("train"), config.data.rows), config.curriculum)
    if config.curriculum.schedule == "sorted" and plan.epochs < 1:
        warnings.append(
            f"curriculum.schedule = sorted over {plan.epochs:.2f} epochs never asks the hardest rows; linear does"
        )
    return warnings


def _check_model(path: str) -> None:
    from medgrpo.models.loading import check_model
    from medgrpo.training.policy import find_weights

    check_model(find_weights(path).base)


def _demo_rows() -> int:
    from medgrpo.data.demo import DemoSize

    size = DemoSize()
    return size.train * size.questions_per_picture

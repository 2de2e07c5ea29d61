"""Training models that answer with masks: by rewards of drawn masks, and by imitation before that.

One forward pass gives a picture's logits; G masks are drawn from them (`segmentation.samplers`), judged in the reward core, and
their rewards shared out (`segmentation.credit`). Read from Transformers 5.23's Trainer; TRL has none for masks.
"""

from __future__ import annotations

import json
from collections import defaultdict
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import Trainer, TrainingArguments

from medgrpo.errors import UsageError
from medgrpo.files import foreign_json
from medgrpo.models.coordinates import BoxCoordinates
from medgrpo.models.weights import Weights, check_fingerprints, check_trust
from medgrpo.rewards.masks import DynamicRecallWeight
from medgrpo.runs.store import Completion
from medgrpo.segmentation import losses
from medgrpo.segmentation.credit import tensor_of
from medgrpo.segmentation.examples import Example, Examples
from medgrpo.segmentation.objective import (
    Drawn,
    MaskObjective,
    draw_masks,
    drawn,
    judged,
    kl_of_pixels,
    mask_reward_of,
    policy_loss,
)
from medgrpo.segmentation.packed import pack
from medgrpo.segmentation.samplers import sampler_of
from medgrpo.segmentation.segmenters import load_segmenter
from medgrpo.training.before.datasets import ChosenRows
from medgrpo.training.methods import StageMethod
from medgrpo.training.run.context import gathered
from medgrpo.training.run.mask_validation import mask_validator
from medgrpo.training.trainers.arguments import shared_arguments
from medgrpo.training.trainers.base import RunTrainer
from medgrpo.training.trainers.mask_answers import spoken_loss
from medgrpo.training.trainers.policy import Policy

if TYPE_CHECKING:
    from torch import Tensor

    from medgrpo.config.plan import StagePlan
    from medgrpo.config.sections import RunConfig
    from medgrpo.segmentation.segmenters import Segmenter
    from medgrpo.training.before.datasets import RowSource
    from medgrpo.training.before.preflight import Preflight
    from medgrpo.training.run.context import StageContext
    from medgrpo.training.run.state import Run
    from medgrpo.training.watch.reporter import Reporter

RECALL_FILE = "masks_state.json"


class Masks(StageMethod):
    """Learning from the rewards of masks that are drawn."""

    def trainer_class(self) -> type[MaskTrainer]:
        """Ours, on Transformers'."""
        return MaskTrainer

    def arguments(self, config: RunConfig, plan: StagePlan, output: Path) -> TrainingArguments:
        """A pass takes whole pictures: `per_device_train_batch_size` counts their masks."""
        shared = shared_arguments(config, plan, output)
        group = self.facts.group_size(config.rollout.num_generations)
        pictures = plan.per_device_train_batch_size * plan.gradient_accumulation_steps // group
        at_once = max(1, plan.per_device_train_batch_size // group)
        if not pictures or pictures % at_once:
            raise UsageError(
                f"{plan.prompts_per_step} pictures a step cannot be shared out in passes of {at_once}",
                expected="a GPU's share of a step in whole pictures",
                hint=f"--set training.per_device_train_batch_size={group}",
            )
        shared["per_device_train_batch_size"] = at_once
        shared["gradient_accumulation_steps"] = pictures // at_once
        if shared["save_steps"] % plan.steps_per_batch:  # drawn masks are not saved with a checkpoint
            shared["save_steps"] += plan.steps_per_batch - shared["save_steps"] % plan.steps_per_batch
        known = {field.name for field in fields(TrainingArguments)}  # TRL's arguments have some more
        return TrainingArguments(**{name: value for name, value in shared.items() if name in known})

    def load_policy(self, weights: Weights, settings: RunConfig) -> Policy:
        """The mask model, with its adapter where one is trained."""
        return load_mask_policy(weights, settings)

    def fitting_rows(
        self, source: RowSource, policy: Policy, settings: RunConfig, reporter: Reporter
    ) -> tuple[RowSource, int]:
        """The rows that have a picture and a mask."""
        kept = [number for number, row in enumerate(source.rows) if row.get("images") and row.get("mask")]
        if missing := len(source.rows) - len(kept):
            reporter.warn(f"{missing} of {len(source.rows)} rows have no picture or no mask and are left out")
        if not kept:
            raise UsageError(
                "no row has a picture and a mask",
                expected="a dataset of masks",
                hint="medgrpo preprocess SOURCE OUTPUT --task vessels",
            )
        return source.with_rows(ChosenRows(source.rows, kept)), 0

    def validator(self, run: Run, settings: RunConfig, policy: Policy) -> Any:
        """Measures masks instead of texts."""
        return mask_validator(run, settings, policy)

    def trainer(
        self, context: StageContext, policy: Policy, source: RowSource, checks: Preflight
    ) -> MaskTrainer:
        """The trainer of a stage, without callbacks."""
        settings = context.config
        examples = examples_of(source, settings)
        context.variation = examples
        masks = settings.masks
        context.metadata["masks"] = {
            "image_size": masks.image_size,
            "patch_size": masks.patch_size,
            "prompt": masks.prompt,
            "text": masks.text,
            "sam": masks.sam,
            "seed": settings.run.seed,
            "threshold": masks.threshold,
        }
        return self.trainer_class()(
            context=context,
            policy=policy,
            examples=examples,
            objective=_holding_dice(objective_of(settings, checks), context),
            learns_by_reward=self.facts.samples is not None,
            args=self.arguments(settings, context.plan, context.stage.checkpoints),
        )


class MasksSft(Masks):
    """Learning the masks that the rows have: the warm start of `Masks`."""


def objective_of(settings: RunConfig, checks: Preflight) -> MaskObjective:
    """What is rewarded, and how, by the run's settings."""
    masks, training = settings.masks, settings.training
    return MaskObjective(
        sampler_of(masks.sampler, size=masks.cell_px, scale=masks.noise, temperature=masks.sharpness),
        mask_reward_of(checks.composite, masks.model_dump()),
        checks.composite,
        settings.rollout.num_generations,
        masks.credit,
        training.epsilon,
        training.epsilon_high,
        training.scale_rewards,
    )


def _holding_dice(objective: MaskObjective, context: StageContext) -> MaskObjective:
    """The same, its guard told the Dice that validation found before the stage."""
    reward, before = objective.reward, (context.before or {}).get("dice", {}).get("value")
    if not context.config.masks.hold_dice or reward is None or not reward.is_guarded or before is None:
        return objective
    context.reporter.note(
        f"guard: a drawn mask below Dice {before:.3f}, that of before, keeps less of its reward"
    )
    return replace(objective, reward=replace(reward, dice_start=float(before)))


def examples_of(source: RowSource, settings: RunConfig) -> Examples:
    """The rows as mask models see them."""
    from medgrpo.data.augment import NAMED

    masks = settings.masks
    return Examples(
        source.rows,
        source.folder,
        masks.image_size,
        masks.patch_size,
        NAMED[settings.data.augment],
        settings.run.seed,
    )


def load_mask_policy(weights: Weights, settings: RunConfig) -> Policy:
    """Model, processor and adapter of a mask model, ready for the trainer.

    Raises:
        UsageError: the model has no adapter, and one is asked for.
    """
    masks, tuning = settings.masks, settings.tuning
    segmenter = load_segmenter(
        weights.base,
        dtype="float32"
        if settings.model.dtype == "auto" and tuning.method == "full"
        else settings.model.dtype,
        seed=settings.run.seed,
        prompt=masks.prompt,
        sam=masks.sam,
        max_pixels=settings.model.max_pixels,
        trust_remote_code=check_trust(
            weights, is_given=settings.model.trust_remote_code, option="--set model.trust_remote_code=true"
        ),
    )
    if weights.adapter is not None:
        from medgrpo.models.adapters import load_adapter

        check_fingerprints(weights, force=settings.model.force_base)
        is_trainable = tuning.method != "full"
        model = load_adapter(segmenter.model, weights.adapter, base=weights.base, is_trainable=is_trainable)
        model.active_peft_config.base_model_name_or_path = weights.base
        segmenter.model = model.merge_and_unload() if tuning.method == "full" else model
    elif tuning.method != "full":
        segmenter.model = _adapted(segmenter, weights.base, settings)
    return Policy(
        segmenter.model, segmenter.processor, None, True, BoxCoordinates("pixel"), segmenter=segmenter
    )


def _adapted(segmenter: Segmenter, base: str, settings: RunConfig) -> Any:
    from peft import LoraConfig, get_peft_model

    tuning, parts = settings.tuning, settings.masks.train_parts
    if segmenter.adapter_pattern is None or tuning.method == "qlora":
        raise UsageError(
            f"tuning.method = {tuning.method} does not fit {base}",
            expected="full" if segmenter.adapter_pattern is None else "full, lora or dora",
            hint="--set tuning.method=full",
        )
    config = LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.alpha,
        lora_dropout=tuning.dropout,
        use_dora=tuning.method == "dora",
        target_modules=tuning.target_modules or segmenter.adapter_pattern,
        modules_to_save=list(segmenter.trained_whole if parts is None else parts) or None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.run.seed)
        model = get_peft_model(segmenter.model, config)
    model.active_peft_config.base_model_name_or_path = base
    return model


class _Numbers(torch.utils.data.Dataset[dict[str, int]]):
    """Row numbers: the trainer builds examples itself, at the epoch they belong to."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> dict[str, int]:
        return {"number": int(number)}


def _collated(batch: list[dict[str, int]]) -> dict[str, list[int]]:
    return {"numbers": [one["number"] for one in batch]}


class MaskTrainer(RunTrainer, Trainer):
    """Transformers' trainer over pictures, with our data order, log and checkpoints.

    Overridden: `compute_loss`; what is drawn is a function of seed, step and row, so that a resumed run draws the same.
    """

    rows_come_ready = False

    def __init__(
        self,
        context: StageContext,
        policy: Policy,
        examples: Examples,
        objective: MaskObjective,
        *,
        learns_by_reward: bool,
        args: TrainingArguments,
    ) -> None:
        self.context = context
        self.segmenter: Any = policy.segmenter
        self.examples = examples
        self.objective = objective
        self.learns_by_reward = learns_by_reward
        self.recall = DynamicRecallWeight()
        self._sums: dict[str, list[float]] = defaultdict(list)
        self._recalls: list[float] = []
        self._groups: dict[tuple[int, int], Drawn] = {}
        super().__init__(
            model=policy.model,
            args=args,
            train_dataset=_Numbers(len(examples)),
            data_collator=_collated,
            processing_class=policy.processor,
        )
        self.model_accepts_loss_kwargs = False
        self.reference = self._reference()

    @property
    def uses_of_a_batch(self) -> int:
        """One for each update of a draw."""
        return int(self.context.plan.steps_per_batch)

    def _reference(self) -> Any:
        """The start model, where KL holds to it; an adapter is switched off instead."""
        if not self.context.config.training.beta or not self.learns_by_reward:
            return None
        if hasattr(self.model, "disable_adapter"):
            return "adapter"
        return deepcopy(self.model).eval().requires_grad_(False)

    # ------------------------------------------------------------------------------------- loss

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        """Mean over the pass's pictures, whose logits are computed together."""
        with self.context.clock.phase("prepare"):
            examples = [self.examples[number] for number in inputs["numbers"]]
        if self.learns_by_reward and self._speaks:
            each = [
                spoken_loss(self, model, example, number, self._objective())
                for example, number in zip(examples, inputs["numbers"], strict=True)
            ]
        else:
            each = self._by_logits(model, examples, inputs["numbers"])
        loss = torch.stack([one.reshape(()) for one in each]).mean()
        return (loss, {}) if return_outputs else loss

    @property
    def _speaks(self) -> bool:
        """Whether answers are sampled beside their masks."""
        return self.context.config.masks.text == "sampled" and hasattr(self.segmenter, "answers")

    def _objective(self) -> MaskObjective:
        return (
            self.objective.with_recall(self.recall)
            if self.context.config.masks.dynamic_recall
            else self.objective
        )

    def _by_logits(self, model: Any, examples: list[Example], numbers: list[int]) -> list[Tensor]:
        with self.context.clock.phase("rollout"):
            logits = self.segmenter.logits(model, examples)
            said = self.segmenter.text_log_prob()
        if self.learns_by_reward:  # a fixed answer is no action
            return [self._by_reward(model, *of_one) for of_one in zip(logits, examples, numbers, strict=True)]
        losses = [self._by_imitation(*of_one) for of_one in zip(logits, examples, strict=True)]
        if said is not None:
            spoken = -said.mean()
            self.note("text_loss", spoken)
            losses = [loss + spoken for loss in losses]
        return losses

    def _by_imitation(self, logits: Tensor, example: Example) -> Tensor:
        loss = supervised(self.context.config.masks.warm_start_loss, logits, example)
        self.note("mask_loss", loss)
        return loss

    def _by_reward(self, model: Any, logits: Tensor, example: Example, number: int) -> Tensor:
        objective = self._objective()
        group = self.group_of(objective, logits, example, number)
        loss, clipped = policy_loss(objective, group, logits)
        self.note("clip_ratio", clipped)
        return loss + self.beside(model, logits, example)

    def group_of(
        self, objective: MaskObjective, logits: Tensor, example: Example, number: int, part: int = 0
    ) -> Drawn:
        """The group of this row in this batch, drawn at its first update."""
        assert example.truth is not None
        iterations = self.context.plan.steps_per_batch
        batch = self.state.global_step // iterations
        key = (number, part)
        if self.state.global_step % iterations == 0 or key not in self._groups:
            if iterations == 1:
                self._groups.clear()
            draw = draw_masks(objective, logits, self._generator(batch, number, part))
            with self.context.clock.phase("reward"):
                earned = judged(objective, draw, example.truth)
            self._groups[key] = drawn(
                objective, draw, logits, earned, example.truth, is_used_once=iterations == 1
            )
            self.told(self._groups[key], example)
        return self._groups[key]

    def beside(self, model: Any, logits: Tensor, example: Example) -> Tensor:
        """KL to the start model and the supervised anchor, where they are asked for."""
        settings = self.context.config
        total = logits.new_zeros(())
        if self.reference is not None:
            kl = kl_of_pixels(logits, self._reference_logits(model, example))
            self.note("kl", kl)
            total = total + settings.training.beta * kl
        if settings.masks.anchor:
            anchor = supervised(settings.masks.anchor_loss, logits, example)
            self.note("anchor_loss", anchor)
            total = total + settings.masks.anchor * anchor
        return total

    def _reference_logits(self, model: Any, example: Example) -> Tensor:
        with torch.no_grad():
            if self.reference == "adapter":
                inner = self.accelerator.unwrap_model(model)
                with inner.disable_adapter():
                    logits = self.segmenter.logits(inner, [example])[0]
            else:
                self.reference.to(self.args.device)
                logits = self.segmenter.logits(self.reference, [example])[0]
        self.segmenter.text_log_prob()
        return logits  # type: ignore[no-any-return]

    def _generator(self, batch: int, number: int, part: int) -> torch.Generator:
        device = next(self.model.parameters()).device
        words = np.random.SeedSequence([self.context.config.run.seed, batch, number, part]).generate_state(
            1, np.uint64
        )
        generator = torch.Generator(device)
        generator.manual_seed(int(words[0]) >> 1)
        return generator

    # -------------------------------------------------------------------------------------- log

    def told(self, group: Drawn, example: Example) -> None:
        """Figures of a group for the step's line, and its masks for the store."""
        rewards = group.rewards
        self._sums["reward"].append(float(np.nanmean(rewards)))
        self._sums["reward_std"].append(float(np.nanstd(rewards)))
        self._sums["frac_reward_zero_std"].append(float(np.nanstd(rewards) < 1e-9))
        name = self.objective.composite.names[0] if self.objective.reward is not None else None
        shown = dict(group.measures)
        if name is not None:
            shown[name] = rewards
        for measure, values in shown.items():
            known = values[np.isfinite(values)]
            if known.size:
                self._sums[f"rewards/{measure}/mean"].append(float(known.mean()))
                self._sums[f"rewards/{measure}/std"].append(float(known.std()))
            self._sums[f"rewards/{measure}/coverage"].append(known.size / max(1, values.size))
        self._recalls += [float(value) for value in group.measures.get("recall", [])]
        self._store(group, example)

    def note(self, name: str, value: Any) -> None:
        """A figure of the step under way, for its line: the mean over the step."""
        self._sums[name].append(float(value.detach()) if hasattr(value, "detach") else float(value))

    def _store(self, group: Drawn, example: Example) -> None:
        store, keep = self.context.store, self.context.config.masks.keep
        if store is None or keep == "none" or self.context.is_probing:
            return
        order = np.argsort(np.nan_to_num(group.rewards))
        chosen = order if keep == "all" else [order[0], order[-1]]
        centred = whole_credit_of(group.rewards)
        rows = []
        for place in dict.fromkeys(int(one) for one in chosen):
            rows.append(
                Completion(
                    stage=self.context.stage.name,
                    step=self.state.global_step + 1,
                    prompt_id=example.id,
                    image_id=example.row.get("image_id"),
                    images=list(example.row.get("images") or []),
                    question=str(example.row.get("question") or ""),
                    answer=str(example.row.get("answer") or ""),
                    completion=pack(group.draw.masks[place].cpu().numpy()),
                    tokens=0,
                    truncated=False,
                    reward=float(group.rewards[place]),
                    advantage=float(centred[place]),
                    rewards={name: float(values[place]) for name, values in group.measures.items()},
                )
            )
        store.add(rows)

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """The step's line, joined by the means over its groups and processes; recall's running mean moves on."""
        if "loss" in logs:
            everyone = gathered((dict(self._sums), self._recalls))
            names = dict.fromkeys(name for sums, _ in everyone for name in sums)
            for name in names:
                values = [value for sums, _ in everyone for value in sums.get(name, [])]
                logs[name] = sum(values) / len(values)
            recalls = [value for _, found in everyone for value in found]
            if recalls:
                self.recall.update(np.asarray(recalls))
                logs["recall/running_mean"] = self.recall.mean_recall
                logs["recall/weight"] = self.recall.weight
            self._sums.clear()
            self._recalls = []
        super().log(logs, start_time)

    # ------------------------------------------------------------------------------- checkpoints

    def save_extra_state(self, folder: Path) -> None:
        """The running mean of recall, which its weight depends on."""
        super().save_extra_state(folder)
        if self.args.should_save:
            (folder / RECALL_FILE).write_text(json.dumps(self.recall.state_dict()), encoding="utf-8")

    def load_extra_state(self, folder: Path) -> None:
        """Take it up again."""
        super().load_extra_state(folder)
        if (folder / RECALL_FILE).is_file():
            self.recall.load_state_dict(foreign_json(folder / RECALL_FILE))


def whole_credit_of(rewards: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rewards minus their mean; 0 where nothing could judge."""
    return np.asarray(np.nan_to_num(rewards - np.nanmean(rewards)))


def supervised(name: str, logits: Tensor, example: Example) -> Tensor:
    """A supervised loss of one picture's logits by its name."""
    assert example.truth is not None
    device = logits.device
    reference = tensor_of(example.truth.mask, device)[None]
    fov = None if example.truth.fov is None else tensor_of(example.truth.fov, device)[None].float()
    if name == "bce_dice":
        return losses.bce(logits[None], reference, fov) + losses.soft_dice(logits[None], reference, fov)
    return getattr(losses, name)(logits[None], reference, fov)  # type: ignore[no-any-return]

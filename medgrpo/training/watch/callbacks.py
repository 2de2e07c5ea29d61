"""What happens at the end of each step: timing, validation, best weights, early stop, log, health."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from medgrpo.figures import LESS, direction
from medgrpo.methods import SAMPLING
from medgrpo.run_files import log_entries
from medgrpo.runs.health import HealthMonitor
from medgrpo.training.run.checkpoints import discard, previous_of
from medgrpo.training.run.context import StageContext
from medgrpo.training.run.validation import Measures, Validator, values_of
from medgrpo.training.run.weight_folders import best_name, save_weights

LEADING_KEYS = ("stage", "step", "loss", "reward")


class StepClock(TrainerCallback):
    """Seconds per prompt of each step, without trial step, validations and checkpoints, and by phase (of methods that sample all, else those that took any).

    It comes before the callbacks that take time at the end of a step.
    """

    def __init__(self, context: StageContext) -> None:
        self._context = context

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self._context.clock.start()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop it; the values join the step's log line."""
        plan, seconds = self._context.plan, self._context.clock.stop()
        has_all = plan.method in SAMPLING
        phases = {
            f"time/{phase}": value
            for phase, value in seconds.items()
            if has_all or value > 0 or phase == "update"
        }
        self._context.add_pending({"s_per_prompt": sum(seconds.values()) / plan.prompts_per_step, **phases})

    def on_log(self, *_: Any, **__: Any) -> None:
        """Start it again after what the step's other callbacks took."""
        self._context.clock.start()

    def on_save(self, *_: Any, **__: Any) -> None:
        """Start it again after the checkpoint."""
        self._context.clock.start()


class Validation(TrainerCallback):
    """Validates at the end of a step, keeps the best weights, stops early.

    It runs before the step is logged, so that a step has one line with everything measured at it.
    """

    def __init__(self, context: StageContext, validator: Validator, trainer: Any) -> None:
        self._context = context
        self.validator = self._validator = validator
        self._trainer = trainer
        self.last: tuple[int, Measures] | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Validate when it is due."""
        if self._context.is_sick:
            return
        settings = self._context.config.validation
        every = settings.steps > 0 and state.global_step % settings.steps == 0
        at_end = settings.before_and_after and state.global_step >= state.max_steps
        if not (every or at_end):
            return
        values = values_of(self.measure_now())
        self._context.add_pending({f"eval_{name}": value for name, value in values.items()})
        self._judge(state, control, values.get(self._validator.metric))

    def on_save(self, *_: Any, **__: Any) -> None:
        """From this checkpoint on the best weights are those that it knows."""
        if self._context.is_main_process:
            discard(previous_of(self._context.writer.path / best_name(self._context.config)))

    def measure_now(self) -> Measures:
        """Validate the trainer's weights as they are."""
        measures = self._validator.measure_trainer(self._trainer)
        self.last = (self._trainer.state.global_step, measures)
        return measures

    def _judge(self, state: Any, control: Any, value: float | None) -> None:
        context = self._context
        if value is None:
            return
        sign = -1 if direction(self._validator.metric) == LESS else 1
        if context.best is None or sign * value > sign * context.best["value"]:
            context.best = {"step": state.global_step, "metric": self._validator.metric, "value": value}
            context.validations_without_gain = 0
            if context.is_main_process:
                context.writer.update_info(best=context.best)
            if context.config.validation.steps > 0:
                save_weights(
                    self._trainer,
                    context,
                    context.writer.path / best_name(context.config),
                    keep_previous=True,
                )
            return
        context.validations_without_gain += 1
        if context.is_out_of_patience:
            control.should_training_stop = control.should_save = True
            context.reporter.note(
                f"stopping early: {context.validations_without_gain} validations without a better "
                f"{self._validator.metric} than {context.best['value']:.3f} at step {context.best['step']}"
            )


class RunLog(TrainerCallback):
    """Writes each step's line, shows it, asks the health rules, obeys a request to stop."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._health = HealthMonitor(method=context.plan.method, config=context.config.model_dump())

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The health rules look back over the whole stage, also over what was trained before a resume."""
        for entry in log_entries(self._context.stage.log):
            self._health.update(entry)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """One line per step; the closing summary of Transformers is no step."""
        if "train_runtime" in logs:
            return
        entry = {"stage": self._context.stage.name, "step": state.global_step, **logs}
        entry = {key: entry[key] for key in LEADING_KEYS if key in entry} | entry
        if self._context.is_main_process:
            self._context.writer.append(self._context.stage, entry)
            self._context.reporter.step(entry)
            for finding in self._health.update(entry):
                self._context.reporter.warn(f"{finding.evidence}. {finding.remedy}")
                if finding.severity == "abnormal" and finding.rule in self._context.config.training.stop_on:
                    self._context.is_sick = f"{finding.rule}: {finding.evidence}"
        self._obey(control)

    def _obey(self, control: Any) -> None:
        """Save and stop after this step if someone asked for it (any process of several).

        What made the run sick is not saved: the last checkpoint may still be sound.
        """
        self._context.agree_to_stop()
        if self._context.was_stopped or self._context.is_sick:
            control.should_training_stop = True
            control.should_save = not self._context.is_sick

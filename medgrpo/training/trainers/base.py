"""What our SFT, GRPO and DPO trainers share on top of TRL's: data order, log, checkpoints.

Read from TRL 1.16 and Transformers 5.23; `tests/training` fails when one of the points below moves.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.engine.features import spare_frozen_tower
from medgrpo.models.adapter_files import without_traces
from medgrpo.models.loading import check_loaded
from medgrpo.training.before.datasets import IMAGE_CACHE, open_image
from medgrpo.training.run.checkpoints import PREFIX, bytes_of, partial_of, publish, rotate
from medgrpo.training.run.whole_checkpoint import check_adapter_of
from medgrpo.training.trainers.optimizer import (
    apply_settings,
    group_settings,
    separate_rates,
    start_above_zero,
)
from medgrpo.training.trainers.parts import has_parts_of_weights, in_parts, take_up_weights, weights_once
from medgrpo.training.trainers.sampler import EpochOrder

if TYPE_CHECKING:
    from medgrpo.training.run.context import StageContext

MOST_AHEAD = IMAGE_CACHE // 2
"""Rows whose pictures are opened ahead: more would push out those of the step under way."""
STATE_FILE = "medgrpo_state.json"


class RunTrainer:
    """Mixin before a TRL trainer; `context` is what the stage is about.

    Overridden: the train sampler and the epoch loop (a resumed run continues the data order), `get_batch_samples` (its time), the optimiser's groups, `log`
    (validation results join the line of their step), `_save_checkpoint` (whole or absent), the state
    beside a checkpoint, the model card (we write `medgrpo.json` instead).
    """

    context: StageContext
    args: Any
    state: Any
    optimizer: Any
    lr_scheduler: Any
    _order: EpochOrder | None = None
    _writing_to: Path | None = None
    _is_room_said = False
    picture_files: Callable[[int], list[str]] | None = None
    """Where the pictures of a row lie; None: there are none."""
    tokens_of_rows: Callable[[list[int]], list[int]] | None = None
    """Tokens of the prompts of rows."""
    rows_come_ready = True
    """Whether what the loader gives are prompts and pictures as the model takes them, and not only rows."""

    # -------------------------------------------------------------------------------- data order

    @property
    def uses_of_a_batch(self) -> int:
        """Updates that learn from the same batch, one after the other."""
        return 1

    def data_order(self, rows: int) -> EpochOrder:
        """The order of one row per sample; GRPO repeats rows instead. A batch comes `uses_of_a_batch` times."""
        plan, config = self.context.plan, self.context.config
        return EpochOrder(
            rows,
            seed=config.run.seed,
            chunk=plan.prompts_per_step,
            repeat_count=self.uses_of_a_batch,
            shuffle=config.data.shuffle,
            order=self.context.epoch_order,
            coming=self.look_ahead,
        )

    def look_ahead(self, rows: list[int]) -> None:
        """Open the pictures of the rows that come next, beside the step: the last ones opened stay decoded.

        Of several processes each opens its own share.
        """
        if self.picture_files is None or len(rows) > MOST_AHEAD:
            return
        processes, process = self.accelerator.num_processes, self.accelerator.process_index  # type: ignore[attr-defined]
        share = len(rows) // processes if len(rows) % processes == 0 else 0
        own = rows[process * share : (process + 1) * share] if share else rows
        for file in [file for row in own for file in self.picture_files(row)]:
            self._reader.submit(open_image, file)

    @cached_property
    def _reader(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="pictures")

    def get_batch_samples(self, *arguments: Any, **options: Any) -> Any:
        """The next step's batches; what that takes is the preparation of its rows."""
        phase = "prepare" if self.rows_come_ready else "update"
        with self.context.clock.phase(phase):
            return super().get_batch_samples(*arguments, **options)  # type: ignore[misc]

    @property
    def rows_of_a_pass(self) -> int:
        """Examples that `training_step` is handed at once."""
        return int(self.args.per_device_train_batch_size)

    def _get_train_sampler(self, dataset: Any = None) -> EpochOrder:
        self._order = self.data_order(len(dataset if dataset is not None else self.train_dataset))  # type: ignore[attr-defined]
        return self._order

    def _run_epoch(self, model: Any, epoch: int, **rest: Any) -> None:
        # Accelerate forwards set_epoch to a sampler only in some wrappings, and Trainer calls it after the
        # first batches were skipped: tell the sampler itself, before anything iterates.
        if self._order is not None:
            self._order.set_epoch(epoch)
        if self.context.variation is not None:
            self.context.variation.epoch = epoch
        spare_frozen_tower(self.model)  # type: ignore[attr-defined]
        super()._run_epoch(model=model, epoch=epoch, **rest)  # type: ignore[misc]

    def create_optimizer(self, model: Any = None) -> Any:
        """Transformers' optimiser; vision tower and aligner at a rate of their own where one is set."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)  # type: ignore[misc]
        rate = self.context.config.training.vision_learning_rate
        if is_new and rate is not None:
            separate_rates(optimizer, self.model if model is None else model, rate)  # type: ignore[attr-defined]
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Transformers' schedule, whose warm-up begins above 0."""
        is_new = self.lr_scheduler is None
        scheduler = super().create_scheduler(num_training_steps, optimizer)  # type: ignore[misc]
        if is_new:
            start_above_zero(scheduler, self.args.get_warmup_steps(num_training_steps))
        return scheduler

    # --------------------------------------------------------------------------------------- log

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """TRL's log, joined by what the step's callbacks measured."""
        logs.update(self.context.take_pending())
        if self.context.curriculum is not None and "loss" in logs:
            logs.update(self.context.curriculum.log_entries(self.state.global_step))
        super().log(logs, start_time)  # type: ignore[misc]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No model card: `medgrpo.json` says where the weights come from."""

    # ------------------------------------------------------------------------------- checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        if self._writing_to is not None:
            return str(self._writing_to)
        return super()._get_output_dir(trial=trial)  # type: ignore[misc,no-any-return]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        step = self.state.global_step
        self._writing_to = partial_of(folder / f"{PREFIX}{step}")
        try:
            if self.args.should_save:
                shutil.rmtree(self._writing_to, ignore_errors=True)
                self._writing_to.mkdir(parents=True)
            self._wait()
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            written = self._writing_to / f"{PREFIX}{step}"
            self.save_extra_state(written)
            self._wait()
            if self.args.should_save:
                target = folder / f"{PREFIX}{step}"
                without_traces(written, target)
                self.context.write_metadata(written, target)
                self.context.sync()
                publish(written, target, {"step": step, "stage": self.context.stage.name})
                rotate(folder, self.context.config.training.save_total_limit)
                self._say_what_fits(target)
            self._wait()
        finally:
            if self.args.should_save:
                shutil.rmtree(self._writing_to, ignore_errors=True)
            self._writing_to = None

    def _say_what_fits(self, checkpoint: Path) -> None:
        """A warning, once, where the next checkpoint would not fit beside those that stay."""
        size, free = bytes_of(checkpoint), shutil.disk_usage(checkpoint).free
        if self._is_room_said or size <= free or self.state.global_step >= self.state.max_steps:
            return
        self._is_room_said = True
        self.context.reporter.warn(
            f"{checkpoint.name} took {size / 2**30:,.2f} GiB, and the disk has {free / 2**30:,.2f} GiB left: the next does not fit. "
            "Make room, or stop (CTRL-C) and resume with --set training.save_total_limit=1 or a larger training.save_steps"
        )

    def save_extra_state(self, folder: Path) -> None:
        """Write what Transformers does not save; each process may write its own file."""
        if self.args.should_save:
            state = json.dumps(self.context.state_dict())
            (folder / STATE_FILE).write_text(state, encoding="utf-8")

    def load_extra_state(self, folder: Path) -> None:
        """Take up what `save_extra_state` wrote; the stage's own state was taken up before (`go_back.py`)."""

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        is_whole = not hasattr(self.model, "peft_config")  # type: ignore[attr-defined]
        with in_parts(self.accelerator), weights_once() if is_whole else nullcontext():  # type: ignore[attr-defined]
            super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        # A checkpoint brings its learning rate and weight decay along, and a change on resume would have no
        # effect. DeepSpeed loads its own elsewhere.
        wanted = None if self.is_deepspeed_enabled else group_settings(self.optimizer)  # type: ignore[attr-defined]
        with in_parts(self.accelerator, None if checkpoint is None else Path(checkpoint)):  # type: ignore[attr-defined]
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is not None:
            if wanted is not None:
                apply_settings(self.optimizer, self.lr_scheduler, wanted)
            self.load_extra_state(Path(checkpoint))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # Transformers 5.23 compares the file's names with the model's and ignores what does not match; a
        # saved Qwen2.5-VL has other names than a loaded one, so nothing would be loaded. Load it the way
        # any model is loaded, and copy.
        inner, is_spread = model if model is not None else self.model, self.is_fsdp_enabled  # type: ignore[attr-defined]
        kinds = type(self.model if is_spread else inner).__mro__  # type: ignore[attr-defined]
        plain: Any = next((one for one in kinds if one.__module__.startswith("transformers.models.")), None)
        if plain is None or (is_spread and has_parts_of_weights(Path(resume_from_checkpoint))):
            check_adapter_of(Path(resume_from_checkpoint), inner, self.context.config.model.path or "")
            with in_parts(self.accelerator, Path(resume_from_checkpoint)):  # type: ignore[attr-defined]
                super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        saved, found = plain.from_pretrained(
            resume_from_checkpoint, dtype=inner.dtype, output_loading_info=True
        )
        check_loaded(saved, found, resume_from_checkpoint)
        if is_spread:
            take_up_weights(inner, saved.state_dict())
            return
        inner.load_state_dict(saved.state_dict(), strict=True)

    def _wait(self) -> None:
        self.accelerator.wait_for_everyone()  # type: ignore[attr-defined]

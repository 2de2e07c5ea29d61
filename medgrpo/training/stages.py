"""A run from start to end: its stages in order, each from the last one's weights."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.config.layers import to_toml
from medgrpo.config.plan import (
    StagePlan,
    enabled_stages,
    plan_stage,
    stage_settings,
    with_smaller_step,
    with_training,
)
from medgrpo.config.sections import RunConfig
from medgrpo.errors import MedgrpoError
from medgrpo.files import write_text
from medgrpo.runs.writer import RunWriter, StageFolder, read_json, read_lines
from medgrpo.training.checkpoints import (
    adopt,
    discard,
    half_written,
    is_complete,
    publish_copy,
    record_of,
    restore,
    set_aside,
)
from medgrpo.training.completions import CompletionStore
from medgrpo.training.datasets import ChosenRows, RowSource, Variation, drop_long
from medgrpo.training.phases import PhaseClock
from medgrpo.training.places import with_absolute_places
from medgrpo.training.policy import Policy, Weights, find_weights, load_policy
from medgrpo.training.preflight import Preflight, preflight
from medgrpo.training.reporter import Reporter
from medgrpo.training.resume import ResumePoint, check_same_data, resume_checkpoint, step_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.training.callbacks import Validation
    from medgrpo.training.context import StageContext, StopRequest
    from medgrpo.training.curriculum import Curriculum
    from medgrpo.training.validation import Measures, Validator

MAIN = None
"""Name of the main stage in `medgrpo.config.plan`."""


@dataclass(frozen=True)
class TrainResult:
    """What a run came to."""

    run: Path
    log: Path
    steps: int
    reward_first: float | None
    reward_last: float | None
    best: dict[str, Any] | None
    validation: dict[str, Any]
    wall_s: float
    health: dict[str, Any]
    status: str
    """finished, or stopped when someone asked for it."""

    def as_dict(self) -> dict[str, Any]:
        """The document of `medgrpo train --json`."""
        return {**self.__dict__, "run": str(self.run), "log": str(self.log)}


@dataclass
class _Run:
    """What the stages of one run share."""

    config: RunConfig
    checks: Preflight
    dataset: PreparedDataset
    writer: RunWriter
    reporter: Reporter
    stop: StopRequest
    is_main_process: bool
    world_size: int
    rows: ChosenRows
    """Of the training split, read as they are asked for."""
    resume: ResumePoint | None
    validation: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] | None = None


def train(
    config: RunConfig,
    *,
    name: str,
    reporter: Reporter,
    output: Path | None = None,
    resume: ResumePoint | None = None,
    logs: Path | None = Path("logs"),
    checks: Preflight | None = None,
    started: float | None = None,
) -> TrainResult:
    """Train through every stage.

    Args:
        config: the resolved configuration.
        name: of the run.
        output: run folder; `runs/<name>` unless given. Ignored on resume.
        resume: continue this run.
        logs: folder of the log copy; None writes none.
        checks: the result of `preflight`, where it was run already.
        started: `time.perf_counter()` when the command began; `wall_s` counts from there.
    Raises:
        MedgrpoError: what went wrong, in words for the person. The run folder then says `failed`.
    """
    from accelerate import PartialState

    from medgrpo.models.quiet import quiet_libraries
    from medgrpo.training.context import StopRequest
    from medgrpo.training.launch import own_log
    from medgrpo.training.oom import explained

    started = time.perf_counter() if started is None else started
    checks = checks or preflight(config)
    config = with_absolute_places(config)
    process = PartialState(cpu=True) if config.launch.cpu else PartialState()
    path = resume.run if resume else (output or Path("runs") / name)
    writer = _open_writer(config, name, path, resume, logs, is_main_process=process.is_main_process)
    process.wait_for_everyone()
    if not process.is_main_process:
        own_log(path, process.process_index)
    try:
        with StopRequest() as stop, explained(config), quiet_libraries():
            dataset = checks.dataset or demo_dataset(path, config, is_main_process=process.is_main_process)
            process.wait_for_everyone()
            if resume:
                for note in check_same_data(path, dataset.hash, dataset.info.get("pixels_hash")):
                    reporter.note(note)
            elif process.is_main_process:
                _record_environment(path, config, dataset)
            rows = ChosenRows.first(dataset.view("train"), config.data.rows)
            run = _Run(
                config,
                checks,
                dataset,
                writer,
                reporter,
                stop,
                process.is_main_process,
                process.num_processes,
                rows,
                resume,
                validation=dict(writer.info.get("validation", {})),
            )
            status = _run_stages(run)
    except BaseException as error:
        if process.is_main_process:
            with suppress(OSError):  # where the disk is full the record cannot be written either
                writer.finish("failed", error=f"{type(error).__name__}: {error}"[:2000])
            writer.release()
        raise
    result = _result(run, started, status)
    if process.is_main_process:
        writer.finish(
            status,
            steps=result.steps,
            best=result.best,
            health=result.health,
            wall_s=result.wall_s,
            peak_memory_gib=_peak_memory_gib(),
        )
    process.wait_for_everyone()
    return result


def _peak_memory_gib() -> float | None:
    """Most GPU memory that this process's torch held at once, in GiB; None without a GPU."""
    import torch

    return torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else None


def _open_writer(
    config: RunConfig,
    name: str,
    path: Path,
    resume: ResumePoint | None,
    logs: Path | None,
    *,
    is_main_process: bool,
) -> RunWriter:
    if not is_main_process:
        return RunWriter(path, name, logs=None)
    toml = to_toml(config)
    if resume:
        writer = RunWriter.reopen(path, logs=logs)
        if (path / "config.toml").read_text("utf-8") != toml:
            write_text(path / "config.toml", toml)
        return writer
    return RunWriter.create(path, name, toml, {}, logs=logs)


def _record_environment(path: Path, config: RunConfig, dataset: PreparedDataset) -> None:
    from medgrpo.runs.writer import write_json
    from medgrpo.training.environment import describe_environment

    data = {
        "data": dataset.location,
        "data_hash": dataset.info.get("hash"),
        "pixels_hash": dataset.info.get("pixels_hash"),
        "data_parts": dataset.info.get("parts"),
    }
    write_json(path / "environment.json", {**describe_environment(config.run.seed), **data})


def demo_dataset(run: Path, config: RunConfig, *, is_main_process: bool) -> PreparedDataset:
    """The generated demo set, in the run's folder `demo/data`."""
    from medgrpo.data.demo import write_demo_dataset
    from medgrpo.data.prepared import PreparedDataset

    folder = run / "demo" / "data"
    if not (folder / "dataset.json").is_file() and is_main_process:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return write_demo_dataset(folder, seed=config.run.seed)
    return PreparedDataset.open(folder)


def demo_model(run: _Run) -> Path:
    """The demo-size model, in the run's folder `demo/model`; its tokenizer is fitted to the data's texts."""
    from medgrpo.data.prompts import build_messages, build_target
    from medgrpo.models.demo import build_demo_model

    folder = run.writer.path / "demo" / "model"
    if is_complete(folder) or not run.is_main_process:
        return folder
    template = run.checks.template

    def texts() -> Iterator[str]:
        for row in run.rows:
            yield from (message["content"] for message in build_messages({**row, "images": []}, template))
            yield from (build_target(row, template), build_target({**row, "chosen": None}, template))

    build_demo_model(folder, texts(), seed=run.config.run.seed)
    from medgrpo.runs.writer import write_json
    from medgrpo.training.checkpoints import MARKER

    write_json(folder / MARKER, {"seed": run.config.run.seed})
    return folder


# ------------------------------------------------------------------------------------------- stages


def _run_stages(run: _Run) -> str:
    from accelerate import PartialState

    from medgrpo.training.context import gathered

    if run.config.model.path is None:
        model_path = str(demo_model(run))
        PartialState().wait_for_everyone()
    else:
        model_path = run.config.model.path
    weights = find_weights(model_path)
    names = [*enabled_stages(run.config), MAIN]
    for number, name in enumerate(names, start=1):
        settings = stage_settings(run.config, name)
        method = settings.training.method
        stage = run.writer.stage(number, name or method, method, is_main=name is MAIN)
        final = _final_weights(stage, settings)
        if run.is_main_process:
            adopt(final)
        goes_back = name is MAIN and run.resume is not None and run.resume.checkpoint is not None
        run_is_stopped = any(gathered(run.stop.is_asked))  # also waits for the main process
        if not goes_back and _ended(final, stage, settings, run.checks.plans[number - 1].steps):
            weights = _trained(final, weights)
            continue
        if run_is_stopped or not _run_stage_that_fits(run, name, settings, stage, weights):
            return "stopped"
        weights = _trained(final, weights)
    return "finished"


def _trained(final: Path, before: Weights) -> Weights:
    """The weights that a stage ended with. An adapter records where its base lay then, and that may have moved."""
    return Weights(before.base, final) if (final / "adapter_config.json").is_file() else Weights(str(final))


def _final_weights(stage: StageFolder, settings: RunConfig) -> Path:
    return stage.path / ("final_model" if settings.tuning.method == "full" else "final_lora")


def _ended(final: Path, stage: StageFolder, settings: RunConfig, steps: int) -> bool:
    """Whether the final weights are whole, those of the stage's last logged step, and nothing more was asked
    for since."""
    if not is_complete(final):
        return False
    record, entries = record_of(final), read_lines(stage.log)
    patience = settings.training.early_stopping_patience
    stopped_early = patience is not None and record.get("waited", 0) >= patience
    reached = record.get("step", 0) >= steps or stopped_early
    if record.get("left_out"):
        return True
    return reached and (not entries or record.get("step") == entries[-1].get("step"))


def _run_stage_that_fits(
    run: _Run, name: str | None, settings: RunConfig, stage: StageFolder, weights: Weights
) -> bool:
    """Train one stage; out of memory, again from its last checkpoint in smaller passes, if that was allowed."""
    while True:
        try:
            return _run_stage(run, name, settings, stage, weights)
        except Exception as error:
            size = _retry_size(run, name, settings, error)
            if size is None:
                raise
            what = str(error).splitlines()[0]
        # Here the error is gone, and with it the trainer that it held.
        _free_memory()
        run.config = with_training(run.config, name, per_device_train_batch_size=size)
        settings = stage_settings(run.config, name)
        run.resume = ResumePoint(run.writer.path)
        retry = {"stage": stage.name, "per_device_train_batch_size": size, "error": what}
        run.writer.update_info(retries=[*run.writer.info.get("retries", []), retry])
        write_text(run.writer.path / "config.toml", to_toml(run.config))
        run.reporter.warn(
            f"{what}: going on with training.per_device_train_batch_size = {size} (same result)"
        )


def _retry_size(run: _Run, name: str | None, settings: RunConfig, error: Exception) -> int | None:
    from medgrpo.training.oom import is_out_of_memory, smaller_batch

    # With several processes the others wait for the one that failed: the launcher has to end them.
    if not settings.training.retry_on_oom or run.world_size > 1 or not is_out_of_memory(error):
        return None
    plan = plan_stage(run.config, len(run.rows), stage=name)
    return smaller_batch(plan, settings.training.per_device_train_batch_size)


def _free_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _run_stage(
    run: _Run, name: str | None, settings: RunConfig, stage: StageFolder, weights: Weights
) -> bool:
    """Train one stage; whether it came to its end."""
    from medgrpo.training.callbacks import Validation
    from medgrpo.training.context import StageContext
    from medgrpo.training.finite import worded
    from medgrpo.training.largest_first import LargestFirst, is_wanted
    from medgrpo.training.own_pairs import NoPairs

    try:
        dataset = _stage_dataset(run, settings)
    except NoPairs as reason:
        _leave_out(run, settings, stage, weights, reason)
        return True
    policy = load_policy(weights, settings)
    source, plan, longest = _rows_and_plan(run, name, settings, policy, dataset)
    curriculum = None
    if name is MAIN:
        curriculum = _curriculum(run, settings, plan, source, policy, weights, dataset)
    context = StageContext(
        config=settings,
        plan=plan,
        stage=stage,
        writer=run.writer,
        store=CompletionStore(run.writer.path / "completions")
        if settings.training.method == "grpo" and run.is_main_process
        else None,
        reporter=run.reporter,
        metadata=_metadata(run, settings, stage, weights, policy),
        data_folder=dataset.path,
        variation=source.variation,
        curriculum=curriculum,
        stop=run.stop,
        is_main_process=run.is_main_process,
        clock=PhaseClock(waits_for_device=run.is_main_process),
    )
    checkpoint = _go_back(run, name, stage, context)
    # Killed between the last checkpoint and the final weights.
    all_done = step_of(checkpoint) >= plan.steps or (checkpoint is not None and context.is_out_of_patience)
    if all_done:
        policy = load_policy(_trained(Path(str(checkpoint)), weights), settings)
    validator = _validator(run, settings, policy) if name is MAIN else None
    if validator is not None and settings.validation.before_and_after:
        _measure_before(run, validator, policy)
    trainer = build_trainer(context, policy, source, run.checks)
    measured = None
    if validator is not None:
        measured = Validation(context, validator, trainer)
        trainer.add_callback(measured)
    if is_wanted(context):
        trainer.add_callback(LargestFirst(context, trainer, longest))
    run.reporter.stage_begins(plan, step_of(checkpoint))
    try:
        if all_done:
            trainer.state.global_step = step_of(checkpoint)
        else:
            with worded(context, trainer):
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        run.reporter.stage_ends()
    if context.store is not None:
        context.store.close_part()
    if all_done and measured is not None and settings.validation.before_and_after:
        measured.measure_now()
    return _close_stage(run, context, trainer, measured)


def _close_stage(run: _Run, context: StageContext, trainer: Any, measured: Validation | None) -> bool:
    """The final weights of a stage that came to its end; False where it did not."""
    from medgrpo.training.callbacks import final_name, save_weights
    from medgrpo.training.finite import stopped

    if context.is_sick:
        raise stopped(context, trainer.state.global_step, context.is_sick)
    was_ended = trainer.state.global_step >= context.plan.steps or context.is_out_of_patience
    if context.was_stopped and not was_ended:
        return False
    if measured is not None:
        _keep_validation(run, context, measured.last)
    save_weights(trainer, context, context.stage.path / final_name(context))
    return True


def _leave_out(
    run: _Run, settings: RunConfig, stage: StageFolder, weights: Weights, reason: Exception
) -> None:
    """Go past a stage that has nothing to learn from: its final weights are those that it would have begun with."""
    from accelerate import PartialState

    run.reporter.warn(
        f"the {stage.name} stage is left out: {reason}; the weights stay those of the stage before"
    )
    if run.is_main_process:
        final = _final_weights(stage, settings)
        publish_copy(weights.adapter or Path(weights.base), final, {"stage": stage.name, "left_out": True})
        entry = {"stage": stage.name, "reason": str(reason)}
        run.writer.update_info(left_out=[*run.writer.info.get("left_out", []), entry])
    PartialState().wait_for_everyone()


def _stage_dataset(run: _Run, settings: RunConfig) -> PreparedDataset:
    """The run's data, or for a DPO stage on data without pairs those of the run's own completions."""
    from accelerate import PartialState

    from medgrpo.training.own_pairs import has_pairs, pairs_of_run

    if settings.training.method != "dpo" or has_pairs(run.dataset):
        return run.dataset
    with PartialState().main_process_first():
        template = run.checks.template.to_dict()
        pairs = pairs_of_run(run.writer.path, run.dataset, template, at_least=run.world_size)
    run.reporter.note(
        f"DPO on {pairs.count('train')} pairs of this run's own completions ({pairs.path}), "
        "the best and the worst of each prompt"
    )
    return pairs


def _rows_and_plan(
    run: _Run, name: str | None, settings: RunConfig, policy: Policy, dataset: PreparedDataset
) -> tuple[RowSource, StagePlan, int]:
    """The stage's rows, those with over-long prompts dropped and counted, its steps, and the longest row."""
    from medgrpo.data.augment import NAMED

    varied = NAMED[settings.data.augment]
    rows = run.rows if dataset is run.dataset else ChosenRows.first(dataset.view("train"), None)
    source = RowSource(
        rows[: settings.data.rows],
        dataset.path,
        run.checks.template,
        policy.is_vision,
        settings.data.use_image_title,
        None if varied is None else Variation(varied, settings.run.seed),
        policy.coordinates,
    )
    room = settings.model.context_length - settings.rollout.max_completion_length
    progress = _Progress(run.reporter, len(source.rows), "prompt lengths counted")
    kept, dropped, longest = drop_long(source, policy.processor, room, progress)
    if dropped:
        run.reporter.warn(
            f"{dropped} of {len(source.rows)} rows have prompts over {room} tokens "
            f"(model.context_length - rollout.max_completion_length) and are left out"
        )
    if not kept:
        raise MedgrpoError(
            f"no row fits: every prompt is longer than {room} tokens",
            hint=f"--set model.context_length={settings.model.context_length * 2}, or a smaller model.max_pixels",
        )
    config, step = run.config, settings.training.prompts_per_step
    if dataset is not run.dataset and len(kept) < step:  # pairs of the run's own: nobody could have known
        config = with_smaller_step(config, len(kept), stage=name, world_size=run.world_size)
        smaller = stage_settings(config, name).training.prompts_per_step
        run.reporter.warn(f"{len(kept)} pairs are fewer than the {step} of one step: steps of {smaller}")
    plan = plan_stage(config, len(kept), stage=name, world_size=run.world_size)
    return source.with_rows(kept), plan, longest


def _curriculum(
    run: _Run,
    settings: RunConfig,
    plan: StagePlan,
    source: RowSource,
    policy: Policy,
    weights: Weights,
    dataset: PreparedDataset,
) -> Curriculum | None:
    """The main stage's curriculum; how hard the rows are is found once and kept in the run folder."""
    from accelerate import PartialState

    from medgrpo.training.curriculum import (
        FILE_NAME,
        Curriculum,
        read_difficulty,
        row_difficulty,
        write_difficulty,
    )
    from medgrpo.training.pass_rate import cache_key, cached_pass_rates, measured_pass_rates

    if settings.curriculum.by is None:
        return None
    path = run.writer.path / FILE_NAME
    steps_per_chunk = settings.training.num_iterations if plan.method == "grpo" else 1

    def rates() -> NDArray[np.float64]:
        progress = _Progress(run.reporter, len(source.rows), "pass rate measured")
        return cached_pass_rates(
            cache_key(dataset.hash, source, weights, settings, run.checks.composite),
            source.rows,
            lambda: measured_pass_rates(
                policy,
                source,
                run.checks.composite,
                settings,
                image_path=dataset.image_path,
                on_block=progress,
            ),
            run.reporter.note,
        )

    if not path.is_file():
        difficulty = row_difficulty(source.rows, settings.curriculum, rates)
        if run.is_main_process:
            # A resumed run with more steps keeps the pace of this plan.
            about: dict[str, Any] = {
                "by": settings.curriculum.by,
                "chunks": -(-plan.steps // steps_per_chunk),
            }
            write_difficulty(path, source.rows, difficulty, about)
    PartialState().wait_for_everyone()
    difficulty, about = read_difficulty(path, len(source.rows))
    return Curriculum(
        difficulty,
        settings.curriculum,
        seed=settings.run.seed,
        chunk=plan.prompts_per_step,
        chunks=about["chunks"],
        steps_per_chunk=steps_per_chunk,
    )


class _Progress:
    """Says how far a pass over the rows is, every so many seconds."""

    def __init__(self, reporter: Reporter, rows: int, what: str, every_s: float = 15.0) -> None:
        self.reporter, self.rows, self.what, self.every_s = reporter, rows, what, every_s
        self._told_at = time.perf_counter()

    def __call__(self, done: int) -> None:
        if time.perf_counter() - self._told_at >= self.every_s:
            self._told_at = time.perf_counter()
            self.reporter.note(f"{self.what}: {done} of {self.rows} rows")


def _go_back(run: _Run, name: str | None, stage: StageFolder, context: StageContext) -> Path | None:
    """The checkpoint to continue from; log, completions and checkpoints after it are set aside."""
    from medgrpo.training.callbacks import best_name
    from medgrpo.training.context import gathered
    from medgrpo.training.trainers import STATE_FILE

    if run.resume is None:
        return None
    wanted = run.resume.checkpoint if name is MAIN else None
    checkpoint, notes = resume_checkpoint(stage.checkpoints, wanted)
    for note in notes:
        run.reporter.note(note)
    step = step_of(checkpoint)
    if checkpoint is not None:
        state = read_json(checkpoint / STATE_FILE)
        context.load_state_dict(state)
        if (before := state.get("rows", context.plan.rows)) != context.plan.rows:
            run.reporter.warn(
                f"{context.plan.rows} rows fit the context now and {before} did before: their order is another"
            )
    best, best_step = run.writer.path / best_name(context), (context.best or {}).get("step")
    if run.is_main_process:
        for path in half_written(stage.checkpoints):
            discard(path)
        set_aside(stage.checkpoints, step)  # first: a kill from here on goes back to the same step
        if name is MAIN:
            restore(best, best_step)
        moved = run.writer.cut(stage, step)
        lost = context.store.abandon(stage.name, step) if context.store is not None else 0
        run.reporter.note(
            f"resuming {stage.name} after step {step}; set aside: {moved} log lines, {lost} completions"
        )
    gathered(None)  # wait for the main process
    if best_step is not None and context.config.validation.steps and record_of(best).get("step") != best_step:
        run.reporter.note(
            f"the best weights, of step {best_step}, were replaced later: chosen anew from here"
        )
        context.best = None
    if name is MAIN and run.is_main_process:
        run.writer.update_info(best=context.best)
    return checkpoint


def build_trainer(context: StageContext, policy: Policy, source: RowSource, checks: Preflight) -> Any:
    """The trainer of the stage's method, with our callbacks."""
    from medgrpo.training import arguments, datasets
    from medgrpo.training.callbacks import RunLog, StepClock
    from medgrpo.training.finite import FiniteWeights
    from medgrpo.training.trackers import keep_here

    config, plan = context.config, context.plan
    import transformers.trainer  # noqa: F401  # prints on stdout where it finds WANDB_MODE=offline: import it first

    keep_here(config.logging, context.writer.path, os.environ)
    output = context.stage.checkpoints
    shared: dict[str, Any] = {
        "context": context,
        "model": policy.model,
        "processing_class": policy.processor,
        "peft_config": policy.peft_config,
    }
    trainer: Any
    if plan.method == "grpo":
        from medgrpo.training.grpo import PolicyTrainer

        trainer = PolicyTrainer(
            composite=checks.composite,
            args=arguments.grpo_arguments(config, plan, output),
            train_dataset=datasets.grpo_dataset(source),
            **shared,
        )
    elif plan.method == "dpo":
        from medgrpo.training.dpo import PreferenceTrainer

        trainer = PreferenceTrainer(
            args=arguments.dpo_arguments(config, plan, output),
            train_dataset=datasets.dpo_dataset(source, policy.tokenizer),
            **shared,
        )
    else:
        from medgrpo.training.sft import SupervisedTrainer

        trainer = SupervisedTrainer(
            args=arguments.sft_arguments(config, plan, output),
            train_dataset=datasets.sft_dataset(source, policy.tokenizer),
            **shared,
        )
    if policy.is_vision and trainer.accelerator.num_processes > 1:
        from medgrpo.training.pictures import look_at_blank_pictures

        for model in filter(None, (trainer.model, getattr(trainer, "ref_model", None))):
            look_at_blank_pictures(model, policy.processor)
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(FiniteWeights(context))
    trainer.add_callback(StepClock(context))
    trainer.add_callback(RunLog(context))
    _add_tensorboard(trainer, context)
    return trainer


def _add_tensorboard(trainer: Any, context: StageContext) -> None:
    if "tensorboard" not in context.config.logging.report_to or not context.is_main_process:
        return
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    folder = context.writer.path / "tensorboard" / f"{context.stage.number}-{context.stage.method}"
    after = len(read_lines(context.stage.log))  # what a resumed run does again is not shown twice
    trainer.add_callback(TensorBoardCallback(SummaryWriter(log_dir=str(folder), purge_step=after + 1)))


# --------------------------------------------------------------------------------------- validation


def _validator(run: _Run, settings: RunConfig, policy: Policy) -> Validator | None:
    from medgrpo.training.validation import Validator, choose_rows

    if not run.dataset.count("validation") or not (
        settings.validation.before_and_after or settings.validation.steps
    ):
        return None
    rows = choose_rows(run.dataset.view("validation"), settings.validation.rows, settings.run.seed)
    if not settings.data.use_image_title:
        rows = [{**row, "image_title": None} for row in rows]
    return Validator(
        run.dataset,
        [policy.coordinates.place(row) for row in rows],
        run.checks.template,
        run.checks.composite,
        settings.validation.metric,
        settings.rollout.max_completion_length,
    )


def _measure_before(run: _Run, validator: Validator, policy: Policy) -> None:
    """The blind baseline and the start of the main stage; once, also over resumes."""
    import torch

    if "before" in run.validation or not run.is_main_process:
        return
    if torch.cuda.is_available():
        policy.model.to("cuda")
    run.validation["blind"] = validator.blind_baseline(run.rows)
    run.validation["before"] = validator.measure(policy.model, policy.processor)
    run.writer.update_info(validation=run.validation)
    run.reporter.note(
        f"validation ({len(validator.rows)} rows, greedy): {_told('blind baseline', run.validation['blind'])}"
    )
    run.reporter.note(
        f"validation: {_told('before ' + run.config.training.method, run.validation['before'])}"
    )


def _keep_validation(run: _Run, context: StageContext, last: tuple[int, Measures] | None) -> None:
    run.best = context.best
    if last is None or not run.is_main_process:
        return
    run.validation["after"] = last[1]
    run.writer.update_info(validation=run.validation)
    run.reporter.note(f"validation: {_told('after ' + run.config.training.method, last[1])}")


def _told(what: str, measures: Measures) -> str:
    return f"{what}: " + ", ".join(
        f"{name} {one['value']:.3f}" for name, one in measures.items() if one["value"] is not None
    )


# ------------------------------------------------------------------------------------------- result


def _metadata(
    run: _Run, settings: RunConfig, stage: StageFolder, weights: Weights, policy: Policy
) -> dict[str, Any]:
    """`medgrpo.json`: how the weights are to be used, and where they come from."""
    template = run.checks.template
    return {
        "schema_version": 1,
        "base_model": weights.base,
        "adapter_before": weights.adapter,
        "stage": stage.name,
        "method": stage.method,
        "prompt_template": template.to_dict(),
        "tags": list(template.tags),
        "system_prompt": dict(template.system),
        "use_image_title": settings.data.use_image_title,
        "thinking": settings.model.thinking,
        "max_pixels": settings.model.max_pixels,
        "min_pixels": settings.model.min_pixels,
        **policy.coordinates.to_dict(),
        "generation": {
            "max_new_tokens": settings.rollout.max_completion_length,
            "temperature": settings.rollout.temperature,
            "top_p": settings.rollout.top_p,
            "top_k": settings.rollout.top_k,
        },
        "provenance": {
            "run": run.writer.name,
            "run_folder": run.writer.path.absolute(),
            "data": run.dataset.location,
            "data_hash": run.dataset.info.get("hash"),
            "seed": settings.run.seed,
        },
    }


def _result(run: _Run, started: float, status: str) -> TrainResult:
    from medgrpo.runs.health import assess
    from medgrpo.runs.record import read_run

    history = read_lines(run.writer.path / "log.jsonl")
    rewards = [entry["reward"] for entry in history if entry.get("reward") is not None]
    window = max(5, round(len(rewards) / 10))
    health: dict[str, Any] = {"verdict": "insufficient_data", "findings": []}
    with suppress(MedgrpoError):
        health = assess(read_run(run.writer.path)).as_dict()
    return TrainResult(
        run=run.writer.path,
        log=run.writer.path / "log.jsonl",
        steps=int(history[-1]["step"]) if history else 0,
        reward_first=_mean(rewards[:window]),
        reward_last=_mean(rewards[-window:]),
        best=run.best or run.writer.info.get("best"),
        validation=run.validation,
        wall_s=time.perf_counter() - started,
        health=health,
        status=status,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None

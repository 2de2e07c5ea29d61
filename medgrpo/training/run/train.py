"""A run from start to end: its stages in order, each from the last one's weights."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from medgrpo.config.layers import to_toml
from medgrpo.config.plan import enabled_stages, stage_settings
from medgrpo.errors import MedgrpoError, nearest_there
from medgrpo.files import write_text
from medgrpo.models.folders import BUILT_IN_MASK_MODELS
from medgrpo.models.weights import find_weights
from medgrpo.places import written_places
from medgrpo.run_files import log_entries
from medgrpo.runs.writer import RunWriter, StageFolder
from medgrpo.training.before.datasets import ChosenRows
from medgrpo.training.before.demo import built_in_mask_model, demo_dataset, demo_model
from medgrpo.training.before.launch import own_log
from medgrpo.training.before.places import with_absolute_places
from medgrpo.training.before.preflight import Preflight, preflight
from medgrpo.training.run.checkpoints import adopt, is_complete, record_of
from medgrpo.training.run.context import StopRequest, gathered
from medgrpo.training.run.environment import record_environment
from medgrpo.training.run.meeting import agree, met
from medgrpo.training.run.outcome import TrainResult, peak_memory_gib, result_of
from medgrpo.training.run.resume import ResumePoint, check_same_data
from medgrpo.training.run.smaller_passes import run_stage_that_fits
from medgrpo.training.run.state import MAIN, Run
from medgrpo.training.run.weight_folders import final_name
from medgrpo.training.trainers.policy import trained_weights
from medgrpo.training.watch.oom import memory_and_disk_in_words

if TYPE_CHECKING:
    from medgrpo.config.sections import RunConfig
    from medgrpo.training.watch.reporter import Reporter


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
    preset: str | None = None,
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
        preset: what the configuration was made from, for the record.
    Raises:
        MedgrpoError: what went wrong, in words for the person. The run folder then says `failed`.
    """
    from medgrpo.models.quiet import quiet_libraries

    started = time.perf_counter() if started is None else started
    checks = checks or preflight(config)
    config = with_absolute_places(config)
    process = met(config.launch, reporter)
    agree(config, None if checks.dataset is None else checks.dataset.hash)
    # What the first process found: another machine looks a moment later, when the run is there already.
    path, resume = gathered((resume.run if resume else (output or Path("runs") / name), resume))[0]
    if process.is_main_process:
        logs = _place_of_copy(logs, reporter)
    writer = _open_writer(config, name, path, resume, logs, preset, is_main_process=process.is_main_process)
    process.wait_for_everyone()
    if not process.is_main_process:
        own_log(path, process.process_index)
    try:
        with StopRequest(reporter.stopping) as stop, memory_and_disk_in_words(config), quiet_libraries():
            if checks.dataset is None:
                reporter.doing("making the demo's pictures and questions")
            dataset = checks.dataset or demo_dataset(path, config, is_main_process=process.is_main_process)
            process.wait_for_everyone()
            if resume:
                for note in check_same_data(path, dataset.hash, dataset.info.get("pixels_hash")):
                    reporter.note(note)
            elif process.is_main_process:
                record_environment(path, config, dataset)
            rows = ChosenRows.first(dataset.view("train"), config.data.rows)
            run = Run(
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
                writer.finish("failed", error=_in_words(error)[:2000])
            writer.release()
        raise
    result = result_of(run, started, status)
    if process.is_main_process:
        writer.finish(
            status,
            steps=result.steps,
            best=result.best,
            health=result.health,
            wall_s=result.wall_s,
            peak_memory_gib=peak_memory_gib(),
            stopped_by=result.stopped_by,
        )
        _write_page(run)
    process.wait_for_everyone()
    return result


def _write_page(run: Run) -> None:
    """The run's own page, `report.html`; a run is no worse for want of one."""
    from medgrpo.runs.report import write_run_page

    run.reporter.doing("writing report.html")
    try:
        write_run_page(run.writer.path)
    except (MedgrpoError, OSError, ValueError, ImportError) as error:
        run.reporter.warn(f"report.html could not be written: {error}")


def _in_words(error: BaseException) -> str:
    """What the record says of an error: our own are sentences, others are named by their kind."""
    return str(error) if isinstance(error, MedgrpoError) else f"{type(error).__name__}: {error}"


def _place_of_copy(logs: Path | None, reporter: Reporter) -> Path | None:
    """The folder of the log copy; None where it may not be written: the run folder holds all that the copy has."""
    if logs is None or os.access(there := nearest_there(logs), os.W_OK):
        return logs
    reporter.warn(
        f"no copy of the log in {logs}/: {there.absolute()} may not be written; "
        "compare and health read the run folder itself"
    )
    return None


def _open_writer(
    config: RunConfig,
    name: str,
    path: Path,
    resume: ResumePoint | None,
    logs: Path | None,
    preset: str | None,
    *,
    is_main_process: bool,
) -> RunWriter:
    if not is_main_process:
        return RunWriter(path, name, logs=None)
    toml = written_places(to_toml(config), path)
    if resume:
        writer = RunWriter.reopen(path, logs=logs)
        if (path / "config.toml").read_text("utf-8") != toml:
            write_text(path / "config.toml", toml)
        return writer
    return RunWriter.create(path, name, toml, {}, preset=preset, logs=logs)


def _run_stages(run: Run) -> str:
    from accelerate import PartialState

    if run.config.model.path is None:
        run.reporter.doing("building the demo's model")
        model_path = str(demo_model(run))
        PartialState().wait_for_everyone()
    elif run.config.model.path in BUILT_IN_MASK_MODELS:
        model_path = str(built_in_mask_model(run, run.config.model.path))
        PartialState().wait_for_everyone()
    else:
        model_path = run.config.model.path
    weights = find_weights(model_path)
    names = [*enabled_stages(run.config), MAIN]
    for number, name in enumerate(names, start=1):
        settings = stage_settings(run.config, name)
        method = settings.training.method
        stage = run.writer.stage(number, name or method, method, is_main=name is MAIN)
        final = stage.path / final_name(settings)
        if run.is_main_process:
            adopt(final)
        goes_back = name is MAIN and run.resume is not None and run.resume.checkpoint is not None
        run_is_stopped = run.stop.agree()  # also waits for the main process
        if not goes_back and _ended(final, stage, settings, run.checks.plans[number - 1].steps):
            weights = trained_weights(final, weights)
            continue
        if run_is_stopped or not run_stage_that_fits(run, name, settings, stage, weights):
            return "stopped"
        weights = trained_weights(final, weights)
    return "finished"


def _ended(final: Path, stage: StageFolder, settings: RunConfig, steps: int) -> bool:
    """Whether the final weights are whole, those of the stage's last logged step, and nothing more was asked
    for since."""
    if not is_complete(final):
        return False
    record, entries = record_of(final), log_entries(stage.log)
    patience = settings.training.early_stopping_patience
    stopped_early = patience is not None and record.get("waited", 0) >= patience
    reached = record.get("step", 0) >= steps or stopped_early
    if record.get("left_out"):
        return True
    return reached and (not entries or record.get("step") == entries[-1].get("step"))

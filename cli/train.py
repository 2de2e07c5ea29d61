"""`medgrpo train`: fine-tune by SFT, GRPO or DPO, stage after stage."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption
from medgrpo.errors import choice_error, typed_path
from medgrpo.methods import names_of_methods

if TYPE_CHECKING:
    from medgrpo.config.layers import Resolved
    from medgrpo.config.sections import RunConfig
    from medgrpo.estimate.facts import Facts
    from medgrpo.estimate.from_run import Comparison
    from medgrpo.training.before.preflight import Preflight
    from medgrpo.training.run.outcome import TrainResult
    from medgrpo.training.run.resume import ResumePoint

app = typer.Typer(rich_markup_mode=None, add_completion=False)

DEMO_LINE = (
    "demo: no --model given, so a small model is built here and trained on generated pictures; "
    "nothing is downloaded. A real run: medgrpo train --model Qwen/Qwen2.5-VL-3B-Instruct --data FOLDER"
)
CHECKING = "checking settings, data, rewards and model …"
"""Said at once: reading a large dataset takes seconds."""
SMALL_LINE = (
    "no --model given: a demo-size model is built here and trained on {data}, to try the pipeline: it is too small to "
    "learn real answers. A real run: add --model Qwen/Qwen2.5-VL-3B-Instruct"
)


@app.command()
def train(
    context: typer.Context,
    preset: Annotated[
        str | None, typer.Option(help="Preset by name or .toml path; `medgrpo presets list`. [balanced]")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help=f"Method of the main stage: {names_of_methods()}.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "--base_model", "--model_name_or_path", help="Model folder, hub name, adapter or run."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "--dataset", help="Prepared dataset; none: the demo set.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "--output_dir", help="Run folder. [runs/<preset>-<date>-<n>]")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="A setting as key=value; may be repeated.")
    ] = None,
    config: Annotated[str | None, typer.Option(help="TOML file of settings over the preset.")] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Continue a run or a checkpoint; auto: that of --output (started if absent), or the newest unfinished."
        ),
    ] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs of this machine to train on.")] = None,
    nodes: Annotated[int | None, typer.Option(help="Machines; start the command on each of them.")] = None,
    deepspeed: Annotated[
        str | None, typer.Option(help="zero2, zero3, or a DeepSpeed configuration file.")
    ] = None,
    fsdp: Annotated[
        bool | None,
        typer.Option("--fsdp/--no-fsdp", help="Spread the model over the GPUs with PyTorch's FSDP2."),
    ] = None,
    vllm: Annotated[
        str | None,
        typer.Option(
            metavar="auto|colocate|server",
            help="Generate with vLLM: on the training GPUs, by a server, or as the estimate says of this machine.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, data order and sampling. [0]")] = None,
    on_reward_error: Annotated[
        str | None,
        typer.Option(metavar="stop|skip", help="A reward raises: stop, or skip the row and count. [stop]"),
    ] = None,
    reward_timeout: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="Longest call of a reward of your own; 0: no limit. [600]"
        ),
    ] = None,
    trust_rewards: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="With --resume: run the Python files that RUN names as rewards."),
    ] = None,
    exit_on_stop: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=255,
            metavar="CODE",
            help="Exit code of a run that was stopped. [130: CTRL-C, 143: SIGTERM, 138 and 140: SIGUSR1, SIGUSR2]",
        ),
    ] = None,
    on_stop: Annotated[
        str | None,
        typer.Option(metavar="exit0|signal", hidden=True, help="exit0: the same as --exit-on-stop 0."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check data, rewards and model, print the plan; train nothing.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also name every setting that the demo changes.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fine-tune a model by SFT, GRPO or DPO, stage after stage; without --model, the demo.

    Writes a run folder (configuration, log, completions, checkpoints, weights) and a copy of the log in
    ./logs. CTRL-C saves a checkpoint and stops (exit 130; SIGTERM: 143); `--resume auto` goes on from there.

    Example: medgrpo train --preset balanced
    """
    import time

    from medgrpo.config.reach import rewards_with_code
    from medgrpo.rewards.trust import grant
    from medgrpo.training.before.launch import needs_launch, rank
    from medgrpo.training.before.preflight import preflight
    from medgrpo.training.run.resume import find_run
    from medgrpo.training.watch.trackers import failing_in_time

    started = time.perf_counter()
    exit_on_stop = _code_of_a_stop(context, on_stop, exit_on_stop)
    is_first = rank() == 0  # of several processes one speaks
    said = Output(as_json=as_json and is_first, quiet=quiet or not is_first)
    options: dict[str, Any] = {
        "training.method": method,
        "data.path": data,
        "run.output": output,
        "run.seed": seed,
        "launch.gpus": gpus,
        "launch.nodes": nodes,
        "launch.deepspeed": deepspeed,
        "launch.fsdp": fsdp,
        "vllm.mode": None if vllm == "auto" else vllm,
        "rollout.engine": "vllm" if vllm and vllm != "auto" else None,
        "rewards.on_error": on_reward_error,
        "rewards.timeout_s": reward_timeout,
    }
    words = list(assignments or [])
    point = find_run(resume, output) if resume else None
    if point is not None:
        own = _own(preset, config, words)
        resolved, name = _resumed(
            said, point, words, {**options, "model.path": model}, trust_rewards or [], own
        )
        if preset or config or vllm == "auto":
            said.note(
                "resuming: the run's own settings count, not --preset, --config and --vllm auto; --set changes one"
            )
    else:
        resolved = _resolved(said, preset, model, config, words, options, verbose=verbose)
        resolved, name = _for_this_machine(said, resolved, asks_vllm=vllm == "auto"), None
        grant(rewards_with_code(resolved.config))  # each from a file or an option that this call gives
    settings = resolved.config
    said.note(CHECKING)
    name = name or _run_name(settings, preset)
    checks = preflight(settings, world_size=(settings.launch.gpus or 1) * settings.launch.nodes)
    run_path = point.run if point else Path(settings.run.output or Path("runs") / name)
    for warning in [*checks.warnings, *_estimate_warnings(settings, run_path)]:
        said.warn(warning)
    if (left := _what_max_steps_leaves(resolved, checks)) is not None:
        said.note(left)
    if point is not None:
        _say_if_finished(said, point, checks)
    if point is None:
        _refuse_used_folder(settings, run_path)
    if dry_run:
        _check_weights(said, settings)
        _show_plan(said, settings, checks, run_path)
        return
    with ExitStack() as stack:
        if (mine := _free_folder(stack, settings, point, run_path)) is not None:
            run_path, name = mine, mine.name
        if needs_launch(settings.launch):
            _launch(said, settings, checks, run_path, point, exit_on_stop)
        with failing_in_time(settings.logging.report_to):
            result = _train(said, settings, checks, name, run_path, point, started, preset)
    _end(result, settings, exit_on_stop)


def _end(result: TrainResult | None, settings: RunConfig, exit_on_stop: int | None) -> None:
    """End with the code of a run that was stopped; trackers do not keep the process for long."""
    from medgrpo.training.before.launch import is_child
    from medgrpo.training.watch.trackers import end_in_time

    code = 0
    if result is not None and result.status == "stopped" and not is_child():  # else the launcher says it
        code = _stopped_code(result.stopped_by, exit_on_stop)
    end_in_time(settings.logging.report_to, code)
    if code:
        raise SystemExit(code)


def _code_of_a_stop(context: typer.Context, on_stop: str | None, exit_on_stop: int | None) -> int | None:
    """The exit code that a person wants of a run that is stopped; from here on a signal that comes too early is worded."""
    from medgrpo.training.before.launch import is_child
    from medgrpo.training.before.stopping import worded_signals

    if on_stop not in (None, "exit0", "signal"):
        raise choice_error("--on-stop", str(on_stop), ["exit0", "signal"])
    code = 0 if on_stop == "exit0" and exit_on_stop is None else exit_on_stop
    if not is_child():  # whoever started this one says what ended it
        context.with_resource(worded_signals(code))
    return code


def _refuse_used_folder(settings: RunConfig, run_path: Path) -> None:
    """Of several machines the first makes the folder."""
    import os

    from medgrpo.runs.writer import refuse_used_folder
    from medgrpo.training.before.launch import is_child, machine_number

    if not is_child() and machine_number(settings.launch, os.environ) == 0:
        refuse_used_folder(run_path)


def _resolved(
    said: Output,
    preset: str | None,
    model: str | None,
    config: str | None,
    assignments: list[str],
    options: dict[str, Any],
    *,
    verbose: bool,
) -> Resolved:
    from medgrpo.config.presets import DEFAULT, DEMO_SETS, resolve_run

    resolved, notes = resolve_run(
        preset or DEFAULT,
        model=model,
        config_file=Path(config) if config else None,
        assignments=tuple(assignments),
        options=options,
    )
    settings = resolved.config
    if settings.model.path is None:
        said.note(DEMO_LINE if settings.data.path is None else SMALL_LINE.format(data=settings.data.path))
    for note in notes:
        if verbose or not note.startswith(DEMO_SETS):
            said.note(note)
    return resolved


def _what_max_steps_leaves(resolved: Resolved, checks: Preflight) -> str | None:
    """That a limit typed for the run is of its main stage, and what the stages before it still take."""
    config = resolved.config
    if resolved.origins.get("training.max_steps") != "command line" or config.training.max_steps is None:
        return None
    others = [
        plan
        for plan in checks.plans[:-1]
        if resolved.origins.get(f"stages.{plan.name}.max_steps") != "command line"
    ]
    if not others:
        return None
    left = " and ".join(f"{plan.name} still takes {plan.steps}" for plan in others)
    how = " ".join(f"--set stages.{plan.name}.max_steps=N" for plan in others)
    return f"max_steps={config.training.max_steps} is of the main stage; {left} ({how} changes that)"


def _for_this_machine(said: Output, resolved: Resolved, *, asks_vllm: bool) -> Resolved:
    """Engine and prompts of a step as this machine allows, where nobody said; nothing changes where the estimate does
    not know model or card."""
    from dataclasses import replace

    from medgrpo.errors import MedgrpoError
    from medgrpo.estimate.choices import NOT_TAKEN, for_this_machine

    settings = resolved.config
    notes = [NOT_TAKEN.format("nothing is known here of model or card")] if asks_vllm else []
    try:
        facts = _facts(settings)
        if facts is not None:
            settings, notes = for_this_machine(settings, resolved.origins, facts, asks_vllm=asks_vllm)
    except (MedgrpoError, OSError, ValueError, TypeError):  # a model that the estimate cannot read
        pass
    for note in notes:
        said.note(note)
    return replace(resolved, config=settings)


def _facts(settings: RunConfig) -> Facts | None:
    """What the estimate is to know of a run on this machine; None where there is nothing to know."""
    from medgrpo.estimate.facts import Facts
    from medgrpo.models.weights import find_weights

    if settings.model.path is None or settings.launch.cpu:
        return None
    data = Path(settings.data.path) if settings.data.path else None
    gpus = (settings.launch.gpus or 1) * settings.launch.nodes
    return Facts(model=find_weights(settings.model.path).base, data=data, gpus=gpus)


def _own(preset: str | None, config: str | None, assignments: list[str]) -> RunConfig | None:
    """What this call says by itself; None where it leaves all to the run."""
    from medgrpo.config.presets import DEFAULT, resolve_run

    if not (preset or config or assignments):
        return None
    file = Path(config) if config else None
    return resolve_run(preset or DEFAULT, config_file=file, assignments=tuple(assignments))[0].config


def _resumed(
    said: Output,
    point: ResumePoint,
    assignments: list[str],
    options: dict[str, Any],
    trusted: list[Path],
    own: RunConfig | None,
) -> tuple[Resolved, str]:
    from medgrpo.run_files import training_info
    from medgrpo.training.run.resume import resume_config

    kept = {key: value for key, value in options.items() if key != "run.output"}
    resolved, notes = resume_config(point.run, assignments, kept, trusted=trusted, own=own)
    said.note(f"resuming {point.run}")
    for note in notes:
        said.note(note)
    name = training_info(point.run).get("name") or point.run.name
    return resolved, str(name)


def _say_if_finished(said: Output, point: ResumePoint, checks: Preflight) -> None:
    from medgrpo.run_files import training_info

    info = training_info(point.run)
    steps = info.get("steps") or 0
    if info.get("finished") and point.checkpoint is None and steps >= checks.plans[-1].steps:
        said.note(
            f"{point.run} is finished after {steps} steps: nothing is left to do; "
            f"--set training.max_steps={2 * steps} would train on"
        )


def _run_name(settings: RunConfig, preset: str | None) -> str:
    from medgrpo.runs.writer import new_run_name

    if settings.run.name:
        return settings.run.name
    if settings.run.output:
        return Path(settings.run.output).name
    from medgrpo.config.presets import DEFAULT, preset_method

    made_from = preset or DEFAULT
    method = settings.training.method
    of_preset = (
        f"{Path(made_from).stem}"
        if method == preset_method(made_from)
        else f"{Path(made_from).stem}-{method}"
    )
    return new_run_name(of_preset, Path("runs"))


def _free_folder(
    stack: ExitStack, settings: RunConfig, point: ResumePoint | None, run_path: Path
) -> Path | None:
    """The folder of a run that nobody named, made at once: another may start at the same moment. None where it is named."""
    from medgrpo.runs.writer import free_folder
    from medgrpo.training.before.launch import is_child

    if settings.run.name or settings.run.output or point is not None:
        return None
    if is_child() or settings.launch.nodes > 1:
        return None
    return stack.enter_context(free_folder(run_path))


def _stopped_code(signal_name: str | None, wanted: int | None) -> int:
    """What schedulers expect of a command that a signal ended: 0 would be success, and the next job would start."""
    import signal

    if wanted is not None:
        return wanted
    return 128 + signal.Signals[signal_name or "SIGINT"]


def _launch(
    said: Output,
    settings: RunConfig,
    checks: Preflight,
    run_path: Any,
    point: ResumePoint | None,
    exit_on_stop: int | None,
) -> None:
    """Start the same command in every process, all with one run folder, and end as they end."""
    import json
    import sys

    from medgrpo.run_files import training_info
    from medgrpo.training.before.agreement import facts_of
    from medgrpo.training.before.launch import relaunch, without_option
    from medgrpo.training.before.stopping import Stopped
    from medgrpo.training.run.outcome import after_failure

    arguments = without_option(sys.argv[1:], "--resume")
    # What `auto` found is named: by the time that the processes look, another run may be the newest.
    arguments += (
        ["--output", str(run_path)] if point is None else ["--resume", str(point.checkpoint or point.run)]
    )
    data_hash = None if checks.dataset is None else checks.dataset.hash
    facts = facts_of(settings, data_hash)
    ended = relaunch(
        arguments,
        settings.launch,
        facts,
        stacks=Path(run_path) / "logs",
        tell=lambda: said.note("asked to stop: all save after their step; CTRL-C again to stop now"),
    )
    if ended.failed is not None:
        failed = after_failure(ended.failed, run_path)
        if isinstance(failed, Stopped) and exit_on_stop is not None:
            failed.exit_code = exit_on_stop
        raise failed
    info = training_info(run_path)
    of_this_machine = {"run": str(run_path), "steps": info.get("steps"), "status": info.get("status")}
    # The first process is on the first machine.
    said.result(of_this_machine if ended.result is None else json.loads(ended.result))
    if info.get("status") == "stopped":
        raise SystemExit(_stopped_code(info.get("stopped_by") or "SIGTERM", exit_on_stop))
    raise typer.Exit(0)


def _check_weights(said: Output, settings: RunConfig) -> None:
    """Say what would be loaded, or raise as loading would."""
    if settings.model.path is None:
        return
    from medgrpo.models.dry_check import what_would_load

    for line in what_would_load(
        settings.model.path,
        revision=settings.model.revision,
        trust_remote_code=settings.model.trust_remote_code,
    ):
        said.note(line)


def _estimate_warnings(settings: RunConfig, run_path: Path) -> list[str]:
    """What the estimate has to say of the plan on this machine's card; nothing where it does not know the model."""
    from medgrpo.errors import MedgrpoError
    from medgrpo.estimate.facts import situation_of
    from medgrpo.estimate.warnings import plan_warnings
    from medgrpo.training.before.launch import is_child

    if is_child():
        return []
    try:
        facts = _facts(settings)
        if facts is None:
            return []
        found = situation_of(settings, facts)
        return plan_warnings(found.work, uncapped_tokens=found.uncapped_tokens, is_here=True, folder=run_path)
    except (MedgrpoError, OSError, ValueError, TypeError):
        return []


def _show_plan(said: Output, settings: RunConfig, checks: Preflight, run_path: Any) -> None:
    columns = [
        "stage",
        "method",
        "steps",
        "prompts",
        "samples",
        "batch",
        "passes",
        "tokens ≤",
        "epochs",
    ]
    rows = [
        (
            plan.name,
            plan.method,
            plan.steps,
            plan.prompts_per_step,
            plan.samples_per_step,
            plan.per_device_train_batch_size,
            plan.gradient_accumulation_steps,
            plan.tokens_per_step,
            round(plan.epochs, 2),
        )
        for plan in checks.plans
    ]
    said.table("one step of each stage", columns, rows)
    said.note("nothing was trained: the same line without --dry-run trains")
    said.result(
        {
            "run": str(run_path),
            "dry_run": True,
            "stages": [plan.__dict__ for plan in checks.plans],
            "config": settings.model_dump(),
            "warnings": checks.warnings,
        }
    )


def _beside_estimate(result: TrainResult) -> Comparison | None:
    """The run beside its estimate, which later estimates on this machine learn from; None where it is of no model
    that the estimate knows, or too short to say anything."""
    from medgrpo.errors import MedgrpoError
    from medgrpo.estimate.from_run import LEAST_STEPS, compare_with_estimate, remember_run

    try:
        compared = compare_with_estimate(result.run)
    except (MedgrpoError, OSError, ValueError, KeyError):
        return None
    if compared.steps < LEAST_STEPS:
        return None
    if result.status == "finished":
        remember_run(compared)
    return compared


def _train(
    said: Output,
    settings: RunConfig,
    checks: Preflight,
    name: str,
    run_path: Any,
    point: ResumePoint | None,
    started: float,
    preset: str | None,
) -> TrainResult | None:
    """The result; None in the processes that do not speak."""
    from importlib.util import find_spec

    if find_spec("trl") is None:
        from medgrpo.errors import missing_extra

        raise missing_extra("trl", "train", "training")
    import os

    from medgrpo.cli.display import LiveReporter
    from medgrpo.config.presets import DEFAULT
    from medgrpo.training.before.launch import is_child, rank, use_one_gpu

    if not is_child():
        use_one_gpu(os.environ)  # type: ignore[arg-type]
    reporter = LiveReporter(said if rank() == 0 else Output())  # others speak into a file of their own
    if rank() == 0:
        reporter.announce(checks.plans)
    reporter.doing("loading PyTorch and TRL")
    try:
        from medgrpo.training.run.train import train as run_training

        result = run_training(
            settings,
            name=name,
            reporter=reporter,
            output=run_path,
            resume=point,
            checks=checks,
            started=started,
            preset=Path(preset or DEFAULT).stem,
        )
    finally:
        reporter.close()
    if rank():
        return None
    rewards = (result.reward_first, result.reward_last)
    if None not in rewards:
        said.text(f"reward {rewards[0]:.3f} → {rewards[1]:.3f} over {result.steps} steps")
    measures = [
        (
            metric,
            *(
                result.validation.get(when, {}).get(metric, {}).get("value")
                for when in ("blind", "before", "after")
            ),
        )
        for metric in result.validation.get("before", {})
    ]
    if measures:
        said.table("validation, greedy", ["metric", "blind baseline", "before", "after"], measures)
    reasons = ", ".join(
        dict.fromkeys(one["rule"] for one in result.health["findings"] if one["severity"] != "info")
    )
    why = f" ({reasons}); medgrpo health {typed_path(result.run)} says what to do" if reasons else ""
    compared = _beside_estimate(result)
    if compared is not None:
        said.text(compared.words())
        if compared.reasons():
            said.text(f"medgrpo estimate-time --from-run {typed_path(result.run)} says why")
    said.text(f"health: {result.health['verdict']}{why}")
    said.text(f"run: {result.run}")
    if (result.run / "report.html").is_file():
        said.text(
            f"report: {result.run / 'report.html'} (curves, before and after, answers with their pictures)"
        )
    if result.status == "stopped":
        said.text(f"stopped; medgrpo train --resume {typed_path(result.run)} goes on")
    elif result.status == "finished":
        said.next(f"medgrpo eval {typed_path(result.run)}")
    said.result(result.as_dict())
    return result

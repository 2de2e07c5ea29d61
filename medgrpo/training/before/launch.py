"""Several GPUs or machines: the same command again in every process (`processes.py`), each kind with what accelerate needs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from medgrpo.config.sections import LaunchConfig
from medgrpo.config.sharing import shares_weights
from medgrpo.errors import MedgrpoError, UsageError, choice_error
from medgrpo.files import foreign_json
from medgrpo.safe_path import OURS, VARIABLE
from medgrpo.training.before.failures import COMMAND
from medgrpo.training.before.stopping import SIGNALS, Stopped, ask_to_stop

MEMORY = "/dev/shm"
SAVE_S = 60.0
"""For processes to save when the one who watches them was killed, which asks them to."""
PORT = 29_500
LAST_PORT = 65_535
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What every launcher sets in each of its processes."""
MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where implementations of MPI say how many processes they started."""
FSDP = {
    "fsdp_version": 2,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",  # by the model's own list of layers
    "fsdp_reshard_after_forward": True,
    "fsdp_state_dict_type": "FULL_STATE_DICT",  # checkpoints and weights as any model's, for any number of GPUs
    "fsdp_offload_params": False,
    "fsdp_cpu_ram_efficient_loading": False,
}
"""What accelerate is told of FSDP2."""


def is_child() -> bool:
    """Whether this process was started by a launcher (ours, torchrun or accelerate).

    Raises:
        UsageError: the variables of a launcher are no numbers, or contradict each other.
    """
    check_numbers(os.environ)
    return (
        COMMAND in os.environ or int(os.environ.get("LOCAL_RANK", "-1")) >= 0
    )  # -1: of nobody, as older scripts say


def check_numbers(environment: Mapping[str, str]) -> None:
    """Refuse variables of a launcher that accelerate could not read, or that name a process outside of the world."""
    numbers: dict[str, int] = {}
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT"):
        if name in environment:
            try:
                numbers[name] = int(environment[name])
            except ValueError as error:
                raise UsageError(
                    f"the variable {name} is {environment[name]!r:.80}",
                    expected="a whole number, as torchrun and accelerate set it",
                    hint=f"unset {name}",
                ) from error
    for one, of in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
        if one in numbers and of in numbers and not 0 <= numbers[one] < numbers[of]:
            raise UsageError(
                f"the variable {one} is {numbers[one]}, of {of} {numbers[of]}",
                expected=f"a number from 0 on, below {of}",
                hint=f"unset {one} {of}, or start the run by torchrun",
            )


def check_launcher(launch: LaunchConfig, environment: Mapping[str, str]) -> None:
    """Refuse variables of a launcher that no launcher set, where this process is to train by itself: left over in a
    shell, or a scheduler's for another purpose. Torch would wait for processes that nobody started.

    Raises:
        UsageError: some of them are set and some are not, or MPI started several processes.
    """
    if needs_launch(launch):
        return
    check_numbers(environment)
    said = {name: int(environment.get(name, "0")) for name in ("WORLD_SIZE", "RANK")}
    is_one_of_several = (
        said["WORLD_SIZE"] > 1 or said["RANK"] > 0 or int(environment.get("LOCAL_RANK", "-1")) >= 0
    )
    given = [name for name in LAUNCHER if name in environment]
    missing = [name for name in LAUNCHER if name not in environment]
    if is_one_of_several and missing and COMMAND not in environment:
        stated = ", ".join(f"{name}={environment[name]:.40}" for name in given)
        raise UsageError(
            f"the environment has {stated}, and no {', '.join(missing)}: no launcher started this process, and the others "
            "that it names would be waited for",
            expected="all of them, as torchrun and accelerate set them, or none",
            hint=f"unset {' '.join(given)} (several GPUs: --gpus N)",
        )
    for name in MPI:
        if environment.get(name, "1").strip().isdigit() and int(environment.get(name, "1")) > 1 and not given:
            raise UsageError(
                f"MPI started {environment[name]} processes ({name}), and each would train the same run by itself",
                expected="one process on each machine, which starts the others",
                hint=f"medgrpo train --gpus {environment[name]}, once; or torchrun",
            )


def rank() -> int:
    """Number of this process over all machines; 0 without a launcher, whatever RANK says of something else."""
    return int(os.environ.get("RANK", "0")) if is_child() else 0


def needs_launch(launch: LaunchConfig) -> bool:
    """Whether the run needs more than this process."""
    several = (launch.gpus or 1) > 1 or launch.nodes > 1 or launch.deepspeed is not None
    return several and not is_child()


def use_one_gpu(environment: dict[str, str]) -> None:
    """Show this process one GPU: Transformers would split the batch over all it sees, which TRL refuses."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    environment["CUDA_VISIBLE_DEVICES"] = "0" if visible is None else visible.split(",")[0]


def deepspeed_file(name: str) -> Path:
    """The DeepSpeed configuration of a name (zero2, zero3) or path.

    Raises:
        UsageError: there is none.
    """
    folder = Path(str(files("medgrpo"))) / "presets" / "deepspeed"
    shipped = {path.stem: path for path in folder.glob("*.json")}
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix == ".json":
        raise UsageError(
            f"no DeepSpeed configuration at {path}",
            expected=f"a file, or one of {', '.join(sorted(shipped))}",
            hint="--deepspeed zero2",
        )
    raise choice_error("DeepSpeed configuration", name, shipped)


def host_memory_needed(launch: LaunchConfig, model: Path | None) -> list[str]:
    """A warning where weights are shared out (ZeRO-3, FSDP) only after every process has read all of them.

    Args:
        model: folder of the weights; None, or a name on the hub: their size is not known.
    """
    processes = launch.gpus or 1
    if launch.cpu or not shares_weights(launch, processes):
        return []
    held = sum(file.stat().st_size for file in model.glob("*.safetensors")) / 2**30 if model else 0.0
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    size = f"{processes} × {held:.2f} GiB" if held else "as many whole copies"
    kind = "FSDP" if launch.fsdp else "ZeRO-3"
    return [
        f"{kind} shares the weights out after each of the {processes} processes has read the whole model: while loading "
        f"this machine's memory ({here:.0f} GiB) holds {size}"
    ]


def accelerate_config(launch: LaunchConfig, environment: Mapping[str, str]) -> dict[str, Any]:
    """What `accelerate launch --config_file` reads.

    With several machines the address of the first is taken from MASTER_ADDR (and MASTER_PORT), this
    machine's number from NODE_RANK or SLURM_NODEID.

    Raises:
        UsageError: several machines without an address.
    """
    gpus = launch.gpus or 1
    if launch.deepspeed:
        kind = "DEEPSPEED"
    elif launch.fsdp:
        kind = "FSDP"
    else:
        kind = "MULTI_GPU" if gpus * launch.nodes > 1 else "NO"
    config: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": kind,
        "num_machines": launch.nodes,
        "num_processes": gpus * launch.nodes,
        "machine_rank": machine_number(launch, environment),
        "main_process_port": int(environment.get("MASTER_PORT", PORT)),
        "use_cpu": False,
    }
    if launch.nodes > 1:
        address, _ = meeting_place(launch, environment)
        config["main_process_ip"] = address
    if launch.deepspeed:
        config["deepspeed_config"] = {
            "deepspeed_config_file": str(deepspeed_file(launch.deepspeed)),
            "zero3_init_flag": False,  # the policy is loaded before the trainer (see `host_memory_needed`)
        }
    else:
        config["mixed_precision"] = (
            "no"  # the trainer's own arguments decide; beside a DeepSpeed file it is refused
        )
        if launch.fsdp:
            config["fsdp_config"] = FSDP
    return config


class Ended(NamedTuple):
    """How the processes of this machine ended."""

    failed: MedgrpoError | None
    """Why; None: they did not fail. `Stopped` where they were stopped before they could save."""
    result: str | None
    """The first process's JSON document, where one was asked for."""


def relaunch(
    arguments: Sequence[str],
    launch: LaunchConfig,
    facts: dict[str, str] | None = None,
    stacks: Path | None = None,
    tell: Callable[[], None] | None = None,
) -> Ended:
    """Run `medgrpo ARGUMENTS` in every process; how that ended.

    CTRL-C and SIGTERM do not reach the processes, which read the request from a file at the end of their step, nor do
    Slurm's warnings (SIGUSR1, SIGUSR2). A second CTRL-C ends all at once.

    Args:
        facts: what all machines must have in common (`agreement.facts_of`).
        stacks: where the stacks of processes are kept that were asked for them.
        tell: called at the first signal, to say that it was heard.
    """
    import json

    from medgrpo.training.before.failures import left_result
    from medgrpo.training.before.processes import CAUSE, SPEC, STOP, Spec, end_group, end_with_parent
    from medgrpo.training.before.standing import keep

    with tempfile.TemporaryDirectory(prefix="medgrpo-", dir=in_memory()) as folder:
        config = None
        if not launch.cpu:
            config = str(Path(folder) / "accelerate.json")
            Path(config).write_text(json.dumps(accelerate_config(launch, os.environ)), encoding="utf-8")
        address, port = meeting_place(launch, os.environ)
        spec = Spec(
            command=[sys.executable, "-m", "medgrpo.cli.main", *arguments],
            local=launch.gpus or 1,
            nodes=launch.nodes,
            node=machine_number(launch, os.environ),
            address=address,
            port=port,
            config=config,
            timeout_s=launch.timeout_s,
            start_timeout_s=launch.start_timeout_s,
            folder=folder,
            facts=facts or {},
            as_json="--json" in arguments,
        )
        spec.write(Path(folder) / SPEC)
        environment = child_environment(os.environ)
        if launch.cpu:
            environment["ACCELERATE_USE_CPU"] = "true"
        process = subprocess.Popen(
            [sys.executable, "-m", "medgrpo.training.before.processes", str(Path(folder) / SPEC)],
            env=environment,
            start_new_session=True,
            preexec_fn=end_with_parent(),  # noqa: PLW1509  (one system call, its library loaded before)
        )
        asked: list[int] = []

        def ask(number: int, _: Any) -> None:
            asked.append(number)
            if len(asked) == 1:
                ask_to_stop(Path(folder) / STOP, number)
                if tell is not None:
                    tell()
            elif number == signal.SIGINT:
                os.killpg(process.pid, signal.SIGKILL)

        before = {number: signal.signal(number, ask) for number in SIGNALS}
        try:
            code = process.wait()
            end_group(process.pid, within_s=SAVE_S if code < 0 else 0)
            if code and stacks is not None and stacks.parent.is_dir():  # else nothing was begun
                keep(Path(folder), stacks)
            cause = Path(folder) / CAUSE
            said = foreign_json(cause) if cause.is_file() else None
            return Ended(_why(code, said, asked), left_result(Path(folder)))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def in_memory() -> str | None:
    """A folder that a full disk leaves writable, for the words of a process that found it full; None: the usual one."""
    return MEMORY if os.path.isdir(MEMORY) and os.access(MEMORY, os.W_OK | os.X_OK) else None


def _why(code: int, said: dict[str, Any] | None, asked: Sequence[int]) -> MedgrpoError | None:
    if not code:
        return None
    if said is None and len(asked) > 1:
        return Stopped("stopped at once: what the processes were at is not saved", asked[0])
    if said is None and code < 0:
        return MedgrpoError(
            f"the process that watches those of this machine was killed ({signal.Signals(-code).name})",
            hint="they were asked to save and end",
        )
    if said is None:
        return MedgrpoError(f"the processes could not be started, or were ended with them (code {code})")
    words = {"expected": said["expected"], "hint": said["hint"]}
    if said["stopped_by"] is not None:
        return Stopped(said["problem"], said["stopped_by"], **words)
    error = MedgrpoError(said["problem"], **words)
    error.exit_code = said["code"]
    return error


def machine_number(launch: LaunchConfig, environment: Mapping[str, str]) -> int:
    """Of this machine among those of the run; 0 where there is one, whatever a scheduler says of its own job.

    Raises:
        UsageError: the variable that says it is no such number.
    """
    if launch.nodes == 1:
        return 0
    name = "NODE_RANK" if "NODE_RANK" in environment else "SLURM_NODEID"
    said = environment.get(name, "0")
    if not said.isdecimal() or int(said) >= launch.nodes:
        raise UsageError(
            f"the variable {name} is {said!r:.40}",
            expected=f"the number of this machine, from 0 to {launch.nodes - 1}, another on each",
            hint="MASTER_ADDR=host NODE_RANK=0 medgrpo train --nodes 2 …, the same on each with its NODE_RANK",
        )
    return int(said)


def meeting_place(launch: LaunchConfig, environment: Mapping[str, str]) -> tuple[str, int]:
    """Address and port at which the processes find each other; on one machine a port that is free.

    Raises:
        UsageError: several machines without an address.
    """
    if launch.nodes == 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return "127.0.0.1", probe.getsockname()[1]
    if "MASTER_ADDR" not in environment:
        raise UsageError(
            "--nodes needs the address of the first machine",
            hint="MASTER_ADDR=host NODE_RANK=0 medgrpo train --nodes 2 …, the same on each with its NODE_RANK",
        )
    said = environment.get("MASTER_PORT", str(PORT))
    if not said.isdecimal() or not 0 < int(said) < LAST_PORT:
        raise UsageError(
            f"the variable MASTER_PORT is {said!r:.40}",
            expected=f"a number from 1 to {LAST_PORT - 1}: the processes meet there, the launchers at the port after it",
            hint=f"MASTER_PORT={PORT}",
        )
    return environment["MASTER_ADDR"], int(said)


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the processes of a run are started with: `python -m` would import from the working folder first, where
    a file may lie that is called as a library is."""
    return {**environment, COMMAND: str(os.getpid()), VARIABLE: environment.get(VARIABLE) or OURS}


def own_log(run: Path, process: int) -> Path:
    """Send what this process prints, and what its libraries print, to `logs/rank-N.log` of the run folder."""
    path = run / "logs" / f"rank-{process}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    return path


def without_option(arguments: Sequence[str], option: str) -> list[str]:
    """The command line without an option and its value."""
    words = iter(arguments)
    kept = []
    for word in words:
        if word == option:
            next(words, None)
        elif not word.startswith(option + "="):
            kept.append(word)
    return kept

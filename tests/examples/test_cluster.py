"""The examples for clusters: what they start is a command that medgrpo takes, and exit codes and waits are those of the docs."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from medgrpo.config.sections import LaunchConfig

CLUSTER = Path(__file__).parents[2] / "examples" / "cluster"


def options_of_train() -> set[str]:
    import typer

    from medgrpo.cli.train import app

    return {option for one in typer.main.get_command(app).params for option in one.opts}


@pytest.fixture
def job():
    yaml = pytest.importorskip("yaml")
    service, job = yaml.safe_load_all((CLUSTER / "train.yaml").read_text())
    assert service["spec"]["selector"] == job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["publishNotReadyAddresses"] is True  # the first is looked for before it is ready
    return job


def test_the_job_of_kubernetes_starts_each_machine_with_its_number_and_the_address_of_the_first(job):
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    words = dict(word[2:].split("=", 1) for word in container["command"][2:])
    assert container["command"][:2] == ["medgrpo", "train"]
    assert {f"--{name}" for name in words} <= options_of_train()
    count = int(words["nodes"])
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (count, count)
    assert container["resources"]["limits"]["nvidia.com/gpu"] == int(words["gpus"])
    given = {one["name"]: one for one in container["env"]}
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert given["NODE_RANK"]["valueFrom"]["fieldRef"]["fieldPath"] == index
    assert given["MASTER_ADDR"]["value"] == f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert given["MASTER_PORT"]["value"].isdecimal()


def test_kubernetes_starts_again_what_was_asked_to_end_and_not_what_was_called_wrongly(job):
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # what podFailurePolicy needs; --resume=auto goes on
    assert pod["terminationGracePeriodSeconds"] >= 300
    ignored, failed = job["spec"]["podFailurePolicy"]["rules"]
    assert (ignored["action"], ignored["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (failed["action"], failed["onExitCodes"]["values"]) == ("FailJob", [2])
    said = re.search(
        r"\((\d+) minutes\) for the other", (CLUSTER / "train.yaml").read_text().replace("\n# ", " ")
    )
    assert int(said[1]) * 60 == LaunchConfig().start_timeout_s


def test_the_script_for_slurm_starts_one_command_a_machine_that_medgrpo_takes(tmp_path):
    for name, code in (
        ("srun", 'printf "%s\\n" "$MASTER_ADDR $MASTER_PORT $SRUN_CPUS_PER_TASK" "$@"'),
        ("scontrol", "printf 'n7\\nn8\\n'"),
    ):
        (tmp_path / name).write_text(f"#!/bin/bash\n{code}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {
        "SLURM_JOB_NODELIST": "n[7-8]",
        "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "64",
    }
    done = subprocess.run(
        ["bash", CLUSTER / "train.sbatch", "--model", "a model", "--output", "/shared/one"],
        env={**os.environ, **slurm, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    meeting, *words = done.stdout.splitlines()
    address, port, cpus = meeting.split()
    assert (address, cpus) == ("n7", "64")
    assert 1024 < int(port) < 65_534
    assert words == [
        "--kill-on-bad-exit=1", "medgrpo", "train", "--nodes", "2", "--gpus", "8", "--resume", "auto", "--model", "a model",
        "--output", "/shared/one",
    ]  # fmt: skip
    assert {word for word in words[1:] if word.startswith("--")} <= options_of_train()
    stated = dict(
        re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", (CLUSTER / "train.sbatch").read_text(), re.MULTILINE)
    )
    assert (stated["ntasks-per-node"], stated["gpus-per-node"]) == ("1", "8")
    assert stated["signal"] == "TERM@300"  # without B: to the processes, not to the script

"""The configuration that several processes are started with."""

import json
import os
import re
import socket
import subprocess
import sys

import pytest

from medgrpo.config.sections import LaunchConfig
from medgrpo.errors import UsageError
from medgrpo.training.before.launch import (
    accelerate_config,
    check_launcher,
    check_numbers,
    deepspeed_file,
    machine_number,
    meeting_place,
    needs_launch,
    use_one_gpu,
)
from medgrpo.training.before.processes import kind_of_run


def test_one_process_needs_no_launcher():
    assert not needs_launch(LaunchConfig())
    assert needs_launch(LaunchConfig(gpus=2))
    assert needs_launch(LaunchConfig(deepspeed="zero2"))


def test_a_launched_process_does_not_launch_again(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not needs_launch(LaunchConfig(gpus=2))


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"RANK": "x"}, "RANK"),
        ({"LOCAL_RANK": ""}, "LOCAL_RANK"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "of WORLD_SIZE 2"),
        ({"LOCAL_RANK": "-1", "LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK is -1"),
    ],
)
def test_variables_of_a_launcher_that_make_no_sense_are_named(variables, named):
    with pytest.raises(UsageError, match=named):
        check_numbers(variables)
    check_numbers(
        {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_PORT": "1"}
    )


def test_two_machines_take_their_address_from_the_environment():
    config = accelerate_config(LaunchConfig(gpus=4, nodes=2), {"MASTER_ADDR": "first", "NODE_RANK": "1"})
    assert config["num_processes"] == 8
    assert (config["machine_rank"], config["main_process_ip"]) == (1, "first")
    assert config["distributed_type"] == "MULTI_GPU"


def test_one_machine_is_the_first_whatever_number_a_scheduler_gives_it():
    slurm = {"SLURM_NODEID": "3"}
    assert machine_number(LaunchConfig(gpus=2), slurm) == 0
    assert machine_number(LaunchConfig(gpus=2, nodes=4), slurm) == 3
    assert machine_number(LaunchConfig(nodes=4), {**slurm, "NODE_RANK": "1"}) == 1


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"NODE_RANK": "2"}, "NODE_RANK is '2'"),
        ({"SLURM_NODEID": "x"}, "SLURM_NODEID is 'x'"),
        ({"NODE_RANK": "-1"}, "NODE_RANK is '-1'"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
        ({"MASTER_PORT": "65535"}, "MASTER_PORT is '65535'"),
    ],
)
def test_a_number_of_a_machine_or_a_port_that_is_none_is_named(variables, named):
    environment = {"MASTER_ADDR": "first", **variables}
    of = meeting_place if "MASTER_PORT" in variables else machine_number
    with pytest.raises(UsageError, match=named):
        of(LaunchConfig(nodes=2), environment)


def test_two_machines_without_an_address_are_refused():
    with pytest.raises(UsageError, match="address of the first machine"):
        accelerate_config(LaunchConfig(nodes=2), {})


@pytest.mark.parametrize(("name", "stage"), [("zero2", 2), ("zero3", 3)])
def test_shipped_deepspeed_configurations_are_what_they_are_called(name, stage):
    config = json.loads(deepspeed_file(name).read_text())
    assert config["zero_optimization"]["stage"] == stage
    plugin = accelerate_config(LaunchConfig(gpus=2, deepspeed=name), {})
    assert plugin["deepspeed_config"]["deepspeed_config_file"] == str(deepspeed_file(name))


def test_an_unknown_deepspeed_name_gets_the_nearest():
    with pytest.raises(UsageError) as error:
        deepspeed_file("zero4")
    assert error.value.hint == "did you mean 'zero3'?" or "zero2" in str(error.value)


def test_one_gpu_is_the_first_of_those_allowed():
    environment = {"CUDA_VISIBLE_DEVICES": "2,3"}
    use_one_gpu(environment)
    assert environment["CUDA_VISIBLE_DEVICES"] == "2"


@pytest.mark.parametrize(
    ("launch", "expected"),
    [
        (LaunchConfig(gpus=2), {"ACCELERATE_MIXED_PRECISION": "no"}),
        (LaunchConfig(gpus=2, fsdp=True), {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}),
        (LaunchConfig(gpus=2, deepspeed="zero2"), {"ACCELERATE_USE_DEEPSPEED": "true"}),
        (LaunchConfig(gpus=2, nodes=2, deepspeed="zero3"), {"ACCELERATE_USE_DEEPSPEED": "true"}),
    ],
)
def test_accelerate_says_what_each_kind_needs_in_its_environment(launch, expected, tmp_path):
    file = tmp_path / "accelerate.json"
    file.write_text(json.dumps(accelerate_config(launch, {"MASTER_ADDR": "127.0.0.1"})))
    found = kind_of_run(str(file), ["python", "-m", "medgrpo.cli.main", "train", "--gpus", "2"])
    assert expected.items() <= found.items()
    if launch.deepspeed:
        assert found["ACCELERATE_DEEPSPEED_CONFIG_FILE"] == str(deepspeed_file(launch.deepspeed))
        assert "deepspeed_config_file" in found["ACCELERATE_CONFIG_DS_FIELDS"]


ALL = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("variables", "said", "hint"),
    [
        (
            {"RANK": "1", "WORLD_SIZE": "2"},
            "RANK=1, WORLD_SIZE=2, and no LOCAL_RANK",
            "unset RANK WORLD_SIZE",
        ),
        (
            {"WORLD_SIZE": "8", "MASTER_ADDR": "a"},
            "no RANK, LOCAL_RANK, MASTER_PORT",
            "unset WORLD_SIZE MASTER_ADDR",
        ),
        ({"LOCAL_RANK": "0"}, "no RANK, WORLD_SIZE", "unset LOCAL_RANK"),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "4 processes", "--gpus 4"),
        ({"PMI_SIZE": "2"}, "2 processes", "--gpus 2"),
    ],
)
def test_variables_that_no_launcher_set_are_refused_before_anybody_waits(variables, said, hint):
    with pytest.raises(UsageError, match=re.escape(said)) as refused:
        check_launcher(LaunchConfig(), variables)
    assert hint in refused.value.hint
    check_launcher(
        LaunchConfig(gpus=2), variables
    )  # which starts its own processes, with their own variables


@pytest.mark.parametrize(
    "variables",
    [{}, ALL, {"RANK": "0", "WORLD_SIZE": "1"}, {"LOCAL_RANK": "-1"}, {"PMI_SIZE": "1"}, {"PMI_SIZE": "x"}],
)
def test_variables_of_a_launcher_and_of_one_process_are_fine(variables):
    check_launcher(LaunchConfig(), variables)


def test_a_process_whose_others_never_come_says_so_in_time():
    code = (
        "from medgrpo.config.sections import LaunchConfig\nfrom medgrpo.training.run.meeting import met\n"
        "from medgrpo.training.watch.reporter import SilentReporter\nfrom medgrpo.errors import MedgrpoError\n"
        "try: met(LaunchConfig(cpu=True, timeout_s=10), SilentReporter())\n"
        "except MedgrpoError as error: print(error.problem, error.expected, error.hint)\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={**os.environ, **ALL, "MASTER_PORT": port},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert f"process 0 (RANK) of 2 (WORLD_SIZE) did not meet the others at 127.0.0.1:{port}" in done.stdout, (
        done.stderr
    )
    assert "within 10 s (launch.timeout_s)" in done.stdout
    assert "unset RANK WORLD_SIZE LOCAL_RANK" in done.stdout

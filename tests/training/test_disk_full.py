"""A disk that fills up during a checkpoint: one clear error, the last checkpoint good, the run goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.fsdp_on_cpu import environment
from tests.training.warm import Warm

SETTINGS = (
    "rollout.num_generations=2",
    "rollout.max_completion_length=6",
    "training.prompts_per_step=2",
    "training.per_device_train_batch_size=4",
    "training.max_steps=6",
    "training.save_steps=2",
    "training.save_total_limit=10",
    "stages.sft.enabled=false",
    "data.rows=6",
    "validation.before_and_after=false",
    "logging.report_to=[]",
)


@pytest.mark.slow
def test_a_full_disk_during_a_checkpoint_leaves_the_last_one_good(dataset, tmp_path):
    """On a real file system of 16 MiB, mounted in a user namespace of its own; a checkpoint takes 7."""
    room = tmp_path / "room"
    room.mkdir()
    settings = " ".join(f"--set {text}" for text in (*SETTINGS, f"data.path={dataset}"))
    train = f"{sys.executable} -m medgrpo.cli.main train --output {room}/run --resume auto --quiet {settings}"
    script = (
        f"cd {room.parent} && mount -t tmpfs -o size=16m none {room} && "
        f"{train}; code=$?; ls {room}/run/checkpoints; cat {room}/run/training_info.json; echo; "
        f"mount -o remount,size=64m {room} && {train} --json; cat {room}/run/log.jsonl; exit $code"
    )
    # An earlier run in this process left WANDB_MODE, which Transformers speaks about on stdout.
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_MODE"}
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no private mounts here: {done.stderr.strip()[:80]}")
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("error: ") == 1
    assert "error: the disk is full" in done.stderr
    assert "checkpoint-2 took" in done.stderr.split("error: ")[0]  # and the next does not fit
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()  # nothing of the libraries among them
    assert lines[0] == "checkpoint-2"
    assert not lines[1].startswith("checkpoint")
    results = [json.loads(line) for line in lines if line.startswith("{") and len(line) > 2]
    assert results[0]["status"] == "finished"
    assert [entry["step"] for entry in results[1:]] == [1, 2, 3, 4, 5, 6]


FILLS = """
import os, shutil
def fills(completions, **_):
    if os.environ.get("RANK", "0") == "0" and os.path.exists(os.environ.get("FILL_AFTER", "")):
        with open("room/ballast", "wb") as file:
            file.write(bytes(shutil.disk_usage("room").free - 2**20))
    return [float(len(text) % 3) for text in completions]
"""
"""A reward that leaves the disk a mebibyte from the third step on."""


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """Commands that see a disk of 64 MiB at `room` of a folder."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "room").mkdir()
    mount = f'mount -t tmpfs -o size=64m none {folder}/room && exec "$@"'
    if subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, "sh", "true"], check=False
    ).returncode:
        pytest.skip("no private mounts here")
    made = Warm(["unshare", "--mount", "--map-root-user", "sh", "-c", mount, "sh"])
    yield made, folder
    made.end()


@pytest.mark.slow
@pytest.mark.parametrize("gpus", [1, 2])
def test_a_full_disk_during_the_last_weights_leaves_a_run_that_goes_on(gpus, small_disk, dataset):
    warm, folder = small_disk
    (folder / "mine.py").write_text(FILLS)
    settings = (
        *SETTINGS, "training.max_steps=3", f"data.path={dataset}", f"launch.gpus={gpus}", "launch.cpu=true",
        "training.per_device_train_batch_size=2", f'rewards.weights={{"{folder / "mine.py"}:fills" = 1.0}}',
    )  # fmt: skip
    words = ["train", "--output", f"room/run{gpus}", "--resume", "auto", "--json"]
    words += [word for text in settings for word in ("--set", text)]
    room = warm.root / str(folder / "room").lstrip("/")
    run = room / f"run{gpus}"
    full = warm.start(folder, words, FILL_AFTER=f"room/run{gpus}/checkpoints/checkpoint-2")
    assert full.wait(120) == 1, full.said
    (document,) = full.documents
    assert "the disk is full" in document["error"]["problem"]
    assert full.said.count("error: ") == 1
    assert "Traceback" not in full.said
    assert (run / "log.jsonl").read_text().count("\n") == 3  # so that the weights were next
    assert (run / "checkpoints/checkpoint-2/complete.json").is_file()
    assert not (run / "final_model").exists()
    assert not list(run.glob(".final_model*"))
    assert json.loads((run / "training_info.json").read_text())["status"] == "failed"
    (room / "ballast").unlink()
    done = warm.start(folder, words)
    assert done.wait(120) == 0, done.said
    assert done.documents[0]["status"] == "finished"
    assert (run / "final_model/complete.json").is_file()
    log = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert log == [1, 2, 3]


@pytest.mark.slow
def test_a_full_disk_is_said_by_every_process_that_writes_its_part(dataset, tmp_path):
    """Under FSDP2 torch raises an error that is no Exception in all processes, wherever it was that the disk was full."""
    room = tmp_path / "room"
    room.mkdir()
    words = [
        "training.method=sft",
        "tuning.method=full",
        *SETTINGS[2:],
        "training.per_device_train_batch_size=1",
        "training.save_steps=1",
        "training.max_steps=2",
        f"data.path={dataset}",
    ]
    script = f'mount -t tmpfs -o size=14m none {room} && exec "$@"'  # .1, a checkpoint of 8, half of another
    launch = [
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:0",
    ]
    program = str(Path(__file__).with_name("two_processes.py"))
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", sys.executable, *launch, program, f"{room}/run", *words],
        env={**os.environ, **environment(), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "TEE": "3"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no private mounts here: {done.stderr.strip()[:80]}")
    assert done.returncode == 1
    assert "medgrpo.errors.MedgrpoError: the disk is full" in done.stderr

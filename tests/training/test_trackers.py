"""What trackers are told: stay here, unless asked to go elsewhere."""

import socket
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import pytest
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler

from medgrpo.config.sections import LoggingConfig
from medgrpo.training.watch.trackers import keep_here, spare


def test_nothing_leaves_the_machine_by_default(tmp_path):
    environment = {}
    keep_here(LoggingConfig(project="eyes"), tmp_path, environment)
    assert environment["WANDB_MODE"] == "offline"
    assert environment["MLFLOW_TRACKING_URI"] == f"file://{tmp_path}/mlruns"
    assert environment["TRACKIO_DIR"] == f"{tmp_path}/trackio"
    assert environment["WANDB_PROJECT"] == environment["MLFLOW_EXPERIMENT_NAME"] == "eyes"
    assert environment["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_what_the_environment_asks_for_stays(tmp_path):
    environment = {"WANDB_MODE": "online", "MLFLOW_TRACKING_URI": "http://tracking:5000"}
    keep_here(LoggingConfig(), tmp_path, environment)
    assert environment["WANDB_MODE"] == "online"
    assert environment["MLFLOW_TRACKING_URI"] == "http://tracking:5000"
    environment = {}
    keep_here(LoggingConfig(offline=False), tmp_path, environment)
    assert "WANDB_MODE" not in environment


class Tracker(TrainerCallback):
    """Like those of Transformers, of a server of curves."""

    __module__ = "transformers.integrations.tests"

    def __init__(self, place):
        self.place, self.asked = place, 0

    def on_log(self, *_, **__):
        self.asked += 1
        try:
            urllib.request.urlopen(self.place, timeout=120)
        except OSError as error:
            raise RuntimeError(f"no curves: {error}") from error


@pytest.mark.parametrize("answers", [False, True], ids=["stands still", "refuses"])
def test_a_tracker_that_does_not_answer_is_left_out_and_training_goes_on(answers, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"http://127.0.0.1:{server.getsockname()[1]}"
        if answers:
            server.close()
        tracker, warnings = Tracker(place), []
        handler = CallbackHandler([tracker, TrainerCallback()], None, None, None, None)
        trainer = SimpleNamespace(callback_handler=handler)
        spare(trainer, warnings.append, answer_s=0.5)
        arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
        began = time.monotonic()
        for _ in range(3):
            handler.on_log(arguments, TrainerState(), TrainerControl(), {"loss": 1.0})
        assert time.monotonic() - began < 10
    assert tracker.asked == 1
    (said,) = warnings
    assert said.startswith("the tracker tracker is left out from here on: ")
    assert ("no curves" if answers else "it did not answer for 0.5 s") in said


@pytest.mark.parametrize(("trackers", "ends"), [(("wandb",), True), (("tensorboard",), False)])
def test_a_tracker_that_still_sends_does_not_keep_the_process(trackers, ends):
    code = (
        "import threading, time\nfrom medgrpo.training.watch.trackers import end_in_time\n"
        f"threading.Thread(target=time.sleep, args=(4,)).start()\nend_in_time({trackers!r}, 7, answer_s=1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == (7 if ends else 0)
    assert ("warning: wandb had not ended 1 s after the run" in done.stderr) is ends

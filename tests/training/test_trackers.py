"""What trackers are told: stay here, unless asked to go elsewhere."""

from medgrpo.config.sections import LoggingConfig
from medgrpo.training.watch.trackers import keep_here


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

"""Trackers that keep to this machine unless asked, and libraries that report nothing home."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from medgrpo.config.sections import LoggingConfig
from medgrpo.telemetry import SILENT


def keep_here(logging: LoggingConfig, run: Path, environment: MutableMapping[str, str]) -> None:
    """Set what trackers read from the environment; what is set there already has been asked for and stays.

    Files go to the run folder: `wandb/`, `mlruns/`, `trackio/`.
    """
    here = run.absolute()
    wanted = {
        **SILENT,
        "WANDB_PROJECT": logging.project,
        "WANDB_DIR": str(here),
        "MLFLOW_EXPERIMENT_NAME": logging.project,
    }
    if logging.offline:
        wanted |= {
            "WANDB_MODE": "offline",
            "MLFLOW_TRACKING_URI": (here / "mlruns").as_uri(),
            "MLFLOW_ALLOW_FILE_STORE": "true",  # MLflow asks for a database otherwise
            "TRACKIO_DIR": str(here / "trackio"),
        }
    for name, value in wanted.items():
        environment.setdefault(name, value)

"""A short run as one of several processes on the CPU: `torch.distributed.run … two_processes.py RUN key=value…`."""

import sys
from pathlib import Path

from accelerate import PartialState

from medgrpo.config.presets import resolve_run
from medgrpo.training.reporter import SilentReporter
from medgrpo.training.stages import train

if __name__ == "__main__":
    PartialState(cpu=True, backend="gloo")
    train(
        resolve_run(assignments=tuple(sys.argv[2:]))[0].config,
        name="test",
        reporter=SilentReporter(),
        output=Path(sys.argv[1]),
        logs=None,
    )

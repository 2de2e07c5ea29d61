"""A short run as one of several processes on the CPU: `torch.distributed.run … two_processes.py RUN key=value…`.

It goes on with a run that is there.
"""

import os
import sys
from pathlib import Path

from accelerate import PartialState

from medgrpo.config.presets import resolve_run
from medgrpo.training.run.resume import ResumePoint
from medgrpo.training.run.train import train
from medgrpo.training.watch.reporter import SilentReporter

if __name__ == "__main__":
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        from fsdp_on_cpu import allow_fsdp

        allow_fsdp()
    PartialState(cpu=True, backend="gloo")
    run = Path(sys.argv[1])
    train(
        resolve_run(assignments=tuple(sys.argv[2:]))[0].config,
        name="test",
        reporter=SilentReporter(),
        output=run,
        logs=None,
        resume=ResumePoint(run) if run.exists() else None,
    )

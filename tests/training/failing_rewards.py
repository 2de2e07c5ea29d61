"""A reward whose second process fails, as `FAIL` says, once the checkpoint `FAIL_AFTER` is there; the rewards are any numbers."""

import os
import signal
import time
from pathlib import Path


def fails(completions, **_):
    kind = os.environ.get("FAIL")
    if kind and os.environ.get("RANK") == "1" and Path(os.environ["FAIL_AFTER"]).exists():
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        from medgrpo.training.trainers.grpo import PolicyTrainer

        PolicyTrainer.training_step = {"memory": out_of_memory, "still": stands_still}[kind]
    return [float(len(text) % 3) / 2 for text in completions]


def out_of_memory(*_, **__):
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def stands_still(*_, **__):
    time.sleep(1000)

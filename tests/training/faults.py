"""What goes wrong in a process of a run on purpose, by the name that `PLANT` gives; see `warm.py`."""

import os
import time


def plant() -> None:
    """Make it go wrong in the process of number 1, once `PLANT_AFTER` is there."""
    if (name := os.environ.get("PLANT")) and os.environ.get("RANK") == "1":
        globals()[name]()


def _is_time() -> bool:
    return os.path.exists(os.environ["PLANT_AFTER"])


def collator_hangs() -> None:
    from medgrpo.training.trainers.sft import SupervisedTrainer

    taught = SupervisedTrainer._taught

    def hangs(*arguments):
        if _is_time():
            time.sleep(1000)
        return taught(*arguments)

    SupervisedTrainer._taught = hangs


def picture_hangs() -> None:
    from medgrpo.training.before import datasets

    opened = datasets.open_image

    def hangs(file):
        if _is_time():
            time.sleep(1000)
        return opened(file)

    datasets.open_image = hangs

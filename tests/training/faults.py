"""What goes wrong in a process of a run on purpose, by the name that `PLANT` gives; see `warm.py`."""

import os
import time

planted: list[str] = []


def plant() -> None:
    """Make it go wrong in the process of number 1, once `PLANT_AFTER` is there; `notes_rows` in all of them."""
    if (name := os.environ.get("PLANT")) and (os.environ.get("RANK") == "1" or name == "notes_rows"):
        if not planted:  # a fork of one in which it was
            globals()[name]()
        planted.append(name)


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


def notes_rows() -> None:
    """Each row that a process of SFT or DPO learns from, a line `step id` in the file `PLANT_AFTER`."""
    from medgrpo.training.before import datasets
    from medgrpo.training.trainers.dpo import PreferenceTrainer
    from medgrpo.training.trainers.sft import SupervisedTrainer

    lazy = datasets._lazy
    datasets._lazy = lambda source, build, **_: lazy(source, lambda row: {**build(row), "row_id": row["id"]})

    def note(trainer, examples) -> None:
        if not trainer.context.is_probing:
            words = "".join(f"{trainer.state.global_step + 1} {one['row_id']}\n" for one in examples)
            with open(os.environ["PLANT_AFTER"], "a") as file:
                file.write(words)

    parts, prepared = SupervisedTrainer._parts, PreferenceTrainer._prepare_inputs

    def taught(trainer, rows):
        note(trainer, rows.examples)
        return parts(trainer, rows)

    def compared(trainer, examples):
        note(trainer, examples)
        return prepared(trainer, examples)

    SupervisedTrainer._parts, PreferenceTrainer._prepare_inputs = taught, compared

"""Rows with a picture, with two and with none in one run, down to one batch, on the real trainers."""

import math
import shutil

import pytest

from medgrpo.data.prepared import PreparedDataset, PreparedWriter
from medgrpo.records import json_objects
from medgrpo.runs.store import read_completions
from medgrpo.training.run.train import train
from medgrpo.training.watch.reporter import SilentReporter
from tests.families import TINY_FAMILIES
from tests.training.conftest import TINY, two_processes

PATTERNS = {
    "every second row": lambda number: number % 2,
    "the first row of each step": lambda number: 0 if number % 2 == 0 else 1,
    "one picture in eight rows": lambda number: int(number % 8 == 5),
    "two pictures, one, none": lambda number: number % 3,
    "no picture at all": lambda number: 0,
}


@pytest.fixture(scope="module")
def mixed(dataset, tmp_path_factory):
    """A function: pattern -> a folder whose n-th row has so many pictures; all rows are preference pairs too."""
    folder = tmp_path_factory.mktemp("mixed")

    def build(pattern: str):
        path = folder / pattern.replace(" ", "-")
        if path.exists():
            return path
        source = PreparedDataset.open(dataset)
        rows = []
        for number, row in enumerate(source.rows("train", 16)):
            pictures = row["images"] * PATTERNS[pattern](number)
            rows.append(
                {**row, "images": pictures, "chosen": f"<answer>{row['answer']}</answer>", "rejected": "no"}
            )
        with PreparedWriter(path) as writer:
            shutil.copytree(source.path / "images", writer.folder / "images", dirs_exist_ok=True)
            writer.write("train", rows)
            writer.finish({"name": pattern, "task": "vqa", "hash": pattern})
        return path

    return build


def run(config, path):
    return train(config, name="test", reporter=SilentReporter(), output=path, logs=None)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_grpo_learns_the_same_however_the_batch_is_cut(mixed, tiny_config, tmp_path, pattern):
    # TRL cuts the generated batch into passes: here the whole step in one, and half a group in each, so
    # that some passes have no picture.
    logs = []
    for per_device in (16, 2):
        config = tiny_config(
            f"data.path={mixed(pattern)}",
            "data.rows=16",
            "stages.sft.enabled=false",
            "data.shuffle=false",
            "training.prompts_per_step=4",
            f"training.per_device_train_batch_size={per_device}",
            "training.max_steps=2",
            "training.beta=0.01",
        )
        result = run(config, tmp_path / f"run-{per_device}")
        logs.append(json_objects(result.log))
        assert all(math.isfinite(entry["loss"]) and entry["grad_norm"] > 0 for entry in logs[-1])
        pictures = {
            (row["step"], row["prompt_id"]): len(row["images"])
            for row in read_completions(result.run).to_pylist()
        }
        assert list(pictures.values()) == [PATTERNS[pattern](number) for number in range(8)]
    whole, cut = (log[0] for log in logs)
    assert cut["reward"] == pytest.approx(whole["reward"])
    assert cut["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("method", ["sft", "dpo"])
@pytest.mark.parametrize("pattern", ["two pictures, one, none", "no picture at all"])
def test_sft_and_dpo(mixed, tiny_config, tmp_path, pattern, method):
    config = tiny_config(
        f"data.path={mixed(pattern)}",
        "data.rows=16",
        f"training.method={method}",
        "stages.sft.enabled=false",
        "data.shuffle=false",
        "training.prompts_per_step=4",
        "training.per_device_train_batch_size=2",
        "training.max_steps=2",
    )
    result = run(config, tmp_path / "run")
    assert all(math.isfinite(entry["loss"]) and entry["grad_norm"] > 0 for entry in json_objects(result.log))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "sft", "dpo"])
@pytest.mark.parametrize("family", [name for name, one in TINY_FAMILIES.items() if one.is_vision])
def test_every_family_takes_them(mixed, tiny_config, tmp_path_factory, family, method, tmp_path):
    model = tmp_path_factory.getbasetemp() / f"mixed-{family}"
    if not model.exists():
        TINY_FAMILIES[family].build(model)
    config = tiny_config(
        f"data.path={mixed('two pictures, one, none')}",
        "data.rows=16",
        f"model.path={model}",
        "model.context_length=1024",
        f"training.method={method}",
        "stages.sft.enabled=false",
        "data.shuffle=false",
        "training.prompts_per_step=4",
        "training.per_device_train_batch_size=2",
        "training.max_steps=1",
        "rollout.dynamic_sampling=1",
        "training.beta=0.01",
    )
    (entry,) = json_objects(run(config, tmp_path / "run").log)
    assert math.isfinite(entry["loss"])
    assert entry["grad_norm"] > 0


@pytest.mark.slow
def test_one_process_has_pictures_in_a_step_and_the_other_has_none(mixed, tmp_path):
    """Each waited for the other for good: TRL gathered pictures only where there were some (S2.6)."""
    words = (
        *TINY,
        f"data.path={mixed('every second row')}",
        "data.rows=16",
        "stages.sft.enabled=false",
        "data.shuffle=false",
        "tuning.method=lora",
        'tuning.towers=["language", "vision"]',
        "training.per_device_train_batch_size=2",
        "training.max_steps=2",
    )
    finished = two_processes(tmp_path / "run", words, timeout_s=240)
    assert finished.returncode == 0, finished.stderr[-2000:]
    log = json_objects(tmp_path / "run" / "log.jsonl")
    assert [entry["step"] for entry in log] == [1, 2]
    assert all(math.isfinite(entry["loss"]) for entry in log)
    seen = [len(row["images"]) for row in read_completions(tmp_path / "run").to_pylist()]
    groups = [
        seen[first : first + 4] for first in range(0, 16, 4)
    ]  # a step gives each process one, by its tokens
    assert all(len(set(group)) == 1 for group in groups)
    assert all({a[0], b[0]} == {0, 1} for a, b in (groups[:2], groups[2:]))

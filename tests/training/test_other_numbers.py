"""A run goes on with another number of processes: every step learns from the rows of the uninterrupted run."""

import os
import signal

import pytest

from tests.training.conftest import losses
from tests.training.test_train import write_pairs
from tests.training.warm import until

STEPS = 8
"""Of four rows, over eleven: an epoch is two steps."""


@pytest.fixture(scope="module")
def pairs(dataset, tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs") / "data", dataset)


def words(method, data, processes, *, output, more=()):
    settings = (
        f"training.method={method}", "training.prompts_per_step=4", "training.per_device_train_batch_size=1", "data.rows=11",
        f"training.max_steps={STEPS}", "training.save_steps=1", "stages.sft.enabled=false", f"data.path={data}",
        "validation.before_and_after=false", "logging.report_to=[]", "launch.cpu=true", f"launch.gpus={processes}", *more,
    )  # fmt: skip
    options = ["--output", output, "--resume", "auto", "--json"]
    return ["train", *options, *(word for text in settings for word in ("--set", text))]


def rows_by_step(file, after=0):
    """Step -> its rows, sorted; the last time that it was taken."""
    found = {}
    for line in file.read_text().splitlines():
        step, row = line.split()
        found.setdefault(int(step), []).append(row)
    return {step: sorted(rows) for step, rows in found.items() if step > after}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_every_step_has_the_rows_of_the_uninterrupted_run(method, warm, dataset, pairs, tmp_path):
    data = pairs if method == "dpo" else dataset

    def start(processes, output, name, *more):
        line = words(method, data, processes, output=output, more=more)
        return warm.start(
            tmp_path, line, name=name, PLANT="notes_rows", PLANT_AFTER=str(tmp_path / f"{name}.rows")
        )

    whole = start(1, "whole", "whole")
    assert whole.wait(120) == 0, whole.said
    cut = start(2, "cut", "cut", "training.max_steps=300")
    until((tmp_path / "cut/checkpoints/checkpoint-3").exists, cut)
    os.kill(cut.pid, signal.SIGTERM)
    assert cut.wait(60) == 143, cut.said
    at = max(step for step, _ in losses(tmp_path / "cut"))
    assert at < STEPS, "the machine is too slow, or too quick, to stop the run in its middle"
    refused = start(3, "cut", "three")
    assert refused.wait(60) == 2
    assert "4 samples a step cannot be shared evenly by 3 GPUs" in refused.documents[0]["error"]["problem"]
    for name, processes, last in (("one", 1, at + 1), ("two", 2, STEPS)):
        on = start(processes, "cut", name, f"training.max_steps={last}")
        assert on.wait(120) == 0, on.said
    expected = rows_by_step(tmp_path / "whole.rows")
    assert {len(rows) for rows in expected.values()} == {4}
    assert rows_by_step(tmp_path / "cut.rows") == {
        step: rows for step, rows in expected.items() if step <= at
    }
    assert rows_by_step(tmp_path / "one.rows") == {at + 1: expected[at + 1]}
    assert rows_by_step(tmp_path / "two.rows") == {
        step: rows for step, rows in expected.items() if step > at + 1
    }
    gone_on = losses(tmp_path / "cut")
    assert [step for step, _ in gone_on] == list(range(1, STEPS + 1))

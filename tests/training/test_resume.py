"""A stopped or killed run goes on as if nothing had happened."""

import pytest

from medgrpo.training.reporter import SilentReporter
from medgrpo.training.resume import ResumePoint
from medgrpo.training.stages import train
from tests.training.conftest import StopsAt, losses, prompt_order


def run(config, path, *, reporter=None, resume=None):
    return train(
        config,
        name="test",
        reporter=reporter or SilentReporter(),
        output=path,
        logs=None,
        resume=ResumePoint(path) if resume else None,
    )


@pytest.mark.parametrize(("stage", "step"), [("grpo", 5), ("sft", 2)])
def test_resumed_run_repeats_the_uninterrupted_one_bit_for_bit(tiny_config, tmp_path, stage, step):
    config = tiny_config()
    uninterrupted = run(config, tmp_path / "whole")
    stopped = run(config, tmp_path / "cut", reporter=StopsAt(stage, step))
    assert stopped.status == "stopped"
    resumed = run(config, tmp_path / "cut", resume=True)
    assert resumed.status == uninterrupted.status == "finished"
    assert any(loss != 0 for _, loss in losses(tmp_path / "whole"))
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert [at for at, _ in losses(tmp_path / "cut")] == [1, 2, 3, 4, 5, 6, 7]
    sft = "stages/1-sft/log.jsonl"
    assert losses(tmp_path / "cut", sft) == losses(tmp_path / "whole", sft)
    assert prompt_order(tmp_path / "cut") == prompt_order(tmp_path / "whole")

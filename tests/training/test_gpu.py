"""What only a CUDA device can show: its random state over a resume, and memory that really runs out."""

import pytest
import torch

from medgrpo.errors import MedgrpoError
from medgrpo.files import read_json
from medgrpo.records import json_objects
from medgrpo.runs.store import read_completions
from medgrpo.training.watch.reporter import SilentReporter
from tests.training.conftest import StopsAt, losses, run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

LONG = (
    "stages.sft.enabled=false",
    "training.max_steps=4",
    "training.save_steps=2",
    "training.prompts_per_step=8",
    "training.gradient_checkpointing=false",
    "rollout.num_generations=16",
    "rollout.max_completion_length=512",
    "model.context_length=1024",
    "data.rows=16",
)


def completions(path):
    return sorted((row["step"], row["completion"]) for row in read_completions(path).to_pylist())


def peak_bytes(config, path):
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run(config, path)
    torch.cuda.empty_cache()
    return torch.cuda.max_memory_reserved()


@pytest.fixture
def room():
    """A function: bytes -> this process may reserve no more of the GPU."""
    whole = torch.cuda.get_device_properties(0).total_memory

    def limit(size):
        torch.cuda.set_per_process_memory_fraction(size / whole)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_resumed_run_samples_what_the_uninterrupted_one_did(tiny_config, tmp_path):
    config = tiny_config("training.save_steps=3")
    run(config, tmp_path / "whole")
    run(config, tmp_path / "cut", reporter=StopsAt("grpo", 4))
    run(config, tmp_path / "cut", resume=True)
    assert completions(tmp_path / "cut") == completions(tmp_path / "whole")
    # Kernels may add in another order.
    whole = dict(losses(tmp_path / "whole"))
    assert dict(losses(tmp_path / "cut")) == {
        step: pytest.approx(loss, abs=1e-4) for step, loss in whole.items()
    }


def test_what_does_not_fit_is_found_by_the_probe_and_met_by_smaller_passes(tiny_config, tmp_path, room):
    large = tiny_config(*LONG, "training.per_device_train_batch_size=128", "training.retry_on_oom=true")
    small = tiny_config(*LONG, "training.per_device_train_batch_size=16")
    most, least = peak_bytes(large, tmp_path / "large"), peak_bytes(small, tmp_path / "small")
    assert least < 0.8 * most, (least, most)
    room((least + most) // 2)
    strict = large.model_copy(update={"training": large.training.model_copy(update={"retry_on_oom": False})})
    with pytest.raises(MedgrpoError, match="out of GPU memory") as caught:
        run(strict, tmp_path / "strict")
    assert "saves about" in caught.value.hint
    assert json_objects(tmp_path / "strict" / "log.jsonl") == []  # the probe found it, before the first step

    reporter = SilentReporter()
    result = run(large, tmp_path / "retried", reporter=reporter)
    assert result.status == "finished"
    assert any("per_device_train_batch_size" in warning for warning in reporter.warnings)
    assert read_json(tmp_path / "retried" / "training_info.json")["retries"]
    assert [step for step, _ in losses(tmp_path / "retried")] == [1, 2, 3, 4]

"""Out of memory: found before the first step, explained with figures, or met by smaller passes."""

import re
from contextlib import contextmanager

import pytest
import torch

from medgrpo.errors import MedgrpoError
from medgrpo.files import read_json
from medgrpo.records import json_objects
from medgrpo.training.run.train import train
from medgrpo.training.watch.oom import memory_advice, memory_and_disk_in_words
from medgrpo.training.watch.reporter import SilentReporter
from tests.training.conftest import losses, prompt_order

SHORT = ("stages.sft.enabled=false", "training.max_steps=4", "training.save_steps=2")


def run(config, path, reporter=None):
    return train(config, name="test", reporter=reporter or SilentReporter(), output=path, logs=None)


@contextmanager
def device_with_room_for(samples, *, after=0):
    """Every forward pass with gradients on more samples raises what torch raises on a full device.

    A group of completions is one row of such a pass.
    """
    passes, group = 0, 4

    def full(module, arguments):
        nonlocal passes
        if not isinstance(module, torch.nn.Embedding) or not torch.is_grad_enabled():
            return
        passes += 1
        if group * arguments[0].shape[0] > samples and passes > after:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(full)
    try:
        yield
    finally:
        hook.remove()


def test_out_of_memory_is_one_error_with_ordered_changes_and_their_savings(tiny_config, tmp_path):
    with device_with_room_for(4), pytest.raises(MedgrpoError, match="out of GPU memory") as caught:
        run(tiny_config(*SHORT), tmp_path / "run")
    assert "Tried to allocate 20.00 GiB" in caught.value.problem
    assert re.search(r"--set \S+ \(saves about \d+\.\d GiB; costs ", caught.value.hint)
    info = read_json(tmp_path / "run" / "training_info.json")
    assert (info["status"], info["finished"]) == ("failed", False)


def test_advice_names_only_settings_that_train_takes(tiny_config):
    from medgrpo.config.layers import assignments_layer

    config = tiny_config(
        "model.max_pixels=1000000", "rollout.max_completion_length=512", "model.context_length=4096"
    )
    changes = [re.match(r"--set (\S+)", line) for line in memory_advice(config)]
    settings = [change.group(1) for change in changes if change]
    assert len(settings) >= 3
    assignments_layer(settings)


def test_smaller_passes_after_running_out_give_the_same_run(tiny_config, tmp_path):
    whole = run(tiny_config(*SHORT, "training.per_device_train_batch_size=4"), tmp_path / "whole")
    reporter = SilentReporter()
    with device_with_room_for(4, after=3):  # full at the fourth step, when the checkpoint of step 2 is there
        result = run(tiny_config(*SHORT, "training.retry_on_oom=true"), tmp_path / "run", reporter)
    assert result.status == "finished"
    assert any("per_device_train_batch_size = 4" in warning for warning in reporter.warnings)
    assert [step for step, _ in losses(tmp_path / "run")] == [1, 2, 3, 4]
    assert prompt_order(tmp_path / "run") == prompt_order(tmp_path / "whole")
    for one, other in zip(json_objects(result.log), json_objects(whole.log), strict=True):
        assert one["reward"] == pytest.approx(other["reward"])
    retries = read_json(tmp_path / "run" / "training_info.json")["retries"]
    assert [retry["per_device_train_batch_size"] for retry in retries] == [4]
    assert "per_device_train_batch_size = 4" in (tmp_path / "run" / "config.toml").read_text()


def test_the_longest_row_is_tried_first_and_leaves_no_trace(tiny_config, tmp_path):
    plain = run(tiny_config("training.max_steps=3"), tmp_path / "plain")
    first = run(tiny_config("training.max_steps=3", "training.largest_first=true"), tmp_path / "first")
    timeless = [
        [
            {key: value for key, value in entry.items() if "time" not in key and key != "s_per_prompt"}
            for entry in log
        ]
        for log in (json_objects(plain.log), json_objects(first.log))
    ]
    assert timeless[0] == timeless[1]
    assert losses(tmp_path / "first", "stages/1-sft/log.jsonl") == losses(
        tmp_path / "plain", "stages/1-sft/log.jsonl"
    )


def test_what_does_not_fit_fails_before_the_first_step(tiny_config, tmp_path):
    config = tiny_config(*SHORT, "training.largest_first=true")
    with device_with_room_for(4), pytest.raises(MedgrpoError, match="out of GPU memory"):
        run(config, tmp_path / "run")
    assert json_objects(tmp_path / "run" / "log.jsonl") == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "checkpoint"),
        RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 4127360 vs 4127252"),
    ],
)
def test_a_full_disk_is_known_by_what_python_and_torch_raise(tiny_config, error):
    with pytest.raises(MedgrpoError, match="the disk is full"), memory_and_disk_in_words(tiny_config()):
        raise error

"""FSDP2 on two processes gives what DDP gives, where one process has pictures and the other never (S2.6).

accelerate takes FSDP up on GPUs alone; here it is let to do so on the CPU (`fsdp_on_cpu.py`), and torch's own FSDP2 runs.
"""

import os
import pickle
import shutil
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from safetensors.torch import load_file

from medgrpo.config.checks import check
from medgrpo.config.presets import resolve_run
from medgrpo.config.sections import LaunchConfig
from medgrpo.data.prepared import PreparedDataset, PreparedWriter
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.models.loading import load_model
from medgrpo.training.before.launch import FSDP, accelerate_config
from medgrpo.training.trainers.parts import CONTENTS, check_contents, in_parts
from medgrpo.training.trainers.sharding import sum_in_float32
from tests.training.conftest import TINY, losses, prompt_order, two_processes
from tests.training.fsdp_on_cpu import environment

MIXED = (
    *TINY,
    "stages.sft.enabled=false",
    "data.shuffle=false",
    "training.per_device_train_batch_size=2",
    "training.num_iterations=2",
    "training.max_steps=5",
    "training.save_steps=3",
    "training.lr_scheduler_type=constant",
)


@pytest.fixture(scope="module")
def every_second_row(dataset, tmp_path_factory):
    """A folder whose even rows have no picture, so that the first process never sees one."""
    path = tmp_path_factory.mktemp("fsdp") / "mixed"
    source = PreparedDataset.open(dataset)
    rows = [
        {**row, "images": row["images"] * (number % 2)} for number, row in enumerate(source.rows("train", 16))
    ]
    with PreparedWriter(path) as writer:
        shutil.copytree(source.path / "images", writer.folder / "images", dirs_exist_ok=True)
        writer.write("train", rows)
        writer.write("validation", rows[:4])
        writer.finish({"name": "mixed", "task": "vqa", "hash": "mixed"})
    return path


def trained(path, words, *, fsdp):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items() if fsdp else ():
            patch.setenv(name, value)
        finished = two_processes(path, words, timeout_s=300)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return losses(path)


@pytest.mark.slow
def test_an_adapter_on_both_towers_learns_as_under_ddp(every_second_row, tmp_path):
    words = (
        *MIXED,
        f"data.path={every_second_row}",
        "tuning.method=lora",
        'tuning.towers=["language", "vision"]',
        "training.vision_learning_rate=5e-5",
        "training.max_steps=2",
        "rollout.dynamic_sampling=1",
        "validation.steps=2",
        "validation.rows=4",
    )
    ddp = trained(tmp_path / "ddp", words, fsdp=False)
    fsdp = dict(trained(tmp_path / "fsdp", words, fsdp=True))
    assert fsdp == {step: pytest.approx(loss, abs=1e-5) for step, loss in ddp}
    assert prompt_order(tmp_path / "fsdp") == prompt_order(tmp_path / "ddp")
    saved = [load_file(tmp_path / name / "final_lora/adapter_model.safetensors") for name in ("ddp", "fsdp")]
    assert saved[0].keys() == saved[1].keys()
    for name, weight in saved[0].items():
        torch.testing.assert_close(saved[1][name], weight, atol=1e-5, rtol=0)
    parts = tmp_path / "fsdp/checkpoints/checkpoint-2"  # it was FSDP, and each process wrote its own
    assert {file.name for file in parts.glob("*/*.distcp")} == {"__0_0.distcp", "__1_0.distcp"}


@pytest.mark.slow
def test_full_tuning_goes_on_inside_a_cycle_as_if_uninterrupted(every_second_row, tmp_path):
    words = (*MIXED, f"data.path={every_second_row}", "tuning.method=full")
    whole = trained(tmp_path / "whole", words, fsdp=True)
    trained(tmp_path / "cut", (*words, "training.max_steps=3"), fsdp=True)
    assert trained(tmp_path / "cut", words, fsdp=True) == whole
    assert [step for step, _ in whole] == [1, 2, 3, 4, 5]
    assert any(loss != 0 for _, loss in whole)
    optimiser = tmp_path / "cut/checkpoints/checkpoint-3/optimizer_0"
    sizes = [(optimiser / f"__{process}_0.distcp").stat().st_size for process in (0, 1)]
    assert max(sizes) < 0.6 * sum(sizes)
    # The weights lie in it once, whole, as any command reads them.
    held = [
        file for file in optimiser.parent.rglob("*") if file.suffix in (".safetensors", ".distcp", ".bin")
    ]
    assert {file.parent.name for file in held} == {"checkpoint-3", "optimizer_0"}
    final = load_model(str(tmp_path / "whole/final_model")).model.state_dict()
    last = load_model(str(tmp_path / "whole/checkpoints/checkpoint-5")).model.state_dict()
    assert all(torch.equal(final[name], weight) for name, weight in last.items())
    check_contents(optimiser / CONTENTS)


def test_a_table_of_contents_that_would_run_code_is_refused(tmp_path):
    class Planted:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    folder = tmp_path / "checkpoint-1" / "optimizer_0"
    folder.mkdir(parents=True)
    (folder / CONTENTS).write_bytes(pickle.dumps(Planted()))
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=FullyShardedDataParallelPlugin(fsdp_version=2))
    )
    with pytest.raises(MedgrpoError, match=r"posix.mkdir"), in_parts(accelerator, folder.parent):
        pass
    assert not (tmp_path / "ran").exists()


def test_accelerate_is_told_of_fsdp2():
    config = accelerate_config(LaunchConfig(gpus=2, fsdp=True), {})
    assert (config["distributed_type"], config["fsdp_config"]) == ("FSDP", FSDP)
    assert "deepspeed_config" not in config


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("launch.deepspeed=zero2", "launch.gpus=2"), "both spread"),
        (("launch.cpu=true", "launch.gpus=2"), "needs GPUs"),
        ((), "several GPUs"),
        (("launch.gpus=2", "tuning.method=qlora"), "4-bit"),
    ],
)
def test_what_fsdp_cannot_do_is_refused_with_the_way_on(settings, words):
    config = resolve_run(assignments=("launch.fsdp=true", *settings))[0].config
    with pytest.raises(UsageError, match=words):
        check(config, world_size=config.launch.gpus or 1)


def test_gradients_are_summed_in_float32_and_the_loss_is_not_rounded():
    """accelerate's own choice logged losses of 12.25, 12.3125, 12.375."""
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2)
    plugin.set_mixed_precision("bf16")
    sum_in_float32(SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin)))
    policy = plugin.mixed_precision_policy
    assert (policy.param_dtype, policy.reduce_dtype, policy.output_dtype) == (
        torch.bfloat16,
        torch.float32,
        None,
    )

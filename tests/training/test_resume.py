"""A stopped or killed run goes on as if nothing had happened."""

import json
import shutil
from pathlib import Path

import pytest

from medgrpo.config.layers import to_toml
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.files import read_json
from medgrpo.records import json_objects
from medgrpo.runs.store import read_completions
from medgrpo.training.before.preflight import preflight
from medgrpo.training.run.resume import ResumePoint, find_run, resume_config
from medgrpo.training.run.train import train
from medgrpo.training.watch.reporter import SilentReporter
from tests.training.conftest import REWARDS, TINY, StopsAt, losses, prompt_order, run


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


def test_an_epoch_of_the_plan_is_one_of_the_trainer_where_batches_are_used_twice(tiny_config, tmp_path):
    config = tiny_config(
        "stages.sft.enabled=false",
        "training.num_iterations=2",
        "training.max_steps=none",
        "num_train_epochs=1",
    )
    plan = preflight(config).plans[-1]
    run(config, tmp_path / "run")
    log = json_objects(tmp_path / "run" / "log.jsonl")
    asked = [row for step, row in prompt_order(tmp_path / "run")]
    assert (plan.steps, plan.epochs) == (len(log), log[-1]["epoch"]) == (6, 1.0)
    assert len(asked) == len(set(asked)) == 6  # of 7 rows: three batches of two


def test_the_number_of_gpus_may_change_but_under_deepspeed(tiny_config, tmp_path):
    for deepspeed in (None, "zero2"):
        config = tiny_config("launch.gpus=2", *([f"launch.deepspeed={deepspeed}"] if deepspeed else []))
        run_folder = tmp_path / str(deepspeed)
        run_folder.mkdir()
        (run_folder / "config.toml").write_text(to_toml(config))
        if deepspeed is None:
            assert resume_config(run_folder, ["launch.gpus=1"])[1] == ["launch.gpus: 2 → 1"]
            continue
        with pytest.raises(UsageError, match="cannot change on resume under DeepSpeed"):
            resume_config(run_folder, ["launch.gpus=1"])


def test_a_checkpoint_inside_a_generation_cycle_resumes_on_cycle(tiny_config, tmp_path):
    # Batches are generated at steps 1, 3, 5, 7: the checkpoint of step 3 lies between two updates on one.
    config = tiny_config("training.num_iterations=2", "training.save_steps=3", "stages.sft.enabled=false")
    run(config, tmp_path / "whole")
    run(config, tmp_path / "cut", reporter=StopsAt("grpo", 3))
    run(config, tmp_path / "cut", resume=True)
    assert [step for step, _ in dict.fromkeys(prompt_order(tmp_path / "whole"))][::2] == [1, 3, 5, 7]
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert prompt_order(tmp_path / "cut") == prompt_order(tmp_path / "whole")


def test_the_state_of_a_reward_goes_with_the_checkpoint(tiny_config, tmp_path):
    moody = f'rewards.weights={{"{REWARDS}:Moody" = 1.0}}'
    once = tiny_config("stages.sft.enabled=false", "training.max_steps=6", "training.save_steps=3", moody)
    # Validations judge too, and leave no trace.
    config = once.model_copy(
        update={"validation": once.validation.model_copy(update={"steps": 2, "rows": 2})}
    )
    run(once, tmp_path / "unmeasured")
    run(config, tmp_path / "whole")
    run(config, tmp_path / "cut", reporter=StopsAt("grpo", 3))
    assert read_json(tmp_path / "cut" / "checkpoints" / "checkpoint-3" / "rewards_0.json") == {
        "Moody": {"calls": 3}
    }
    run(config, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole") == losses(tmp_path / "unmeasured")
    rewards = {
        name: [entry["reward"] for entry in json_objects(tmp_path / name / "log.jsonl")]
        for name in ("cut", "whole")
    }
    assert rewards["cut"] == rewards["whole"]


def test_a_half_written_checkpoint_is_left_out_with_a_message(tiny_config, tmp_path):
    config = tiny_config("stages.sft.enabled=false", "training.max_steps=5")
    path = tmp_path / "run"
    run(config, path, reporter=StopsAt("grpo", 4))
    (path / "checkpoints" / "checkpoint-4" / "complete.json").unlink()
    reporter = SilentReporter()
    result = run(config, path, reporter=reporter, resume=True)
    assert result.status == "finished"
    assert any(
        "checkpoint-4 was not written to its end: it is removed (0.0" in note for note in reporter.notes
    )
    assert any("after step 2" in note for note in reporter.notes)
    assert [step for step, _ in losses(path)] == [1, 2, 3, 4, 5]
    assert [entry["step"] for entry in json_objects(path / "log.abandoned.jsonl")] == [3, 4]


def test_changes_on_resume_take_effect(tiny_config, tmp_path):
    """A checkpoint of Transformers brings its own learning rate, weight decay and batch along."""
    sft_off = ("stages.sft.enabled=false", "training.max_steps=4", "training.lr_scheduler_type=constant")
    path = tmp_path / "run"
    run(tiny_config(*sft_off), path, reporter=StopsAt("grpo", 2))
    changed = (
        "training.learning_rate=1e-4",
        "rollout.num_generations=2",
        "model.max_pixels=12544",
        "validation.steps=2",
        "validation.rows=2",
        "training.per_device_train_batch_size=2",
    )
    run(tiny_config(*sft_off, *changed), path, resume=True)
    log = json_objects(path / "log.jsonl")
    assert [entry["learning_rate"] for entry in log] == pytest.approx([3e-4, 3e-4, 1e-4, 1e-4])
    assert "eval_reward" in log[3]
    assert read_json(path / "final_model" / "medgrpo.json")["max_pixels"] == 12544
    table = read_completions(path).to_pylist()
    assert [sum(row["step"] == step for row in table) for step in (1, 2, 3, 4)] == [8, 8, 4, 4]


@pytest.mark.parametrize("batch", [2, 4])
def test_another_batch_per_device_on_resume_stays_on_cycle(tiny_config, tmp_path, batch):
    """As after an out-of-memory error: the same prompts at the same steps, in smaller passes."""
    config = ("training.num_iterations=2", "training.save_steps=3", "stages.sft.enabled=false")
    run(tiny_config(*config), tmp_path / "whole")
    run(tiny_config(*config), tmp_path / "cut", reporter=StopsAt("grpo", 4))
    halved = tiny_config(*config, f"training.per_device_train_batch_size={batch}")
    run(halved, tmp_path / "cut", resume=True)
    assert prompt_order(tmp_path / "cut") == prompt_order(tmp_path / "whole")
    whole, cut = losses(tmp_path / "whole"), losses(tmp_path / "cut")
    assert [step for step, _ in cut] == [step for step, _ in whole]


def test_going_back_to_a_named_checkpoint_leaves_the_later_ones_behind(tiny_config, tmp_path):
    config = tiny_config("stages.sft.enabled=false", "training.max_steps=6")
    path = tmp_path / "run"
    run(config, path)
    before = losses(path)
    first = path / "checkpoints" / "checkpoint-2"
    result = train(
        config, name="test", reporter=StopsAt("grpo", 3), logs=None, resume=ResumePoint(path, first)
    )
    assert result.status == "stopped"
    assert sorted(folder.name for folder in (path / "checkpoints").iterdir()) == [
        "abandoned-4",
        "abandoned-6",
        "checkpoint-2",
        "checkpoint-3",
    ]
    assert run(config, path, resume=True).status == "finished"
    assert losses(path) == before


def test_a_run_killed_before_its_final_weights_were_saved_finishes(tiny_config, tmp_path):
    config = tiny_config("stages.sft.enabled=false", "training.max_steps=2")
    path = tmp_path / "run"
    run(config, path)
    shutil.rmtree(path / "final_model")
    assert run(config, path, resume=True).status == "finished"
    assert (path / "final_model" / "config.json").is_file()
    assert [step for step, _ in losses(path)] == [1, 2]


def test_a_finished_run_goes_on_when_more_steps_are_asked_for(tiny_config, tmp_path):
    path = tmp_path / "run"
    run(tiny_config("stages.sft.enabled=false", "training.max_steps=2"), path)
    result = run(tiny_config("stages.sft.enabled=false", "training.max_steps=4"), path, resume=True)
    assert result.steps == 4
    assert [step for step, _ in losses(path)] == [1, 2, 3, 4]


def stock_run(model, questions, output, *, checkpoint=None):
    """The questions that each step of TRL's own GRPOTrainer asks, from a checkpoint on; it saves one at step 6."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    asked = []

    def ask(prompts, completions, **columns):
        asked.append(list(dict.fromkeys(prompt[0]["content"] for prompt in prompts)))
        return [float(len(completion[0]["content"])) for completion in completions]

    arguments = GRPOConfig(
        output_dir=str(output),
        max_steps=8,
        save_steps=6,
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=4,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
        seed=0,
    )
    rows = [{"prompt": [{"role": "user", "content": question}]} for question in questions]
    trainer = GRPOTrainer(str(model), reward_funcs=ask, args=arguments, train_dataset=Dataset.from_list(rows))
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return asked


def test_stock_trl_replays_the_first_epoch_on_resume_and_this_goes_on(tiny_config, tmp_path):
    """Eight questions, two a step: steps 5 to 8 are the second epoch, and both are resumed after step 6.

    When the first half fails TRL keeps the data order by itself, and `EpochOrder` can go.
    """
    questions = [f"Is finding {number} there?" for number in range(8)]
    config = tiny_config(
        "stages.sft.enabled=false", "data.rows=8", "training.max_steps=8", "rollout.max_completion_length=4"
    )
    run(config, tmp_path / "whole")
    model = tmp_path / "whole" / "demo" / "model"
    stock = stock_run(model, questions, tmp_path / "stock")
    resumed = stock_run(model, questions, tmp_path / "again", checkpoint=tmp_path / "stock" / "checkpoint-6")
    assert sorted(question for step in stock[4:] for question in step) == sorted(questions)
    assert resumed == stock[2:4]  # steps 3 and 4 of the first epoch
    assert resumed != stock[6:8]

    run(config, tmp_path / "cut", reporter=StopsAt("grpo", 6))
    run(config, tmp_path / "cut", resume=True)
    ours = prompt_order(tmp_path / "whole")
    assert sorted(row for step, row in ours if step > 4) == sorted({row for _, row in ours})
    assert prompt_order(tmp_path / "cut") == ours


# ------------------------------------------------------------------- other folders, moved folders


@pytest.fixture
def placed(tiny_config, dataset, tmp_path, monkeypatch):
    """A folder `work` with model, data and a run of relative paths in it, stopped after step 2."""
    from medgrpo.config.presets import resolve_run

    work = tmp_path / "work"
    run(tiny_config("stages.sft.enabled=false", "training.max_steps=1"), tmp_path / "base")
    shutil.copytree(tmp_path / "base" / "final_model", work / "models" / "small")
    shutil.copytree(dataset, work / "data")
    shutil.copy(REWARDS, tmp_path / "mine.py")
    (tmp_path / "prompt.toml").write_text('tags = ["answer"]')
    monkeypatch.chdir(work)
    paths = (
        "model.path=models/small",
        "data.path=data",
        "data.prompt_template=../prompt.toml",
        'rewards.weights={"../mine.py:digits_and_letters" = 1.0}',
        "tuning.rank=4",
        "training.max_steps=3",
    )
    config = resolve_run(assignments=(*TINY, "stages.sft.max_steps=1", "training.save_steps=1", *paths))[
        0
    ].config
    assert run(config, Path("run"), reporter=StopsAt("grpo", 2)).status == "stopped"
    return work


def test_a_run_of_relative_paths_is_resumed_from_another_folder(placed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = resume_config(placed / "run")[0].config
    assert (config.model.path, config.data.path) == (str(placed / "models" / "small"), str(placed / "data"))
    assert run(config, placed / "run", resume=True).status == "finished"
    assert [step for step, _ in losses(placed / "run")] == [1, 2, 3]


def test_a_run_moved_with_its_model_and_data_finds_them_and_without_them_says_what_to_type(placed, tmp_path):
    moved = placed.rename(tmp_path / "elsewhere")
    together = resume_config(moved / "run")[0].config
    assert (together.data.path, together.model.path) == (str(moved / "data"), str(moved / "models/small"))
    (moved / "data").rename(moved / "other-data")
    (moved / "models").rename(moved / "other-models")
    with pytest.raises(UsageError, match=r"no dataset at .*elsewhere/data") as raised:
        resume_config(moved / "run")
    assert "add --data FOLDER and --model FOLDER to --resume" in raised.value.hint
    data = {"data.path": str(moved / "other-data")}
    with pytest.raises(UsageError, match=r"no model at .*elsewhere/models/small") as raised:
        resume_config(moved / "run", options=data)
    assert "add --model FOLDER to --resume" in raised.value.hint
    model = {"model.path": str(moved / "other-models" / "small")}
    resolved, notes = resume_config(moved / "run", options={**data, **model})
    assert any("taken to be the same" in note for note in notes)
    assert run(resolved.config, moved / "run", resume=True).status == "finished"


def test_a_model_that_is_still_there_cannot_be_exchanged(placed):
    other = shutil.copytree(placed / "models" / "small", placed / "other")
    with pytest.raises(UsageError, match=r"model\.path cannot change on resume"):
        resume_config(placed / "run", options={"model.path": str(other)})
    assert resume_config(placed / "run", options={"model.path": "models/small", "data.path": "data"})[1] == []


def test_other_data_at_another_place_is_refused(placed, tmp_path):
    from medgrpo.data.demo import DemoSize, write_demo_dataset

    write_demo_dataset(tmp_path / "other", size=DemoSize(train=20, validation=8, test=8))
    config = resume_config(placed / "run", options={"data.path": str(tmp_path / "other")})[0].config
    with pytest.raises(MedgrpoError, match="the data changed"):
        run(config, placed / "run", resume=True)


# ------------------------------------------------------------------------------ what may change


@pytest.fixture
def saved(tiny_config, tmp_path):
    """A run folder with a configuration in it."""
    from medgrpo.config.layers import to_toml

    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "config.toml").write_text(to_toml(tiny_config()))
    return folder


@pytest.mark.parametrize(
    "allowed",
    [
        "learning_rate=1e-6",
        "num_generations=2",
        "model.max_pixels=50176",
        "validation.steps=10",
        "max_steps=50",
        "rewards.on_error=skip",
    ],
)
def test_settings_that_may_change_on_resume(saved, allowed):
    resolved, notes = resume_config(saved, [allowed])
    assert any("→" in note for note in notes)
    assert resolved.config.training.prompts_per_step == 2


@pytest.mark.parametrize(
    "fixed",
    [
        "model.path=other",
        "tuning.rank=8",
        "tuning.method=lora",
        "run.seed=5",
        "data.rows=3",
        "rewards.gate=format",
        "validation.metric=format",
        "overlong_share=0.3",
        "launch.deepspeed=zero2",
        "launch.fsdp=true",
    ],
)
def test_settings_that_may_not_change_on_resume_are_named(saved, fixed):
    with pytest.raises(UsageError, match=f"{fixed.split('=')[0]} cannot change on resume"):
        resume_config(saved, [fixed])


def test_other_data_is_refused(saved):
    from medgrpo.training.run.resume import check_same_data

    (saved / "environment.json").write_text(json.dumps({"data_hash": "a" * 64, "pixels_hash": "p"}))
    assert check_same_data(saved, "a" * 64, "p") == []
    assert "another size" in check_same_data(saved, "a" * 64, "q")[0]
    with pytest.raises(MedgrpoError, match="the data changed"):
        check_same_data(saved, "b" * 64, "p")


def test_auto_takes_the_newest_unfinished_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no unfinished run"):
        find_run("auto")
    for name, finished in (("old", False), ("done", True)):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text("")
        (folder / "training_info.json").write_text(json.dumps({"finished": finished}))
    assert find_run("auto").run.name == "old"
    assert read_json(find_run("auto").run / "training_info.json")["finished"] is False

"""Traps of a run that were silent: each is mended, or said where the user looks."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from medgrpo.config.layers import to_toml
from medgrpo.config.plan import plan_stage
from medgrpo.config.presets import resolve_run
from medgrpo.config.sections import LaunchConfig
from medgrpo.data.prompts import load_template
from medgrpo.data.schema import new_row
from medgrpo.errors import UsageError
from medgrpo.locks import RunLock
from medgrpo.records import json_objects as read_lines
from medgrpo.rewards.composite import CompositeReward
from medgrpo.training.before.launch import host_memory_needed
from medgrpo.training.run.resume import find_run, resume_config
from medgrpo.training.run.validation import Validator
from medgrpo.training.watch.reporter import SilentReporter
from tests.training.conftest import REWARDS, run
from tests.training.test_oom import device_with_room_for

SHORT = ("stages.sft.enabled=false", "training.max_steps=2")


# ------------------------------------------------------------------------------------- validation


def test_the_metric_that_chooses_is_judged_with_the_prompts_own_settings():
    rows = [
        new_row(id=str(i), question="Is it?", answer="yes", language="en", image_id=str(i)) for i in range(6)
    ]
    plain = load_template("plain")
    composite = CompositeReward({"token_f1": 1.0}, settings=plain.reward_settings)
    found = Validator(None, rows, plain, composite, "answer_match", 16).score(["yes"] * 6)
    assert found["answer_match"]["value"] == 1.0
    assert found["token_f1"]["value"] == 1.0


def test_a_reward_alone_keeps_settings_and_the_way_to_handle_errors():
    whole = CompositeReward("balanced", on_error="skip", settings={"tags": ("answer",), "plain": False})
    alone = whole.alone("exact_match")
    assert (alone.names, alone.settings, alone.on_error) == (("exact_match",), whole.settings, "skip")


def test_every_process_takes_its_share_of_the_validation_before_training():
    from medgrpo.training.run.before_after import measure_before

    asked = []
    validator = SimpleNamespace(measure=lambda model, processor: asked.append(model) or {}, rows=[])
    quiet = SimpleNamespace(doing=lambda *_: None)
    other = SimpleNamespace(validation={}, is_main_process=False, reporter=quiet)
    measure_before(other, validator, SimpleNamespace(model="policy", processor=None))
    assert asked == ["policy"]  # one process alone would keep the others waiting
    assert other.validation == {}  # the main one keeps the record


def test_without_validations_in_between_the_user_is_told_that_no_best_weights_are_kept(tiny_config, tmp_path):
    for every, told in ((0, True), (1, False)):
        reporter = SilentReporter()
        words = ("validation.before_and_after=true", "validation.rows=2", f"validation.steps={every}")
        path = tmp_path / str(every)
        run(tiny_config(*SHORT, *words, "tuning.method=lora"), path, reporter=reporter)
        assert (
            any("no best_lora/" in note and "validation.steps=N" in note for note in reporter.notes) is told
        )
        assert (path / "best_lora").is_dir() is not told


# --------------------------------------------------------------------------------- what is learned


def test_the_logged_kl_is_how_far_the_policy_moved_not_weighted_by_the_ratio(
    tiny_config, tmp_path, monkeypatch
):
    from medgrpo.training.trainers.grpo import PolicyTrainer

    seen = []
    plain = PolicyTrainer._compute_loss

    def noted(self, model, inputs):
        loss = plain(self, model, inputs)
        apart = inputs["ref_per_token_logps"] - self._latest
        mask = inputs["completion_mask"].bool()
        seen.append((float((apart.exp() - apart - 1)[mask].mean()), self._metrics["train"]["kl"][-1]))
        return loss

    monkeypatch.setattr(PolicyTrainer, "_compute_loss", noted)
    words = (
        "training.beta=0.01",
        "training.num_iterations=2",
        "training.learning_rate=3e-2",
        "training.max_steps=4",
    )
    run(tiny_config("stages.sft.enabled=false", *words), tmp_path / "run")
    logged = [entry["kl"] for entry in read_lines(tmp_path / "run" / "log.jsonl")]
    assert max(logged) > 0.05
    assert logged == pytest.approx([true for true, _ in seen], rel=1e-4)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant_with_warmup", "polynomial"])
def test_the_first_step_of_a_warm_up_learns_and_the_peak_comes_where_it_came(schedule):
    from transformers import get_scheduler

    from medgrpo.training.trainers.optimizer import start_above_zero

    def rates(steps, *, mended):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
        scheduler = get_scheduler(schedule, optimizer, 4, 10)
        if mended:
            start_above_zero(scheduler, 4)
        found = []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    before, now = rates(10, mended=False), rates(10, mended=True)
    assert before[0] == 0
    assert now[:4] == pytest.approx([0.4, 0.8, 1.2, 1.6])
    assert now[4:] == pytest.approx(before[4:])


def test_a_run_of_one_step_learns_something(tiny_config, tmp_path):
    run(tiny_config("stages.sft.enabled=false", "training.max_steps=1"), tmp_path / "run")
    (entry,) = read_lines(tmp_path / "run" / "log.jsonl")
    assert entry["learning_rate"] > 0


def test_a_constant_rate_stays_as_it_is():
    from transformers import get_scheduler

    from medgrpo.training.trainers.optimizer import start_above_zero

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    start_above_zero(get_scheduler("constant", optimizer, 4, 10), 4)
    assert optimizer.param_groups[0]["lr"] == 2.0


def test_final_weights_hold_no_copy_of_what_they_began_with(tiny_config, tmp_path):
    words = (
        "tuning.method=lora",
        "tuning.rank=2",
        "training.beta=0.01",
        "training.max_steps=1",
        "stages.sft.max_steps=1",
    )
    run(tiny_config(*words), tmp_path / "run")
    assert (tmp_path / "run" / "final_lora" / "adapter_config.json").is_file()
    assert [path for path in (tmp_path / "run").glob("final_*/*") if path.is_dir()] == []


# -------------------------------------------------------------------------------- out of memory


def test_a_retry_out_of_memory_replaces_an_accumulation_that_the_user_set(tiny_config, tmp_path):
    reporter = SilentReporter()
    words = ("training.gradient_accumulation_steps=1", "training.retry_on_oom=true")
    config = tiny_config(*SHORT, "training.per_device_train_batch_size=8", *words)
    with device_with_room_for(4):
        assert run(config, tmp_path / "run", reporter=reporter).status == "finished"
    assert any("training.per_device_train_batch_size = 4" in warning for warning in reporter.warnings)
    saved, _ = resume_config(tmp_path / "run")  # and the run can be taken up with what it wrote
    assert plan_stage(saved.config, 7).gradient_accumulation_steps == 2


def test_the_advice_for_a_smaller_batch_holds_where_accumulation_is_set(tiny_config):
    from medgrpo.training.watch.oom import memory_advice

    long = ("tuning.method=lora", "rollout.max_completion_length=512", "model.context_length=4096")
    config = tiny_config(
        "training.gradient_accumulation_steps=1", "training.per_device_train_batch_size=8", *long
    )
    assert any("per_device_train_batch_size=4" in line for line in memory_advice(config))


# ---------------------------------------------------------------------------------------- resume


def _unfinished(folder, text=""):
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(text)
    (folder / "training_info.json").write_text(json.dumps({"finished": False}))
    return folder


HOLD = "import sys, pathlib; from medgrpo.locks import RunLock; RunLock(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"


def test_auto_passes_over_a_run_that_is_going_on(tmp_path, monkeypatch):
    import subprocess
    import sys

    monkeypatch.chdir(tmp_path)
    crashed = _unfinished(tmp_path / "runs" / "crashed")
    RunLock(crashed).release()
    live = _unfinished(tmp_path / "runs" / "live")  # the newer one
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(live)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        assert find_run("auto").run.name == "crashed"
        (crashed / "training_info.json").write_text(json.dumps({"finished": True}))
        with pytest.raises(UsageError, match="going on in other processes: live"):
            find_run("auto")
        holder.stdin.close()
    assert find_run("auto").run.name == "live"


@pytest.mark.parametrize("leaf", ["per_device_train_batch_size=2", "gradient_accumulation_steps=2"])
def test_how_a_stages_step_is_cut_may_change_on_resume(tiny_config, tmp_path, leaf):
    folder = _unfinished(tmp_path / "saved", to_toml(tiny_config()))
    resolved, notes = resume_config(folder, [f"stages.sft.{leaf}"])
    plan = plan_stage(resolved.config, 7, stage="sft")
    assert (plan.per_device_train_batch_size, plan.gradient_accumulation_steps) == (2, 2)
    assert any(f"stages.sft.{leaf.partition('=')[0]}" in note for note in notes)


@pytest.mark.parametrize(
    "fixed",
    [
        "rollout.temperature=0.5",
        "rollout.engine=vllm",
        "rollout.top_p=0.9",
        "rollout.min_p=0.1",
        "stages.sft.learning_rate=1",
    ],
)
def test_what_completions_are_sampled_by_may_not_change_on_resume(tiny_config, tmp_path, fixed):
    folder = _unfinished(tmp_path / "saved", to_toml(tiny_config()))
    with pytest.raises(UsageError, match="cannot change on resume"):
        resume_config(folder, [fixed])


# ----------------------------------------------------------------------------- names and settings


def test_a_run_is_named_after_the_method_where_it_is_not_the_presets(monkeypatch, tmp_path):
    from medgrpo.cli.train import _run_name

    monkeypatch.chdir(tmp_path)
    for method, preset, start in (
        ("dpo", None, "balanced-dpo-2"),
        ("grpo", "dapo", "dapo-2"),
        ("sft", "dapo", "dapo-sft-2"),
    ):
        settings = resolve_run(preset or "balanced", model="m", options={"training.method": method})[0].config
        assert _run_name(settings, preset).startswith(start)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("data.augment=none", "none"),
        ("scale_rewards=none", "none"),
        ("data.augment=null", "none"),
        ("training.max_steps=none", None),
        ("logging.report_to=none", ()),
    ],
)
def test_none_is_the_value_of_that_name_where_a_setting_has_one(words, value):
    config = resolve_run(
        model="m", assignments=("augment=light", "scale_rewards=batch", "max_steps=3", words)
    )[0].config
    key = {"scale_rewards": "training.scale_rewards"}.get(words.partition("=")[0], words.partition("=")[0])
    section, leaf = key.split(".")
    assert getattr(getattr(config, section), leaf) == value


def test_what_zero3_and_fsdp_hold_of_the_hosts_memory_is_said(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"0" * 2**20)
    (said,) = host_memory_needed(LaunchConfig(gpus=4, deepspeed="zero3"), tmp_path)
    assert "4 × 0.00 GiB" in said
    assert "4 processes has read the whole model" in said
    assert host_memory_needed(LaunchConfig(gpus=2, fsdp=True), None)
    for launch in (
        LaunchConfig(gpus=4, deepspeed="zero2"),
        LaunchConfig(deepspeed="zero3"),
        LaunchConfig(gpus=2),
    ):
        assert host_memory_needed(launch, tmp_path) == []


# ------------------------------------------------------------------------------- rewards, sampling


def test_a_plugins_nan_is_an_error_and_none_is_not_judged(tmp_path):
    from medgrpo.rewards.plugins import RewardError

    path = tmp_path / "mine.py"
    path.write_text(
        "def broken(completions, **_):\n    return [float('nan') if 'x' in text else 1.0 for text in completions]\n"
        "def silent(completions, **_):\n    return [None for _ in completions]\n"
    )
    with pytest.raises(RewardError, match="'broken' failed at row 1: it returned nan"):
        CompositeReward({f"{path}:broken": 1.0}).score(["a", "x"])
    skipped = CompositeReward({f"{path}:broken": 1.0}, on_error="skip").score(["a", "x"])
    assert skipped.errors == {"broken": 1}
    assert math.isnan(CompositeReward({f"{path}:silent": 1.0}).score(["a"]).total[0])


def test_a_pass_rate_is_sampled_with_all_that_training_samples_with(tiny_config, tmp_path, monkeypatch):
    from medgrpo.generation import generate

    drawn = []
    complete = generate._complete

    def noted(model, processor, inputs, sampling, *others):
        drawn.append(sampling)
        return complete(model, processor, inputs, sampling, *others)

    monkeypatch.setattr(generate, "_complete", noted)
    monkeypatch.setenv("MEDGRPO_CACHE", str(tmp_path / "cache"))
    words = (
        "rollout.min_p=0.2",
        "rollout.repetition_penalty=1.3",
        "rollout.top_k=7",
        "curriculum.by=pass_rate",
    )
    run(
        tiny_config(
            *SHORT,
            *words,
            "curriculum.samples=2",
            f'rewards.weights={{"{REWARDS}:digits_and_letters" = 1.0}}',
        ),
        tmp_path / "run",
    )
    assert {(one.min_p, one.repetition_penalty, one.top_k) for one in drawn} == {(0.2, 1.3, 7)}


def test_all_of_what_sampling_states_reaches_the_model(monkeypatch):
    from transformers import GenerationConfig

    from medgrpo.generation.generate import Sampling, _complete

    stated = []

    class Model:
        generation_config = GenerationConfig(eos_token_id=0)

        def generate(self, generation_config, input_ids, logits_processor):
            stated.append(generation_config)
            return input_ids

    tokenizer = SimpleNamespace(eos_token_id=0, pad_token_id=0, decode=lambda *_, **__: "")
    for heat in (1.0, 0.0):
        sampling = Sampling(8, heat, 0.9, 7, 1, min_p=0.2, repetition_penalty=1.3)
        inputs = {"input_ids": torch.zeros(1, 1, dtype=torch.int64)}
        _complete(Model(), tokenizer, inputs, sampling, 1, [sampling.max_new_tokens])
    drawn, greedy = stated
    assert (drawn.min_p, drawn.repetition_penalty, drawn.top_p, drawn.top_k) == (0.2, 1.3, 0.9, 7)
    assert (greedy.min_p, greedy.repetition_penalty) == (None, 1.0)

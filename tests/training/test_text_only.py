"""Text models through the same command, on real Chinese questions, with and without thinking (S3.1, S3.2, S3.4)."""

import pytest

from medgrpo.config.presets import resolve_run
from medgrpo.data.prepared import PreparedDataset
from medgrpo.data.prompts import TEMPLATES, build_messages
from medgrpo.errors import UsageError
from medgrpo.files import read_json
from medgrpo.generation.subject import find_subject, load_subject
from medgrpo.models.loading import check_thinking, load_processor
from medgrpo.records import json_objects
from medgrpo.runs.store import read_completions
from medgrpo.training.before.preflight import preflight
from medgrpo.training.run.train import train
from medgrpo.training.watch.reporter import SilentReporter
from tests.families import TINY_FAMILIES

QUICK = (
    "data.rows=12",
    "model.context_length=1536",
    "rollout.num_generations=2",
    "rollout.max_completion_length=8",
    "training.prompts_per_step=2",
    "training.max_steps=2",
    "stages.sft.prompts_per_step=4",
    "stages.sft.max_steps=2",
    "stages.grpo-1.max_steps=2",
    "tuning.rank=4",
    "training.gradient_checkpointing=false",
    "validation.before_and_after=false",
    "logging.report_to=[]",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return TINY_FAMILIES["qwen3"].build(tmp_path_factory.mktemp("qwen3") / "model")


@pytest.fixture(scope="module")
def chinese(shared_data, tmp_path_factory):
    """Real Chinese questions, prepared."""
    from medgrpo.data.prepare import PrepareOptions, prepare

    source = shared_data / "text_qa" / "medicalgpt" / "grpo_sample.jsonl"
    if not source.is_file():
        pytest.skip(f"no {source}")
    folder = tmp_path_factory.mktemp("chinese") / "data"
    prepare(source, folder, PrepareOptions(on_bad_row="skip"), workers=1)
    return folder


def configured(model, data, *assignments, preset="text-qa"):
    words = (f"model.path={model}", f"data.path={data}", *QUICK, *assignments)
    return resolve_run(preset, assignments=words)[0].config


def test_a_qwen3_learns_real_chinese_questions_in_three_stages(model, chinese, tmp_path):
    config = configured(model, chinese)
    result = train(config, name="test", reporter=SilentReporter(), output=tmp_path / "run", logs=None)
    assert result.status == "finished"
    stages = ["stages/1-sft/log.jsonl", "stages/2-grpo/log.jsonl", "log.jsonl"]
    logs = [json_objects(tmp_path / "run" / log) for log in stages]
    assert [len(log) for log in logs] == [2, 2, 2]
    wanted = {f"rewards/{name}/mean" for name in ("accuracy", "format", "fluency")}
    assert wanted <= logs[2][0].keys()
    stored = read_completions(tmp_path / "run").to_pylist()
    assert {row["stage"] for row in stored} == {"grpo-1", "grpo"}
    languages = {row["id"]: row["language"] for row in PreparedDataset.open(chinese).rows("train")}
    assert "zh" in {languages[row["prompt_id"]] for row in stored}
    assert all(row["images"] == [] for row in stored)


@pytest.mark.parametrize(
    ("thinking", "ending"),
    [("template", "assistant\n"), ("on", "assistant\n"), ("off", "assistant\n<think>\n\n</think>\n\n")],
)
def test_a_model_with_two_modes_is_asked_to_think_or_not(model, thinking, ending):
    processor = load_processor(str(model), is_vision=False, thinking=thinking)
    text = processor.apply_chat_template(
        [{"role": "user", "content": "有病灶吗？"}], add_generation_prompt=True, tokenize=False
    )
    assert text.endswith(ending)
    assert "</think>" not in text or thinking == "off"


def test_the_mode_is_trained_recorded_and_met_again_in_evaluation(model, chinese, tmp_path):
    config = configured(
        model, chinese, "model.thinking=off", "data.prompt_template=plain", "stages.grpo-1.enabled=false",
        "rewards.weights={accuracy = 1.0}",
    )  # fmt: skip
    train(config, name="test", reporter=SilentReporter(), output=tmp_path / "run", logs=None)
    assert read_json(tmp_path / "run" / "final_lora" / "medgrpo.json")["thinking"] == "off"
    subject = find_subject(str(tmp_path / "run"))
    loaded = load_subject(subject)
    row = next(PreparedDataset.open(chinese).rows("train"))
    messages = build_messages(row, TEMPLATES["plain"])
    text = loaded.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text.endswith("<think>\n\n</think>\n\n")
    again = resolve_run(model=str(tmp_path / "run"))[0].config
    assert again.model.thinking == "off"
    # The saved tokenizer has the switch already; setting it anew must not leave the older one in force.
    turned = load_processor(str(tmp_path / "run" / "final_lora"), is_vision=False, thinking="on")
    assert "</think>" not in turned.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


def test_a_template_that_asks_to_think_again_is_warned_of(model, chinese):
    checks = preflight(configured(model, chinese, "model.thinking=off"))
    assert any("closes <think>" in warning for warning in checks.warnings)


def test_a_template_without_the_switch_is_refused(tmp_path):
    from medgrpo.models.demo import build_demo_model

    folder = build_demo_model(tmp_path / "m", ["a question"], seed=0)
    with pytest.raises(UsageError, match="no switch for thinking"):
        load_processor(str(folder), is_vision=True, thinking="off")
    with pytest.raises(UsageError, match="no switch for thinking"):
        check_thinking(folder)  # before anything is loaded
    check_thinking(tmp_path)  # no template here: seen when it is loaded

"""Real trainers on the demo-size model for a few steps."""

import json
import tomllib

import pytest

from medgrpo.errors import MedgrpoError
from medgrpo.files import read_json
from medgrpo.records import json_objects
from medgrpo.runs.record import read_run
from medgrpo.runs.store import read_completions
from medgrpo.training.run.train import train
from medgrpo.training.watch.reporter import SilentReporter


def run(config, path, **options):
    options.setdefault("reporter", SilentReporter())
    return train(config, name="test", output=path, logs=None, **options)


def test_grpo_earns_more_of_what_is_rewarded(tiny_config, tmp_path):
    config = tiny_config(
        "data.rows=16",
        "training.prompts_per_step=8",
        "training.per_device_train_batch_size=32",
        "training.learning_rate=2e-3",
        "training.warmup_ratio=0",
        "training.max_steps=14",
        "training.save_steps=100",
        "logging.sample_steps=10",
        "logging.samples=2",
        "validation.before_and_after=true",
        "validation.steps=7",
        "validation.rows=4",
    )
    result = run(config, tmp_path / "run")
    assert result.status == "finished"
    assert result.reward_last > result.reward_first + 0.05
    log = json_objects(tmp_path / "run" / "log.jsonl")
    assert [entry["step"] for entry in log] == list(range(1, 15))
    wanted = {
        "stage",
        "step",
        "loss",
        "reward",
        "frac_reward_zero_std",
        "completions/mean_length",
        "s_per_prompt",
    }
    wanted |= {f"rewards/digits_and_letters/{what}" for what in ("mean", "std", "coverage", "frac_zero_std")}
    assert wanted <= log[0].keys()
    assert log[0]["reward"] == pytest.approx(log[0]["rewards/digits_and_letters/mean"])
    assert [entry["step"] for entry in log if "eval_reward" in entry] == [7, 14]
    assert {"blind", "before", "after"} <= result.validation.keys()
    assert "answer_match" in result.validation["after"]
    assert (tmp_path / "run" / "samples" / "step-000010.md").read_text().count("**Question**") == 2
    check_folder(tmp_path / "run", config)


def check_folder(folder, config):
    assert tomllib.loads((folder / "config.toml").read_text())["training"]["max_steps"] == 14
    environment = read_json(folder / "environment.json")
    assert environment["seed"] == 0
    assert environment["packages"]["trl"].startswith("1.16")
    assert environment["data_hash"]
    for name in ("final_model", "best_model"):
        about = read_json(folder / name / "medgrpo.json")
        assert about["max_pixels"] == config.model.max_pixels
        assert about["prompt_template"]["name"] == config.data.prompt_template
        assert about["provenance"]["data_hash"] == environment["data_hash"]
    completions = read_completions(folder)
    assert completions.num_rows == 14 * 8 * 4
    assert {"advantage", "image_id", "prompt_id", "rewards/digits_and_letters"} <= set(
        completions.column_names
    )
    assert read_run(folder).finished
    assert not list(folder.rglob("*.partial"))


def test_lora_trains_the_language_tower_alone_and_dpo_goes_on_from_it(tiny_config, tmp_path, dataset):
    lora = ("tuning.method=lora", "tuning.rank=4", "training.max_steps=2", "training.beta=0.01")
    first = run(tiny_config(*lora), tmp_path / "grpo")
    assert {"kl"} <= json_objects(first.log)[0].keys()
    adapter = tmp_path / "grpo" / "final_lora"
    from safetensors import safe_open

    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        names = list(file.keys())
    assert names
    assert not [name for name in names if "visual" in name]

    pairs = write_pairs(tmp_path / "pairs", dataset)
    settings = (*lora, "training.method=dpo", f"model.path={tmp_path / 'grpo'}", f"data.path={pairs}")
    result = run(tiny_config(*settings, "stages.sft.enabled=false"), tmp_path / "dpo")
    entry = json_objects(result.log)[-1]
    assert {"rewards/margins", "loss"} <= entry.keys()
    assert (tmp_path / "dpo" / "final_lora" / "adapter_config.json").is_file()


def test_dpo_with_another_loss_and_the_likelihood_of_the_chosen_answer(tiny_config, tmp_path, dataset):
    """Before the first update policy and reference are one: IPO is (1 / 2β)², and the SFT term is added with its weight."""
    pairs = write_pairs(tmp_path / "pairs", dataset)
    shared = (
        "tuning.method=lora", "training.method=dpo", f"data.path={pairs}", "stages.sft.enabled=false",
        "training.max_steps=1", "training.beta=0.5", "dpo.loss_type=ipo", "validation.before_and_after=false",
    )  # fmt: skip
    plain = json_objects(run(tiny_config(*shared), tmp_path / "ipo").log)[0]["loss"]
    assert plain == pytest.approx((1 / (2 * 0.5)) ** 2, abs=1e-3)
    more = [
        json_objects(run(tiny_config(*shared, f"dpo.sft_weight={weight}"), tmp_path / f"sft-{weight}").log)[
            0
        ]["loss"]
        for weight in (0.5, 1.0)
    ]
    assert more[1] - plain == pytest.approx(2 * (more[0] - plain), rel=1e-3)
    assert more[0] > plain + 0.1


def write_pairs(folder, dataset):
    """Preference pairs over the demo's training rows: the reference against a wrong form."""
    from medgrpo.data.prepared import PreparedDataset, PreparedWriter

    source = PreparedDataset.open(dataset)
    rows = [
        {**row, "images": [], "chosen": f"<answer>{row['answer']}</answer>", "rejected": "unknown"}
        for row in source.rows("train", 8)
    ]
    with PreparedWriter(folder) as writer:
        writer.write("train", rows)
        writer.finish({"name": "pairs", "task": "vqa", "hash": "pairs"})
    return folder


def tiny_text_model(folder):
    """A Qwen3 of a few thousand weights with the demo's kind of tokenizer."""
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    from medgrpo.models.demo import CHAT_TEMPLATE, train_tokenizer

    tokenizer = train_tokenizer(["有病灶吗？ 有 没有 yes no"] * 20, vocab_size=400)
    tokenizer.chat_template = CHAT_TEMPLATE
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            eos_token_id=end,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.generation_config = GenerationConfig(eos_token_id=[end], pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_text_model_goes_through_the_same_stages(tiny_config, tmp_path, dataset):
    from medgrpo.data.prepared import PreparedDataset, PreparedWriter

    rows = [
        {**row, "chosen": None}
        for row in PreparedDataset.open(dataset).rows("train")
        if row["language"] == "zh"
    ]
    with PreparedWriter(tmp_path / "text") as writer:
        writer.write("train", rows)
        writer.finish({"name": "text", "task": "text", "hash": "text"})
    model = tiny_text_model(tmp_path / "model")
    settings = (
        f"model.path={model}",
        f"data.path={tmp_path / 'text'}",
        "tuning.method=lora",
        "training.max_steps=2",
    )
    reporter = SilentReporter()
    result = run(tiny_config(*settings), tmp_path / "run", reporter=reporter)
    assert result.status == "finished"
    assert (
        "this model reads no pictures, and the data has some: it is asked without them" in reporter.warnings
    )
    assert len(json_objects(result.log)) == 2
    assert (tmp_path / "run" / "stages" / "1-sft" / "final_lora" / "adapter_config.json").is_file()


def test_prompts_that_are_too_long_are_counted_and_left_out(tiny_config, tmp_path):
    with pytest.raises(MedgrpoError, match="no row fits"):
        run(tiny_config("model.context_length=64", "rollout.max_completion_length=50"), tmp_path / "run")
    info = json.loads((tmp_path / "run" / "training_info.json").read_text())
    assert info["status"] == "failed"
    assert "no row fits" in info["error"]

"""The examples: our rewards under other people's trainers."""

import importlib.util
import json
import math
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
GOOD = "<think>It shows.</think><answer>yes</answer><plane>axial</plane><modality>CT</modality>"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiny_model(tmp_path):
    """A two-layer text model with a tokenizer of its own, in a folder."""
    pytest.importorskip("trl")
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from medgrpo.models.demo import train_tokenizer

    texts = ["Is there a mass?", "yes", "no", "<think>It shows.</think><answer>yes</answer>"] * 20
    tokenizer = train_tokenizer(texts, vocab_size=360)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=16, tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
        )
    )  # fmt: skip
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.filterwarnings("default")  # TRL's and torch's own warnings are not under test here
def test_trl_trains_with_the_composite_and_logs_each_component(tiny_model, tmp_path):
    questions = tmp_path / "questions.jsonl"
    rows = [{"question": f"Is there a mass in slice {n}?", "answer": "yes"} for n in range(4)]
    questions.write_text("\n".join(json.dumps(row) for row in rows))
    trainer = load("trl_grpo").train(
        str(tiny_model),
        questions,
        tmp_path / "out",
        max_steps=2,
        num_generations=2,
        per_device_train_batch_size=4,
        max_completion_length=8,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        save_strategy="no",
    )
    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(logged) == 2
    for entry in logged:
        # an untrained model writes noise: no tags, no answer
        assert entry["rewards/answer_match/mean"] == 0.0
        assert entry["rewards/format/coverage"] == 1.0
        assert entry["reward"] == pytest.approx(
            0.8 * entry["rewards/answer_match/mean"] + 0.2 * entry["rewards/format/mean"]
        )


def test_verl_gets_a_score_and_every_component():
    module = load("verl_reward")
    info = {"question": "Is there a mass?", "plane": "axial"}
    good = module.compute_score("vqa_rad", GOOD, "yes", info)
    assert good["score"] == 1.0
    assert math.isnan(good["modality_match"])
    batch = module.compute_scores(["vqa_rad"] * 2, [GOOD, "yes"], ["yes", "yes"], [info, None])
    assert [row["score"] for row in batch] == [1.0, 0.0]
    assert batch[0].keys() == batch[1].keys()


def test_ms_swift_finds_the_reward_by_name():
    pytest.importorskip("swift.rewards")
    module = load("ms_swift_plugin")
    assert module.orms["medgrpo"](args=None)([GOOD], answer=["yes"], plane=["axial"]) == [1.0]

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


class Letters:
    """A tokenizer of one token a character."""

    def decode(self, tokens, **_):
        return "".join(map(chr, tokens))


def verl_batch(verl, completions):
    import torch

    length = max(map(len, completions))
    tokens = torch.tensor([[ord(c) for c in text.ljust(length)] for text in completions])
    asked = torch.full((len(completions), 2), 65)
    there = torch.tensor([[1, 1, *(index < len(text) for index in range(length))] for text in completions])
    return verl.DataProto.from_dict(
        tensors={"prompts": asked, "responses": tokens, "attention_mask": there},
        non_tensors={
            "data_source": ["vqa_rad"] * len(completions),
            "reward_model": [{"ground_truth": "yes"} for _ in completions],
            "extra_info": [{"question": "Is there a mass?", "plane": "axial"} for _ in completions],
        },
    )


@pytest.mark.filterwarnings("default")  # verl's own warnings are not under test here
def test_verls_own_loader_and_reward_manager_run_the_function():
    verl = pytest.importorskip("verl", reason="verl is not installed: pip install verl")
    from omegaconf import OmegaConf
    from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
    from verl.trainer.ppo.reward import get_custom_reward_fn

    custom = {"path": str(EXAMPLES / "verl_reward.py"), "name": "compute_score"}
    config = OmegaConf.create({"reward": {"custom_reward_function": custom}})
    manager = get_reward_manager_cls("naive")(config, Letters(), get_custom_reward_fn(config))
    batch = verl_batch(verl, [GOOD, "<answer>no</answer>"])
    results = [manager.loop.run_until_complete(manager.run_single(batch[row : row + 1])) for row in range(2)]
    assert [result["reward_score"] for result in results] == [1.0, 0.0]
    assert results[0]["reward_extra_info"]["answer_match"] == 1.0


@pytest.mark.filterwarnings("default")
def test_ms_swifts_own_loader_finds_the_reward_by_name():
    pytest.importorskip("swift.rewards", reason="ms-swift is not installed: pip install ms-swift")
    from types import SimpleNamespace

    from swift.arguments.base_args.base_args import BaseArguments
    from swift.rewards import orms

    arguments = SimpleNamespace(
        external_plugins=[str(EXAMPLES / "ms_swift_plugin.py")], custom_register_path=[]
    )
    BaseArguments._import_external_plugins(arguments)
    reward = orms["medgrpo"](args=None)  # as GRPOTrainer makes it for --reward_funcs medgrpo
    columns = {"answer": ["yes", "yes"], "plane": ["axial", None], "trainer_state": None}
    assert reward([GOOD, "no"], **columns) == [1.0, 0.0]

"""Which models the engine takes, and that it goes back to TRL's way where the two differ."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from medgrpo.engine import support
from medgrpo.engine.packed import packed_scores
from medgrpo.engine.support import attends_by_kernel, use_kernel, why_not
from medgrpo.files import read_json
from medgrpo.training.run.train import train
from medgrpo.training.trainers import engine, grpo
from medgrpo.training.trainers.group_sampling import why_not_sampled_by_group
from medgrpo.training.watch.reporter import SilentReporter
from tests.engine.conftest import batch_of, shown_prompts, stock_scores
from tests.families import seeded
from tests.training.conftest import dataset, tiny_config  # noqa: F401 the fixtures


def test_what_the_engine_is_not_right_for_is_named(load):
    model, _ = load("qwen3")
    assert why_not(model) is None
    assert not use_kernel(model, torch.device("cpu"), is_half=True)
    assert not attends_by_kernel(model)
    model.config.attention_dropout = 0.1
    assert "drops attention" in why_not(model)
    model.config.attention_dropout = 0.0
    model.config._attn_implementation = "eager"
    assert "eager" in why_not(model)


def test_the_kernel_is_chosen_by_where_a_model_will_compute(load, monkeypatch):
    monkeypatch.setattr(support, "has_kernel", lambda: True)
    model, _ = load("qwen3")  # DeepSpeed and FSDP leave the weights on the CPU until the first step
    assert use_kernel(model, torch.device("cuda"), is_half=True)
    assert attends_by_kernel(model)


def tiny_text(load, name, **more):
    """A text model of another family with the tiny tokenizer; its layers see eight places back where it has a window."""
    import transformers
    from trl.trainer.utils import add_fused_lm_head

    _, tokenizer = load("qwen3")
    ids = {key: getattr(tokenizer, key) for key in ("eos_token_id", "pad_token_id")}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = getattr(transformers, name)(
        vocab_size=len(tokenizer), num_key_value_heads=1, head_dim=16, initializer_range=0.1, bos_token_id=None, **sizes, **ids,
        **more,
    )  # fmt: skip
    model = seeded(lambda: transformers.AutoModelForCausalLM.from_config(config)).train()
    add_fused_lm_head(model, temperature=0.9, outputs=("log_probs", "entropy"))
    return model, tokenizer


@pytest.mark.parametrize("name", ["MistralConfig", "Phi3Config", "Gemma3TextConfig"])
def test_a_window_of_layers_that_do_not_say_so_is_kept(name, load):
    # The first rows of a run may be shorter than the window, so that comparing them with TRL's way tells nothing.
    model, tokenizer = tiny_text(load, name, sliding_window=8)
    assert why_not(model) is None
    shown = shown_prompts(model, tokenizer, [0, 0], is_vision=False)
    ids, mask, columns = batch_of(shown, [0, 0, 1], [12, 3, 9])
    with torch.no_grad():
        expected, _ = stock_scores(model, ids, mask, columns, shown, [0, 0, 1])
        rows = [shown[0], shown[0], shown[1]]
        found = packed_scores(model, ids, mask, columns, rows, nullcontext, by_kernel=False).logprobs
    counted = mask[:, -columns:].bool()
    torch.testing.assert_close(found[counted], expected[counted], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        # A convolution over three places: .007 a token in the mean, which passed the comparison in bfloat16.
        ("Lfm2Config", {"layer_types": ["conv", "full_attention"]}, "conv"),
        ("Qwen3_5TextConfig", {"layer_types": ["linear_attention", "full_attention"]}, "linear_attention"),
        ("LlamaConfig", {"sliding_window": 8}, "which layers"),
    ],
)
def test_layers_that_read_on_from_the_completion_before_are_refused(name, more, words, load):
    model, _ = tiny_text(load, name, **more)
    assert words in why_not(model)


def test_a_model_that_scales_its_logits_is_sampled_by_generate(load):
    # Cohere's .0625 was left out of the sampling: sixteen times too sure.
    options = {"args": SimpleNamespace(generation_kwargs=None), "use_transformers_continuous_batching": False}
    words = {}
    for scale in (1.0, 0.0625):
        model, _ = tiny_text(load, "CohereConfig", logit_scale=scale)
        words[scale] = why_not_sampled_by_group(
            SimpleNamespace(
                model=model, engine=SimpleNamespace(is_on=True), is_fsdp_enabled=False, is_deepspeed_enabled=False,
                accelerator=SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=None)),
                generation_config=SimpleNamespace(repetition_penalty=1.0), **options,
            )
        )  # fmt: skip
    assert words == {1.0: None, 0.0625: "the model scales its logits"}


@pytest.mark.parametrize("where", ["sampling", "scoring"])
def test_auto_goes_back_to_trls_way_where_its_own_fails(where, tiny_config, tmp_path, monkeypatch):  # noqa: F811
    def fails(*_, **__):
        raise AttributeError("'dict' object has no attribute 'ndim'")  # as a Qwen3-VL with windows did

    if where == "sampling":
        monkeypatch.setattr(grpo, "sampled_by_group", fails)
    else:
        monkeypatch.setattr(engine, "packed_scores", fails)
    reporter = SilentReporter()
    config = tiny_config("stages.sft.enabled=false", "training.max_steps=1")
    train(config, name="test", reporter=reporter, output=tmp_path / "run", logs=None)
    found = read_json(tmp_path / "run" / "training_info.json")["engine"]
    assert not found["shared_prompt"]
    assert "has no attribute 'ndim'" in found["reason"]
    assert len([line for line in reporter.warnings if line.startswith("engine:")]) == 1


def test_rows_with_and_without_pictures_are_each_compared_when_they_first_come():
    compared = []
    context = SimpleNamespace(
        config=SimpleNamespace(engine=SimpleNamespace(shared_prompt="auto", fused_adapters=False)), is_main_process=False,
        reporter=SilentReporter(),
    )  # fmt: skip
    model = torch.nn.Linear(2, 2)
    accelerator = SimpleNamespace(device=torch.device("cpu"), gather=lambda one: one)
    trainer = SimpleNamespace(model=model, accelerator=accelerator, args=SimpleNamespace(bf16=False))
    one = engine.Engine.__new__(engine.Engine)
    one._context, one._facts, one._wanted, one.is_on = context, {}, "auto", True
    one._unchecked, one._is_due, one._fell_back = {True, False}, False, False
    for batch in ([False, False], [False], [False, True], [True]):
        one.comes(batch)
        compared.append(one.asks)
        if one.asks:
            one.judge(trainer, lambda: torch.zeros(3), set(batch))
    assert compared == [True, False, True, False]


@pytest.mark.parametrize("differs", [False, True])
def test_auto_goes_back_to_trls_way_where_the_two_differ(differs, tiny_config, tmp_path, monkeypatch):  # noqa: F811
    if differs:  # a fault: every completion is read as if it stood one place further
        right = engine.packed_scores

        def wrong(model, ids, mask, columns, shown, *rest, **more):
            moved = [{**one, "positions": one["positions"] * 3} for one in {id(s): s for s in shown}.values()]
            new = {id(old): one for old, one in zip({id(s): s for s in shown}.values(), moved, strict=True)}
            return right(model, ids, mask, columns, [new[id(one)] for one in shown], *rest, **more)

        monkeypatch.setattr(engine, "packed_scores", wrong)
    reporter = SilentReporter()
    config = tiny_config("stages.sft.enabled=false", "training.max_steps=1")
    train(config, name="test", reporter=reporter, output=tmp_path / "run", logs=None)
    found = read_json(tmp_path / "run" / "training_info.json")["engine"]
    assert found["shared_prompt"] is not differs
    assert (found["difference"] > found["limit"]) is differs
    warned = [line for line in reporter.warnings if line.startswith("engine:")]
    assert len(warned) == differs

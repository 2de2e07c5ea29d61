"""Pairs that share their prompt, pictures of several sizes, models that answer with masks."""

import json
from dataclasses import replace

import pytest

from medgrpo.config.presets import resolve_run
from medgrpo.errors import UsageError
from medgrpo.estimate.estimate import Facts, estimate
from medgrpo.estimate.memory import Memory
from medgrpo.estimate.time import phases
from medgrpo.estimate.unet import parameters


def asked(*assignments, preset="balanced", model="Qwen2.5-VL-3B", **facts):
    config = resolve_run(preset, model=model, assignments=assignments)[0].config
    return estimate(config, Facts(**{"model": model, "gpu": "H200", "samples": 1000, **facts}))


DPO = ("training.method=dpo", "training.prompts_per_step=4")


@pytest.mark.parametrize("model", ["Qwen2.5-VL-3B", "Qwen3-8B"])
def test_a_pair_that_shares_its_prompt_is_faster_and_smaller(model):
    facts = {"size": 1024} if "VL" in model else {"text_tokens": 800}
    shared = asked(*DPO, model=model, **facts)
    stock = asked(*DPO, "engine.shared_prompt=off", model=model, **facts)
    assert shared.s_per_prompt < stock.s_per_prompt
    assert shared.memory.peak < stock.memory.peak


def test_both_answers_of_a_pair_are_in_its_pass():
    work = asked(*DPO, size=512).work
    tokens, learned, _ = Memory(work).tokens
    assert learned == pytest.approx(2 * 4 * work.longest_learned)
    assert tokens == pytest.approx(4 * work.prompt_tokens + learned)


def test_a_pair_goes_through_the_processor_once():
    pairs, prompts = asked(*DPO, size=512).work, asked("training.prompts_per_step=4", size=512).work
    assert phases(pairs).prepare == pytest.approx(phases(prompts).prepare)


def test_the_reference_pass_has_no_adapters_and_pays_for_switching_them():
    def reference(*assignments):
        work = asked(*DPO, *assignments, size=224).work
        unswitched = replace(work.constants, adapter_switch_s=0.0, recompute_switch_s=0.0)
        bare = phases(replace(work, constants=unswitched)).logprobs
        return 4 * bare, 4 * (phases(work).logprobs - bare)

    lora, switch = reference("tuning.method=lora")
    dora, same_switch = reference("tuning.method=dora")
    assert lora == pytest.approx(dora)  # what an adapter adds is off
    assert switch == pytest.approx(same_switch)
    assert 0.05 < switch < 0.09  # .067 s were measured for this model
    _, of_full = reference("tuning.method=full")
    assert 0 < of_full < switch / 3  # no adapter: recomputation alone


def test_grpo_with_a_reference_switches_once_a_batch_however_many_passes():
    def switching(*assignments):
        work = asked("training.beta=0.04", "training.prompts_per_step=8", *assignments, size=224).work
        unswitched = replace(work, constants=replace(work.constants, adapter_switch_s=0.0))
        return 8 * (phases(work).logprobs - phases(unswitched).logprobs)

    few = switching("engine.tokens_per_pass=100000")
    assert few == pytest.approx(switching("engine.tokens_per_pass=3000"))
    assert few > 0.02


def test_modules_that_switching_walks_over_are_counted_as_peft_builds_them():
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from medgrpo.estimate.time import ADAPTED_MODULES, LAYER_MODULES, LORA_MODULES

    def modules(layers):
        sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1}
        with torch.device("meta"):
            model = Qwen2ForCausalLM(Qwen2Config(num_hidden_layers=layers, vocab_size=9, **sizes))
            model = get_peft_model(model, LoraConfig(target_modules="all-linear"))
        return sum(1 for _ in model.modules())

    assert modules(3) - modules(2) == LAYER_MODULES + LORA_MODULES * ADAPTED_MODULES


def test_who_fell_back_reads_each_prompt_twice_but_keeps_the_kernel_of_the_tower():
    shared = asked(*DPO, size=512).work
    fell_back, stock = replace(shared, fell_back=True), asked(*DPO, "engine.shared_prompt=off", size=512).work
    assert phases(shared).total < phases(fell_back).total < phases(stock).total


SFT = ("training.method=sft", "training.prompts_per_step=8")


@pytest.mark.parametrize("tuned", ["lora", "full", "dora"])
def test_sft_by_the_engine_is_faster_and_no_larger_and_several_rows_a_picture_are_faster_still(tuned):
    work = asked(*SFT, f"tuning.method={tuned}", size=512).work
    stock = asked(*SFT, f"tuning.method={tuned}", "engine.shared_prompt=off", size=512).work
    assert work.shares_prompt
    assert work.keeps_features
    assert phases(work).total < phases(stock).total
    assert Memory(work).peak <= Memory(stock).peak
    several = asked(*SFT, f"tuning.method={tuned}", "data.rows_of_a_picture=4", size=512).work
    assert phases(several).total == pytest.approx(
        phases(work).total
    )  # each row of the data has a picture of its own
    several = replace(several, rows_of_a_picture=4.0)
    assert phases(several).total < phases(work).total
    assert several.answers * several.groups_per_pass == pytest.approx(8)


def test_sft_on_texts_and_on_experts_is_trls():
    assert not asked(*SFT, model="Qwen3-8B", text_tokens=100).work.shares_prompt
    assert not asked(*SFT, model="Qwen3-VL-30B-A3B", size=512).work.shares_prompt


def test_a_mixture_of_experts_pairs_as_trl_does():
    assert not asked(*DPO, model="Qwen3-VL-30B-A3B", size=512).work.shares_prompt


@pytest.fixture
def data_of(tmp_path):
    def make(bins, rows, **said):
        folder = tmp_path / f"data-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        tokens = {
            "histogram": [{"from": low, "to": high, "rows": count} for low, high, count in bins],
            **said,
        }
        info = {
            "format_version": 1,
            "name": "sizes",
            "rows": {"train": rows},
            "image_tokens": tokens,
            "hash": "0",
        }
        (folder / "dataset.json").write_text(json.dumps(info))
        return folder

    return make


def test_time_goes_by_the_mean_picture_and_memory_by_the_largest(data_of, monkeypatch):
    skewed = data_of([(64, 64, 90), (1296, 1296, 10)], 100, min=64, median=64, max=1296)
    monkeypatch.setattr(
        "medgrpo.estimate.facts.read_dataset", lambda path: json.loads((path / "dataset.json").read_text())
    )
    settings = (
        "model.max_pixels=1048576",
        "engine.tokens_per_pass=10000",
    )  # else larger pictures have larger passes
    mixed = asked(*settings, data=skewed)
    small, large = asked(*settings, size=224), asked(*settings, size=1008)
    assert mixed.work.image_tokens == round(0.9 * 64 + 0.1 * 1296)
    assert small.s_per_prompt < mixed.s_per_prompt < large.s_per_prompt
    assert mixed.memory.peak == pytest.approx(large.memory.peak)


def test_rows_without_a_picture_count_as_none(data_of, monkeypatch):
    half = data_of([(324, 324, 50)], 100, min=324, median=324, max=324)
    monkeypatch.setattr(
        "medgrpo.estimate.facts.read_dataset", lambda path: json.loads((path / "dataset.json").read_text())
    )
    assert asked(data=half).work.image_tokens == 162


def test_the_unets_weights_are_those_of_the_network():
    from medgrpo.segmentation.unet import UNet, UNetConfig

    work = asked(preset="vessels-unet", model="unet").work
    counted = sum(weight.numel() for weight in UNet(UNetConfig()).parameters() if weight.dim() == 4)
    head = 16 * 4
    assert parameters(work.shape) == counted - head


def test_a_unet_takes_no_language_models_time():
    unet = asked(preset="vessels-unet", model="unet")
    sa2va = asked(preset="vessels-quick", model="ByteDance/Sa2VA-Qwen2_5-VL-3B")
    assert unet.s_per_prompt < sa2va.s_per_prompt / 5
    assert unet.memory.peak < sa2va.memory.peak / 3
    work = unet.work
    larger = replace(
        work,
        config=work.config.model_copy(
            update={"masks": work.config.masks.model_copy(update={"image_size": 1024})}
        ),
    )
    on_cpu = asked(preset="vessels-unet", model="unet", gpu="cpu").work
    assert phases(larger).total > phases(work).total
    assert phases(on_cpu).total > phases(work).total


def test_imitation_draws_no_masks():
    assert asked("training.method=masks-sft", preset="vessels-unet", model="unet").phases.reward == 0


@pytest.mark.parametrize("model", ["facebook/sam2-hiera-large", "CIDAS/clipseg-rd64-refined"])
def test_other_mask_models_are_said_not_to_be_known(model):
    with pytest.raises(UsageError, match="is not known: it was never measured"):
        asked(preset="vessels-quick", model=model)


def test_the_command_takes_the_presets_own_model(capsys):
    from medgrpo.cli import main as command_line

    command_line.app(
        ["estimate-time", "--preset", "vessels-unet", "--json", "--gpu", "H200"], standalone_mode=False
    )
    assert json.loads(capsys.readouterr().out)["model"] == "unet"


def test_a_folder_is_estimated_as_the_model_of_its_name(shared_data):
    """A folder's model_type is written otherwise than the family's name, and windows are counted by family."""
    for method in ("sft", "grpo"):
        words = (f"training.method={method}", "engine.shared_prompt=off")
        by_name = asked(*words, model="Qwen2.5-VL-7B", size=1024)
        by_folder = asked(*words, model=str(shared_data / "qwen2_5_vl"), size=1024)
        assert by_folder.s_per_prompt == pytest.approx(by_name.s_per_prompt, rel=1e-6)


def test_a_shorter_template_is_a_shorter_prompt_and_target():
    structured, short, plain = (
        asked("training.method=sft", f"data.prompt_template={name}", size=512).work
        for name in ("structured", "short", "plain")
    )
    assert 95 <= structured.text_tokens <= 105
    assert structured.target_tokens == 40
    assert short.text_tokens < structured.text_tokens / 2
    assert plain.target_tokens < 8


def test_threads_and_vectors_make_a_processor_faster(monkeypatch):
    from medgrpo.estimate import processor

    monkeypatch.setattr(processor, "_allowed", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(processor, "_physical", len)
    found = {}
    for flags in ("avx512f avx2", "avx2", "sse2"):
        for threads in ("1", "4", "8"):
            monkeypatch.setattr(
                processor, "_flags_and_clock", lambda flags=flags: (frozenset(flags.split()), 2.5)
            )
            monkeypatch.setenv("OMP_NUM_THREADS", threads)
            found[flags.split()[0], threads] = processor.this_processor().tflops
    assert found["avx512f", "1"] > found["avx2", "1"] > found["sse2", "1"]
    assert found["avx2", "4"] == pytest.approx(4 * found["avx2", "1"])
    assert found["avx2", "8"] == found["avx2", "4"]  # no more cores than there are

"""An adapter or base that is not whole is refused with a sentence, wherever it is loaded."""

import json

import pytest

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.models.adapters import load_adapter
from medgrpo.models.loading import load_model
from medgrpo.models.weights import check_fingerprints, find_weights, with_fingerprints
from medgrpo.models.whole import check_whole
from tests.models.adapters import copied, edit_json, edit_tensors, load_plain, logits, lora, make_adapter

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture(scope="module")
def adapter(demo_model, tmp_path_factory):
    folder = make_adapter(demo_model, tmp_path_factory.mktemp("adapter") / "lora", lora())
    known = with_fingerprints({"base_model": str(demo_model)}, folder)
    (folder / "medgrpo.json").write_text(json.dumps(known))
    return folder


@pytest.fixture(scope="module")
def plain(demo_model):
    return load_plain(demo_model)


def renamed(kind):
    seen = iter(range(1000))

    def change(name, tensor):
        place = next(seen)
        hit = {"all": True, "half": place % 2 == 0, "one": place == 0}[kind]
        return (name.replace(".language_model.", ".text_model.") if hit else name), tensor

    return change


def with_nan(name, tensor):
    if "layers.1.mlp.up_proj.lora_B" in name:
        tensor.view(-1)[3] = float("nan")
    return name, tensor


def pickled(folder, content):
    import torch

    (folder / WEIGHTS).unlink()
    torch.save(content, folder / "adapter_model.bin")


BROKEN = {
    "all names": (lambda f: edit_tensors(f / WEIGHTS, renamed("all")), r"no tensor for .*\(28;"),
    "half of the names": (lambda f: edit_tensors(f / WEIGHTS, renamed("half")), r"no tensor for .*\(14;"),
    "one name": (lambda f: edit_tensors(f / WEIGHTS, renamed("one")), r"no tensor for .*\(1;"),
    "one too many": (
        lambda f: (
            edit_tensors(f / WEIGHTS, lambda n, t: (n, t))
            or edit_json(f / CONFIG, target_modules=r".*layers\.0\.(self_attn|mlp)\.\w+_proj")
        ),
        r"find no place: .*\(14;",
    ),
    "NaN": (
        lambda f: edit_tensors(f / WEIGHTS, with_nan),
        r"NaN or infinity in 1 of 28 tensors: .*layers\.1\.mlp\.up",
    ),
    "truncated": (
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-100]),
        "cut off or damaged",
    ),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "has no weights"),
    "broken settings": (lambda f: (f / CONFIG).write_text('{"r": 4,'), "cannot be read"),
    "no object": (lambda f: (f / CONFIG).write_text("[]"), "no JSON object"),
    "another rank": (
        lambda f: edit_json(f / CONFIG, r=8),
        r"28 tensors have another shape: .*\[4, 128\] in the file, \[8, 128\]",
    ),
    "rank 0": (lambda f: edit_json(f / CONFIG, r=0), "r is 0"),
    "alpha NaN": (lambda f: edit_json(f / CONFIG, lora_alpha=float("nan")), "lora_alpha is nan"),
    "biases lost": (lambda f: edit_json(f / CONFIG, bias="all"), r"no tensor for .*bias"),
    "whole numbers": (
        lambda f: edit_tensors(f / WEIGHTS, lambda n, t: (n, (t * 9).char())),
        "28 of 28 tensors in whole numbers",
    ),
    "a pickled list": (lambda f: pickled(f, [1, 2]), "holds no tensors by name"),
    "pickled tensors one level down": (lambda f: pickled(f, {"state_dict": {}}), "holds no tensors by name"),
    "a kind that is not known": (lambda f: edit_json(f / CONFIG, peft_type="LORRA"), "does not fit"),
    "a switch in words": (lambda f: edit_json(f / CONFIG, use_rslora="false"), "use_rslora is 'false'"),
    "a table that is none": (lambda f: edit_json(f / CONFIG, alpha_pattern=[1]), r"alpha_pattern is \[1\]"),
    "an alpha in words": (lambda f: edit_json(f / CONFIG, alpha_pattern={"q_proj": "8"}), "alpha_pattern is"),
    "a rank of none": (lambda f: edit_json(f / CONFIG, rank_pattern={"q_proj": 0}), "rank_pattern is"),
    "alpha left out": (lambda f: edit_json(f / CONFIG, lora_alpha=None), "names no lora_alpha"),
    "rank and alpha left out": (
        lambda f: edit_json(f / CONFIG, r=None, lora_alpha=None),
        "names no r and no",
    ),
    "a base that was changed by a draw": (
        lambda f: edit_json(f / CONFIG, init_lora_weights="pissa_niter_4"),
        "another function each time",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_adapter_is_refused_by_name(adapter, plain, demo_model, tmp_path, fault):
    from copy import deepcopy

    break_it, words = BROKEN[fault]
    folder = copied(adapter, tmp_path / "lora")
    break_it(folder)
    with pytest.raises(MedgrpoError, match=words):
        load_adapter(deepcopy(plain), folder, base=str(demo_model))


def test_a_whole_adapter_is_the_same_function_as_with_peft(adapter, plain, demo_model):
    from copy import deepcopy

    from peft import PeftModel

    ours = load_adapter(deepcopy(plain), adapter, base=str(demo_model)).eval()
    theirs = PeftModel.from_pretrained(deepcopy(plain), adapter).eval()
    assert (logits(ours, demo_model) - logits(theirs, demo_model)).abs().max() == 0


def older(name):
    """As Transformers called the layers of Qwen2.5-VL in 2024."""
    return name.replace("model.language_model.layers", "model.layers")


@pytest.mark.parametrize("share", ["all", "half"])
def test_names_of_an_older_transformers_are_translated_and_told(adapter, plain, demo_model, tmp_path, share):
    from copy import deepcopy

    folder, places = copied(adapter, tmp_path / "lora"), iter(range(1000))
    edit_tensors(folder / WEIGHTS, lambda n, t: (older(n) if share == "all" or next(places) % 2 else n, t))
    notes = []
    loaded = load_adapter(deepcopy(plain), folder, base=str(demo_model), notes=notes).eval()
    wanted = logits(load_adapter(deepcopy(plain), adapter, base=str(demo_model)).eval(), demo_model)
    assert (logits(loaded, demo_model) - wanted).abs().max() == 0
    assert notes[0].startswith(f"{28 if share == 'all' else 14} names of ")


def with_vision(name, tensor):
    return name.replace("language_model.layers.0.mlp", "visual.blocks.0.mlp"), tensor


LEFT_OUT_BY_VLLM = {
    "alphas by name": lambda f: edit_json(f / CONFIG, alpha_pattern={"q_proj": 32}),
    "ranks by name": lambda f: edit_json(f / CONFIG, rank_pattern={"nothing": 2}),
    "whole modules": lambda f: edit_json(f / CONFIG, modules_to_save=["norm"]),
    "biases": lambda f: edit_json(f / CONFIG, bias="all"),
    "DoRA": lambda f: edit_json(f / CONFIG, use_dora=True),
    "IA3 instead": lambda f: edit_json(f / CONFIG, peft_type="IA3"),
    "another base": lambda f: edit_json(f / CONFIG, init_lora_weights="olora"),
    "outside the layers of the language model": lambda f: edit_tensors(f / WEIGHTS, with_vision),
    "names of another version": lambda f: edit_tensors(f / WEIGHTS, lambda n, t: (older(n), t)),
}


@pytest.mark.parametrize("what", LEFT_OUT_BY_VLLM)
def test_what_vllm_would_leave_out_of_an_adapter_is_refused(adapter, demo_model, tmp_path, what):
    """Its settings of an adapter have one rank and one alpha, and layers outside the language model are passed over."""
    folder = copied(adapter, tmp_path / "lora")
    LEFT_OUT_BY_VLLM[what](folder)
    with pytest.raises(MedgrpoError, match=what):
        check_whole(demo_model, folder)


@pytest.mark.parametrize("fault", ["one name", "half of the names", "one too many", "NaN"])
def test_files_for_an_engine_that_loads_by_itself_are_held_against_the_model(
    adapter, demo_model, tmp_path, fault
):
    """vLLM leaves out what it finds no place for."""
    check_whole(demo_model, adapter)
    folder = copied(adapter, tmp_path / "lora")
    BROKEN[fault][0](folder)
    with pytest.raises(MedgrpoError, match=r"no place|no tensor|NaN"):
        check_whole(demo_model, folder)


def drop(wanted):
    return lambda name, tensor: None if wanted in name else (name, tensor)


def infinite_norm(name, tensor):
    if name.endswith("model.norm.weight"):
        tensor[0] = float("inf")
    return name, tensor


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (drop("layers.1.mlp.up_proj"), r"lacks 1 of the 57 tensors of Qwen2_5_VL.*layers\.1\.mlp\.up_proj"),
        (infinite_norm, r"NaN or infinity in 1 of 57 tensors: .*norm\.weight"),
        (lambda n, t: (n.replace("layers.0", "layers.7"), t), "lacks 12 of the 57"),
        (lambda n, t: (n, t[:-1].clone() if "layers.0.mlp.up_proj" in n else t), "shape|mismatch"),
    ],
)
def test_a_base_that_is_not_whole_is_refused_by_name(demo_model, tmp_path, break_it, words):
    folder = copied(demo_model, tmp_path / "base")
    edit_tensors(folder / "model.safetensors", break_it)
    with pytest.raises(MedgrpoError, match=words):
        load_model(str(folder))
    with pytest.raises(MedgrpoError, match=r"lacks|NaN|shape"):
        check_whole(folder, None)


def test_a_tensor_too_many_is_refused_unless_asked_for(demo_model, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    folder = copied(demo_model, tmp_path / "base")
    tensors = load_file(folder / "model.safetensors") | {"model.layers.9.norm.weight": torch.ones(4)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MedgrpoError, match=r"has 1 tensors that .* no place for: .*layers\.9"):
        load_model(str(folder))
    assert load_model(str(folder), allow_unexpected=True).is_vision


def test_a_truncated_shard_is_found_before_anything_is_loaded(demo_model, tmp_path):
    from medgrpo.models.loading import check_model

    folder = tmp_path / "sharded"
    load_plain(demo_model).save_pretrained(folder, max_shard_size="500KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    check_model(str(folder))
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[:-7])
    with pytest.raises(MedgrpoError, match=r"model-00002.*cut off"):
        check_model(str(folder))
    shards[1].unlink()
    with pytest.raises(MedgrpoError, match=rf"lacks 1 of the {len(shards)} files"):
        check_model(str(folder))


def test_a_folder_with_the_weights_twice_is_refused(demo_model, tmp_path):
    """Transformers reads the single file, vLLM the shards: which model it is would depend on who asks."""
    folder = copied(demo_model, tmp_path / "base")
    load_plain(demo_model).save_pretrained(tmp_path / "shards", max_shard_size="500KB")
    for file in (tmp_path / "shards").glob("model*"):
        file.rename(folder / file.name)
    with pytest.raises(MedgrpoError, match="has the weights twice"):
        load_model(str(folder))


def test_another_base_of_the_same_shape_is_refused_and_can_be_forced(adapter, demo_model, tmp_path):
    other = copied(demo_model, tmp_path / "other")
    edit_tensors(other / "model.safetensors", lambda n, t: (n, t * 1.01 if "layers.0" in n else t))
    weights = find_weights(str(adapter), base=str(other))
    with pytest.raises(
        UsageError, match=r"other is not the base model that .* other values of the weights"
    ) as raised:
        check_fingerprints(weights)
    assert "--force-base" in raised.value.hint
    assert "force-base" in check_fingerprints(weights, force=True)[0]
    assert check_fingerprints(find_weights(str(adapter))) == []


def test_a_base_that_was_copied_or_split_into_shards_is_still_the_same(adapter, demo_model, tmp_path):
    from transformers import AutoConfig

    copy = copied(demo_model, tmp_path / "copy")
    edit_json(copy / "config.json", transformers_version="4.0.0", use_cache=False)
    assert check_fingerprints(find_weights(str(adapter), base=str(copy))) == []
    sharded = copied(demo_model, tmp_path / "sharded")
    (sharded / "model.safetensors").unlink()
    config = (sharded / "config.json").read_bytes()
    load_plain(demo_model).save_pretrained(sharded, max_shard_size="500KB")
    (sharded / "config.json").write_bytes(config)
    assert AutoConfig.from_pretrained(sharded)
    assert check_fingerprints(find_weights(str(adapter), base=str(sharded))) == []


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda f: edit_json(f / CONFIG, lora_alpha=64), "lora_alpha is 64, trained with 8"),
        (lambda f: edit_json(f / CONFIG, use_rslora=True), "use_rslora is True, trained with False"),
        (lambda f: edit_tensors(f / WEIGHTS, lambda n, t: (n, t * 1.01)), "not those that were saved"),
    ],
)
def test_an_adapter_that_was_edited_after_training_is_refused(adapter, tmp_path, break_it, words):
    folder = copied(adapter, tmp_path / "lora")
    break_it(folder)
    with pytest.raises(UsageError, match=words):
        check_fingerprints(find_weights(str(folder)))


def test_naming_another_place_of_the_base_is_no_edit(adapter, demo_model, tmp_path):
    folder = copied(adapter, tmp_path / "lora")
    edit_json(folder / CONFIG, base_model_name_or_path=str(copied(demo_model, tmp_path / "moved")))
    assert check_fingerprints(find_weights(str(folder))) == []

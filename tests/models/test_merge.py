import json
import os
import subprocess
import sys

import pytest

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.models.families import tower_of
from medgrpo.models.families.base import LANGUAGE_LAYERS
from medgrpo.models.merge import adapter_folder, base_of, merge_adapter, merge_adapters
from tests.models import adapters
from tests.models.adapters import edit_json, edit_tensors, load_plain, logits, lora

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.mark.parametrize(
    ("name", "tower"),
    [
        ("model.language_model.layers.0.self_attn.q_proj.weight", "language"),
        ("model.visual.blocks.1.attn.qkv.weight", "vision"),
        ("model.visual.merger.mlp.0.weight", "aligner"),
        ("model.vision_tower.encoder.layer.0.weight", "vision"),
        ("model.multi_modal_projector.linear_1.weight", "aligner"),
        ("lm_head.weight", "language"),
    ],
)
def test_a_weight_belongs_to_a_tower_by_its_name(name, tower):
    assert tower_of(name) == tower


def test_a_run_folder_gives_its_best_adapter_before_its_final_one(tmp_path):
    for name in ("final_lora", "best_lora"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text("{}")
    assert adapter_folder(tmp_path).name == "best_lora"


def test_a_whole_model_is_told_from_an_adapter(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="whole model") as raised:
        adapter_folder(tmp_path)
    assert "lora" in raised.value.hint


def test_a_folder_with_neither_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no adapter"):
        adapter_folder(tmp_path)
    with pytest.raises(UsageError, match="no folder at"):
        adapter_folder(tmp_path / "nowhere")


def test_a_base_that_moved_is_named(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/gone/base"}))
    with pytest.raises(UsageError, match="/gone/base") as raised:
        base_of(tmp_path, None)
    assert raised.value.hint == "--base MODEL"
    assert base_of(tmp_path, "owner/other") == "owner/other"


@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    from medgrpo.models.demo import build_demo_model

    folder = tmp_path_factory.mktemp("base") / "model"
    build_demo_model(folder, ["Which plane is shown?", "axial", "这张图像是什么模态？"], seed=0)
    return folder


def make_adapter(base, folder, *, scale):
    """A LoRA on the language model whose B matrices are drawn (scale > 0) or zero, as PEFT starts them."""
    import torch
    from peft import LoraConfig, get_peft_model

    from medgrpo.models.loading import load_model, lora_targets

    torch.manual_seed(0)
    model = load_model(str(base)).model
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=lora_targets(model)))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=scale) if scale else torch.nn.init.zeros_(weight)
    adapted.save_pretrained(folder)
    (folder / "medgrpo.json").write_text('{"prompt_template": {"name": "structured"}}')
    return folder


def test_the_merged_model_is_the_same_function_and_loads_without_peft(base_model, tmp_path):
    adapter = make_adapter(base_model, tmp_path / "adapter", scale=0.2)
    merge = merge_adapter(adapter, tmp_path / "merged", verify=4)
    # 2 language layers × 7 projections; the frozen towers stay as they were
    assert merge.changed_tensors == {"language": 14, "vision": 0, "aligner": 0}
    assert merge.max_logit_difference < 1e-4
    assert merge.top1_agreement == 1.0
    assert (
        json.loads((tmp_path / "merged" / "medgrpo.json").read_text())["prompt_template"]["name"]
        == "structured"
    )

    from medgrpo.models.loading import load_model

    assert load_model(str(tmp_path / "merged")).is_vision


def test_an_adapter_that_changes_nothing_is_an_error_and_leaves_nothing_behind(base_model, tmp_path):
    adapter = make_adapter(base_model, tmp_path / "adapter", scale=0.0)
    with pytest.raises(MedgrpoError, match="changes no weight"):
        merge_adapter(adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_an_output_in_use_is_never_overwritten(base_model, tmp_path):
    adapter = make_adapter(base_model, tmp_path / "adapter", scale=0.2)
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "mine").touch()
    with pytest.raises(UsageError, match="exists and is not empty"):
        merge_adapter(adapter, tmp_path / "merged")


ALL_TOWERS = r".*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|qkv|proj|mlp\.0|mlp\.2)"


def kinds():
    from peft import IA3Config, LoHaConfig

    return {
        "lora": lora(),
        "dora": lora(use_dora=True),
        "rslora": lora(use_rslora=True),
        "patterns": lora(
            rank_pattern={"q_proj": 2, r"layers\.1\.mlp\.up_proj": 8}, alpha_pattern={"q_proj": 32}
        ),
        "all towers": lora(target_modules=ALL_TOWERS),
        "ia3": IA3Config(
            target_modules=r".*layers\.\d+\.(self_attn\.[kv]_proj|mlp\.down_proj)",
            feedforward_modules=r".*\.mlp\.down_proj",
        ),
        "loha": LoHaConfig(r=4, alpha=8, target_modules=LANGUAGE_LAYERS),
        "norms saved": lora(modules_to_save=["norm"]),
        "biases": lora(
            bias="lora_only", lora_bias=True, target_modules=r".*language_model.*self_attn\.[qkv]_proj"
        ),
        "tied head saved": lora(modules_to_save=["lm_head"]),
        "tied embedding saved": lora(modules_to_save=["embed_tokens"]),
        "both saved": lora(modules_to_save=["embed_tokens", "lm_head"]),
        "embedding adapted": lora(target_modules=["q_proj", "embed_tokens"]),
        "kept tied": lora(modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    }


def peft_logits(base, adapter):
    """Without our code: PEFT on Transformers' model, not merged."""
    from peft import PeftModel

    return logits(PeftModel.from_pretrained(load_plain(base), adapter).eval(), base)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", list(kinds()))
def test_every_kind_of_adapter_merges_into_the_function_that_peft_computes(base_model, tmp_path, kind):
    adapter = adapters.make_adapter(base_model, tmp_path / "adapter", kinds()[kind], scale=0.05)
    merge = merge_adapter(adapter, tmp_path / "merged", verify=1)
    wanted = peft_logits(base_model, adapter)
    assert (logits(load_plain(tmp_path / "merged"), base_model) - wanted).abs().max() < 5e-5
    assert (logits(load_plain(base_model), base_model) - wanted).abs().max() > 0.05  # it does something
    if kind != "ia3":  # it also names biases, and these are zero
        assert merge.changed_tensors == merge.named_tensors
    assert merge.check.peft < 5e-5
    assert merge.check.effect > 0.05
    assert merge.check.equal_answers == 1


@pytest.fixture(scope="module")
def adapter(base_model, tmp_path_factory):
    from medgrpo.models.weights import with_fingerprints

    folder = adapters.make_adapter(
        base_model, tmp_path_factory.mktemp("lora") / "adapter", lora(), scale=0.05
    )
    known = with_fingerprints({"base_model": str(base_model)}, folder)
    (folder / "medgrpo.json").write_text(json.dumps(known))
    return folder


def test_several_adapters_are_added_with_their_weights(base_model, adapter, tmp_path):
    """By hand: the merged weight minus the base is .5 of one change and -2 of the other."""
    import torch

    other = adapters.make_adapter(
        base_model, tmp_path / "other", lora(r=2, target_modules=r".*layers\.0.*q_proj"), seed=7
    )
    merge_adapters([(adapter, 0.5), (other, -2.0)], tmp_path / "both", verify=1)
    merge_adapter(adapter, tmp_path / "one", verify=0)
    merge_adapter(other, tmp_path / "two", verify=0)
    base, one, two, both = (
        load_plain(folder).state_dict()
        for folder in (base_model, tmp_path / "one", tmp_path / "two", tmp_path / "both")
    )
    for name, weight in base.items():
        wanted = weight + 0.5 * (one[name] - weight) - 2 * (two[name] - weight)
        torch.testing.assert_close(both[name], wanted, atol=1e-6, rtol=0)
    made_of = json.loads((tmp_path / "both" / "medgrpo.json").read_text())["merged"]
    assert [one["weight"] for one in made_of["adapters"]] == [0.5, -2.0]


@pytest.mark.parametrize("kind", ["dora", "ia3"])
def test_kinds_that_multiply_are_not_added_up(base_model, adapter, tmp_path, kind):
    other = adapters.make_adapter(base_model, tmp_path / "other", kinds()[kind])
    with pytest.raises(UsageError, match="multiplies weights"):
        merge_adapters([(adapter, 1.0), (other, 1.0)], tmp_path / "merged")


@pytest.mark.filterwarnings("ignore")
def test_shards_stay_shards_and_every_tool_file_comes_along(base_model, tmp_path):
    base = adapters.copied(base_model, tmp_path / "base")
    (base / "model.safetensors").unlink()
    load_plain(base_model).save_pretrained(base, max_shard_size="500KB")
    adapter = adapters.make_adapter(base, tmp_path / "adapter", lora(), scale=0.05)
    merge_adapter(adapter, tmp_path / "merged", verify=1)
    names = {file.name for file in base.iterdir()}
    assert names <= {file.name for file in (tmp_path / "merged").iterdir()}
    assert len([name for name in names if name.startswith("model-0")]) > 2
    wanted = peft_logits(base, adapter)
    assert (logits(load_plain(tmp_path / "merged"), tmp_path / "merged") - wanted).abs().max() < 5e-5


@pytest.mark.filterwarnings("ignore")
def test_old_pickled_weights_become_safetensors(base_model, adapter, tmp_path):
    import torch
    from safetensors.torch import load_file

    base = adapters.copied(base_model, tmp_path / "base")
    torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    merge_adapter(adapter, tmp_path / "merged", base=str(base), force_base=True)
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    assert not (tmp_path / "merged" / "pytorch_model.bin").exists()
    wanted = peft_logits(base_model, adapter)
    assert (logits(load_plain(tmp_path / "merged"), base_model) - wanted).abs().max() < 5e-5


def in_bfloat16(base, folder):
    adapters.copied(base, folder)
    adapters.edit_tensors(folder / "model.safetensors", lambda name, tensor: (name, tensor.bfloat16()))
    adapters.edit_json(folder / "config.json", dtype="bfloat16")
    return folder


@pytest.mark.filterwarnings("ignore")
def test_rounding_is_told_beside_the_adapters_own_effect_and_float32_keeps_it(base_model, tmp_path):
    base = in_bfloat16(base_model, tmp_path / "base")
    adapter = adapters.make_adapter(base, tmp_path / "adapter", lora(), scale=0.0)
    # a step of RL: B so small that bfloat16 rounds most of the change away
    adapters.edit_tensors(
        adapter / "adapter_model.safetensors", lambda n, t: (n, t + 2e-4 if "lora_B" in n else t)
    )
    rounded = merge_adapter(adapter, tmp_path / "rounded")
    assert rounded.check.dtype == "bfloat16"
    assert rounded.check.is_coarse
    kept = merge_adapter(adapter, tmp_path / "kept", dtype="float32")
    assert not kept.check.is_coarse
    assert kept.check.rounding < 1e-4 < rounded.check.rounding
    stored = load_plain(tmp_path / "kept")
    assert {str(weight.dtype) for weight in stored.parameters()} == {"torch.float32"}
    wanted = peft_logits(base, adapter)
    assert (logits(stored.float(), base) - wanted.float()).abs().max() < 0.1  # PEFT computes in bfloat16 here


def doubled(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    older = {n.replace("model.language_model.layers", "model.layers"): t * 2 for n, t in tensors.items()}
    save_file(tensors | older, folder / WEIGHTS)


PLANTED = {
    "all names": (lambda f: edit_tensors(f / WEIGHTS, renamed("all")), r"find no place: .*\(28 of 28\)"),
    "half of the names": (
        lambda f: edit_tensors(f / WEIGHTS, renamed("half")),
        r"find no place: .*\(14 of 28\)",
    ),
    "one name": (lambda f: edit_tensors(f / WEIGHTS, renamed("one")), r"find no place: .*\(1 of 28\)"),
    "tensors left out": (
        lambda f: edit_tensors(f / WEIGHTS, lambda n, t: None if "layers.1" in n else (n, t)),
        r"no tensor for .*layers\.1.* \(7 of the modules",
    ),
    "half a pair": (
        lambda f: edit_tensors(
            f / WEIGHTS, lambda n, t: None if "layers.1.mlp.up_proj.lora_B" in n else (n, t)
        ),
        r"incomplete set of tensors for .*up_proj",
    ),
    "NaN": (lambda f: edit_tensors(f / WEIGHTS, filled("nan")), "NaN or infinity in 1 of 28"),
    "inf": (lambda f: edit_tensors(f / WEIGHTS, filled("inf")), "NaN or infinity in 1 of 28"),
    "truncated": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-9]), "cut off"),
    "another rank": (lambda f: edit_json(f / CONFIG, r=8), r"tensors of rank 4 .* settings say 8"),
    "rank 0": (lambda f: edit_json(f / CONFIG, r=0), "r is 0"),
    "PiSSA": (lambda f: edit_json(f / CONFIG, init_lora_weights="pissa"), "changed the base too"),
    "a kind not known": (lambda f: edit_json(f / CONFIG, peft_type="VERA"), "is a VERA adapter"),
    "biases lost": (
        lambda f: edit_json(f / CONFIG, bias="lora_only"),
        r"no tensor for .*bias \(|no tensor for .*bias, ",
    ),
    "a tensor twice, under two names": (doubled, "twice, under two names"),
    "DoRA without magnitudes": (lambda f: edit_json(f / CONFIG, use_dora=True), "no lora_magnitude_vector"),
}


def renamed(kind):
    seen = iter(range(1000))

    def change(name, tensor):
        place = next(seen)
        hit = {"all": True, "half": place % 2 == 0, "one": place == 0}[kind]
        return (name.replace(".language_model.", ".text_model.") if hit else name), tensor

    return change


def filled(value):
    def change(name, tensor):
        if "layers.1.mlp.up_proj.lora_B" in name:
            tensor.view(-1)[3] = float(value)
        return name, tensor

    return change


@pytest.mark.parametrize("fault", PLANTED)
def test_a_broken_adapter_is_refused_and_nothing_is_written(adapter, tmp_path, fault):
    break_it, words = PLANTED[fault]
    folder = adapters.copied(adapter, tmp_path / "broken")
    break_it(folder)
    (folder / "medgrpo.json").unlink()  # without the fingerprint: a stranger's adapter
    with pytest.raises(MedgrpoError, match=words):
        merge_adapter(folder, tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target_modules": "all-linear"}, r"no tensor for model\.visual"),
        ({"lora_bias": True}, r"no tensor for .*lora_B\.bias"),
        ({"bias": "some"}, "Requested bias: some"),
        ({"peft_type": "IA3"}, "feedforward_modules"),
        ({"target_modules": None}, "specify `target_modules`"),
    ],
)
def test_settings_are_held_against_the_files_where_the_model_is_too_large_for_peft(
    adapter, tmp_path, settings, words
):
    folder = adapters.copied(adapter, tmp_path / "edited")
    edit_json(folder / CONFIG, **settings)
    (folder / "medgrpo.json").unlink()
    with pytest.raises(MedgrpoError, match=words):
        merge_adapter(folder, tmp_path / "merged", verify=0)
    assert not (tmp_path / "merged").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_trained_embedding_beside_an_adapter_stays_one_with_the_head(base_model, adapter, tmp_path):
    """PEFT saves it so where an embedding was trained whole; what `modules_to_save` names is a copy of its own."""
    from safetensors.torch import load_file, save_file

    folder = adapters.copied(adapter, tmp_path / "embedding")
    name = "model.language_model.embed_tokens.weight"
    trained = load_plain(base_model).state_dict()[name] * 1.3
    save_file(load_file(folder / WEIGHTS) | {f"base_model.model.{name}": trained}, folder / WEIGHTS)
    (folder / "medgrpo.json").unlink()
    merge_adapter(folder, tmp_path / "merged", verify=1)
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["tie_word_embeddings"]
    merged, wanted = logits(load_plain(tmp_path / "merged"), base_model), peft_logits(base_model, folder)
    assert (merged - wanted).abs().max() < 5e-5
    other = {f"base_model.model.{name}": trained, "base_model.model.lm_head.weight": trained * 2}
    save_file(load_file(folder / WEIGHTS) | other, folder / WEIGHTS)
    with pytest.raises(MedgrpoError, match="two values for"):
        merge_adapter(folder, tmp_path / "other")


def test_an_edited_alpha_is_caught_by_the_fingerprint_and_right_when_forced(base_model, adapter, tmp_path):
    folder = adapters.copied(adapter, tmp_path / "edited")
    edit_json(folder / CONFIG, lora_alpha=32)
    with pytest.raises(UsageError, match="lora_alpha is 32, trained with 8"):
        merge_adapter(folder, tmp_path / "merged")
    merge = merge_adapter(folder, tmp_path / "merged", force_base=True)
    assert "force-base" in merge.notes[0]
    wanted = peft_logits(base_model, folder)
    assert (logits(load_plain(tmp_path / "merged"), base_model) - wanted).abs().max() < 1e-4


BROKEN_BASE = {
    "another of the same shape": (
        lambda n, t: (n, t * 1.05 if "layers" in n else t),
        "is not the base model that",
    ),
    "a tensor lost": (lambda n, t: None if "layers.1.mlp.up_proj" in n else (n, t), "lacks 1 of the"),
    "NaN in a norm": (
        lambda n, t: (n, t.fill_(float("nan")) if n.endswith("model.norm.weight") else t),
        "NaN or infinity in 1",
    ),
    "inf in a frozen tower": (
        lambda n, t: (n, t.fill_(float("inf")) if "blocks.0.norm1" in n else t),
        "NaN or infinity in 1",
    ),
}


@pytest.mark.parametrize("fault", BROKEN_BASE)
def test_a_broken_base_is_refused_and_nothing_is_written(base_model, adapter, tmp_path, fault):
    break_it, words = BROKEN_BASE[fault]
    base = adapters.copied(base_model, tmp_path / "base")
    edit_tensors(base / "model.safetensors", break_it)
    is_other = "another" in fault
    with pytest.raises(MedgrpoError, match=words):
        merge_adapter(adapter, tmp_path / "merged", base=str(base), force_base=not is_other)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
    if is_other:  # forced, it is that base with the adapter's change
        merge_adapter(adapter, tmp_path / "merged", base=str(base), force_base=True)
        wanted = peft_logits(base, adapter)
        assert (logits(load_plain(tmp_path / "merged"), base) - wanted).abs().max() < 1e-4


def test_a_truncated_shard_of_the_base_is_refused(base_model, adapter, tmp_path):
    base = adapters.copied(base_model, tmp_path / "base")
    file = base / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(MedgrpoError, match="cut off"):
        merge_adapter(adapter, tmp_path / "merged", base=str(base), force_base=True)
    assert not (tmp_path / "merged").exists()


def test_what_was_written_is_what_is_checked(base_model, adapter, tmp_path, monkeypatch):
    """Bytes that come out wrong are found, since the check reads the written files."""
    from medgrpo.models import shards

    write = shards.write_shard

    def spoiled(file, entries, value_of, on_tensor):
        write(
            file,
            entries,
            lambda n: value_of(n) * (1.5 if n.endswith("layers.0.mlp.up_proj.weight") else 1),
            on_tensor,
        )

    monkeypatch.setattr(shards, "write_shard", spoiled)
    with pytest.raises(MedgrpoError, match="is not base \\+ adapter"):
        merge_adapter(adapter, tmp_path / "merged")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_sentence_and_leaves_nothing(base_model, adapter, tmp_path):
    """On a real file system of 1 MiB; once seen before writing, once while writing."""
    room = tmp_path / "room"
    room.mkdir()
    code = (
        "import sys; from pathlib import Path; import medgrpo.models.merge as m\n"
        "for check in (m._check_room, lambda *a: None):\n"
        "    m._check_room = check\n"
        f"    try: m.merge_adapter(Path({str(adapter)!r}), Path({str(room / 'merged')!r}))\n"
        "    except m.MedgrpoError as error: print(type(error).__name__, error)\n"
        f"print(list(Path({str(room)!r}).iterdir()))\n"
    )
    script = f'mount -t tmpfs -o size=1m none {room} && exec {sys.executable} -c "$CODE"'
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        env=os.environ | {"CODE": code},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no file system can be mounted here")
    assert "GiB, and the disk of" in done.stdout, done.stderr
    assert "is full; nothing was kept" in done.stdout
    assert done.stdout.rstrip().endswith("[]")


def test_a_qlora_adapter_says_how_far_the_base_in_four_bits_is(base_model, adapter, tmp_path):
    pytest.importorskip("bitsandbytes")
    folder = adapters.copied(adapter, tmp_path / "qlora")
    edit_json(folder / "medgrpo.json", quantized_base="nf4")
    merge = merge_adapter(folder, tmp_path / "merged", verify=1)
    assert 0.01 < merge.check.quantization < 10
    assert merge.check.rounding < 1e-4


def test_the_command_names_weights_and_figures(base_model, adapter, tmp_path):
    from typer.testing import CliRunner

    from medgrpo.cli.merge_lora import app

    done = CliRunner().invoke(
        app, [f"{adapter}=0.5", "--output", str(tmp_path / "merged"), "--verify", "1", "--json"]
    )
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["named_tensors"]["language"] == 14
    assert document["check"]["effect"] > 0.05


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_learned_over_four_bits_merges_into_the_stored_base(base_model, tmp_path):
    """The distance that is told is that of Transformers' own 4-bit base with PEFT's adapter from the merged model, in kind."""
    pytest.importorskip("bitsandbytes")
    import torch
    from peft import PeftModel, get_peft_model
    from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

    def in_four_bits():
        settings = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32
        )  # fmt: skip
        return AutoModelForImageTextToText.from_pretrained(
            base_model, quantization_config=settings, device_map="cpu", dtype=torch.float32
        )

    adapted = get_peft_model(in_four_bits(), lora())
    optimizer = torch.optim.AdamW([one for one in adapted.parameters() if one.requires_grad], lr=0.02)
    ids = torch.arange(5, 45).reshape(2, 20)
    learned = []
    for _ in range(6):
        loss = adapted(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        learned.append(float(loss))
    assert learned[-1] < learned[0] - 0.1
    adapted.peft_config["default"].base_model_name_or_path = str(base_model)
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    (tmp_path / "adapter" / "medgrpo.json").write_text('{"quantized_base": "nf4"}')
    merge = merge_adapter(tmp_path / "adapter", tmp_path / "merged", verify=2)
    merged = logits(load_plain(tmp_path / "merged"), base_model)
    wanted = peft_logits(base_model, tmp_path / "adapter")
    assert (merged - wanted).abs().max() < 5e-5  # the stored base with what was learned
    trained = logits(PeftModel.from_pretrained(in_four_bits(), tmp_path / "adapter").eval(), base_model)
    apart = float((merged - trained).abs().max())
    assert apart > 0.01
    assert apart / 10 < merge.check.quantization < apart * 10

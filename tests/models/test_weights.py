"""Which base, adapter, revision and trust a path means: one answer for every command."""

import json
import struct

import pytest

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.models.tensor_files import weight_files
from medgrpo.models.weights import at_revision, find_weights, metadata_file, weight_folder


def model_at(folder, **metadata):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    if metadata:
        (folder / "medgrpo.json").write_text(json.dumps(metadata))
    return folder


def adapter_at(folder, base, *, config=None, **metadata):
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": base, "r": 4} | (config or {}))
    )
    if metadata:
        (folder / "medgrpo.json").write_text(json.dumps(metadata))
    return folder


@pytest.mark.parametrize("where", ["beside", "inside", "from the working directory"])
def test_a_relative_base_is_found_by_every_command(tmp_path, monkeypatch, where):
    from medgrpo.config.layers import Layer
    from medgrpo.config.presets import _as_trained
    from medgrpo.generation.subject import find_subject
    from medgrpo.models.merge import base_of

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    adapter = adapter_at(tmp_path / "run" / "final_lora", "base", max_pixels=784)
    base = model_at(
        {"beside": adapter.parent, "inside": adapter, "from the working directory": work}[where] / "base"
    )
    assert find_weights(str(adapter)).base == str(base)
    assert find_weights(str(tmp_path / "run")).base == str(base)
    assert find_subject(str(tmp_path / "run")).base == str(base)
    assert base_of(adapter, None) == str(base)
    layer = _as_trained([Layer("command line", {"model": {"path": str(tmp_path / "run")}})])[0]
    assert layer.values["model.max_pixels"] == 784


def test_two_bases_that_could_be_meant_are_refused_unless_the_record_tells_them_apart(tmp_path, monkeypatch):
    from medgrpo.models.fingerprint import base_fingerprint

    monkeypatch.chdir(tmp_path)
    model_at(tmp_path / "base")
    inside = model_at(tmp_path / "run" / "base")
    (inside / "config.json").write_text('{"model_type": "qwen2_5_vl", "hidden_size": 8}')
    adapter = adapter_at(tmp_path / "run" / "final_lora", "base")
    with pytest.raises(UsageError, match="two folders could be meant"):
        find_weights(str(adapter))
    (adapter / "medgrpo.json").write_text(json.dumps({"fingerprint": {"base": base_fingerprint(inside)}}))
    assert find_weights(str(adapter)).base == str(inside)
    assert find_weights(str(adapter), base=str(tmp_path / "base")).base == str(tmp_path / "base")


def test_a_base_inside_the_run_moves_with_the_run(tmp_path):
    old = tmp_path / "old"
    adapter = adapter_at(
        tmp_path / "new" / "final_lora", str(old / "demo" / "model"), provenance={"run_folder": str(old)}
    )
    with pytest.raises(UsageError, match="does not exist here"):
        find_weights(str(adapter))
    moved = model_at(tmp_path / "new" / "demo" / "model")
    assert find_weights(str(adapter)).base == str(moved)


def test_the_base_falls_back_to_what_medgrpo_recorded(tmp_path):
    base = model_at(tmp_path / "base")
    assert find_weights(str(adapter_at(tmp_path / "a", None, base_model=str(base)))).base == str(base)
    with pytest.raises(UsageError, match="does not name its base model"):
        find_weights(str(adapter_at(tmp_path / "b", None)))


def test_revision_and_trust_of_a_hub_base_are_those_of_the_training(tmp_path):
    adapter = adapter_at(tmp_path / "a", "owner/model", revision="abc123", trust_remote_code=True)
    found = find_weights(str(adapter))
    assert (found.base, found.revision, found.trust_remote_code) == ("owner/model", "abc123", True)
    peft = find_weights(str(adapter_at(tmp_path / "b", "owner/model", config={"revision": "v2"})))
    assert (peft.revision, peft.trust_remote_code) == ("v2", False)
    # trust was given to one base: it does not pass to another that is named instead
    other = find_weights(str(adapter), base="someone/else")
    assert not other.trust_remote_code


def test_eval_and_merge_load_the_revision_that_was_trained(tmp_path, monkeypatch):
    from medgrpo.generation.subject import find_subject, load_subject
    from medgrpo.models import loading

    adapter = adapter_at(tmp_path / "a", "owner/model", revision="abc123", trust_remote_code=True)
    asked = []

    def seen(path, **options):
        asked.append((path, options.get("revision"), options.get("trust_remote_code")))
        raise MedgrpoError("seen")

    monkeypatch.setattr(loading, "load_model", seen)
    with pytest.raises(UsageError, match="trained with the Python code") as raised:
        find_subject(str(adapter))
    assert "--trust-remote-code" in raised.value.hint
    subject = find_subject(str(adapter), trust_remote_code=True)
    with pytest.raises(MedgrpoError, match="seen"):
        load_subject(subject)
    assert asked == [("owner/model", "abc123", True)]
    assert subject.pinned == {"revision": "abc123", "trust_remote_code": True}


def test_best_comes_before_last_and_metadata_is_that_of_the_same_weights(tmp_path):
    base = model_at(tmp_path / "base")
    adapter_at(tmp_path / "run" / "final_lora", str(base), max_pixels=1)
    assert weight_folder(tmp_path / "run").name == "final_lora"
    model_at(tmp_path / "run" / "best_model", max_pixels=2)
    assert find_weights(str(tmp_path / "run")).base.endswith("best_model")
    assert metadata_file(tmp_path / "run") == tmp_path / "run" / "best_model" / "medgrpo.json"


def test_an_adapter_in_a_sub_folder_is_found_and_several_are_named(tmp_path):
    base = model_at(tmp_path / "base")
    adapter_at(tmp_path / "saved" / "default", str(base))
    assert find_weights(str(tmp_path / "saved")).adapter == tmp_path / "saved" / "default"
    adapter_at(tmp_path / "saved" / "ref", str(base))
    with pytest.raises(UsageError, match="holds 2 adapters: default, ref"):
        find_weights(str(tmp_path / "saved"))


def test_an_adapter_is_no_base(tmp_path):
    base = model_at(tmp_path / "base")
    first, second = (adapter_at(tmp_path / name, str(base)) for name in ("a", "b"))
    with pytest.raises(UsageError, match="itself an adapter"):
        find_weights(str(first), second)
    with pytest.raises(UsageError, match="itself an adapter"):
        find_weights(str(first), base=str(second))


@pytest.mark.parametrize("text", ["{", "[1]", '"r"'])
def test_broken_settings_are_worded(tmp_path, text):
    folder = adapter_at(tmp_path / "a", "base")
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(MedgrpoError, match=r"adapter_config\.json"):
        find_weights(str(folder))


def test_a_mistyped_model_folder_is_said_and_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    (tmp_path / "models" / "qwen-3b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no model at models/qwen-b") as refused:
        find_weights("models/qwen-b")
    assert "did you mean models/qwen-3b?" in refused.value.hint
    assert find_weights("Qwen/Qwen2.5-VL-3B-Instruct").base == "Qwen/Qwen2.5-VL-3B-Instruct"


def test_a_revision_is_of_a_hub_model_and_takes_the_place_of_the_recorded_one(tmp_path):
    weights = find_weights(str(adapter_at(tmp_path / "lora", "org/base", revision="abc")))
    assert at_revision(weights, None).revision == "abc"
    assert at_revision(weights, "v2").revision == "v2"
    with pytest.raises(UsageError, match="--revision v2 is of a model on the hub"):
        at_revision(find_weights(str(model_at(tmp_path / "base"))), "v2")


@pytest.mark.parametrize(
    "index",
    [
        "null", "0", '"a"', "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": ["b"]}}',
        '{"weight_map": {"a": "../model.safetensors"}}', '{"weight_map": {"a": "/etc/passwd"}}', '{"weight_map": {"a": ""}}', '{"weight_map": {"a": ".."}}',
    ],
)  # fmt: skip
def test_an_index_that_is_none_is_named_with_what_was_expected(tmp_path, index):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(MedgrpoError, match=r"index\.json") as raised:
        weight_files(tmp_path)
    assert raised.value.expected

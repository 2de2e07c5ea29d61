"""What a path means: run, adapter, model, or nothing that can be evaluated."""

import json
import struct

import pytest

from medgrpo.data.prompts import TEMPLATES
from medgrpo.errors import UsageError
from medgrpo.generation.subject import Subject, find_subject

NO_TENSORS = struct.pack("<Q", 2) + b"{}"


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    (folder / "model.safetensors").write_bytes(NO_TENSORS)
    return folder


def adapter_at(folder, base, **metadata):
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base), "r": 4}))
    if metadata:
        (folder / "medgrpo.json").write_text(json.dumps(metadata))
    return folder


def test_a_run_is_its_best_weights(base, tmp_path):
    run = tmp_path / "run"
    adapter_at(run / "final_lora", base)
    adapter_at(run / "best_lora", base, max_pixels=50176)
    found = find_subject(str(run))
    assert found.adapter == run / "best_lora"
    assert found.base == str(base)
    assert found.name == "run"
    assert found.run == run
    assert found.metadata["max_pixels"] == 50176


def test_a_run_without_a_best_is_its_last_weights(base, tmp_path):
    adapter_at(tmp_path / "run" / "final_lora", base)
    assert find_subject(str(tmp_path / "run")).adapter == tmp_path / "run" / "final_lora"


def test_an_unfinished_run_is_named_as_one(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("")
    with pytest.raises(UsageError, match="a run that has not finished"):
        find_subject(str(tmp_path / "run"))


def test_an_adapter_brings_its_base_and_its_prompt(base, tmp_path):
    stored = TEMPLATES["answer"].to_dict()
    found = find_subject(str(adapter_at(tmp_path / "lora", base, prompt_template=stored)))
    assert found.base == str(base)
    assert found.template().tags == ("think", "answer")
    assert found.template("plain").tags == ()
    assert found.notes == []


def test_missing_metadata_is_said(base):
    found = find_subject(str(base))
    assert "no medgrpo.json" in found.notes[0]
    assert found.template().name == "structured"
    assert found.template(None, "short").name == "short"


def test_an_adapter_on_top_of_a_model(base, tmp_path):
    found = find_subject(str(base), adapter_at(tmp_path / "lora", "elsewhere"))
    assert (found.base, found.adapter) == (str(base), tmp_path / "lora")
    with pytest.raises(UsageError, match="no adapter at"):
        find_subject(str(base), tmp_path / "nothing")


def test_a_path_that_is_no_model_says_what_was_expected(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="neither a model nor a run"):
        find_subject(str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="no model at"):
        find_subject(str(tmp_path / "typo"))


def test_image_titles_are_shown_only_to_models_trained_with_them(base, tmp_path):
    rows = [{"image_title": "Pneumonia"}]
    assert find_subject(str(base)).shown(rows) == [{"image_title": None}]
    told = find_subject(str(adapter_at(tmp_path / "lora", base, use_image_title=True)))
    assert told.shown(rows) == rows


def test_the_run_of_an_adapter_is_found_for_its_rewards(base, tmp_path):
    run = tmp_path / "run"
    adapter = adapter_at(run / "best_lora", base)
    assert find_subject(str(adapter)).run_folder is None
    (run / "config.toml").write_text('[rewards]\nweights = "conservative"\n')
    assert find_subject(str(adapter)).run_folder == run


def test_the_reward_is_that_of_the_run(base, tmp_path):
    from medgrpo.evaluation.reward import reward_of

    (tmp_path / "config.toml").write_text('[rewards]\nweights = "conservative"\ngate = "format"\n')
    found = reward_of(None, tmp_path)
    assert found.weights["answer_match"] == pytest.approx(0.50)
    assert found.gate == "format"
    assert reward_of("format=1", tmp_path).weights == {"format": 1.0}
    assert reward_of(None, None).weights["answer_match"] == pytest.approx(0.45)


def test_the_section_of_the_rewards_is_the_configurations_own():
    from medgrpo.config.sections import RunConfig

    assert {"weights", "gate"} <= RunConfig.model_fields["rewards"].annotation.model_fields.keys()


@pytest.mark.parametrize(
    ("provenance", "info", "is_learnt"),
    [
        ({"data_hash": "a"}, {"hash": "a"}, True),
        ({"data_hash": "a"}, {"hash": "b"}, False),
        ({"data_hash": "m", "part_hashes": ["a", "b"]}, {"hash": "b"}, True),
        ({"data_hash": "a"}, {"hash": "m", "parts": [{"hash": "a"}, {"hash": "c"}]}, True),
        ({"data_hash": "pairs", "part_hashes": ["a"]}, {"hash": "a"}, True),  # DPO on pairs of its rows
        ({"data_hash": "a"}, {"hash": "pairs", "made_from_dataset": "a"}, True),
        ({}, {"hash": "a"}, False),
        ({}, {}, False),
    ],
)
def test_rows_that_a_model_has_learnt_are_known_through_mixtures_and_pairs(
    tmp_path, provenance, info, is_learnt
):
    from medgrpo.data.prepared import PreparedDataset

    subject = Subject("model", "model", metadata={"provenance": provenance})
    assert subject.has_learnt(PreparedDataset(tmp_path, info)) is is_learnt

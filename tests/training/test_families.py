"""Every model family through the whole of a run: SFT, GRPO, merge, and a question to what came out (S2.7)."""

import json

import pytest

from medgrpo.files import read_json
from medgrpo.models.coordinates import recorded_coordinates
from medgrpo.models.loading import load_model
from medgrpo.models.merge import merge_adapter
from medgrpo.records import json_objects
from medgrpo.training.run.resume import ResumePoint
from medgrpo.training.run.train import train
from medgrpo.training.watch.reporter import SilentReporter
from tests.families import TINY_FAMILIES
from tests.training.conftest import StopsAt, losses

pytestmark = pytest.mark.slow

LORA = ("tuning.method=lora", "tuning.rank=4", "training.max_steps=2", "stages.sft.max_steps=2")


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A function: family -> folder of its tiny model, built once."""
    built = {}

    def folder(name):
        if name not in built:
            built[name] = TINY_FAMILIES[name].build(tmp_path_factory.mktemp("families") / name)
        return built[name]

    return folder


@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_a_family_goes_through_sft_grpo_merge_and_a_question(name, models, tiny_config, tmp_path, dataset):
    family = TINY_FAMILIES[name]
    config = tiny_config(
        *LORA, f"model.path={models(name)}", "training.learning_rate=1e-3", "model.max_pixels=6272", "data.rows=4",
        "model.context_length=1024",
    )  # fmt: skip
    run = tmp_path / "run"
    result = train(config, name="test", reporter=SilentReporter(), output=run, logs=None)
    assert result.status == "finished"
    assert [entry["step"] for entry in json_objects(run / "log.jsonl")] == [1, 2]
    sft = json_objects(run / "stages" / "1-sft" / "log.jsonl")
    assert all(entry["loss"] > 0 and entry["grad_norm"] > 0 for entry in sft)

    recorded = recorded_coordinates(read_json(run / "final_lora" / "medgrpo.json"))
    assert recorded is not None
    assert recorded.box_format == family.box_format
    merge = merge_adapter(run / "final_lora", tmp_path / "merged", verify=2)
    assert merge.changed_tensors["language"] > 0
    assert merge.changed_tensors["vision"] == merge.changed_tensors["aligner"] == 0
    assert merge.max_logit_difference < 1e-3
    assert weight_names(tmp_path / "merged") == weight_names(models(name))
    assert type(load_model(str(tmp_path / "merged")).model).__name__ == family.model_class
    assert asked(tmp_path / "merged", dataset if family.is_vision else None) > 0


def weight_names(folder):
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        return sorted(file.keys())


def asked(model, dataset):
    """Tokens that the model says to a question."""
    from medgrpo.generation.ask import ask
    from medgrpo.generation.generate import Sampling
    from medgrpo.generation.subject import find_subject

    image = next((dataset / "images").rglob("*.*")) if dataset else None
    answer = ask(find_subject(str(model)), image, "Is there a lesion?", sampling=Sampling(4))
    json.dumps(answer)
    assert (answer["image_tokens"] > 0) == (dataset is not None)
    return answer["completion_tokens"]


@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_a_fully_tuned_family_goes_on_from_a_checkpoint_bit_for_bit(name, models, tiny_config, tmp_path):
    """Saved weights have other names than loaded ones in most families; resume must find each."""
    config = tiny_config(
        f"model.path={models(name)}", "tuning.method=full", 'tuning.towers=["language", "vision", "aligner"]',
        "training.method=sft", "training.prompts_per_step=2", "training.per_device_train_batch_size=2",
        "stages.sft.enabled=false", "training.max_steps=4", "training.learning_rate=1e-3", "model.max_pixels=6272",
        "data.rows=4", "model.context_length=1024", "rollout.max_completion_length=64",
    )  # fmt: skip

    def run(path, reporter=None, resume=None):
        train(
            config, name="test", reporter=reporter or SilentReporter(), output=path, logs=None, resume=resume
        )

    run(tmp_path / "whole")
    run(tmp_path / "cut", reporter=StopsAt("sft", 2))
    run(tmp_path / "cut", resume=ResumePoint(tmp_path / "cut"))
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert len({loss for _, loss in losses(tmp_path / "whole")}) == 4

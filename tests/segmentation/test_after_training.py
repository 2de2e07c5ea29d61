"""`eval` and `merge-lora` of mask models."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medgrpo.errors import MedgrpoError
from medgrpo.segmentation.credit import Truth
from medgrpo.segmentation.examples import Example
from medgrpo.segmentation.predicting import resolution_ceiling
from tests.segmentation.test_train_masks import TINY
from tests.training.conftest import run


def called(*words):
    from medgrpo.cli.main import app

    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def adapted(vessels, tmp_path_factory):
    """The run folder of a tiny Sa2VA under an adapter."""
    from medgrpo.config.presets import resolve_run

    words = (*TINY, f"data.path={vessels}", "tuning.method=lora", "training.max_steps=2", "stages.warm.max_steps=3",
             "validation.steps=0", "training.learning_rate=1e-2")  # fmt: skip
    folder = tmp_path_factory.mktemp("run") / "run"
    run(resolve_run(model="sa2va-tiny", assignments=words)[0].config, folder)
    return folder


def test_base_adapter_and_merged_are_measured_and_the_last_two_agree(adapted, vessels, tmp_path):
    merged = called("merge-lora", adapted / "final_lora", "--output", tmp_path / "merged", "--json")
    assert merged["changed_tensors"] > 4
    assert merged["max_logit_difference"] < 1e-3
    assert merged["pixel_agreement"] == pytest.approx(1.0)
    figures = {}
    for name, model in (
        ("base", adapted / "start"),
        ("adapter", adapted / "final_lora"),
        ("merged", tmp_path / "merged"),
    ):
        figures[name] = called("eval", model, vessels, "--output", tmp_path / name, "--json")
    assert figures["adapter"]["dice"] == figures["merged"]["dice"]
    assert (
        figures["adapter"]["threshold"]
        == json.loads((adapted / "final_lora" / "medgrpo.json").read_text())["masks"]["threshold"]
    )
    assert 0.5 < figures["adapter"]["dice_ceiling"] <= 1
    assert figures["base"]["threshold"] == 0.5
    masks = sorted((tmp_path / "adapter" / "masks").glob("*.png"))
    assert len(masks) == figures["adapter"]["dice"]["n"] == 3
    assert np.asarray(Image.open(masks[0])).shape == (48, 48)
    assert len(list((tmp_path / "adapter" / "overlays").glob("*.png"))) == 3


def test_code_of_the_base_needs_a_word_and_the_word_is_heard(adapted, vessels, tmp_path):
    from medgrpo.cli.main import app

    for name in ("start", "final_lora"):
        shutil.copytree(adapted / name, tmp_path / name)
    adapter = tmp_path / "final_lora"
    described = json.loads((adapter / "medgrpo.json").read_text())
    (adapter / "medgrpo.json").write_text(json.dumps({**described, "trust_remote_code": True}))
    words = ["eval", adapter, vessels, "--output", tmp_path / "out", "--limit", 1, "--json"]
    assert "--trust-remote-code" in str(CliRunner().invoke(app, [str(word) for word in words]).exception.hint)
    assert called(*words, "--trust-remote-code")["dice"]["n"] == 1
    words = ["merge-lora", adapter, "--output", tmp_path / "merged", "--json"]
    assert "--trust-remote-code" in str(CliRunner().invoke(app, [str(word) for word in words]).exception.hint)
    assert called(*words, "--trust-remote-code")["pixel_agreement"] == pytest.approx(1.0)


def test_a_mask_model_goes_by_its_hub_name(adapted, vessels, tmp_path, monkeypatch):
    """In the cache of the hub, as a download leaves it; nothing is fetched."""
    from huggingface_hub import constants

    from medgrpo.segmentation.segmenters import is_mask_model, load_segmenter

    stored = tmp_path / "cache" / "models--someone--Sa2VA-tiny"
    shutil.copytree(adapted / "start", stored / "snapshots" / ("0" * 40))
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert is_mask_model("someone/Sa2VA-tiny")
    assert not is_mask_model("someone/unknown")
    figures = called(
        "eval", "someone/Sa2VA-tiny", vessels, "--output", tmp_path / "out", "--limit", 1, "--json"
    )
    assert figures["dice"]["n"] == 1
    with pytest.raises(MedgrpoError, match="neither here nor on the hub"):
        load_segmenter("someone/unknown")


def test_a_whole_model_has_nothing_to_merge(adapted, tmp_path):
    from medgrpo.cli.main import app

    result = CliRunner().invoke(
        app, ["merge-lora", str(adapted / "start"), "--output", str(tmp_path / "merged")]
    )
    assert "nothing to merge" in str(result.exception)


def test_the_ceiling_is_one_on_the_pictures_own_grid_and_lower_on_a_coarse_one():
    mask = np.zeros((64, 64), bool)
    mask[::7] = True  # lines of one pixel
    example = Example("", np.zeros((64, 64, 3), np.uint8), Truth.of(mask))
    assert resolution_ceiling(example, 64) == 1.0
    assert resolution_ceiling(example, 16) < 0.3


def test_compare_shows_the_masks_of_the_first_and_the_last_validation(adapted, tmp_path):
    called("compare", adapted, "--html", "--output", tmp_path / "page", "--json")
    page = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    section = page[page.index('id="overlays"') :].split("</section>")[0]
    assert section.count("<img") == 2 * 3  # three held-out pictures, before and after
    assert "step 0" in section
    assert "step 2" in section
    assert "&quot;packed&quot;" not in page  # run lengths are no text to read
    assert "mask, 48 × 48 pixels" in page

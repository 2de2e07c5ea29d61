"""A picture that several questions are asked about is looked at once, and every answer stays what it was."""

from functools import wraps

import pytest
import torch

from medgrpo.data.prompts import load_template
from medgrpo.engine.inner import inner_of
from medgrpo.generation import seen_pictures
from medgrpo.generation.generate import Sampling, generate
from medgrpo.generation.seen_pictures import SeenPictures
from medgrpo.models.loading import load_model
from tests.engine.conftest import folders, picture  # noqa: F401 the fixture
from tests.families import TINY_FAMILIES

TEMPLATE = load_template("short")
VISION = [name for name, family in TINY_FAMILIES.items() if family.is_vision]
SIZES = {"a": (100, 90), "b": (130, 90), "c": (100, 90)}
ASKED = (
    ("a",), ("b",), ("a",), (), ("b", "c"), ("a",), ("c",), ("b", "c"), ("b",), ("a",), ("c",),
)  # fmt: skip
"""Of each row: four rows about one picture, two about two others together, which are asked about alone too, one about none."""
QUESTIONS = (
    "Is there a lesion?",
    "Which plane is shown?",
    "yes no left right",
    "Find every lesion in this image.",
)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number, (name, size) in enumerate(SIZES.items()):
        picture(number, size).save(folder / f"{name}.png")
    return folder


def rows_about(asked=ASKED):
    return [
        {
            "id": str(number),
            "question": QUESTIONS[number % len(QUESTIONS)],
            "images": [f"{name}.png" for name in names],
            "language": "en",
            "image_tokens": 16,
        }
        for number, names in enumerate(asked)
    ]


def answers(loaded, rows, folder, *, batch_size=4, sampling=None, seen=None):
    done = generate(
        loaded.model, loaded.processor, rows, TEMPLATE, image_path=lambda name: folder / name, batch_size=batch_size,
        sampling=sampling or Sampling(max_new_tokens=24), seen=seen,
    )  # fmt: skip
    return [(one.index, one.completions, one.truncated, one.lengths) for one in done]


def apart(loaded, rows):
    """As without: every question has its own look."""
    seen = SeenPictures(loaded.model, rows)
    seen.is_on = False
    return seen


@pytest.mark.parametrize("name", VISION)
def test_answers_stay_and_each_picture_is_looked_at_once(name, folders, images, monkeypatch):  # noqa: F811
    loaded = load_model(str(folders(name)))
    loaded.model.float()
    rows = rows_about()
    logits = []
    head = loaded.model.get_output_embeddings()
    head.register_forward_hook(lambda module, words, output: logits.append(output[:, -1].clone()))
    before = answers(loaded, rows, images, seen=apart(loaded, rows))
    expected = logits.copy()
    logits.clear()
    inner, looks = inner_of(loaded.model), []
    usual = type(inner).get_image_features
    counted = wraps(usual)(lambda *words, **named: (looks.append(1), usual(*words, **named))[1])
    monkeypatch.setattr(type(inner), "get_image_features", counted)
    seen = SeenPictures(loaded.model, rows)
    assert answers(loaded, rows, images, seen=seen) == before
    assert len(logits) == len(expected)
    for mine, theirs in zip(logits, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    assert (seen.asked, seen.looked) == (10, 4)  # a, b, c, and b with c
    assert not seen._kept.bytes
    assert not len(seen._kept)
    assert 0 < len(looks) <= 3  # batches that brought something new


def test_another_picture_would_be_seen(folders, images, monkeypatch):  # noqa: F811
    """What the test above compares tells one picture's features from another's."""
    loaded = load_model(str(folders("qwen2_5_vl")))
    logits = []
    head = loaded.model.get_output_embeddings()
    head.register_forward_hook(lambda module, words, output: logits.append(output[:, -1].clone()))
    rows = rows_about([("a",), ("a",), ("c",), ("c",)])
    answers(loaded, rows, images, batch_size=1)
    expected = logits.copy()
    logits.clear()
    monkeypatch.setattr(seen_pictures, "_key", lambda _: b"all alike")
    monkeypatch.setattr(seen_pictures.KeptFeatures, "drop", lambda *_: None)
    answers(loaded, rows, images, batch_size=1)
    apart_by = [float((mine - theirs).abs().max()) for mine, theirs in zip(logits, expected, strict=False)]
    assert max(apart_by) > 1e-3


@pytest.mark.parametrize("name", ["qwen2_5_vl", "internvl"])
def test_drawn_answers_stay_too(name, folders, images):  # noqa: F811
    loaded = load_model(str(folders(name)))
    rows, drawn = rows_about(), []
    for seen in (apart(loaded, rows), None):
        torch.manual_seed(5)
        sampling = Sampling(12, temperature=1.0, num_generations=3)
        drawn.append(answers(loaded, rows, images, batch_size=6, sampling=sampling, seen=seen))
    assert drawn[0] == drawn[1]


def test_little_room_costs_looks_and_no_answer(folders, images, monkeypatch):  # noqa: F811
    loaded = load_model(str(folders("qwen3_vl")))
    rows = rows_about()
    whole = answers(loaded, rows, images, batch_size=2)
    monkeypatch.setattr(seen_pictures, "KEPT_BYTES", 20_000)
    seen = SeenPictures(loaded.model, rows)
    assert answers(loaded, rows, images, batch_size=2, seen=seen) == whole
    assert 4 < seen.looked < 10


def test_it_stands_aside_where_no_picture_comes_twice_and_says_which_family_it_does_not_know(folders, images):  # noqa: F811
    loaded = load_model(str(folders("qwen2_5_vl")))
    rows = rows_about([("a",), ("b",), ()])
    seen = SeenPictures(loaded.model, rows)
    assert not seen.is_on
    assert seen.why_not is None
    answers(loaded, rows, images, seen=seen)
    assert (seen.asked, seen.looked) == (2, 2)
    loaded.model.config.model_type = "another_vl"
    seen = SeenPictures(loaded.model, rows_about())
    assert not seen.is_on
    assert "another_vl" in seen.why_not

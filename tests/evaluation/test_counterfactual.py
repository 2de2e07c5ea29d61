"""Pictures that cannot help, and what a model that does not look gives away."""

import numpy as np
import pytest
from PIL import Image

from medgrpo.errors import UsageError
from medgrpo.evaluation.counterfactual import compare_with_real
from medgrpo.evaluation.score import score_predictions
from medgrpo.generation.other_pictures import counterfactual_rows, parse_kinds


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(6):
        name = f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)).save(tmp_path / name)
        rows += [{"id": f"{number}-{q}", "image_id": str(number), "images": [name]} for q in range(2)]
    return rows, lambda name: tmp_path / name


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_a_blank_picture_has_the_size_and_the_mean_colour(pictures, tmp_path):
    rows, where = pictures
    changed, found = counterfactual_rows(rows, "blank", where, tmp_path / "blank")
    blank, real = pixels(found(changed[0]["images"][0])), pixels(where(rows[0]["images"][0]))
    assert blank.shape == real.shape
    assert len(np.unique(blank.reshape(-1, 3), axis=0)) == 1
    assert np.abs(blank[0, 0] - real.mean(axis=(0, 1))).max() <= 0.5


def test_noise_has_the_same_pixels_in_another_order(pictures, tmp_path):
    rows, where = pictures
    changed, found = counterfactual_rows(rows, "noise", where, tmp_path / "noise")
    noise, real = pixels(found(changed[0]["images"][0])), pixels(where(rows[0]["images"][0]))
    assert not np.array_equal(noise, real)
    assert sorted(map(tuple, noise.reshape(-1, 3).tolist())) == sorted(
        map(tuple, real.reshape(-1, 3).tolist())
    )


def test_shuffled_rows_all_get_the_picture_of_another_image(pictures, tmp_path):
    rows, where = pictures
    changed, _ = counterfactual_rows(rows, "shuffle", where, tmp_path)
    for row, other in zip(rows, changed, strict=True):
        assert other["images"] != row["images"]
        assert other["id"] == row["id"]
    assert sorted(row["images"][0] for row in changed) == sorted(row["images"][0] for row in rows)
    assert changed[0]["images"] == changed[1]["images"]  # both questions about one image


def test_the_same_seed_shuffles_the_same(pictures, tmp_path):
    rows, where = pictures
    assert (
        counterfactual_rows(rows, "shuffle", where, tmp_path, seed=1)[0]
        == counterfactual_rows(rows, "shuffle", where, tmp_path, seed=1)[0]
    )


def closed_rows(count):
    return [{"question": "Is it?", "answer": "yes", "image_id": f"i{i}"} for i in range(count)]


def test_a_model_that_never_looks_is_found_out():
    rows = closed_rows(40)
    blind = ["yes" if i % 4 else "no" for i in range(40)]
    real = score_predictions(rows, blind)
    found = compare_with_real(real, real)
    assert found["kept"] == 1
    assert found["changed"]["value"] == 0
    assert "75.0% right with them and 75.0% with the real ones" in found["warning"]


def test_a_model_that_looks_is_left_alone():
    rows = closed_rows(40)
    real = score_predictions(rows, ["yes"] * 38 + ["no"] * 2)
    other = score_predictions(rows, ["no"] * 30 + ["yes"] * 10)
    found = compare_with_real(real, other)
    # 38 of 40 right with the picture, 10 of 40 without: 26.3 % kept, lost 28 of 40.
    assert found["kept"] == pytest.approx(10 / 38)
    assert found["difference"]["difference"] == pytest.approx(28 / 40)
    assert found["difference"]["p_value"] < 1e-5
    assert found["changed"]["value"] == pytest.approx(32 / 40)
    assert found["warning"] is None


def test_a_gain_that_may_be_chance_is_said():
    rows = closed_rows(40)
    real = score_predictions(rows, ["yes"] * 3 + ["no"] * 37)
    other = score_predictions(rows, ["yes"] * 2 + ["no"] * 38)
    assert "includes 0" in compare_with_real(real, other)["warning"]


def test_kinds_are_read_and_unknown_ones_named():
    assert parse_kinds("blank, shuffle") == ["blank", "shuffle"]
    assert parse_kinds(None) == []
    with pytest.raises(UsageError, match="no counterfactual called 'blnk'"):
        parse_kinds("blnk")

"""Masks in words are rewarded like masks."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from medgrpo.errors import UsageError
from medgrpo.rewards.mask_text import mask_from_text
from medgrpo.rewards.masks import multi_objective_guarded, simple_dice
from medgrpo.rewards.weights import check_weights
from medgrpo.rewards.written_masks import WrittenMasks

SQUARE = json.dumps({"polygon": [[2, 2], [6, 2], [6, 6], [2, 6]]})


@pytest.fixture
def folder(tmp_path):
    mask = np.zeros((10, 10), np.uint8)
    mask[2:6, 2:6] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return str(tmp_path)


def test_a_polygon_earns_what_its_mask_earns(folder):
    reward = WrittenMasks(simple_dice)
    texts = [SQUARE, "no vessels here", [{"role": "assistant", "content": SQUARE}], "[[2, 2, 6, 4]]"]
    found = reward(texts, mask=["mask.png"] * 4, data_folder=folder, width=[10] * 4)
    # Half of the square: 8 of 16 pixels hit, 8 predicted: 2·8 / (8 + 16).
    assert found == [pytest.approx(1.0), 0.0, pytest.approx(1.0), pytest.approx(2 / 3)]


def test_numbers_of_a_thousand_are_placed_as_the_row_says(folder):
    thousand = json.dumps({"polygon": [[200, 200], [600, 200], [600, 600], [200, 600]]})
    reward = WrittenMasks(simple_dice)
    assert reward([thousand], mask=["mask.png"], data_folder=folder, box_format=["thousand"]) == [
        pytest.approx(1.0)
    ]


def test_rows_without_a_mask_are_not_judged_and_arrays_are_taken_as_they_are(folder):
    mask = np.asarray(Image.open(f"{folder}/mask.png")) > 127
    reward = pickle.loads(pickle.dumps(WrittenMasks(multi_objective_guarded)))
    assert reward([SQUARE, mask], mask=[None, mask], data_folder=folder) == [None, pytest.approx(1.0)]


def test_grpo_takes_mask_rewards_on_data_with_masks_and_refuses_others(vessels_of_lines):
    from medgrpo.config.presets import resolve_run
    from medgrpo.errors import UsageError
    from medgrpo.training.before.preflight import preflight

    small = ("training.prompts_per_step=2", "stages.sft.prompts_per_step=2")

    def checked(*words):
        return preflight(resolve_run(assignments=("rewards.weights=simple_dice", *small, *words))[0].config)

    checks = checked(f"data.path={vessels_of_lines}")
    rows = list(checks.dataset.rows("train", 1))
    table = checks.composite.score([SQUARE], {name: [value] for name, value in rows[0].items()})
    assert 0 < table.total[0] < 1
    with pytest.raises(UsageError, match="the data has none"):
        checked()


@pytest.fixture
def vessels_of_lines(tmp_path):
    from medgrpo.data.prepare import PrepareOptions, prepare

    for role in ("image", "manual"):
        (tmp_path / "source" / role).mkdir(parents=True)
    for number in range(12):
        mask = np.zeros((32, 32), np.uint8)
        mask[number, :] = 255
        mask[:, 4] = 255
        noise = np.random.default_rng(number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "source" / "image" / f"{number:02d}.png")
        Image.fromarray(mask).save(tmp_path / "source" / "manual" / f"{number:02d}.png")
    options = PrepareOptions(task="vessels", near_duplicate_bits=0, split=".8,.1,.1")
    dataset, _ = prepare(tmp_path / "source", tmp_path / "prepared", options, workers=1)
    return dataset.path


def test_a_number_that_no_float_holds_is_no_point_and_no_weight():
    """JSON's integers have no limit, and `math.isfinite` raises for them."""
    huge = "9" * 400
    for text in (f"[[{huge}, 1], [2, 3], [4, 5]]", f"[{huge}, 1, 2, 3, 4, 5]", f'{{"point": [{huge}, 1]}}'):
        mask = mask_from_text(text, (8, 8), {"width": 8, "height": 8})
        assert mask is None or not mask.any()
    with pytest.raises(UsageError, match="the weight of 'format' is 9"):
        check_weights({"format": int(huge)})

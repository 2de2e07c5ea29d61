"""Augmentation that leaves the answer true."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medgrpo.data.augment import Augmentation, augment, can_crop, can_flip, can_swap, swap_sides
from medgrpo.data.schema import new_row

PICTURE = Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1)))  # bright on the right
ONLY_FLIP = Augmentation(brightness=0, contrast=0, crop=0, flip="safe")


def row(question, answer="yes", **fields):
    return new_row(question=question, answer=answer, **fields)


def vary(example, settings, seed, picture=PICTURE):
    """The one picture of a row, varied, and the row."""
    (varied,), changed = augment([picture], example, settings, random.Random(seed))
    return varied, changed


def is_flipped(picture):
    values = np.asarray(picture, int)
    return values[:, 0].mean() > values[:, -1].mean()


@pytest.mark.parametrize(
    "example",
    [
        row("Is there a mass in the left lung?"),
        row("Where is the lesion?", "Right upper lobe"),
        row("Where is it?", "RUL"),
        row("病灶在哪里？", "左肺"),
        row("Is the heart enlarged?"),
        row("Is this image normal?"),
        row("肝脏正常吗？", "是"),
        row("Which one?", "A", options='{"A": "left", "B": "none"}'),
        row("Which side is affected?", "unknown"),
        row("Where?", "lung", boxes='[{"box": [1, 2, 3, 4], "label": "x"}]'),
        row("Segment the vessels.", "[SEG]", mask="masks/1.png"),
        row("Describe.", "A mass.", caption="A mass on the left."),
        row("Is there a mass?", chosen="<think>left</think>"),
    ],
)
def test_what_depends_on_the_side_is_never_mirrored(example):
    assert not can_flip(example)
    for seed in range(40):
        picture, same = vary(example, ONLY_FLIP, seed)
        assert not is_flipped(picture)
        assert same == example


def test_what_does_not_depend_on_the_side_is_mirrored_half_of_the_time():
    example = row("What modality is this?", "CT")
    flips = sum(is_flipped(vary(example, ONLY_FLIP, seed)[0]) for seed in range(200))
    assert 70 <= flips <= 130


def test_swapping_exchanges_the_sides_in_question_answers_and_options():
    example = row(
        "Is the Left lung affected?",
        "left",
        answers=["left", "Left lung"],
        options='{"A": "left", "B": "RIGHT"}',
    )
    settings = Augmentation(brightness=0, contrast=0, crop=0, flip="swap")
    for seed in range(20):
        picture, changed = vary(example, settings, seed)
        if is_flipped(picture):
            assert changed["question"] == "Is the Right lung affected?"
            assert changed["answers"] == ["right", "Right lung"]
            assert changed["options"] == '{"A": "right", "B": "LEFT"}'
            break
    else:
        pytest.fail("never mirrored in 20 draws")
    assert example["answer"] == "left"


@pytest.mark.parametrize(
    "question", ["Is the left heart border clear?", "Is the LLL collapsed?", "Is the liver left of it?"]
)
def test_sides_that_words_cannot_swap_are_left_alone(question):
    assert not can_swap(row(question))


@given(st.text(alphabet="leftrigh LR左右肺 ", max_size=60))
def test_swapping_twice_gives_the_text_back_in_lower_case(text):
    assert swap_sides(swap_sides(text)).lower() == text.lower()


def test_pictures_keep_mode_and_size_and_vary():
    example = row("What modality is this?", "CT")
    seen = set()
    for seed in range(10):
        picture, _ = vary(example, Augmentation(), seed, PICTURE.convert("RGB"))
        assert (picture.mode, picture.size) == ("RGB", PICTURE.size)
        seen.add(picture.tobytes())
    assert len(seen) == 10


def test_the_same_draw_gives_the_same_picture():
    example = row("What modality is this?", "CT")
    first, second = (vary(example, Augmentation(), 3)[0] for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_pictures_are_not_cropped_where_their_border_counts():
    assert can_crop(row("Is there a mass?"))
    assert not can_crop(row("How many lesions are there?", "3"))
    assert not can_crop(row("Where?", "x", boxes="[]" + " "))

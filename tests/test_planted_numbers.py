"""Odd values in place of every number of every foreign format: each command goes past them or says what is wrong.

`MEDGRPO_PLANTED=all pytest tests/test_planted_numbers.py` tries every value in every place with every command.
"""

import copy
import json
import math
import os

import pytest
from PIL import Image

from medgrpo.cli.main import main
from medgrpo.figures import as_float, is_finite_number, json_integer, written_number

VALUES = (
    *("9" * 400, "-" + "9" * 400, "9" * 5000, "1e999", "NaN", "Infinity", "-Infinity", "true", "null"),
    *('"x"', f'"{"9" * 400}"', "[[[1]]]", '{"a": 1}', "[]", "-1", "1e308", "0.5", "1e-320"),
)
EVERY = 1 if os.environ.get("MEDGRPO_PLANTED") == "all" else 29
HOLE = "\ue000"
"""What stands for the value in the document: a text that nothing else has."""

STEPS = [{"step": step, "loss": 1.5, "reward": 0.5, "epoch": 0.1, "kl": 0.01} for step in range(1, 4)]
PLAIN = {"id": "0", "question": "q?", "answer": "yes", "completion": "<answer>yes</answer>"}
BOX = {"box": [1, 2, 30, 40], "label": "mass", "area": 9.5, "iscrowd": 0, "difficult": 0}
PICTURE = {"id": 7, "file_name": "a.png", "width": 40, "height": 40}
NOTE = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 9, 9], "area": 81, "iscrowd": 0}
OUTLINE = {**NOTE, "segmentation": [[1, 1, 9, 1, 9, 9]]}
FORMATS = {
    "trainer_state.json": {"max_steps": 3, "global_step": 3, "epoch": 1.0, "log_history": STEPS},
    "log.json": {"history": STEPS, "config": {"beta": 0.1}, "stages": [{"name": "a", "history": STEPS}]},
    "log.jsonl": STEPS,
    "wandb-history.jsonl": [{"_step": 1, "_runtime": 2.5, "_timestamp": 3.5, "train/loss": 0.5}] * 2,
    "scored.json": [
        PLAIN | {"boxes": [BOX], "width": 40, "height": 40, "image_tokens": 4, "confidence": 0.5}
    ],
    "boxes.json": [PLAIN | {"boxes": json.dumps([BOX]), "difficulty": 3, "answer_label": 1}],
    "coco.json": {
        "images": [PICTURE],
        "annotations": [NOTE, OUTLINE],
        "categories": [{"id": 3, "name": "mass"}],
    },
    "labelme.json": {
        "imagePath": "a.png",
        "imageWidth": 40,
        "imageHeight": 40,
        "shapes": [{"label": "mass", "shape_type": "rectangle", "points": [[1, 2], [9, 9]]}],
    },
    "grounding.json": [
        {"id": 0, "image": "a.png", "question": "where?", "answer": "x", "bbox": [1, 2, 9, 9]}
    ],
    "choices.json": [{"question": "q?", "options": {"A": "yes", "B": 2}, "answer": 1, "image": "a.png"}],
}
LOGS = ("trainer_state.json", "log.json", "log.jsonl", "wandb-history.jsonl")
SCORED = ("scored.json", "boxes.json")


def holed(value):
    """The value with a hole in place of one of its numbers, for each of them."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            for inner in holed(value[key]):
                whole = copy.copy(value)
                whole[key] = inner
                yield whole
    elif isinstance(value, int | float):
        yield HOLE
    elif isinstance(value, str) and value[:1] == "[":
        for inner in holed(json.loads(value)):
            yield json.dumps(inner, ensure_ascii=False)


def written(name, document, value):
    lines = document if name.endswith(".jsonl") else [document]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    within = json.dumps(value)[1:-1] if f'\\"{HOLE}' in text else value
    return text.replace(f'\\"{HOLE}\\"', within).replace(f'"{HOLE}"', value)


def plants():
    for name, document in FORMATS.items():
        for one in holed(document):
            for value in VALUES:
                yield name, written(name, one, value)


def commands(file, number):
    out = str(file.parent / f"out{number}")
    if file.name in LOGS:
        yield ("health", str(file))
        yield ("compare", str(file), "--output", f"{out}.html")
        return
    if file.name in SCORED:
        yield ("score", str(file))
        yield ("eval", "--predictions", str(file))
    yield (
        *("preprocess", str(file.parent), out, "--on-bad-row", "skip", "--workers", "1"),
        *("--missing-image", "text"),
    )


def test_an_odd_value_for_any_number_is_worded(tmp_path, capsys):
    found = []
    for number, (name, text) in enumerate(list(plants())[::EVERY]):
        place = tmp_path / f"{number}"
        place.mkdir()
        Image.new("L", (40, 40)).save(place / "a.png")
        file = place / name
        file.write_text(text, encoding="utf-8")
        for words in commands(file, number):
            with pytest.raises(SystemExit) as ended:
                main([*words, "--quiet"])
            said = capsys.readouterr().err
            if "looks like a bug" in said or ended.value.code not in (None, 0, 1, 2):
                found.append((words[0], name, text[:300], said[:300]))
    assert found == []


def test_rewards_of_another_trainer_that_no_float_holds_are_none():
    from medgrpo.preference.rollouts import _rollout

    for value in (10**400, math.nan, -math.inf, "x", [1], {"a": 1}, "9" * 400):
        row = {"prompt": "q", "completion": "a", "accuracy": value, "score": value, "answer": value}
        assert not math.isinf(_rollout(row, "here").reward)
    row = {"prompt": "q", "completion": "a", "answer": 1234567}
    assert _rollout(row, "here").reference == "1234567"
    assert _rollout(row | {"answer": 5.0}, "here").reference == "5"


def test_a_box_of_numbers_that_no_float_holds_is_refused_in_words():
    from medgrpo.rewards.boxes import box_f1

    for corner in (10**400, math.nan, math.inf, True, "x", [1], None):
        with pytest.raises(ValueError, match="not finite numbers"):
            box_f1(["<boxes>[]</boxes>"], boxes=[[{"box": [0, 0, 1, corner]}]])


def test_numbers_are_what_a_float_holds():
    assert json_integer("12") == 12
    assert json_integer("9" * 5000) == math.inf
    assert is_finite_number(json_integer("9" * 299))
    assert [written_number(one) for one in (5.0, 1234567, 0.125, 1e300)] == [
        "5",
        "1234567",
        "0.125",
        "1e+300",
    ]
    assert as_float("1.5") == 1.5
    assert all(math.isnan(as_float(one)) for one in (10**400, True, None, "x", "1e999", []))

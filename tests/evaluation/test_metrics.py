"""Metrics, groups, confusion and baselines, worked by hand."""

import pytest

from medgrpo.evaluation.baseline import constant_completions
from medgrpo.evaluation.evaluate import evaluate_predictions
from medgrpo.evaluation.metrics import confusion, groups, measure
from medgrpo.evaluation.predictions import Predictions
from medgrpo.evaluation.score import score_predictions


def closed(answer, image="i", **fields):
    return {"question": "Is it?", "answer": answer, "answer_type": "closed", "image_id": image, **fields}


def opened(answer, image="i", **fields):
    return {"question": "What is it?", "answer": answer, "answer_type": "open", "image_id": image, **fields}


def test_metrics_by_hand():
    rows = [closed("yes"), closed("no"), closed("yes"), opened("left lung"), opened("liver")]
    found = measure(score_predictions(rows, ["yes", "yes", "no", "left lung", "the spleen"]))
    assert found["closed"]["value"] == pytest.approx(1 / 3)
    assert found["closed"]["n"] == 3
    assert found["open"]["value"] == pytest.approx(1 / 2)
    assert found["answer_match"]["value"] == pytest.approx(2 / 5)
    assert found["open_exact_match"]["value"] == pytest.approx(1 / 2)
    assert found["open_token_f1"]["value"] == pytest.approx(1 / 2)
    assert "choice" not in found


def test_a_metric_without_rows_is_null_with_n_zero():
    found = measure(score_predictions([closed("yes")], ["yes"]))
    for name in ("open", "plane", "modality", "format"):
        assert found[name] == {"value": None, "low": None, "high": None, "n": 0}


def test_every_interval_holds_its_value():
    rows = [closed("yes" if i % 3 else "no", f"i{i // 2}") for i in range(60)]
    found = measure(score_predictions(rows, ["yes"] * 60))
    assert found["closed"]["value"] == pytest.approx(2 / 3)
    assert 0 < found["closed"]["low"] < 2 / 3 < found["closed"]["high"] < 1


def test_a_row_with_two_question_types_counts_in_both():
    rows = [closed("yes", question_type="PRES,ATTRIB"), closed("no", question_type="PRES")]
    found = groups(score_predictions(rows, ["yes", "yes"]))
    assert found["question_type"]["PRES"]["n"] == 2
    assert found["question_type"]["PRES"]["value"] == 0.5
    assert found["question_type"]["ATTRIB"]["value"] == 1.0


def test_the_yes_no_confusion_by_hand():
    rows = [closed("yes"), closed("yes"), closed("yes"), closed("no")]
    found = confusion(score_predictions(rows, ["yes", "no", "it is blue", "no"]))["yes_no"]
    assert found["labels"] == ["yes", "no"]
    assert found["said"] == ["yes", "no", "other"]
    assert found["counts"] == [[1, 1, 1], [0, 1, 0]]
    assert found["n"] == 4


def test_the_plane_confusion_uses_canonical_words():
    rows = [closed("yes", plane="axial"), closed("yes", plane="coronal"), closed("yes", plane=None)]
    said = ["transverse", "axial", "axial"]
    texts = [f"<answer>yes</answer><plane>{plane}</plane>" for plane in said]
    found = confusion(score_predictions(rows, texts, tags=("answer", "plane")))["plane"]
    assert found["labels"] == ["axial", "coronal"]
    assert found["counts"] == [[1, 0], [1, 0]]


def test_the_majority_answer_comes_from_the_train_split():
    train = [closed("no")] * 3 + [closed("yes")] + [opened("liver")] * 2
    rows = [closed("yes"), closed("no"), opened("liver"), opened("spleen")]
    assert constant_completions(rows, train, (), "majority") == ["no", "no", "liver", "liver"]


def test_the_blind_baseline_knows_the_wording_of_frequent_questions():
    train = [closed("no")] * 30 + [{**closed("yes"), "question": "Is this a CT?"}] * 20
    rows = [{**closed("yes"), "question": "Is this a CT?"}, closed("yes")]
    assert constant_completions(rows, train, (), "blind") == ["yes", "no"]
    assert constant_completions(rows, train, (), "majority") == ["no", "no"]


def test_a_baseline_completion_has_the_form_asked_for():
    train = [closed("no", plane="axial", modality="CT")]
    text = constant_completions(
        [closed("yes", plane="axial")], train, ("think", "answer", "plane"), "majority"
    )[0]
    assert text.endswith("<answer>no</answer><plane>axial</plane>")
    scored = score_predictions([closed("yes", plane="axial")], [text], tags=("think", "answer", "plane"))
    assert scored.scores["format"][0] == 1


def test_baselines_stand_beside_the_metrics():
    rows = [closed("yes"), closed("no"), closed("no")]
    predictions = Predictions(rows, ["yes", "no", "no"])
    found = evaluate_predictions(predictions, learnt_from=[closed("no")] * 2).document
    assert found["closed"]["value"] == 1
    assert found["closed"]["baseline"] == pytest.approx(2 / 3)
    assert found["baseline_from"] == "train split"
    assert "optimistic" in evaluate_predictions(predictions).document["baseline_from"]


def test_too_few_images_are_said_aloud():
    result = evaluate_predictions(Predictions([closed("yes")], ["yes"]))
    assert any("too few images: 1" in warning for warning in result.warnings)


def test_nothing_to_evaluate_gives_nulls():
    found = evaluate_predictions(Predictions([], [])).document
    assert found["n"] == 0
    assert found["closed"] == {"value": None, "low": None, "high": None, "n": 0}


def test_a_baseline_is_well_formed_also_where_no_row_has_a_label():
    """An empty <plane> earned no format: the blind line lay too low by its weight."""
    from medgrpo.rewards.registry import load_reward

    tags = ("think", "answer", "plane", "modality")
    train = [closed("yes"), closed("yes")]
    labelled = [closed("yes", plane="axial", modality="CT")] * 2
    for learnt_from in (train, labelled):
        for blindness in ("majority", "blind"):
            (text,) = constant_completions([closed("no")], learnt_from, tags, blindness)
            assert load_reward("format")([text]) == [1.0], text
    assert "<answer></answer>" in constant_completions([closed("no")], [], tags, "blind")[0]

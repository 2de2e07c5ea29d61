"""From completions to scores, kinds, clusters and classes."""

import math

import numpy as np
import pytest

from medgrpo.data.clusters import cluster_labels
from medgrpo.evaluation.score import (
    kind_of,
    label_class,
    observed_tags,
    score_predictions,
)
from medgrpo.rewards.composite import CompositeReward


def row(**fields):
    return {"question": "Is there an effusion?", "answer": "yes", "language": "en", **fields}


def tagged(answer, plane="axial", modality="CT"):
    return f"<think>t</think><answer>{answer}</answer><plane>{plane}</plane><modality>{modality}</modality>"


def test_each_score_of_a_row_by_hand():
    scored = score_predictions(
        [row(answer="left lower lobe", question="Where is the mass?", plane="axial", modality="MRI")],
        [tagged("lower lobe", "transverse", "CT")],
    )
    found = {name: float(values[0]) for name, values in scored.scores.items()}
    assert found["exact_match"] == 0
    assert found["answer_match"] == 0
    assert found["token_recall"] == pytest.approx(2 / 3)  # lower, lobe of left lower lobe
    assert found["token_f1"] == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert found["format"] == 1
    assert found["plane"] == 1
    assert found["modality"] == 0
    assert scored.kinds == ["open"]


def test_a_broader_label_has_part_marks_but_is_not_right():
    scored = score_predictions([row(plane="PA")], [tagged("yes", plane="frontal view")])
    assert scored.scores["plane_match"][0] == 0.5
    assert scored.scores["plane"][0] == 0


def test_rows_without_a_label_are_not_judged():
    scored = score_predictions([row(plane=None), row(plane="axial")], [tagged("yes"), tagged("yes")])
    assert math.isnan(scored.scores["plane"][0])
    assert scored.scores["plane"][1] == 1
    assert scored.truth["plane"] == [None, "axial"]


def test_completions_without_tags_are_plain_answers_and_have_no_format():
    scored = score_predictions([row(), row(answer="no")], ["Yes, there is.", "There is an effusion."])
    assert scored.plain
    assert scored.scores["answer_match"].tolist() == [1, 0]
    assert np.isnan(scored.scores["format"]).all()


def test_a_tagged_file_scores_an_answer_outside_the_tags_as_wrong():
    scored = score_predictions([row(), row()], [tagged("yes"), "yes"])
    assert not scored.plain
    assert scored.scores["answer_match"].tolist() == [1, 0]
    assert scored.rules[1] == "no_answer_tag"
    assert scored.scores["unanswered"].tolist() == [0, 1]


def test_refusals_count_as_abstained():
    scored = score_predictions([row()] * 3, ["I cannot determine that.", "not sure", "no"], plain=True)
    assert scored.scores["abstained"].tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"answer_type": "CLOSED "}, "closed"),
        ({"answer_type": "OPEN"}, "open"),
        ({"answer_type": None, "answer": "No"}, "closed"),
        ({"answer": "是"}, "closed"),
        ({"answer": "left lung"}, "open"),
        ({"answer": "B", "options": '{"A": "x", "B": "y"}'}, "choice"),
    ],
)
def test_the_kind_of_a_question(fields, kind):
    assert kind_of(row(**fields)) == kind


def test_rows_are_clustered_by_patient_then_image_then_alone():
    labels, name = cluster_labels(
        [
            {"patient_id": "p", "image_id": "a"},
            {"patient_id": "p", "image_id": "b"},
            {"image_id": "c"},
            {"id": 1},
            {"id": 2},
        ]
    )
    assert labels[0] == labels[1]
    assert len(set(labels)) == 4
    assert name == "patient or image or row"


@pytest.mark.parametrize(
    ("completion", "said"),
    [("Yes.", "yes"), ("no effusion", "no"), ("maybe", "other"), ("", "other"), ("yes and no", "other")],
)
def test_what_a_closed_answer_says(completion, said):
    scored = score_predictions([row()], [completion], plain=True)
    assert scored.truth["yes_no"] == ["yes"]
    assert scored.said["yes_no"] == [said]


def test_closed_questions_that_are_not_yes_or_no_stay_out_of_that_table():
    scored = score_predictions(
        [row(question="Left or right?", answer="left", answer_type="closed")], ["left"], plain=True
    )
    assert scored.truth["yes_no"] == [None]


def test_chinese_yes_no_questions_are_read_by_their_polarity():
    scored = score_predictions(
        [row(question="肺部有异常吗？", answer="有", language="zh", answer_type="closed")],
        ["没有"],
        plain=True,
    )
    assert scored.truth["yes_no"] == ["yes"]
    assert scored.said["yes_no"] == ["no"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("plane", "transverse plane", "axial"),
        ("plane", "横断面", "axial"),
        ("plane", "", "none"),
        ("plane", "banana", "other"),
        ("modality", "computed tomography", "ct"),
        ("modality", "T2-weighted", "mri"),
    ],
)
def test_labels_have_one_canonical_word(name, text, expected):
    assert label_class(name, text) == expected


def test_tags_are_seen_from_the_completions():
    assert observed_tags(["<think>a</think><answer>b</answer>", "c"]) == ("think", "answer")
    assert observed_tags(["<think>a</think><boxes>[]</boxes>"]) == ("think", "boxes")
    assert observed_tags(["plain"]) == ()
    assert observed_tags(["<think>a</think>Answer: b"]) == ()


def test_the_reward_is_that_of_training():
    reward = CompositeReward("balanced")
    rows = [row(plane="axial", modality=None)]
    scored = score_predictions(rows, [tagged("no")], reward=reward)
    # format .20 and plane .20 earned, answer .45 lost, modality not judged: .40 / .85
    assert scored.scores["reward"][0] == pytest.approx(0.40 / 0.85)


def test_no_rows_give_no_scores():
    scored = score_predictions([], [])
    assert len(scored) == 0


def test_each_row_needs_its_completion():
    with pytest.raises(ValueError, match="2 rows but 1"):
        score_predictions([row(), row()], ["yes"])


def test_the_reward_asks_for_the_tags_of_the_prompt_and_no_others():
    from medgrpo.rewards.composite import CompositeReward

    rows = [{"question": "Is there a mass?", "answer": "yes"}]
    said = ["<think>a mass</think><answer>yes</answer>"]
    reward = CompositeReward({"format": 1})
    totals = [
        score_predictions(rows, said, tags=tags, reward=reward).scores["reward"].tolist()
        for tags in (("think", "answer"), ("think", "answer", "plane", "modality"))
    ]
    assert totals == [[1.0], [0.0]]

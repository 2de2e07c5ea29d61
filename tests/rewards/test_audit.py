"""Cheats, and what they earn from good and from bad rewards."""

import json

import pytest

from medgrpo.errors import UsageError
from medgrpo.rewards.audit import audit
from medgrpo.rewards.cheats import negated, side_flipped
from medgrpo.rewards.composite import CompositeReward

ROWS = [
    {"question": "Is there an effusion?", "answer": "yes", "plane": "axial", "modality": "CT"},
    {"question": "Is the heart enlarged?", "answer": "no", "plane": None, "modality": "CT"},
    {"question": "Is there a mass?", "answer": "no", "plane": "coronal", "modality": "MRI"},
    {"question": "Where is the lesion?", "answer": "left lung", "plane": "axial", "modality": "CT"},
    {"question": "In which plane is it?", "answer": "axial", "plane": "axial", "modality": "CT"},
    {"question": "有异常吗？", "answer": "没有", "plane": None, "modality": None},
    {"question": "病变在哪一侧？", "answer": "左侧", "plane": "横断面", "modality": None},
]


def scores(report):
    return {cheat.name: cheat for cheat in report.cheats}


def contains_truth(completions, answer, **_):
    """The folklore: any completion that contains the reference is right, and an empty one is no mistake."""
    return [1.0 if not c or a.lower() in c.lower() else 0.0 for c, a in zip(completions, answer, strict=True)]


def test_the_references_in_the_prompts_form_earn_everything():
    report = audit(ROWS, CompositeReward("balanced"))
    assert report.honest == pytest.approx(1.0)
    assert report.honest_source == "references"


def test_no_cheat_that_knows_the_truth_and_hides_it_is_believed():
    cheats = scores(audit(ROWS, CompositeReward("balanced")))
    for name in (
        "empty",
        "filler",
        "question_repeated",
        "verbose_hedge",
        "side_flipped",
        "wrong_plane",
        "negated_truth",
    ):
        assert cheats[name].components["answer_match"] == 0.0, name
    assert cheats["wrong_plane_tag"].mean == 0.0
    assert cheats["wrong_plane_tag"].measure == "plane_match"


def test_the_majority_answer_earns_its_share():
    cheat = scores(audit(ROWS, CompositeReward({"answer_match": 1.0})))["majority_answer"]
    assert cheat.mean == pytest.approx(3 / 7)  # "no" is right for rows 1, 2 and 5
    assert cheat.ratio == pytest.approx(3 / 7)


def test_a_reward_that_looks_for_the_reference_in_the_text_is_exposed():
    reward = CompositeReward(
        {"contains": 1.0}, rewards={"contains": contains_truth}, settings={"plain": True}
    )
    report = audit(ROWS, reward)
    cheats = scores(report)
    assert cheats["empty"].mean == 1.0
    assert cheats["verbose_hedge"].mean == 1.0
    assert report.ratio == 1.0
    assert report.exceeds(0.9)


def test_the_ratio_is_taken_over_the_same_rows():
    completions = ["<answer>left lung</answer>"] * 7
    report = audit(ROWS, CompositeReward({"answer_match": 1.0}), completions=completions)
    assert report.honest == pytest.approx(2 / 7)  # "left lung" also names 左侧
    assert scores(report)["side_flipped"].rows == 2
    assert scores(report)["side_flipped"].honest == 1.0


def test_the_gate_takes_the_reward_of_form_from_empty_answers():
    open_gate = scores(audit(ROWS, CompositeReward("balanced")))["tags_only"].mean
    gated = scores(audit(ROWS, CompositeReward("balanced", gate="answer_match")))["filler"].mean
    assert (open_gate, gated) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("answer", "chinese", "opposite"),
    [("Yes", False, "no"), ("没有", True, "是"), ("no mass", False, "mass"), ("mass", False, "no mass"),
     ("The cecum", False, "no cecum"), ("结节", True, "没有结节"), ("None", False, "several")],
)  # fmt: skip
def test_negation_of_an_answer(answer, chinese, opposite):
    assert negated(answer, chinese=chinese) == opposite


def test_only_one_sided_text_can_be_flipped():
    assert side_flipped("Left lung") == "Right lung"
    assert side_flipped("左侧") == "右侧"
    assert side_flipped("left and right") is None
    assert side_flipped("liver") is None


def test_rows_without_references_cannot_be_audited():
    with pytest.raises(UsageError, match="nothing to audit"):
        audit([{"question": "?", "answer": None}], CompositeReward("balanced"))


def test_the_document_names_the_best_cheat():
    document = audit(ROWS, CompositeReward("balanced")).to_dict()
    json.dumps(document)
    assert document["best_cheat"] == document["cheats"][0]["name"]
    assert document["best_score"] == max(c["mean"] for c in document["cheats"] if c["rows"])

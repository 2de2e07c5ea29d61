"""Text rewards: worked examples, edges, TRL's calling convention."""

import pickle

import pytest

from medgrpo.rewards import text

FULL = "<think>dark fluid</think>\n<answer>left lung</answer>\n<plane>axial</plane>\n<modality>CT</modality>"


def verdict(question: str | None, reference: str, answer: str) -> float | None:
    return text.answer_match(
        [answer], answer=[reference], question=None if question is None else [question], plain=True
    )[0]


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        ("no", "normal", 0),
        ("no", "abnormal", 0),
        ("no", "nodule", 0),
        ("no", "unknown", 0),
        ("no", "no evidence of effusion", 1),
        ("no", "not seen", 1),
        ("yes", "yes, abnormal", 1),
        ("yes", "", 0),
        ("yes", "   ", 0),
    ],
)
def test_yes_and_no_are_decided_on_word_boundaries(reference, answer, expected):
    assert verdict("Is there an effusion?", reference, answer) == expected


@pytest.mark.parametrize(
    ("question", "reference", "answer", "expected"),
    [
        ("图像异常吗?", "是", "异常", 1),
        ("图像正常吗?", "是的", "正常", 1),
        ("图像正常吗?", "不是", "异常", 1),
        ("图像正常吗?", "是的", "异常", 0),
        ("图中包含肝脏吗?", "包含", "是的", 1),
        ("图中包含肝脏吗?", "不包含", "包含肝脏", 0),
    ],
)
def test_chinese_yes_and_no_follow_the_question(question, reference, answer, expected):
    assert verdict(question, reference, answer) == expected


def test_a_question_repeated_is_no_answer():
    assert verdict("Is there a mass?", "yes", "Is there a mass?") == 0


def test_chat_messages_score_like_their_text():
    chat = [{"role": "assistant", "content": [{"type": "text", "text": FULL}]}]
    assert text.answer_match([chat, FULL], answer=["left lung", "right lung"]) == [1.0, 0.0]


def test_rows_without_reference_or_label_are_not_judged():
    assert text.answer_match([FULL, FULL], answer=[None, ""]) == [None, None]
    assert text.plane_match([FULL, FULL], plane=["axial", None]) == [1.0, None]


def test_several_references_are_alternatives():
    assert text.answer_match(["<answer>CT</answer>"] * 3, answer=["mri#ct", ["x-ray", "ct"], "mri"]) == [
        1,
        1,
        0,
    ]
    assert text.answer_match(["<answer>CT</answer>"], answer=["mri"], answers=[["ct"]]) == [1]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (FULL, 1),
        (FULL.replace("</answer>", ""), 0),
        (FULL.replace("left lung", " "), 0),
        (FULL + " thanks", 0),
        (FULL.replace("<plane>axial</plane>\n", ""), 0),
        (FULL + "<modality>CT</modality>", 0),
        (FULL.upper(), 1),
        ("", 0),
    ],
)
def test_format_is_strict(completion, expected):
    assert text.format([completion]) == [expected]


def test_format_graded_counts_parts():
    # answer, modality and think are filled (3), in order (1), text outside (0), of 6
    completion = FULL.replace("<plane>axial</plane>", "axial")
    assert text.format_graded([completion]) == [pytest.approx(4 / 6)]


def test_modality_gives_half_for_the_coarser_class():
    scores = text.modality_match(
        ["<modality>MRI</modality>", "<modality>T1</modality>", "<modality>MR, T2-weighted</modality>"],
        modality=["MRI T2", "MRI T2", "MRI T2"],
    )
    assert scores == [0.5, 0, 1]


def test_functions_survive_pickling():
    for name in ("format", "answer_match", "plane_match", "modality_match", "fluency", "accuracy"):
        function = getattr(text, name)
        assert pickle.loads(pickle.dumps(function)) is function


def test_lone_surrogates_and_control_bytes_do_not_fail():
    strange = ["\ud800<answer>yes</answer>", "<answer>\x00</answer>", "<" * 500, "</answer><answer>"]
    assert text.answer_match(strange, answer=["yes"] * 4) == [1, 0, 0, 0]


def test_an_empty_batch_gives_an_empty_list():
    assert text.answer_match([], answer=[]) == []


def test_explain_names_the_rule_and_the_field():
    row = text.explain([FULL], answer=["right lung"])[0]
    assert (row["rule"], row["field"], row["answer_match"]) == ("side_differs", "left lung", 0)


@pytest.mark.parametrize(
    "answer", ["是，否", "是或否", "有、没有", "是的。不是。", "包含/不包含", "yes, no", "no or yes"]
)
@pytest.mark.parametrize(
    ("question", "reference"),
    [
        ("图像异常吗？", "不是"),
        ("有积液吗？", "没有"),
        ("有积液吗？", "有"),
        ("图片中包含哪些疾病？", "无"),
        ("Is there an effusion?", "no"),
        ("Is there an effusion?", "yes"),
        ("How many kidneys are there?", "0"),
    ],
)
def test_yes_and_no_together_answer_nothing(question, reference, answer):
    assert verdict(question, reference, answer) == 0


def test_a_denial_with_what_is_denied_is_no_contradiction():
    assert verdict("图像正常吗？", "是", "是，没有异常") == 1
    assert verdict("有积液吗？", "没有", "否，没有积液") == 1
    assert verdict("Is there an effusion?", "no", "No, it is not present") == 1


CANDIDATES = (
    "yes, no, right, axial, left, pa, diffuse, fat, right upper lobe, right side, ct, bilateral, pancreas, "
    "subarachnoid, liver, black, t2, mri, brain, chest, x-ray, heart, lung, coronal, spleen"
)


@pytest.mark.parametrize(
    ("question", "reference"),
    [
        ("How many lesions are there?", "3"),
        ("How many kidneys are in this image?", "0"),
        ("How large is it?", "3 cm"),
        ("How would you describe the lesion?", "ring enhancing lesion"),
        ("Where is the bleed?", "subarachnoid"),
        ("What is seen?", "pneumonia"),
    ],
)
@pytest.mark.parametrize("mark", [", ", "; ", ". ", "\n", " or ", "、"])
def test_a_list_of_candidates_answers_nothing(question, reference, mark):
    listed = [reference, *CANDIDATES.split(", ")]
    assert verdict(question, reference, mark.join(listed)) == 0
    assert verdict(question, reference, mark.join(reversed(listed))) == 0


def test_a_list_that_was_asked_for_is_an_answer():
    organs = "liver, spleen, left kidney, right kidney, stomach, pancreas and gallbladder"
    assert verdict("Which organs are seen?", organs, organs.replace(" and ", ", ")) == 1
    assert verdict("How many lesions are there?", "3", "3 lesions: liver, spleen and left kidney") == 1


@pytest.mark.parametrize(
    ("answer", "reference", "mark"),
    [
        ("右上肺", "右肺上叶", 1.0),
        ("右肺上叶", "右上肺", 1.0),
        ("病变位于左下肺", "左肺下叶", 1.0),
        ("左上肺", "右肺上叶", 0.0),
        ("右下肺", "右肺上叶", 0.0),
        ("右肺", "右上肺", 0.0),
    ],
)
def test_the_short_chinese_name_of_a_lobe_is_the_lobe(answer, reference, mark):
    assert verdict("病变在哪里？", reference, answer) == mark


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (
            "<think></think><answer>yes</answer>",
            1.0,
        ),  # models whose thinking is switched off write an empty one
        ("<think> \n </think><answer>yes</answer>", 1.0),
        ("<think>a</think><answer></answer>", 0.0),  # any other tag must be filled
        ("<think>a</think><answer>  </answer>", 0.0),
        ("<THINK>a</THINK><Answer>yes</ANSWER>", 1.0),
        ("< think >a</ think ><answer>yes< / answer >", 1.0),
        ("<think>a</think>\n<answer>yes</answer>\n", 1.0),
        ("<think>a</think> so <answer>yes</answer>", 0.0),
        ("<think-a>a</think-a><answer>yes</answer>", 0.0),
        ("<t hink>a</t hink><answer>yes</answer>", 0.0),
    ],
)
def test_what_format_tolerates_is_decided(completion, expected):
    assert text.format([completion], tags=("think", "answer")) == [expected]

"""Properties of the text rewards: agreement with the naive twins, any input, any number of threads."""

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medgrpo import _reward_core as core
from medgrpo.rewards import text

_spec = importlib.util.spec_from_file_location(
    "reference_text", Path(__file__).parents[1] / "reference_text.py"
)
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

TAGS = ["think", "answer", "plane"]
PIECES = ["<think>", "</think>", "<ANSWER>", "</answer >", "< answer>", "<plane>", "</plane>", "<b>", "<", ">", "x", " ", "\n"]  # fmt: skip
tagged = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
any_text = (
    st.text(max_size=60) | tagged | st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
)
medical = st.lists(
    st.sampled_from(
        [
            "yes",
            "no",
            "not",
            "left",
            "right",
            "both",
            "lung",
            "liver",
            "pneumonia",
            "normal",
            "abnormal",
            "or",
            "and",
            ",",
            ".",
            "without",
            "CT",
            "MRI",
            "axial",
            "2",
            "cm",
            "3.4",
            "是",
            "不",
            "没有",
            "左",
            "右",
            "肺",
            "异常",
            "正常",
            "或",
            "可能",
            "possibly",
            "?",
            "图中",
        ]
    ),
    max_size=8,
).map(" ".join)


@given(tagged)
@settings(max_examples=500)
def test_tag_states_equal_the_naive_twin(completion):
    states = core.parse_tags([completion], TAGS)[1][0]
    assert [core.TAG_STATES[state] for state in states] == reference.tag_states(completion, TAGS)


plain_words = st.lists(st.sampled_from(["lung", "a", "the", "Left", "ct", "t2", "of"]), max_size=8).map(
    " ".join
)


@given(plain_words, plain_words)
def test_word_f1_equals_the_naive_twin(prediction, wanted):
    expected = reference.word_f1(prediction, wanted) if wanted.strip() else None
    assert text.word_f1([prediction], answer=[wanted], plain=True) == [expected]


squad_texts = st.lists(
    st.sampled_from(
        ["a", "an", "the", "The", "A", "x-ray", "xray", "3.5 cm", "3.5cm", "T2-weighted", "e\u0301", "a\u0301", "Ⓐ", "a²",
         "结节", "a结", "—", "a—b", "_a_", "(the)", "ΣΑΣ", "İ", "ß", "\x1c", "\xa0", "\u3000", "'s", "!", ".", "½", "٣", "lung"]
    ) | st.characters(exclude_characters="#", exclude_categories=["Cs", "Cn"]),
    max_size=8,
).map("".join) | st.lists(st.sampled_from(["a", "the", "left", "lung", "Lung.", "is", "x-ray", " "]), max_size=6).map(" ".join)  # fmt: skip


@given(squad_texts, squad_texts)
def test_token_f1_is_squads_to_the_letter(prediction, wanted):
    expected = reference.token_f1(prediction, wanted) if wanted.strip() else None
    assert text.token_f1([prediction], answer=[wanted], plain=True) == [expected]


SQUAD_BY_HAND = [
    # Punctuation goes without leaving a gap.
    ("X-ray", "xray", 1), ("X ray", "X-ray", 0), ("3.5 cm", "3.5cm", 0), ("3.5cm", "35cm", 1), ("1,000 ml", "1000 ml", 1),
    ("T2-weighted MRI", "T2 weighted MRI", 2 / 5),  # {t2weighted, mri} and {t2, weighted, mri}: P 1/2, R 1/3
    ("lung/heart", "lung heart", 0), ("lung / heart", "lung heart", 1), ("Crohn's disease", "crohns disease", 1),
    ("(left) [lung]", "left lung", 1), ("left_lung", "leftlung", 1), ("left – lung", "left lung", 4 / 5),  # the dash is not ASCII: a token
    ("“lung”", "lung", 0), ("lung。", "lung", 0), ("lung...", "lung", 1), ("?!", ".", 1), ("!", "lung", 0), ("^~`|$<>=+", "", None),
    # Articles go as whole words, after punctuation: what joins up is no article.
    ("the left lung", "left lung", 1), ("A left an lung the", "left lung", 1), ("theatre", "atre", 0), ("an atrium", "atrium", 1),
    ("a-an", "aan", 1), ("t.h.e lung", "lung", 1), ("the-lung", "lung", 0), ("the-lung", "thelung", 1), ("'the' lung", "lung", 1),
    ("the", "a", 1), ("", "the", 1), ("lung", "an", 0), ("The the THE", "lung", 0), ("hepatitis A", "hepatitis", 1),
    ("a—b", "b", 0),  # the long dash stays: one token beside a word boundary, "—b"
    # Case folds as str.lower does.
    ("LUNG", "lung", 1), ("ÖDEM", "ödem", 1), ("Straße", "strasse", 0), ("ΣΑΣ", "σας", 1),
    # Tokens count as often as they occur: |both| = sum of the lesser counts.
    ("lung, lung", "lung", 2 / 3), ("lung lung lung", "lung lung", 4 / 5), ("right lung", "left lung", 1 / 2),
    ("upper lobe of the left lung", "left upper lobe", 3 / 4),  # 3 of 5 and 3 of 3
    ("left lung", "lung left", 1), ("yes", "no", 0), ("yes it is", "yes", 1 / 2), ("left\tlung\n", "left lung", 1), ("left\u3000lung", "left lung", 1),
    # Chinese without blanks is one token.
    ("结节", "结", 0), ("左 肺", "左肺", 0), ("肺，结节", "肺结节", 0), ("肺,结节", "肺结节", 1),
]  # fmt: skip


@pytest.mark.parametrize(("said", "wanted", "expected"), SQUAD_BY_HAND)
def test_token_f1_by_hand(said, wanted, expected):
    found = text.token_f1([said], answer=[wanted], plain=True)[0]
    assert found == (None if expected is None else pytest.approx(expected))
    if expected is not None:
        assert reference.token_f1(said, wanted) == pytest.approx(expected)


def test_token_f1_drops_references_of_articles_where_there_is_another_and_needs_an_answer():
    assert text.token_f1(["the"], answers=[["the", "lung"]], plain=True) == [0.0]
    assert text.token_f1(["<think>a</think>"], answer=["the"]) == [0.0]  # no answer is no agreement
    assert text.token_f1(["<answer>the</answer>"], answer=["a"]) == [1.0]


short = st.text(alphabet="abc ", max_size=40)


@given(short, short)
def test_levenshtein_equals_the_naive_twin(prediction, wanted):
    left, right = prediction.strip(), wanted.strip()
    if not right:
        return
    expected = 1 - reference.levenshtein(left, right) / max(len(left), len(right)) if left else 0.0
    assert text.levenshtein([prediction], answer=[wanted], plain=True) == [pytest.approx(expected)]


@given(any_text, any_text, any_text)
@settings(max_examples=300)
def test_any_text_gets_a_score_in_range(completion, wanted, question):
    for plain in (False, True):
        columns = {"answer": [wanted], "question": [question], "plane": [wanted], "modality": [wanted]}
        for name in ("answer_match", "answer_match_graded", "exact_match", "token_recall", "token_f1", "levenshtein", "plane_match", "modality_match"):  # fmt: skip
            score = getattr(text, name)([completion], plain=plain, **columns)[0]
            assert score is None or 0 <= score <= 1
    for score in (*text.format([completion]), *text.format_graded([completion]), *text.fluency([completion])):
        assert 0 <= score <= 1


@given(medical)
def test_an_answer_matches_itself_unless_it_leaves_the_answer_open(answer):
    row = text.explain([answer], answer=[answer], plain=True)[0]
    if answer.strip(" ,.?") and "?" not in answer and "#" not in answer:
        assert row["answer_match"] == 1 or row["rule"] in {"empty", "yes_no_contradictory"}, row


@given(medical, medical)
def test_graded_scores_keep_the_verdict(answer, wanted):
    row = text.explain([answer], answer=[wanted], plain=True)[0]
    if row["answer_match"] is not None:
        assert (row["answer_match_graded"] >= 0.5) == (row["answer_match"] == 1)


@given(medical)
def test_an_empty_answer_never_scores(wanted):
    for empty in ("", "  ", "...", "<answer></answer>"):
        assert text.answer_match([empty], answer=[wanted], plain=True)[0] in (0, None)


@given(st.lists(st.tuples(medical, medical), min_size=1, max_size=20))
def test_rows_do_not_influence_each_other(pairs):
    together = text.answer_match([a for a, _ in pairs], answer=[r for _, r in pairs], plain=True)
    alone = [text.answer_match([a], answer=[r], plain=True)[0] for a, r in pairs]
    assert together == alone


def test_the_number_of_threads_does_not_change_a_value():
    chance = np.random.default_rng(0)
    parts = np.array(["left", "lung", "no", "pneumonia", "or", "右", "肺", "2", "cm", "yes"])
    completions = [" ".join(chance.choice(parts, 5)) for _ in range(3000)]
    answers = [" ".join(chance.choice(parts, 2)) for _ in range(3000)]
    columns = {"answer": answers, "question": answers[::-1], "plane": answers, "modality": answers}
    results = []
    try:
        for threads in (1, 2, 5):
            core.set_num_threads(threads)
            assert core.num_threads() == threads
            results.append(text.score(core.TEXT_REWARDS, completions, plain=True, **columns))
    finally:
        core.set_num_threads(0)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_columns_of_another_length_are_refused():
    with pytest.raises(ValueError, match="answer has 1 rows, completions has 2"):
        text.answer_match(["a", "b"], answer=["a"])


def test_a_tag_set_without_answer_is_refused():
    with pytest.raises(ValueError, match="no tag"):
        text.answer_match(["a"], answer=["a"], tags=["think"])


def test_every_group_of_synonyms_names_its_source_and_means_itself():
    table = text.synonyms()
    assert table["version"]
    for group in table["groups"]:
        assert group["source"]
        assert text.answer_match([group["terms"][-1]], answer=[group["terms"][0]], plain=True) == [1], group


def test_fluency_prefers_varied_text_in_the_right_language():
    good = "There is a small opacity in the left lower lobe, which suggests an early infection."
    scores = text.fluency([good, "lung " * 60, good, "", "�" * 50], language=["en", "en", "zh", "en", "en"])
    assert scores[0] > 0.9
    assert scores[1] < 0.2
    assert scores[2] < 0.2
    assert scores[3] == scores[4] == 0
    assert (
        text.fluency(["左下肺可见片状高密度影，边界不清，考虑炎症。CT 建议复查。"], language=["zh"])[0] > 0.9
    )


UNITS = (
    "the heart is enlarged and the left lung shows pneumonia ",
    "left lung, ",
    "lung\n",
    "blah ",
    "The lung is seen. ",
    "no not isn't seen, ",
    "not yes ",
    "cannot be or ",
    "unclear cannot determine ",
    "3 x 4 ",
    "1/2/3 ",
    "heart or lung ",
    "axial coronal ",
    "A or B and ",
    "A B C ",
    "C > B > A ",
    "A or B. not A. ",
    "would be ",
    "mimicking pneumonia ",
    "beside the point ",
    "deny ",
    "不是说",
    "肝脏增大",
    "心脏增大，",
    "<think>",
)


@pytest.mark.parametrize("unit", UNITS)
def test_a_long_answer_costs_in_proportion_to_its_length(unit):
    questions = [
        "What is seen?",
        "Is it 3 cm?",
        "Which? A) lung B) heart C) liver",
        "Is it axial?",
        "异常吗？",
    ]
    answers = ["pneumonia in the left lung and effusion", "mass of 3 cm", "A", "yes", "不是"]

    def seconds(characters: int) -> float:
        completion = unit * (characters // len(unit)) + "<answer>left lung</answer>"
        started = time.process_time()
        text.answer_match([completion] * len(answers), answer=answers, question=questions, plain=True)
        plain = unit * (characters // len(unit))
        text.explain([plain] * len(answers), answer=answers, question=questions, plain=True)
        return time.process_time() - started

    short = min(seconds(8_000) for _ in range(3))
    assert seconds(256_000) < 32 * 8 * max(short, 0.0005)  # all pairs would cost 1,024 times

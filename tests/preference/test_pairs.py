from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgrpo.errors import UsageError
from medgrpo.preference.pairs import (
    Candidate,
    Pair,
    PairSet,
    Rule,
    are_alike,
    balance_length,
    balance_types,
    best_completions,
    choose_pairs,
    hardness,
)


def candidates(prompt, *texts_and_rewards):
    return [Candidate(prompt, text, reward, "run:1") for text, reward in texts_and_rewards]


def test_the_widest_pair_comes_first_and_no_completion_is_used_twice():
    found = choose_pairs(
        candidates("p", ("a", 1.0), ("b", 0.7), ("c", 0.4), ("d", 0.0)), margin=0.1, per_prompt=2
    )
    assert [(pair.chosen.text, pair.rejected.text) for pair in found.pairs] == [("a", "d"), ("b", "c")]
    assert [pair.margin for pair in found.pairs] == pytest.approx([1.0, 0.3])


def test_a_prompt_gives_no_more_pairs_than_asked_for():
    found = choose_pairs(
        candidates("p", ("a", 1.0), ("b", 0.7), ("c", 0.4), ("d", 0.0)), margin=0.1, per_prompt=1
    )
    assert len(found.pairs) == 1


def test_every_drop_has_its_reason():
    rows = [
        *candidates("flat", ("a", 0.5), ("b", 0.5)),
        *candidates("same", ("a", 0.5), ("a ", 0.9)),
        *candidates("near", ("a", 0.50), ("b", 0.55)),
        *candidates("none", ("a", float("nan")), ("  ", 1.0)),
    ]
    found = choose_pairs(rows, margin=0.1, per_prompt=1)
    assert found.pairs == []
    assert found.dropped == Counter(
        {
            "prompt without spread": 1,
            "prompt with a single distinct completion": 1,
            "prompt below the margin": 1,
            "completion without a reward": 1,
            "empty completion": 1,
        }
    )


def test_a_text_sampled_often_counts_once_with_its_mean_reward():
    # "a" earned 1.0 and 0.6 in two steps: mean 0.8
    found = choose_pairs(candidates("p", ("a", 1.0), ("a", 0.6), ("b", 0.0)), margin=0.1, per_prompt=3)
    assert [pair.margin for pair in found.pairs] == pytest.approx([0.8])


def test_length_bias_is_the_share_of_longer_chosen_texts():
    def pair(chosen, rejected):
        return Pair("p", Candidate("p", chosen, 1.0, ""), Candidate("p", rejected, 0.0, ""))

    bias = PairSet([pair("long one", "short"), pair("ab", "cd")]).length_bias()
    assert bias == {"mean_characters": 1.5, "chosen_longer": 0.75}  # (8 − 5 + 0) / 2; one longer, one equal
    assert PairSet([]).length_bias() == {"mean_characters": None, "chosen_longer": None}


@given(
    st.lists(
        st.tuples(st.sampled_from("pq"), st.text("abc", min_size=1, max_size=3), st.floats(0, 1)), max_size=30
    ),
    st.floats(0, 1),
    st.integers(1, 4),
)
def test_every_pair_keeps_the_margin_and_uses_a_text_once(rows, margin, per_prompt):
    found = choose_pairs([Candidate(p, t, r, "") for p, t, r in rows], margin=margin, per_prompt=per_prompt)
    assert all(
        pair.margin >= margin - 1e-9 and pair.chosen.text != pair.rejected.text for pair in found.pairs
    )
    used = Counter(
        (pair.prompt_id, text) for pair in found.pairs for text in (pair.chosen.text, pair.rejected.text)
    )
    assert all(count == 1 for count in used.values())
    assert all(count <= per_prompt for count in Counter(pair.prompt_id for pair in found.pairs).values())


def scored(text, reward, **components):
    truncated = components.pop("truncated", None)
    return Candidate("p", text, reward, "run:grpo:3", truncated=truncated, step=3, components=components)


def test_the_nearest_pair_is_the_hardest_that_keeps_the_margin():
    rows = [scored(text, reward) for text, reward in (("a", 1.0), ("b", 0.95), ("c", 0.6), ("d", 0.0))]
    found = choose_pairs(rows, margin=0.2, per_prompt=1, choose="nearest").pairs[0]
    assert (found.chosen.text, found.rejected.text) == ("a", "c")


def test_hard_negatives_are_in_the_right_form_and_those_on_the_wrong_side_come_first():
    rows = [
        scored("<answer>left lung</answer>", 1.0, format=1.0, answer_match=1.0),
        scored("<answer>spleen</answer>", 0.1, format=1.0, answer_match=0.0),
        scored("<answer>right lung</answer>", 0.2, format=0.0, answer_match=0.0),
        scored("spleen", 0.0, format=0.0, answer_match=0.0),
    ]
    found = choose_pairs(rows, margin=0.1, per_prompt=1, choose="hard").pairs[0]
    assert found.rejected.text == "<answer>right lung</answer>"
    assert hardness(found.chosen, found.rejected) == "wrong side"
    rest = choose_pairs([rows[0], rows[1], rows[3]], margin=0.1, per_prompt=2, choose="hard").pairs
    assert [pair.rejected.text for pair in rest] == ["<answer>spleen</answer>"]
    none = choose_pairs([rows[0], rows[3]], margin=0.1, per_prompt=1, choose="hard")
    assert none.dropped == {"prompt without a pair of this kind": 1}


def test_hard_negatives_without_components_are_refused():
    with pytest.raises(UsageError, match="no completion has a component 'format'"):
        choose_pairs(candidates("p", ("a", 1.0), ("b", 0.0)), margin=0.1, per_prompt=1, choose="hard")


def test_texts_that_differ_in_case_and_punctuation_make_no_pair():
    found = choose_pairs(candidates("p", ("Yes.", 1.0), ("yes", 0.0)), margin=0.1, per_prompt=1)
    assert found.dropped == {"prompt with near-duplicates only": 1}
    found = choose_pairs(candidates("p", ("左。", 1.0), ("右", 0.0)), margin=0.1, per_prompt=1)
    assert len(found.pairs) == 1


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("café", "cafe\u0301", True),  # composed and decomposed
        ("yes", "y\u200bes", True),  # a space that cannot be seen
        ("ＣＴ", "CT", True),
        ("ﬁbrosis", "fibrosis", True),
        ("Straße", "STRASSE", True),
        ("yes\u00a0no", "yes  no", True),
        ("…", "...", True),
        ("10² mm", "102 mm", False),
        ("-5", "5", False),
        ("< 5 mm", "> 5 mm", False),
        ("+", "-", False),
        ("slice-5", "slice 5", True),
    ],
)
def test_the_same_text_in_another_form_makes_no_pair(one, other, alike):
    assert are_alike(one, other) is are_alike(other, one) is alike
    found = choose_pairs(candidates("p", (one, 1.0), (other, 0.0)), margin=0.1, per_prompt=1)
    assert len(found.pairs) == (not alike)


def test_marks_of_turns_and_pictures_are_cut_off_the_end_and_left_out_elsewhere():
    rows = candidates(
        "p", ("good<|im_end|>", 1.0), ("bad</s>", 0.0), ("see <image>", 0.1), ("a<|im_start|>user", 0.2)
    )
    found = choose_pairs(rows, margin=0.1, per_prompt=2)
    assert [(pair.chosen.text, pair.rejected.text) for pair in found.pairs] == [("good", "bad")]
    assert found.completions == {
        "completion with the mark of a turn or a picture": 2, "in pairs": 2, "repeats of another": 0, "not chosen": 0
    }  # fmt: skip


def test_an_answer_that_was_cut_off_is_not_what_is_learned():
    rows = [scored("good but cut", 1.0, truncated=True), scored("fair", 0.6), scored("bad", 0.0)]
    pair = choose_pairs(rows, margin=0.1, per_prompt=1, truncated="avoid").pairs[0]
    assert (pair.chosen.text, pair.rejected.text) == ("fair", "bad")
    none = choose_pairs(rows[:2], margin=0.1, per_prompt=1, truncated="avoid")
    assert none.dropped == {"prompt whose better completions were cut off": 1}
    assert best_completions(rows, threshold=0.5, truncated="avoid")[0][0].text == "fair"
    assert best_completions(rows, threshold=0.5, truncated="keep")[0][0].text == "good but cut"


def test_a_prompt_whose_completions_were_all_cut_off_makes_pairs_that_the_card_warns_of():
    from medgrpo.preference.card import card_of, warnings_of

    rows = [scored("good", 1.0, truncated=True), scored("bad", 0.0, truncated=True)]
    found = choose_pairs(rows, margin=0.1, per_prompt=1, truncated="avoid")
    assert len(found.pairs) == 1
    card = card_of(found, {"p": {"question": "?"}}, settings={}, sources=[], left_out={}, agreement=None)
    assert any("100% of the chosen completions were cut off" in line for line in warnings_of(card))
    assert best_completions(rows, threshold=0.5, truncated="avoid")[0] == []


def test_completions_that_were_cut_off_are_avoided_or_dropped():
    rows = [scored("good", 1.0), scored("bad", 0.1), scored("cut", 0.0, truncated=True)]

    def rejected(truncated):
        return choose_pairs(rows, margin=0.1, per_prompt=1, truncated=truncated).pairs[0].rejected.text

    assert rejected("keep") == "cut"
    assert rejected("avoid") == rejected("drop") == "bad"
    only_cut = [rows[0], rows[2]]
    found = choose_pairs(only_cut, margin=0.1, per_prompt=1, truncated="avoid")
    assert found.pairs[0].rejected.text == "cut"
    assert found.truncation_bias() == {"chosen": None, "rejected": 1.0}
    assert (
        choose_pairs(only_cut, margin=0.1, per_prompt=1, truncated="drop").dropped["completion cut off"] == 1
    )


def test_rules_hold_for_the_side_they_name():
    rows = [
        scored("a", 1.0, format=0.0),
        scored("b", 0.8, format=1.0),
        scored("c", 0.1, format=0.0),
        scored("d", 0.0, format=1.0),
    ]
    rules = [Rule.parse("chosen:format>=1"), Rule.parse("rejected: format < 1")]
    pair = choose_pairs(rows, margin=0.1, per_prompt=1, rules=rules).pairs[0]
    assert (pair.chosen.text, pair.rejected.text) == ("b", "c")
    with pytest.raises(UsageError, match="no completion has a component 'formt'"):
        choose_pairs(rows, margin=0.1, per_prompt=1, rules=[Rule.parse("chosen:formt>=1")])
    with pytest.raises(UsageError, match="is no rule"):
        Rule.parse("format>1")


def test_only_completions_of_the_steps_asked_for_count():
    rows = [Candidate("p", f"t{step}", step / 10, "r", step=step) for step in range(10)]
    found = choose_pairs(rows, margin=0.05, per_prompt=9, steps=(3, 6))
    assert {pair.chosen.text for pair in found.pairs} == {"t6", "t5"}
    assert found.completions["completion of another step"] == 6


def test_lengths_are_balanced_by_leaving_out_the_longest():
    def pair(prompt, chosen, rejected):
        return Pair(
            prompt, Candidate(prompt, "c" * chosen, 1.0, ""), Candidate(prompt, "r" * rejected, 0.0, "")
        )

    pairs = PairSet([pair(f"l{n}", 10 + n, 2) for n in range(8)] + [pair(f"s{n}", 2, 5) for n in range(4)])
    found = balance_length(pairs)
    assert found.length_bias()["chosen_longer"] == pytest.approx(0.6)  # 6 of 10
    assert {one.prompt_id for one in pairs.pairs} - {one.prompt_id for one in found.pairs} == {"l6", "l7"}
    assert found.dropped == {"pair left out to balance lengths": 2}


def test_types_get_no_more_than_an_even_share():
    pairs = PairSet(
        [
            Pair(f"{kind}{n}", Candidate("", "a", 1.0 - n / 100, ""), Candidate("", "b", 0.0, ""))
            for kind, count in (("x", 8), ("y", 1), ("z", 3))
            for n in range(count)
        ]
    )
    found = balance_types(pairs, {pair.prompt_id: pair.prompt_id[0] for pair in pairs.pairs})
    assert Counter(pair.prompt_id[0] for pair in found.pairs) == {"x": 4, "y": 1, "z": 3}
    assert {pair.prompt_id for pair in found.pairs if pair.prompt_id[0] == "x"} == {"x0", "x1", "x2", "x3"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from("pqr"),
            st.text("abA. ", min_size=0, max_size=3),
            st.one_of(st.floats(0, 1), st.just(float("nan"))),
            st.booleans(),
            st.floats(0, 1),
        ),
        max_size=40,
    ),
    st.floats(0, 1),
    st.integers(1, 3),
    st.sampled_from(["widest", "nearest", "hard"]),
    st.sampled_from(["keep", "avoid", "drop"]),
    st.booleans(),
)
def test_chosen_beats_rejected_and_all_counts_add_up(rows, margin, per_prompt, choose, truncated, balances):
    made = [
        Candidate(p, t, r, "", truncated=cut, components={"format": 1.0, "answer_match": match})
        for p, t, r, cut, match in rows
    ]
    found = choose_pairs(made, margin=margin, per_prompt=per_prompt, choose=choose, truncated=truncated)
    if balances:
        found = balance_length(balance_types(found, {"p": "one", "q": "one", "r": "two"}))
    for pair in found.pairs:
        assert pair.chosen.prompt_id == pair.rejected.prompt_id == pair.prompt_id  # so never another picture
        assert pair.margin >= margin - 1e-9
        assert not are_alike(pair.chosen.text, pair.rejected.text)
        assert pair.chosen.text.strip() != pair.rejected.text.strip()
        assert not (truncated == "drop" and (pair.chosen.truncated or pair.rejected.truncated))
        if truncated == "avoid" and pair.chosen.truncated:
            usable = [
                one
                for one in made
                if one.prompt_id == pair.prompt_id and one.text.strip() and one.reward == one.reward
            ]
            whole = {one.text.strip() for one in usable} - {
                one.text.strip() for one in usable if one.truncated
            }
            assert not whole
    assert sum(found.completions.values()) == len(made)
    assert sum(found.prompts.values()) == len({one.prompt_id for one in made})
    assert found.completions["in pairs"] == 2 * len(found.pairs)
    best, counted = best_completions(made, threshold=margin)
    assert all(one.reward >= margin and not one.truncated for one in best)
    assert len({one.prompt_id for one in best}) == len(best)
    assert sum(counted.completions.values()) == len(made)
    assert sum(counted.prompts.values()) == len({one.prompt_id for one in made})


def test_the_best_completion_of_each_prompt_is_taken_once():
    rows = [
        *candidates("p", ("good", 0.9), ("good", 0.9), ("better", 1.0), ("bad", 0.1)),
        *candidates("q", ("poor", 0.5)),
    ]
    best, counted = best_completions(rows, threshold=0.8)
    assert [(one.prompt_id, one.text) for one in best] == [("p", "better")]
    assert counted.dropped == {"prompt below the threshold": 1}


def test_rewards_that_differ_by_the_margin_but_for_rounding_make_a_pair():
    candidates = [Candidate("p", "good", 0.9, "run"), Candidate("p", "bad", 0.8, "run")]
    assert 0.9 - 0.8 < 0.1
    assert len(choose_pairs(candidates, margin=0.1, per_prompt=1).pairs) == 1
    assert not choose_pairs(candidates, margin=0.11, per_prompt=1).pairs


@pytest.mark.parametrize(
    "words", [["--margin", "nan"], ["--threshold", "inf", "--kind", "sft"], ["--export-review", "sheet.html"]]
)
def test_options_that_can_mean_nothing_are_refused(words, tmp_path):
    """With a margin of NaN no difference is below it: equal rewards made pairs."""
    from typer.testing import CliRunner

    from medgrpo.cli.make_dpo import app

    done = CliRunner().invoke(app, [str(tmp_path), *words])
    assert isinstance(done.exception, UsageError)
    assert words[1] in str(done.exception)

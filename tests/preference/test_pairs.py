from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgrpo.preference.pairs import Candidate, Pair, PairSet, choose_pairs


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
    assert all(pair.margin >= margin and pair.chosen.text != pair.rejected.text for pair in found.pairs)
    used = Counter(
        (pair.prompt_id, text) for pair in found.pairs for text in (pair.chosen.text, pair.rejected.text)
    )
    assert all(count == 1 for count in used.values())
    assert all(count <= per_prompt for count in Counter(pair.prompt_id for pair in found.pairs).values())

"""The sum of rewards: weights, unjudged rows, the gate, groups, errors."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.rewards.composite import CompositeReward, group_statistics
from medgrpo.rewards.plugins import RewardError
from medgrpo.rewards.weights import WEIGHT_SETS, normalised, resolve_weights


def first(completions, a=None, **_):
    return a


def second(completions, b=None, **_):
    return b


def fussy(completions, **_):
    if "bad" in completions:
        raise KeyError("bad")
    return [1.0] * len(completions)


def composite(weights, **options):
    functions = {"first": first, "second": second, "fussy": fussy}
    return CompositeReward(weights, rewards=functions, **options)


def score(reward, a, b, **options):
    return composite(reward, **options).score([""] * len(a), {"a": a, "b": b})


def test_weights_are_divided_by_their_sum():
    # (3·1 + 1·0.5) / 4
    assert score({"first": 3, "second": 1}, [1.0], [0.5]).total[0] == pytest.approx(0.875)


def test_a_component_that_cannot_judge_leaves_the_row_and_the_rest_is_rescaled():
    table = score({"first": 0.2, "second": 0.8}, [1.0, None, 0.0], [None, 0.5, 1.0])
    np.testing.assert_allclose(table.total, [1.0, 0.5, 0.8])
    assert table.coverage == {"first": pytest.approx(2 / 3), "second": pytest.approx(2 / 3)}


def test_a_row_that_nothing_judges_has_no_total():
    table = score({"first": 1, "second": 1}, [None], [None])
    assert math.isnan(table.total[0])
    assert composite({"first": 1}).__call__([""], a=[None]) == [None]


def test_a_weight_of_zero_is_logged_and_not_summed():
    table = score({"first": 1, "second": 0}, [0.25, None], [1.0, 1.0])
    assert table.total[0] == 0.25
    assert math.isnan(table.total[1])
    assert table.means["second"] == 1.0


def test_the_gate_multiplies_the_total_and_need_not_be_weighted():
    table = score({"first": 1}, [1.0, 1.0, 1.0], [0.0, 1.0, None], gate="second")
    np.testing.assert_allclose(table.total, [0.0, 1.0, 1.0])
    assert table.names == ("first", "second")


def test_means_leave_out_rows_that_were_not_judged():
    table = score({"first": 1, "second": 1}, [1.0, 0.0, None], [1.0, 1.0, 1.0])
    assert table.means["first"] == 0.5
    assert table.stds["first"] == pytest.approx(np.std([1, 0], ddof=1))


def test_no_rows_give_an_empty_table():
    table = score({"first": 1, "second": 1}, [], [])
    assert len(table) == 0
    assert table.coverage == {"first": 0.0, "second": 0.0}
    assert math.isnan(table.means["total"])


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"first": -1.0}, "negative"),
        ({"first": 0.0, "second": 0.0}, "every weight is zero"),
        ({}, "no rewards"),
        ({"first": math.nan}, "nan"),
        ({"answer_mach": 1.0}, "answer_mach"),
        ("balancd", "balancd"),
        ("format=.2,answer_match=x", "'x'"),
    ],
)
def test_weights_that_cannot_work_are_refused_when_built(weights, words):
    with pytest.raises(UsageError, match=words):
        composite(weights)


def test_an_unknown_reward_is_answered_with_the_nearest_name():
    with pytest.raises(UsageError) as error:
        CompositeReward({"answer_mach": 1.0})
    assert "did you mean 'answer_match'?" in str(error.value)


def test_named_sets_sum_to_one():
    for name, weights in WEIGHT_SETS.items():
        assert sum(weights.values()) == pytest.approx(1.0), name


def test_equal_weights_follow_the_rewards():
    assert resolve_weights("equal", ["format", "fluency"]) == {"format": 0.5, "fluency": 0.5}
    with pytest.raises(UsageError, match="no weight"):
        resolve_weights("format=1", ["format", "fluency"])
    with pytest.raises(UsageError, match="not among the rewards"):
        resolve_weights("format=1,fluency=1", ["format"])


rows = st.lists(
    st.tuples(*[st.one_of(st.none(), st.floats(0, 1))] * 2, st.floats(0.1, 5), st.floats(0.1, 5)),
    min_size=1,
    max_size=6,
)


@given(rows)
def test_the_total_lies_between_the_components_that_judged(rows):
    a, b, first_weight, second_weight = zip(*rows, strict=True)
    weights = {"first": first_weight[0], "second": second_weight[0]}
    for row, total in enumerate(score(weights, list(a), list(b)).total):
        judged = [value for value in (a[row], b[row]) if value is not None]
        if judged:
            assert min(judged) - 1e-12 <= total <= max(judged) + 1e-12
        else:
            assert math.isnan(total)


def test_stop_names_reward_and_row():
    with pytest.raises(RewardError, match=r"'fussy' failed at row 1: KeyError"):
        composite({"fussy": 1}).score(["good", "bad"], {})
    with pytest.raises(RewardError) as caught:  # in training a row is known by its id
        composite({"fussy": 1}).score(["good", "bad"], {"id": ["first", "second"]})
    assert "row 1 has the id 'second'" in caught.value.hint


def test_skip_counts_the_failed_rows_and_scores_the_others():
    table = composite({"fussy": 1}, on_error="skip").score(["good", "bad", "good"], {})
    np.testing.assert_array_equal(table.total, [1.0, math.nan, 1.0])
    assert table.errors == {"fussy": 1}
    assert "row 1" in table.first_errors["fussy"]


@pytest.mark.parametrize("returned", [[1.0], "ab", [1.0, math.inf], [1.0, "x"], None])
def test_a_reward_that_returns_no_usable_numbers_is_named(returned):
    reward = CompositeReward({"mine": 1}, rewards={"mine": lambda completions, **_: returned})
    with pytest.raises(RewardError, match="'mine'"):
        reward.score(["a", "b"], {})


def test_no_reward_is_offered_a_field_that_leaks_the_answer():
    seen = {}

    def curious(completions, **columns):
        seen.update(columns)
        return [1.0] * len(completions)

    columns = {
        "answer": ["no"],
        "case.findings": ["…"],
        "case.diagnosis": ["…"],
        "topic.title": ["…"],
        "findings": ["…"],
    }
    CompositeReward({"curious": 1}, rewards={"curious": curious}).score(["x"], columns)
    assert set(seen) == {"answer"}


def test_a_group_in_which_a_component_does_not_vary_is_dead_for_it():
    table = score({"first": 1, "second": 1}, [1.0, 1.0, 0.0, 1.0], [0.0, 1.0, None, 1.0])
    statistics = group_statistics(table, 2)
    assert (statistics["first"].groups, statistics["first"].dead) == (2, 1)
    # the second group has one judged row only: no spread can be told
    assert (statistics["second"].groups, statistics["second"].dead) == (1, 0)
    assert statistics["total"].dead == 0


def test_rows_that_do_not_divide_into_groups_are_refused():
    with pytest.raises(ValueError, match="3 rows"):
        group_statistics(score({"first": 1}, [1.0] * 3, [None] * 3), 2)


def test_normalize_then_sum_agrees_with_the_arithmetic_of_trl():
    torch = pytest.importorskip("torch")
    from trl.trainer.utils import nanstd

    rng = np.random.default_rng(0)
    a, b = rng.random(12), rng.random(12)
    reward = composite({"first": 0.3, "second": 0.7}, aggregation="normalize_then_sum")
    signal = reward.signal(reward.score([""] * 12, {"a": list(a), "b": list(b)}), 4)
    grouped = torch.tensor(np.stack([a, b], axis=1)).view(3, 4, 2)  # TRL 1.16 grpo_trainer, lines 2791-2796
    standard = (grouped - torch.nanmean(grouped, dim=1, keepdim=True)) / (
        nanstd(grouped, dim=1, keepdim=True) + 1e-4
    )
    expected = (standard.view(-1, 2) * torch.tensor([0.3, 0.7])).nansum(dim=1)
    np.testing.assert_allclose(signal, expected.numpy(), rtol=1e-6)


def test_the_composite_survives_pickling():
    reward = composite({"first": 1, "second": 3}, gate="second")
    copy = pickle.loads(pickle.dumps(reward))
    columns = {"a": [0.5], "b": [1.0]}
    assert copy.score([""], columns).total[0] == reward.score([""], columns).total[0]


def test_trl_hooks_receive_each_component():
    logged, extra = {}, {}
    composite({"first": 1, "second": 1})(
        ["", ""], a=[1.0, None], b=[0.0, 1.0], log_metric=logged.__setitem__, log_extra=extra.__setitem__
    )
    assert logged == {
        "rewards/first/mean": 1.0,
        "rewards/first/coverage": 0.5,
        "rewards/second/mean": 0.5,
        "rewards/second/coverage": 1.0,
    }
    assert extra["first"] == [1.0, None]


def test_normalised_weights_are_shown_beside_the_given_ones():
    reward = composite({"first": 3, "second": 1})
    assert reward.given_weights == {"first": 3, "second": 1}
    assert reward.weights == normalised({"first": 3, "second": 1}) == {"first": 0.75, "second": 0.25}


def test_what_the_tag_set_does_not_ask_for_is_not_judged():
    reward = CompositeReward("balanced", settings={"tags": ("think", "answer")})
    completion = "<think>It shows.</think><answer>yes</answer>"
    table = reward.score([completion], {"answer": ["yes"], "plane": ["axial"], "modality": ["CT"]})
    assert table.total[0] == pytest.approx(1.0)
    assert table.coverage["plane_match"] == table.coverage["modality_match"] == 0.0


REMEMBERS = """
from medgrpo.rewards.masks import DynamicRecallWeight
import numpy as np

class Recall:
    def __init__(self):
        self.recall = DynamicRecallWeight()

    def __call__(self, completions, **columns):
        self.recall.update(np.array([float(text) for text in completions]))
        return [self.recall.weight] * len(completions)

    def state_dict(self):
        return self.recall.state_dict()

    def load_state_dict(self, state):
        self.recall.load_state_dict(state)

class Unsaved(Recall):
    def state_dict(self):
        return {"recall": self.recall}

class Asks:
    def __init__(self, target):
        pass
    def __call__(self, completions, **columns):
        return [1.0]
"""


def test_a_class_is_a_reward_and_what_it_remembers_can_be_taken_along(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(REMEMBERS)
    reward = CompositeReward({f"{path}:Recall": 1.0, "format": 1.0})
    reward.score(["0.9", "0.9"])
    assert reward.state_dict() == {"Recall": {"mean_recall": pytest.approx(0.9)}}
    with reward.unchanged():
        reward.score(["0.0"])
    other = CompositeReward({f"{path}:Recall": 1.0})
    assert other.score(["0.9"]).total[0] == 0.2  # the mean is .9: the low weight holds from here
    other.reset()
    other.load_state_dict(reward.state_dict())
    assert other.state_dict() == {"Recall": {"mean_recall": pytest.approx(0.9)}}
    other.reset()
    assert other.state_dict() == {"Recall": {"mean_recall": None}}


def test_a_state_that_cannot_be_saved_and_a_class_that_wants_arguments_are_refused_at_once(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(REMEMBERS)
    with pytest.raises(MedgrpoError, match="state of the reward 'Unsaved' cannot be saved"):
        CompositeReward({f"{path}:Unsaved": 1.0})
    with pytest.raises(UsageError, match=r"the class 'Asks' in .* cannot be made"):
        CompositeReward({f"{path}:Asks": 1.0})


def wide(completions, **columns):
    return [2.5 for _ in completions]


def test_the_range_of_a_sum_is_known_where_that_of_every_part_is():
    assert CompositeReward("balanced").bounds() == (0.0, 1.0)
    assert CompositeReward("balanced").bounds("answer_match") == (0.0, 1.0)
    own = CompositeReward(
        {"format": 0.5, "dice": 0.5}, rewards={"dice": wide}
    )  # a name of ours, and not ours
    assert own.bounds("dice") is None
    assert own.bounds() is None
    assert CompositeReward({"format": 1, "wide": 0}, rewards={"wide": wide}).bounds() == (0.0, 1.0)

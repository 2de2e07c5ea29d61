"""`curriculum.drop`: rows that the start model always or never solves are left out, and an epoch keeps its steps."""

import numpy as np
import pytest

from medgrpo.config.presets import resolve_run
from medgrpo.config.sections import CurriculumConfig
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.training.before.curriculum import Curriculum, all_at_once, without_rates


@pytest.mark.parametrize(
    ("typed", "shares"), [("0,1", (0.0, 1.0)), ("0", (0.0,)), ("none", ()), ("[0, 0.25]", (0.0, 0.25))]
)
def test_the_shares_are_read_as_people_type_them(typed, shares):
    config = resolve_run("balanced", model="m", assignments=(f"curriculum.drop={typed}",))[0].config
    assert config.curriculum.drop == shares


def test_a_share_above_one_is_refused():
    with pytest.raises(UsageError, match="from 0 to 1"):
        resolve_run("balanced", model="m", assignments=("curriculum.drop=0,100",))


def test_rows_that_are_always_or_never_solved_are_never_asked_and_the_others_come_again():
    rates = np.array([0.0, 0.25, 1.0, 0.5, np.nan, 1.0, 0.75, 0.0])
    difficulty = without_rates(np.zeros(8), rates, (0.0, 1.0), at_least=2)
    assert np.isinf(difficulty).tolist() == [True, False, True, False, False, True, False, True]
    for settings in (all_at_once(CurriculumConfig(drop=(0.0, 1.0))), CurriculumConfig(schedule="sorted")):
        order = Curriculum(difficulty, settings, seed=1, chunk=2, chunks=12)
        for epoch in range(3):
            rows = order.order(epoch)
            assert len(rows) == 8  # 4 steps of 2 prompts, as many as without
            assert set(rows) == {1, 3, 4, 6}
            assert sorted(rows).count(1) == 2
        assert 0 <= order.log_entries(3)["curriculum/difficulty"] <= 1


def test_a_row_that_nothing_is_dropped_of_has_the_order_that_it_had():
    difficulty = np.arange(10.0)
    before = Curriculum(
        difficulty, CurriculumConfig(by="pass_rate", schedule="sorted"), seed=3, chunk=3, chunks=9
    )
    assert sorted(before.order(0)) == sorted(set(before.order(0)))  # 9 of 10, none twice
    assert len(before.order(0)) == 9


def test_too_few_rows_are_said_with_what_to_type():
    with pytest.raises(MedgrpoError, match="leaves 1 of 4 rows") as raised:
        without_rates(np.zeros(4), np.array([0.0, 1.0, 1.0, 0.5]), (0.0, 1.0), at_least=2)
    assert "curriculum.drop=none" in raised.value.hint

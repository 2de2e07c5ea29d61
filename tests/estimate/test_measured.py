"""The estimate beside runs that were measured, ours and others'; what it was fitted to does not count."""

import pytest

from medgrpo.estimate.measured import markdown, residual, rows, summary


@pytest.fixture(scope="module")
def found():
    return [residual(row) for row in rows()]


def test_fit_and_test_are_apart_and_every_row_says_where_it_is_from(found):
    assert {one.row.use for one in found} <= {"fit", "test", "older"}
    assert sum(one.row.use == "test" for one in found) >= 30
    assert all(one.row.note for one in found if one.row.is_older)  # what that code did that is no longer done
    assert sum(one.row.is_fit for one in found) < len(found) / 3
    assert all(one.row.source for one in found)
    assert len({one.row.name for one in found}) == len(found)


def test_four_of_five_rows_outside_the_fit_lie_in_the_stated_range(found):
    assert summary(found)["inside_the_range"] >= 0.8


def test_the_table_prints_every_row(found):
    text = markdown(found)
    assert all(text.count(f"| {one.row.name} | ") == 1 for one in found)

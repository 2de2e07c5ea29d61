"""What is checked before a run loads anything heavy."""

import pytest

from medgrpo.config.sections import RunConfig
from medgrpo.data.demo import DemoSize, write_demo_dataset
from medgrpo.errors import MedgrpoError
from medgrpo.rewards.plugins import RewardError
from medgrpo.training.preflight import preflight

PLUGIN = """
def stumbles(completions, answer, **_):
    return [1.0 / (text != 'yes') for text in answer]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "demo"
    write_demo_dataset(path, size=DemoSize(train=60, validation=8, test=8))
    return path


def checked(data, **rewards):
    return preflight(RunConfig(data={"path": str(data)}, rewards=rewards))


def test_a_sound_run_has_nothing_to_be_warned_of_in_its_rewards(data):
    assert not [warning for warning in checked(data).warnings if "reward" in warning or "cheat" in warning]


def test_an_audit_above_the_limit_stops_the_run_before_it_starts(data):
    with pytest.raises(MedgrpoError, match=r"the cheat .* earns 0\.\d+ of what the references earn"):
        checked(data, audit_limit=0.1)
    checked(data, audit_limit=1.0)


def test_a_plugin_that_raises_is_named_with_its_row(data, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    with pytest.raises(RewardError, match=r"'stumbles' failed at row \d+: ZeroDivisionError") as caught:
        checked(data, weights={f"{path}:stumbles": 1.0})
    assert "of the data" in caught.value.hint


def test_a_plugin_that_raises_may_be_skipped(data, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    weights = {f"{path}:stumbles": 0.5, "answer_match": 0.5}
    warnings = checked(data, weights=weights, on_error="skip").warnings
    assert any("stumbles failed on" in warning and "trial rows" in warning for warning in warnings)

"""Targets: reading them, and what becomes of each."""

import pytest

from medgrpo.errors import UsageError
from medgrpo.evaluation.targets import Target, judge_targets, load_targets


def test_the_shipped_targets_are_those_of_the_first_stage():
    found = {target.metric: (target.wanted, target.hoped) for target in load_targets("stage1")}
    assert found == {
        "answer_match": (0.75, 0.85),
        "format": (0.95, None),
        "plane": (0.60, 0.70),
        "modality": (0.50, 0.60),
        "reward": (0.75, 0.85),
    }


@pytest.mark.parametrize(
    ("value", "low", "high", "reached", "verdict"),
    [
        (0.80, 0.76, 0.84, True, "reached"),
        (0.80, 0.70, 0.90, True, "reached, within the interval"),
        (0.70, 0.60, 0.80, False, "not reached, within the interval"),
        (0.50, 0.40, 0.60, False, "not reached"),
        (0.75, 0.75, 0.80, True, "reached"),
        (None, None, None, None, "not measured"),
    ],
)
def test_what_becomes_of_a_target(value, low, high, reached, verdict):
    found = judge_targets([Target("closed", 0.75)], {"closed": {"value": value, "low": low, "high": high}})[0]
    assert found["reached"] is reached
    assert found["verdict"] == verdict


def test_a_targets_file_is_read(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[targets]\nclosed = 0.9\nopen_token_f1 = [0.4, 0.5]\n")
    assert load_targets(file) == [Target("closed", 0.9), Target("open_token_f1", 0.4, 0.5)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("acuracy = 0.5", "no metric in"),
        ("closed = 75", "closed = 75"),
        ('closed = "high"', "closed = 'high'"),
        ("closed = []", "closed = "),
        ("closed = ", "not valid TOML"),
    ],
)
def test_a_wrong_targets_file_says_what_is_wrong(tmp_path, text, words):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=words):
        load_targets(file)


def test_an_unknown_set_suggests_the_nearest():
    with pytest.raises(UsageError) as caught:
        load_targets("stage2")
    assert "stage1" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="no targets at"):
        load_targets(tmp_path / "none.toml")


def test_a_file_that_is_no_text_is_named(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_bytes(b"[targets]\nclosed = 0.5 # \xb4\n")
    with pytest.raises(UsageError, match="not UTF-8: invalid start byte at byte 25"):
        load_targets(file)

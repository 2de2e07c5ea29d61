"""Rewards by name: built in, from files, from installed packages."""

import importlib
import pickle

import pytest

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.rewards import registry
from medgrpo.rewards.registry import load_reward


@pytest.fixture
def reward_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def length(completions, **_):\n    return [float(len(c)) / 10 for c in completions]\n"
        "def narrow(completions, answer):\n    return [1.0 if c == a else 0.0 for c, a in zip(completions, answer)]\n"
        "async def slow(completions, **_):\n    return [0.5] * len(completions)\n"
    )
    return file


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package with an entry point, installed by being on the path as pip leaves it."""
    (tmp_path / "ward_rewards.py").write_text(
        "def kind(completions, **_):\n    return [1.0] * len(completions)\n"
    )
    info = tmp_path / "ward_rewards-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ward-rewards\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[medgrpo.rewards]\nkind = ward_rewards:kind\nbroken = no_such_module:f\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    registry._entry_points.cache_clear()
    yield
    registry._entry_points.cache_clear()


@pytest.mark.parametrize("name", [n for n, module in registry.BUILT_IN.items() if module.endswith(".text")])
def test_every_text_reward_loads_and_pickles(name):
    reward = load_reward(name)
    assert pickle.loads(pickle.dumps(reward))(completions=[], answer=[]) == []


def test_a_reward_comes_from_a_file_and_pickles_by_its_name(reward_file):
    reward = load_reward(f"{reward_file}:length")
    assert reward.__name__ == "length"
    assert pickle.loads(pickle.dumps(reward))(["abcd"], question=["?"]) == [0.4]


def test_a_function_without_kwargs_gets_only_the_columns_that_it_names(reward_file):
    assert load_reward(f"{reward_file}:narrow")(["a", "b"], answer=["a", "a"], plane=["x", "y"]) == [1.0, 0.0]


def test_an_asynchronous_reward_is_awaited(reward_file):
    assert load_reward(f"{reward_file}:slow")(["a", "b"]) == [0.5, 0.5]


def test_a_misspelt_function_is_answered_with_the_nearest(reward_file):
    with pytest.raises(UsageError) as error:
        load_reward(f"{reward_file}:lenght")
    assert error.value.hint == "did you mean 'length'?"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"no file .*gone\.py"):
        load_reward(f"{tmp_path}/gone.py:f")


def test_a_file_that_does_not_import_says_why(tmp_path):
    (tmp_path / "broken.py").write_text("import no_such_package_at_all\n")
    with pytest.raises(MedgrpoError, match="no_such_package_at_all"):
        load_reward(f"{tmp_path}/broken.py:f")


@pytest.mark.usefixtures("installed")
def test_a_reward_comes_from_an_installed_package():
    assert load_reward("kind")(["x"]) == [1.0]
    assert "kind" in registry.reward_names()


@pytest.mark.usefixtures("installed")
def test_an_entry_point_that_does_not_import_is_named():
    with pytest.raises(MedgrpoError, match="'broken'"):
        load_reward("broken")


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(UsageError) as error:
        load_reward("fluencie")
    assert "'fluency'" in str(error.value)
    assert "file.py:function" in str(error.value)

"""A user's reward that hangs, exits, empties its arguments or goes elsewhere harms itself alone, by name."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medgrpo.cli.main import main
from medgrpo.errors import MedgrpoError
from medgrpo.rewards.composite import CompositeReward
from medgrpo.rewards.contained import RewardTimeout
from medgrpo.rewards.plugins import RewardError

ROWS = {"answer": ["yes", "no", "yes"], "id": ["a", "b", "c"]}
SAID = ["yes", "no", "maybe"]

BAD = """
import os, re, sys, time

def sleeps(completions, **columns):
    time.sleep(60)

def loops(completions, **columns):
    while True:
        try:
            sum(range(1000))
        except Exception:
            pass

def backtracks(completions, **columns):
    re.fullmatch(r"(a+)+b", "a" * 60)

def sleeps_on_no(completions, **columns):
    if "no" in completions:
        time.sleep(60)
    return [1.0] * len(completions)

def leaves(completions, **columns):
    sys.exit(0)

def leaves_on_no(completions, **columns):
    if "no" in completions:
        raise SystemExit(3)
    return [0.5] * len(completions)

class Odd(BaseException):
    pass

def raises_what_nobody_catches(completions, **columns):
    raise Odd("over")

def clears(completions, answer, **columns):
    values = [1.0] * len(completions)
    for one in (completions, answer, *columns.values()):
        if isinstance(one, list):
            one.clear()
    return values

def overwrites(completions, **columns):
    for message in completions:
        message[0]["content"] = "gone"
    return [1.0] * len(completions)

def goes(completions, **columns):
    os.chdir("/")
    return [1.0] * len(completions)
"""


@pytest.fixture
def bad(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text(BAD)
    return lambda name: f"{file}:{name}"


def test_an_error_that_no_library_would_catch_names_the_reward(bad):
    with pytest.raises(RewardError, match="Odd: over"):
        CompositeReward({bad("raises_what_nobody_catches"): 1.0}).score(SAID, ROWS)


@pytest.mark.parametrize("name", ["sleeps", "loops", "backtracks"])
def test_a_reward_that_hangs_is_named_after_its_time(bad, name):
    composite = CompositeReward({bad(name): 1.0}, timeout_s=0.2)
    started = time.monotonic()
    with pytest.raises(RewardTimeout, match=rf"'{name}' failed: it took longer than 0.2 s"):
        composite.score(SAID, ROWS)
    assert time.monotonic() - started < 10


def test_a_row_that_hangs_costs_that_row_when_errors_are_skipped(bad):
    composite = CompositeReward({bad("sleeps_on_no"): 1.0}, timeout_s=0.3, on_error="skip")
    table = composite.score(SAID, ROWS)
    assert table.errors == {"sleeps_on_no": 1}
    assert "took longer" in table.first_errors["sleeps_on_no"]
    assert table.total[[0, 2]].tolist() == [1.0, 1.0]


def test_a_reward_in_time_is_not_disturbed_and_no_alarm_stays(bad):
    import signal

    composite = CompositeReward(
        {"answer_match": 1.0, bad("clears"): 1.0}, timeout_s=0.5, settings={"plain": True}
    )
    assert composite.score(SAID, ROWS).total.tolist() == [1.0, 1.0, 0.5]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    time.sleep(0.6)  # an alarm that stayed would ring now


def test_a_reward_that_ends_the_program_is_an_error(bad):
    with pytest.raises(RewardError, match="it tried to end the program"):
        CompositeReward({bad("leaves"): 1.0}).score(SAID, ROWS)
    table = CompositeReward({bad("leaves_on_no"): 1.0}, on_error="skip").score(SAID, ROWS)
    assert table.errors == {"leaves_on_no": 1}


def test_a_file_that_ends_the_program_does_not_import(tmp_path):
    file = tmp_path / "leaves.py"
    file.write_text("import sys\nsys.exit(0)\ndef f(completions): return [1.0]\n")
    with pytest.raises(MedgrpoError, match="does not import: SystemExit"):
        CompositeReward({f"{file}:f": 1.0})


def test_arguments_are_the_rewards_own(bad):
    columns = {key: list(values) for key, values in ROWS.items()}
    said = list(SAID)
    CompositeReward({bad("clears"): 1.0}).score(said, columns)
    assert (said, columns) == (SAID, ROWS)
    messages = [[{"role": "assistant", "content": text}] for text in SAID]
    CompositeReward({bad("overwrites"): 1.0}).score(messages, columns)
    assert [message[0]["content"] for message in messages] == SAID


def test_the_working_directory_is_put_back_and_the_reward_named(bad):
    before = os.getcwd()
    with pytest.warns(RuntimeWarning, match="'goes' changed the working directory to /"):
        CompositeReward({bad("goes"): 1.0}).score(SAID, ROWS)
    assert os.getcwd() == before


def test_score_does_not_end_as_if_it_were_done(bad, tmp_path, capsys):
    file = Path(tmp_path / "said.jsonl")
    file.write_text("".join(json.dumps({"completion": text, "answer": "yes"}) + "\n" for text in SAID))
    for name, words in (("leaves", "tried to end the program"), ("sleeps", "took longer than 0.2 s")):
        with pytest.raises(SystemExit) as ended:
            main(["score", str(file), "--rewards", bad(name), "--reward-timeout", "0.2"])
        assert ended.value.code == 1
        assert words in capsys.readouterr().err


def test_a_reward_may_start_a_script_that_imports_its_neighbour(tmp_path):
    (tmp_path / "mine.py").write_text("import neighbour\nprint(neighbour.found)\n")
    (tmp_path / "neighbour.py").write_text("found = 1.0\n")
    (tmp_path / "r.py").write_text(
        "import os, subprocess, sys\n"
        "def said(): return subprocess.run([sys.executable, os.path.join(os.path.dirname(__file__), 'mine.py')], "
        "capture_output=True, text=True).stdout\n"
        "ON_IMPORT = said()\n"
        "def mine(completions, **_): return [float(said()) + float(ON_IMPORT)] * len(completions)\n"
    )
    (tmp_path / "rows.jsonl").write_text(
        '{"id": "1", "question": "q?", "answer": "yes", "completion": "yes"}\n'
    )
    called = (
        "from medgrpo.cli.main import main\n"
        "try: main(['score', 'rows.jsonl', '--weights', 'r.py:mine=1', '--json'])\n"
        "except SystemExit as ended: assert not ended.code\n"
        "import os; print(os.environ['PYTHONSAFEPATH'])\n"
    )
    given = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    for before, after in (({}, "medgrpo"), ({"PYTHONSAFEPATH": "medgrpo"}, "medgrpo")):
        done = subprocess.run(
            [sys.executable, "-c", called],
            env={**given, **before},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        *said, variable = done.stdout.strip().splitlines()
        assert json.loads("\n".join(said))["rewards"]["mine"]["mean"] == 2.0
        assert variable == after  # what medgrpo itself starts later imports nothing from the working folder


def test_overlapping_rewards_put_the_variable_back_once(monkeypatch):
    from medgrpo.safe_path import VARIABLE, as_the_person_has_it, set_for_children

    monkeypatch.delenv(VARIABLE, raising=False)
    set_for_children()
    one, other = as_the_person_has_it(), as_the_person_has_it()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert VARIABLE not in os.environ
    other.__exit__(None, None, None)
    assert os.environ[VARIABLE] == "medgrpo"
    monkeypatch.setenv(VARIABLE, "1")  # a person's own word stays
    with as_the_person_has_it():
        assert os.environ[VARIABLE] == "1"

"""Generation that was interrupted goes on where it was, with the same settings only."""

import json

import pytest

from medgrpo.generation.generate import Generated
from medgrpo.generation.resumable import generate_resumably

ROWS = [{"id": f"r{i}"} for i in range(5)]


class Recorder:
    """Answers rows backwards, as longest-first generation may; can fail after some."""

    def __init__(self, fail_after=None):
        self.asked = []
        self.fail_after = fail_after

    def __call__(self, rows):
        for index in reversed(range(len(rows))):
            if self.fail_after is not None and len(self.asked) >= self.fail_after:
                raise KeyboardInterrupt
            self.asked.append(rows[index]["id"])
            yield Generated(index, rows[index], [f"answer to {rows[index]['id']}"], [False], [3])


def texts(completed):
    return [one["completions"][0] for one in completed]


EXPECTED = [f"answer to r{i}" for i in range(5)]


def test_completions_come_in_the_order_of_the_rows(tmp_path):
    assert texts(generate_resumably(ROWS, Recorder(), tmp_path / "g.jsonl", {"a": 1})) == EXPECTED


def test_an_interrupted_run_asks_only_for_the_rest(tmp_path):
    file = tmp_path / "deep" / "g.jsonl"
    with pytest.raises(KeyboardInterrupt):
        generate_resumably(ROWS, Recorder(fail_after=2), file, {"a": 1})
    again, found = Recorder(), []
    assert texts(generate_resumably(ROWS, again, file, {"a": 1}, on_resume=found.append)) == EXPECTED
    assert again.asked == ["r2", "r1", "r0"]
    assert found == [2]


def test_a_finished_run_asks_nothing(tmp_path):
    generate_resumably(ROWS, Recorder(), tmp_path / "g.jsonl", {"a": 1})
    again = Recorder()
    assert texts(generate_resumably(ROWS, again, tmp_path / "g.jsonl", {"a": 1})) == EXPECTED
    assert again.asked == []


def test_other_settings_start_anew(tmp_path):
    generate_resumably(ROWS, Recorder(), tmp_path / "g.jsonl", {"temperature": 0})
    again = Recorder()
    generate_resumably(ROWS, again, tmp_path / "g.jsonl", {"temperature": 1})
    assert len(again.asked) == 5
    assert len((tmp_path / "g.jsonl").read_text().splitlines()) == 6


def test_a_line_that_a_kill_cut_off_is_generated_again(tmp_path):
    file = tmp_path / "g.jsonl"
    generate_resumably(ROWS, Recorder(), file, {"a": 1})
    file.write_bytes(file.read_bytes()[:-20])
    again = Recorder()
    assert texts(generate_resumably(ROWS, again, file, {"a": 1})) == EXPECTED
    assert again.asked == ["r0"]
    assert all(json.loads(line) for line in file.read_text().splitlines())


def test_a_larger_limit_keeps_what_is_there(tmp_path):
    generate_resumably(ROWS[:2], Recorder(), tmp_path / "g.jsonl", {})
    again = Recorder()
    assert texts(generate_resumably(ROWS, again, tmp_path / "g.jsonl", {})) == EXPECTED
    assert again.asked == ["r4", "r3", "r2"]


def test_nothing_is_kept_without_a_file():
    assert texts(generate_resumably(ROWS, Recorder(), None, {})) == EXPECTED

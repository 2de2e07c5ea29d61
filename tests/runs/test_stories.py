"""Stored completions: how one question's answers changed, and whether a group repeats itself."""

import json

import pytest

from medgrpo.runs.health import assess
from medgrpo.runs.record import RunRecord
from medgrpo.runs.report.answers import stories_section
from medgrpo.runs.store import read_rows
from medgrpo.runs.stories import stories, variety


def rows(steps, texts, reward=lambda step, i: step / 10, prompt="p1"):
    return [
        {
            "stage": "grpo",
            "step": step,
            "prompt_id": prompt,
            "question": f"what of {prompt}?",
            "answer": "yes",
            "completion": texts(step, i),
            "reward": reward(step, i),
        }
        for step in steps
        for i in range(4)
    ]


def test_the_question_whose_reward_moved_most_comes_first():
    moved = rows([1, 5, 9], lambda step, i: f"{step}-{i}", prompt="moved")
    still = rows([1, 9], lambda step, i: "same", reward=lambda step, i: 0.5, prompt="still")
    once = rows([3], lambda step, i: "once", prompt="once")
    found = stories([*still, *once, *moved])
    assert [story.question for story in found] == ["what of moved?", "what of still?"]
    assert [group.step for group in found[0].groups] == [1, 5, 9]
    assert found[0].change == pytest.approx(0.8)  # .1 at step 1, .9 at step 9


def test_within_one_epoch_the_same_words_about_other_pictures_are_followed():
    first, second = rows([1], lambda s, i: "a", prompt="p1"), rows([2], lambda s, i: "b", prompt="p2")
    asked = [{**row, "question": "which plane?", "answer": row["prompt_id"]} for row in [*first, *second]]
    (story,) = stories(asked)
    answers = [group.answer for group in story.groups]
    assert (story.question, story.same, answers) == ("which plane?", "question", ["p1", "p2"])
    (story,) = stories([*first, *second])  # nothing in common: one question a step
    assert (story.same, [group.question for group in story.groups]) == (
        "nothing",
        ["what of p1?", "what of p2?"],
    )
    assert "what of p2?" in stories_section([(0, "run", [story])])


def test_at_most_eight_steps_are_shown_the_first_and_the_last_among_them():
    (story,) = stories(rows(range(1, 101), lambda step, i: "x"))
    steps = [group.step for group in story.groups]
    assert len(steps) == 8
    assert (steps[0], steps[-1]) == (1, 100)


def test_parts_and_spool_are_read_and_abandoned_ones_left_out(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    folder = tmp_path / "completions"
    folder.mkdir()
    stored = rows([1, 2], lambda step, i: f"stored {step}")
    table = pa.Table.from_pylist([{**row, "abandoned": row["step"] == 2} for row in stored])
    pq.write_table(table, folder / "part-00001.parquet")
    (folder / "spool.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows([3], lambda s, i: "new")) + '{"cut'
    )
    assert sorted({row["completion"] for row in read_rows(tmp_path)}) == ["new", "stored 1"]


def test_variety_is_the_share_of_completions_that_differ():
    repeated = variety(rows(range(20), lambda step, i: "same", reward=lambda step, i: 0.5))
    assert (repeated.distinct, repeated.groups, repeated.repeated_reward) == (0.0, 4, 1.0)
    # two kinds among four completions: 1 of 3 possible
    assert variety(rows(range(20), lambda step, i: str(i % 2))).distinct == pytest.approx(1 / 3)
    assert variety(rows(range(20), lambda step, i: str(i))).repeated_reward is None
    assert variety(rows([1], lambda step, i: "same")) is None


@pytest.mark.parametrize(("reward_of_the_repeated", "severity"), [(0.2, "abnormal"), (0.95, "info")])
def test_repeated_completions_are_abnormal_unless_they_score(tmp_path, reward_of_the_repeated, severity):
    (tmp_path / "completions").mkdir()
    stuck = rows(range(1, 31), lambda step, i: "same", reward=lambda step, i: reward_of_the_repeated)
    other = rows([30], lambda step, i: str(i), reward=lambda step, i: 1.0, prompt="p2")
    spool = tmp_path / "completions" / "spool.jsonl"
    spool.write_text("".join(json.dumps(row) + "\n" for row in [*stuck, *other]))
    history = [{"step": i, "reward": 0.3 + 0.01 * i} for i in range(1, 31)]
    judged = assess(RunRecord("run", "test", {}, history, folder=tmp_path), completions=True)
    assert [finding.severity for finding in judged.findings if finding.rule == "repetition"] == [severity]


def test_hostile_completions_are_shown_as_text():
    found = stories(rows([1, 2], lambda step, i: "<script>alert(1)</script>\u202e"))
    page = stories_section([(0, "run", found)])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8
    assert "⟨U+202E⟩" in page


def test_rows_on_their_way_into_a_part_are_seen_by_both_readers(tmp_path):
    """A run that was killed while a part was written: its spool bears the part's name."""
    from medgrpo.runs.store import Completion, CompletionStore, read_completions, read_recent_rows

    folder = tmp_path / "completions"
    store = CompletionStore(folder)

    def add(step):
        store.add(
            [
                Completion(
                    "grpo",
                    step,
                    "p",
                    None,
                    [],
                    "q",
                    "a",
                    f"t{step}\u2028\ud83d",
                    3,
                    False,
                    None,
                    0.0,
                    {"r": None},
                )
            ]
        )

    add(1)
    store.close_part()
    add(2)
    (folder / "spool.jsonl").rename(folder / ".part-00002.spool")
    add(3)
    assert [row["step"] for row in read_rows(tmp_path)] == [1, 2, 3]
    assert read_completions(tmp_path)["step"].to_pylist() == [1, 2, 3]
    assert [row["step"] for row in read_recent_rows(tmp_path)] == [2, 3]
    assert read_rows(tmp_path)[2]["completion"] == "t3\u2028?"

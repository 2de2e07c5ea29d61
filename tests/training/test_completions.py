"""The completion store survives a kill and forgets nothing."""

from dataclasses import replace

import pyarrow.parquet as pq

from medgrpo.runs.store import Completion, CompletionStore, read_completions

ONE = Completion(
    stage="grpo",
    step=1,
    prompt_id="a",
    image_id="i",
    images=["images/i.png"],
    question="Is there a lesion?",
    answer="yes",
    completion="<answer>yes</answer>",
    tokens=4,
    truncated=False,
    reward=0.5,
    advantage=1.0,
    rewards={"answer_match": 1.0, "plane_match": None},
)


def test_a_part_closes_after_so_many_steps(tmp_path):
    store = CompletionStore(tmp_path / "completions", steps_per_part=2)
    for step in range(1, 6):
        store.add([replace(ONE, step=step)] * 3)
    parts = sorted((tmp_path / "completions").glob("part-*.parquet"))
    assert [pq.read_table(part)["step"].to_pylist() for part in parts] == [
        [1, 1, 1, 2, 2, 2],
        [3, 3, 3, 4, 4, 4],
    ]
    assert read_completions(tmp_path)["step"].to_pylist() == [s for s in range(1, 6) for _ in range(3)]


def test_components_keep_their_values_and_their_gaps(tmp_path):
    store = CompletionStore(tmp_path / "completions")
    store.add(
        [ONE, replace(ONE, reward=float("nan"), rewards={"answer_match": float("nan"), "plane_match": 0.0})]
    )
    store.close_part()
    table = read_completions(tmp_path).to_pydict()
    assert table["rewards/answer_match"] == [1.0, None]
    assert table["rewards/plane_match"] == [None, 0.0]
    assert table["reward"] == [0.5, None]


def test_what_a_kill_left_in_the_spool_becomes_a_part(tmp_path):
    store = CompletionStore(tmp_path / "completions")
    store.add([ONE, replace(ONE, prompt_id="b")])
    spool = tmp_path / "completions" / "spool.jsonl"
    spool.write_text(spool.read_text() + '{"stage": "grpo", "st')  # the half line of a kill
    assert read_completions(tmp_path)["prompt_id"].to_pylist() == ["a", "b"]
    CompletionStore(tmp_path / "completions")
    assert not spool.exists()
    assert read_completions(tmp_path)["prompt_id"].to_pylist() == ["a", "b"]


def test_line_separators_inside_a_completion_lose_nothing(tmp_path):
    store = CompletionStore(tmp_path / "completions")
    store.add([replace(ONE, completion=f"a{mark}b") for mark in ("\x85", "\u2028", "\u2029", "\x0c", "\r\n")])
    read = read_completions(tmp_path)["completion"].to_pylist()
    assert read == ["a\x85b", "a\u2028b", "a\u2029b", "a\x0cb", "a\r\nb"]
    store.close_part()
    assert read_completions(tmp_path)["completion"].to_pylist() == read


def test_steps_after_the_checkpoint_are_abandoned_not_lost(tmp_path):
    store = CompletionStore(tmp_path / "completions", steps_per_part=2)
    for step in range(1, 5):
        store.add([replace(ONE, step=step)])
    store.add([replace(ONE, stage="other", step=9)])
    assert store.abandon("grpo", 2) == 2
    assert read_completions(tmp_path)["step"].to_pylist() == [1, 2, 9]
    kept = [pq.read_table(part).num_rows for part in (tmp_path / "completions").glob("part-*.parquet")]
    assert sum(kept) == 5

"""Easy rows first: the order is a function of difficulty, seed and epoch."""

import math
import shutil
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medgrpo.config.sections import CurriculumConfig
from medgrpo.data.prepared import PreparedDataset, PreparedWriter
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.records import json_objects
from medgrpo.training.before.curriculum import (
    Curriculum,
    check_column,
    column_difficulty,
    read_difficulty,
    row_difficulty,
    write_difficulty,
)
from medgrpo.training.run.resume import ResumePoint
from medgrpo.training.run.train import train
from medgrpo.training.watch.reporter import SilentReporter
from tests.training.conftest import StopsAt, losses, prompt_order


def curriculum(difficulty, *, chunk=2, chunks=10, seed=0, **settings):
    return Curriculum(
        np.asarray(difficulty, float), CurriculumConfig(**settings), seed=seed, chunk=chunk, chunks=chunks
    )


# --------------------------------------------------------------------------------------------- the order


def test_sorted_asks_from_easy_to_hard_and_leaves_other_rows_out_each_epoch():
    order = curriculum([5, 1, 4, 2, 3], schedule="sorted")
    left_out = set()
    for epoch in range(20):
        rows = order.order(epoch)
        hardness = [[5, 1, 4, 2, 3][row] for row in rows]
        assert hardness == sorted(hardness)
        assert len(rows) == 4  # two chunks of 2
        left_out |= {0, 1, 2, 3, 4} - set(rows)
    assert len(left_out) > 2


def test_staged_asks_the_easiest_until_its_time_and_then_all():
    # 10 rows, 2 a chunk, 10 chunks: until chunk 5, half of the run, only the 3 easiest rows.
    order = curriculum(range(10), schedule="staged", start=0.3, full_at=0.5)
    first, second = order.order(0), order.order(1)
    assert set(first) == {0, 1, 2}
    assert Counter(first) == {0: 4, 1: 3, 2: 3} or max(Counter(first).values()) - 3 <= 1
    assert sorted(second) == list(range(10))


def test_thin_vessels_come_last(tmp_path):
    masks = np.zeros((3, 20, 20), np.uint8)
    masks[0, 5:10] = 255  # five pixels wide: nothing is thin
    masks[1, 3] = masks[1, 10:14] = 255  # a line of 20 pixels beside a vessel of 80: a fifth
    for number, mask in enumerate(masks):
        Image.fromarray(mask).save(tmp_path / f"{number}.png")
    rows = [{"mask": f"{number}.png"} for number in range(3)] + [{"mask": None}]
    settings = CurriculumConfig(by="thin_vessels")
    found = row_difficulty(rows, settings, list, tmp_path)
    np.testing.assert_allclose(found, [0, 0.2, math.nan, math.nan], atol=1e-12)
    assert check_column(rows, settings) == ["1 of 4 rows have no mask: they count as hardest"]
    with pytest.raises(UsageError, match="no row has one"):
        check_column(rows[3:], settings)


def test_linear_lets_more_and_more_rows_in():
    order = curriculum(range(40), chunk=4, chunks=20, schedule="linear", start=0.25, full_at=0.5)
    assert [order.available(chunk) for chunk in (0, 5, 10, 19)] == [0.25, 0.625, 1.0, 1.0]
    rows = order.order(0) + order.order(1)
    for chunk in range(20):
        allowed = math.ceil(order.available(chunk) * 40)
        assert max(rows[chunk * 4 : chunk * 4 + 4]) < allowed
    assert set(rows) == set(range(40))


def test_rows_of_unknown_difficulty_come_last():
    order = curriculum([math.nan, 2, 1, math.nan], schedule="sorted")
    assert order.order(0)[:2] == [2, 1]


schedules = st.sampled_from(["linear", "staged", "sorted"])


@given(
    st.integers(1, 40),
    st.integers(1, 6),
    st.integers(0, 3),
    schedules,
    st.floats(0.05, 1),
    st.floats(0.05, 1),
)
def test_epochs_are_of_one_length_and_repeatable_and_no_row_comes_twice_before_all_came(
    rows, chunk, epoch, schedule, start, full_at
):
    if chunk > rows:
        return
    difficulty = np.random.default_rng(rows).integers(0, 4, rows)
    settings = {"schedule": schedule, "start": start, "full_at": full_at, "chunk": chunk, "chunks": 30}
    used, fresh = (curriculum(difficulty, **settings) for _ in range(2))
    for before in range(epoch):
        used.order(before)
    order = used.order(epoch)
    assert order == fresh.order(epoch)
    assert len(order) == rows // chunk * chunk
    place = epoch * (rows // chunk)
    if used.available(place) == used.available(place + rows // chunk - 1):  # nothing joins in this epoch
        allowed = max(chunk, math.ceil(used.available(place) * rows))
        counts = Counter(order)
        assert max(counts.values()) <= math.ceil(len(order) / allowed)


def test_a_row_that_joins_does_not_crowd_the_others_out():
    # 100 easy rows for half of the run, then 900 more: of the next 100 asked about a tenth are old ones,
    # as in any draw of all rows. Were the new ones taken first, none would be.
    order = curriculum(range(1000), chunk=10, chunks=100, schedule="staged", start=0.1, full_at=0.5)
    after = order.order(0)[500:600]
    assert 2 <= sum(row < 100 for row in after) <= 25


def test_the_log_says_how_hard_a_step_is_by_rank():
    order = curriculum([10, 20, 20, 1000], schedule="sorted", chunk=2, chunks=2)
    # Ranks 0, 1.5, 1.5, 3 of 3: the first chunk is the row at 10 and one at 20.
    assert order.log_entries(1) == {"curriculum/difficulty": pytest.approx(0.25), "curriculum/available": 1.0}
    assert order.log_entries(2)["curriculum/difficulty"] == pytest.approx(0.75)


# ------------------------------------------------------------------------------------------ what is hard


ROWS = [
    {"mask_area": 0.2, "width": 100, "answer_type": "open", "plane": "3"},
    {"mask_area": None, "width": 300, "answer_type": "closed", "plane": "1"},
]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"by": "mask_area"}, [-0.2, math.nan]),
        ({"by": "column:mask_area", "easy": "low"}, [0.2, math.nan]),
        ({"by": "column:width"}, [100, 300]),
        ({"by": "column:width", "easy": "high"}, [-100, -300]),
        ({"by": "column:plane"}, [3, 1]),
        ({"by": "column:answer_type", "levels": ["closed", "open"]}, [1, 0]),
    ],
)
def test_a_column_becomes_a_difficulty(settings, expected):
    found = column_difficulty(ROWS, CurriculumConfig(**settings))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "column:mask_are"}, "no column for curriculum.by called 'mask_are'"),
        ({"by": "column:answer_type"}, "holds no numbers: 'open'"),
        ({"by": "column:answer_type", "levels": ["closed"]}, "no value of answer_type"),
    ],
)
def test_a_column_that_says_nothing_of_difficulty_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        check_column(ROWS, CurriculumConfig(**settings))


def test_an_empty_column_is_refused_and_a_gap_is_told():
    with pytest.raises(UsageError, match="no row has a value in the column mask_area"):
        check_column(ROWS[1:], CurriculumConfig(by="mask_area"))
    assert check_column(ROWS, CurriculumConfig(by="mask_area")) == [
        "1 of 2 rows have no mask_area: they count as hardest"
    ]


def test_difficulties_are_kept_with_their_rows(tmp_path):
    rows = [{"id": str(number)} for number in range(5000)]
    difficulty = np.linspace(0, 1, 5000)
    difficulty[3] = math.nan
    write_difficulty(tmp_path / "run" / "curriculum.parquet", rows, difficulty, {"chunks": 7})
    read, about = read_difficulty(tmp_path / "run" / "curriculum.parquet", 5000)
    np.testing.assert_array_equal(read, difficulty)
    assert about == {"chunks": 7}
    with pytest.raises(MedgrpoError, match="difficulty of 5000 rows, and 4999"):
        read_difficulty(tmp_path / "run" / "curriculum.parquet", 4999)


# --------------------------------------------------------------------------------------------------- runs


def run(config, path, *, reporter=None, resume=False):
    reporter = reporter or SilentReporter()
    result = train(
        config,
        name="test",
        reporter=reporter,
        output=path,
        logs=None,
        resume=ResumePoint(path) if resume else None,
    )
    return SimpleNamespace(result=result, reporter=reporter)


@pytest.fixture
def areas(dataset, tmp_path):
    """The demo's rows with a mask area: the later a row, the larger."""
    source = PreparedDataset.open(dataset)
    rows = [{**row, "mask_area": number / 100} for number, row in enumerate(source.rows("train", 12))]
    with PreparedWriter(tmp_path / "areas") as writer:
        shutil.copytree(source.path / "images", writer.folder / "images", dirs_exist_ok=True)
        writer.write("train", rows)
        writer.finish({"name": "areas", "task": "vqa", "hash": "areas"})
    return tmp_path / "areas"


def test_a_resumed_run_follows_the_same_curriculum_also_when_more_steps_were_asked_for(
    areas, tiny_config, tmp_path
):
    settings = (
        f"data.path={areas}",
        "data.rows=12",
        "stages.sft.enabled=false",
        "curriculum.by=mask_area",
        "curriculum.start=0.34",
        "training.max_steps=9",
    )
    run(tiny_config(*settings), tmp_path / "whole")
    run(tiny_config(*settings), tmp_path / "cut", reporter=StopsAt("grpo", 5))
    run(tiny_config(*settings, "training.max_steps=12"), tmp_path / "cut", resume=True)
    ids = [row["id"] for row in PreparedDataset.open(areas).rows("train")]
    asked = [(step, ids.index(name)) for step, name in prompt_order(tmp_path / "whole")]
    # By the largest area first: rows 11 down to 7 at first (34 % of 12), all from step 5.5 on.
    assert all(row >= 7 for step, row in asked if step == 1)
    assert prompt_order(tmp_path / "cut")[: len(asked)] == prompt_order(tmp_path / "whole")
    log = json_objects(tmp_path / "whole" / "log.jsonl")
    assert log[0]["curriculum/available"] == pytest.approx(0.34)
    assert log[0]["curriculum/difficulty"] < 0.4
    assert log[-1]["curriculum/available"] == 1.0


def test_a_curriculum_that_cannot_work_is_refused_before_a_model_is_loaded(areas, tiny_config):
    from medgrpo.training.before.preflight import preflight

    def check(*settings):
        return preflight(tiny_config(f"data.path={areas}", "data.rows=12", *settings)).warnings

    with pytest.raises(UsageError, match="called 'hardness'"):
        check("curriculum.by=column:hardness")
    with pytest.raises(UsageError, match="no row has a value in the column difficulty"):
        check("curriculum.by=column:difficulty")
    short = ("curriculum.by=mask_area", "curriculum.schedule=sorted", "training.max_steps=2")
    assert any("never asks the hardest rows" in warning for warning in check(*short))
    alone = ("curriculum.by=mask_area", "stages.sft.enabled=false")
    assert not any("curriculum" in warning for warning in check(*alone))


def test_sft_follows_it_too(areas, tiny_config, tmp_path):
    config = tiny_config(
        f"data.path={areas}",
        "data.rows=12",
        "training.method=sft",
        "stages.sft.enabled=false",
        "curriculum.by=mask_area",
        "curriculum.schedule=sorted",
        "training.prompts_per_step=4",
        "training.per_device_train_batch_size=4",
        "training.max_steps=3",
    )
    run(config, tmp_path / "run")
    log = json_objects(tmp_path / "run" / "log.jsonl")
    # Ranks 0 to 3, 4 to 7 and 8 to 11 of 11.
    assert [entry["curriculum/difficulty"] for entry in log] == pytest.approx([1.5 / 11, 5.5 / 11, 9.5 / 11])


def test_pass_rates_are_measured_once_and_found_again_by_the_next_run(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGRPO_CACHE", str(tmp_path / "cache"))
    settings = (
        "data.rows=6",
        "stages.sft.enabled=false",
        "training.max_steps=3",
        "curriculum.by=pass_rate",
        "curriculum.schedule=sorted",
        "curriculum.samples=2",
    )
    first = run(tiny_config(*settings), tmp_path / "first")
    assert any("6 rows sampled in" in note for note in first.reporter.notes)
    second = run(tiny_config(*settings), tmp_path / "second")
    assert any("as measured before" in note for note in second.reporter.notes)
    assert losses(tmp_path / "first") == losses(tmp_path / "second")
    difficulty, about = read_difficulty(tmp_path / "first" / "curriculum.parquet", 6)
    assert about == {"by": "pass_rate", "chunks": 3}
    assert ((difficulty > 0) & (difficulty < 1)).all()
    ids = [row["id"] for row in PreparedDataset.open(tiny_config().data.path).rows("train", 6)]
    asked = [difficulty[ids.index(name)] for _, name in prompt_order(tmp_path / "first")]
    assert asked == sorted(difficulty)
    third = run(tiny_config(*settings, "curriculum.samples=3"), tmp_path / "third")
    assert any("6 rows sampled in" in note for note in third.reporter.notes)


def test_rows_that_are_always_solved_are_left_out_of_a_run(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGRPO_CACHE", str(tmp_path / "cache"))
    judge = tmp_path / "judge.py"  # the first, third and fifth row are always solved
    judge.write_text(
        "def solved(completions, id, **columns):\n    return [0.5 + 0.5 * (sum(map(ord, name)) % 2) for name in id]\n"
    )
    settings = ("data.rows=6", "stages.sft.enabled=false", "training.max_steps=3", "curriculum.samples=2")
    config = tiny_config(*settings, "curriculum.drop=0,1", f"validation.metric={judge}:solved")
    found = run(config, tmp_path / "run")
    ids = [row["id"] for row in PreparedDataset.open(config.data.path).rows("train", 6)]
    solved = {name for name in ids if sum(map(ord, name)) % 2}
    asked = {name for _, name in prompt_order(tmp_path / "run")}
    assert 0 < len(solved) < 6
    assert asked == set(ids) - solved
    assert any(f"{len(solved)} of 6 rows have a pass rate" in note for note in found.reporter.notes)


def test_a_reward_file_that_was_edited_makes_other_pass_rates(tiny_config, tmp_path):
    from medgrpo.data.prompts import load_template
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.training.before.datasets import RowSource
    from medgrpo.training.before.pass_rate import cache_key
    from medgrpo.training.trainers.policy import Weights

    def key(text):
        mine = tmp_path / "mine.py"
        mine.write_text(f"def mine(completions, **columns):\n    return [{text}] * len(completions)\n")
        config = tiny_config(f'rewards.weights={{"{mine}:mine" = 1.0}}')
        source = RowSource([{"id": "1"}], tmp_path, load_template("short"), is_vision=False)
        return cache_key(
            "data", source, Weights("a/hub-name"), config, CompositeReward(config.rewards.weights)
        )

    assert key("0.5") == key("0.5") != key("0.25")

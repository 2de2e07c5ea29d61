"""Dynamic sampling: groups without spread are replaced, in an order that a resumed run repeats."""

import shutil

import numpy as np
import pytest

from medgrpo.records import json_objects
from medgrpo.runs.store import read_completions
from medgrpo.training.trainers.dynamic_sampling import FreshPrompts, dead_groups, share_of
from medgrpo.training.trainers.sampler import EpochOrder
from tests.training.conftest import REWARDS, TINY, StopsAt, losses, run, two_processes

NAN = float("nan")
SOMETIMES = (
    f'rewards.weights={{"{REWARDS}:only_some_questions" = 1.0}}',
    "stages.sft.enabled=false",
    "data.rows=12",
    "training.prompts_per_step=4",
    "training.per_device_train_batch_size=8",
)
"""A reward that gives 0 to every completion of about half of the prompts; two batches a step."""


def test_groups_without_spread_or_without_two_judged_completions_are_dead():
    signal = np.array([1, 1, 1, 0, NAN, NAN, NAN, 2, 3, 3 + 1e-12, NAN, 1, 2])[:12]
    assert dead_groups(signal, 2) == [0, 2, 3, 4, 5]
    assert dead_groups(np.array([0.0, 0.1]), 2) == []


def test_fresh_prompts_go_through_every_row_of_the_epoch_and_continue_from_a_saved_state():
    def fresh():
        return FreshPrompts(EpochOrder(7, seed=3, chunk=2), 3)

    whole = fresh().take(14)
    assert sorted(whole[:7]) == sorted(whole[7:]) == list(range(7))
    assert whole[:7] != whole[7:]
    begun = fresh()
    first = begun.take(5)
    again = fresh()
    again.load_state_dict(begun.state_dict())
    assert first + again.take(9) == whole


def test_fresh_prompts_differ_by_epoch_and_from_the_order_that_they_step_into():
    order = EpochOrder(50, seed=3, chunk=2)
    fresh = FreshPrompts(order, 3)
    first = fresh.take(50)
    assert first != order.order(0)
    order.set_epoch(1)
    assert fresh.take(50) != first


def test_a_curriculum_that_leaves_rows_out_leaves_them_out_here_too():
    order = EpochOrder(9, seed=0, chunk=2, order=lambda epoch: [4, 2, 8])
    assert set(FreshPrompts(order, 0).take(20)) == {2, 4, 8}


@pytest.mark.parametrize(("processes", "samples"), [(1, 12), (2, 6), (3, 4), (4, 3)])
def test_every_process_replaces_its_own_completions_and_generates_equally_many(processes, samples):
    dead, rows = [0, 2], [70, 71]  # groups of 4: completions 0-3 and 8-11 of 12
    shares = [
        share_of(process, processes, dead, rows, group_size=4, samples=samples)
        for process in range(processes)
    ]
    assert len({len(share.rows) for share in shares}) == 1
    placed = {
        process * samples + place: row
        for process, share in enumerate(shares)
        for place, row in zip(share.places, share.rows, strict=False)
    }
    assert placed == {0: 70, 1: 70, 2: 70, 3: 70, 8: 71, 9: 71, 10: 71, 11: 71}


def test_dead_groups_are_replaced_and_the_log_says_so(tiny_config, tmp_path):
    plain = run(tiny_config(*SOMETIMES), tmp_path / "plain")
    dynamic = run(tiny_config(*SOMETIMES, "rollout.dynamic_sampling=4"), tmp_path / "dynamic")
    before, after = json_objects(plain.log), json_objects(dynamic.log)
    assert all("dynamic_sampling/replaced" not in entry for entry in before)
    assert sum(entry["frac_reward_zero_std"] for entry in before) > 1
    first = after[0]
    # The same prompts and completions are drawn first, and reported as they were drawn.
    assert first["frac_reward_zero_std"] == before[0]["frac_reward_zero_std"]
    assert first["reward"] == before[0]["reward"]
    assert first["completions/mean_length"] == before[0]["completions/mean_length"]
    assert sum(entry["dynamic_sampling/replaced"] for entry in after) > 0
    assert all(0 <= entry["dynamic_sampling/rounds"] <= 4 for entry in after)
    dead = [entry["dynamic_sampling/dead_share"] for entry in after]
    assert sum(dead) < sum(entry["frac_reward_zero_std"] for entry in after)
    assert all(
        entry["dynamic_sampling/replaced"] >= 1 for entry in after if entry["frac_reward_zero_std"] > 0
    )


def test_what_is_learned_from_has_spread_and_what_was_replaced_is_stored_without_advantage(
    tiny_config, tmp_path
):
    config = tiny_config(*SOMETIMES, "rollout.dynamic_sampling=20", "training.max_steps=3")
    result = run(config, tmp_path / "run")
    table = read_completions(tmp_path / "run").to_pylist()
    replaced = sum(entry["dynamic_sampling/replaced"] for entry in json_objects(result.log))
    assert replaced > 0
    assert all(entry["dynamic_sampling/dead_share"] == 0 for entry in json_objects(result.log))
    assert len(table) == 3 * 16 + replaced * 4
    learned = [row for row in table if row["advantage"] != 0]
    assert {row["step"] for row in learned} == {1, 2, 3}
    groups = [table[start : start + 4] for start in range(0, len(table), 4)]
    assert all(len({row["prompt_id"] for row in group}) == 1 for group in groups)
    assert sum(len({row["reward"] for row in group}) > 1 for group in groups) == 3 * 4


def test_a_resumed_run_draws_the_same_fresh_prompts(tiny_config, tmp_path):
    # Two updates per batch: the checkpoint of step 3 lies between those on the second one.
    config = tiny_config(
        *SOMETIMES,
        "rollout.dynamic_sampling=3",
        "training.num_iterations=2",
        "training.save_steps=3",
        "training.max_steps=7",
    )
    run(config, tmp_path / "whole")
    run(config, tmp_path / "cut", reporter=StopsAt("grpo", 3))
    run(config, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")

    def stored(folder):
        rows = read_completions(folder).to_pylist()
        return [(row["step"], row["prompt_id"], row["completion"]) for row in rows]

    assert stored(tmp_path / "cut") == stored(tmp_path / "whole")
    replaced = [
        entry.get("dynamic_sampling/replaced", 0) for entry in json_objects(tmp_path / "whole/log.jsonl")
    ]
    assert sum(replaced[:3]) > 0
    assert sum(replaced[3:]) > 0


@pytest.mark.slow
def test_two_processes_replace_groups_that_lie_over_both(tmp_path, dataset):
    """Three groups of four on two processes: six completions each, the second group half on either (S2.6)."""
    words = (
        *TINY,
        *SOMETIMES,
        f"data.path={dataset}",
        "training.prompts_per_step=3",
        "training.per_device_train_batch_size=6",
        "training.max_steps=4",
        "rollout.dynamic_sampling=4",
    )
    finished = two_processes(tmp_path / "run", words, timeout_s=600)
    assert finished.returncode == 0, finished.stderr[-2000:]
    log = json_objects(tmp_path / "run" / "log.jsonl")
    replaced = sum(entry["dynamic_sampling/replaced"] for entry in log)
    assert replaced > 0
    assert [entry["dynamic_sampling/dead_share"] for entry in log] == [0, 0, 0, 0]
    rows = read_completions(tmp_path / "run").to_pylist()
    groups = [rows[start : start + 4] for start in range(0, len(rows), 4)]
    assert len(rows) == 4 * 12 + replaced * 4
    assert all(len({row["prompt_id"] for row in group}) == 1 for group in groups)
    assert sum(any(row["advantage"] for row in group) for group in groups) == 4 * 3


def test_prompts_with_and_without_pictures_step_in_for_each_other(tiny_config, tmp_path, dataset):
    from medgrpo.data.prepared import PreparedDataset, PreparedWriter

    source = PreparedDataset.open(dataset)
    with PreparedWriter(tmp_path / "mixed") as writer:
        shutil.copytree(source.path / "images", writer.folder / "images", dirs_exist_ok=True)
        rows = []
        for number, row in enumerate(source.rows("train", 12)):
            rows.append({**row, "images": row["images"] if number % 2 else []})
        writer.write("train", rows)
        writer.finish({"name": "mixed", "task": "vqa", "hash": "mixed"})
    config = tiny_config(
        *SOMETIMES,
        f"data.path={tmp_path / 'mixed'}",
        "rollout.dynamic_sampling=9",
        "training.prompts_per_step=2",
        "training.per_device_train_batch_size=2",
        "training.max_steps=3",
    )
    result = run(config, tmp_path / "run")
    log = json_objects(result.log)
    assert all(np.isfinite(entry["loss"]) and entry["grad_norm"] > 0 for entry in log)
    assert sum(entry["dynamic_sampling/replaced"] for entry in log) >= 2
    learned = [row for row in read_completions(tmp_path / "run").to_pylist() if row["advantage"]]
    assert {len(row["images"]) for row in learned} == {0, 1}

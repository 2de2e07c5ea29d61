"""Logs of trackers and of other trainers: what they say is read, what is not understood is said."""

import json
import math

import pytest
from typer.testing import CliRunner

from medgrpo.cli.health import app
from medgrpo.errors import MedgrpoError
from medgrpo.runs.health import assess
from medgrpo.runs.record import read_run

STEPS = range(1, 21)
FALLING = [0.8 - 0.03 * step for step in STEPS]


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def jsonl(path, rows):
    return written(path, "".join(json.dumps(row) + "\n" for row in rows))


def csv(path, header, rows):
    return written(path, "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")


def falls(run):
    assert [entry["step"] for entry in run.history if "reward" in entry] == list(STEPS)
    assert [entry["reward"] for entry in run.history if "reward" in entry] == pytest.approx(FALLING, abs=1e-3)
    assert assess(run).verdict == "abnormal"


@pytest.mark.parametrize(
    "wrapper", ["data", "metrics", "logs", "values", "scalars", "train_metrics", "training_stats"]
)
def test_metrics_under_a_wrapper_are_read(tmp_path, wrapper):
    rows = [
        {"step": n, wrapper: {"critic/rewards/mean": r, "actor/grad_norm": 0.3}}
        for n, r in zip(STEPS, FALLING, strict=True)
    ]
    falls(read_run(jsonl(tmp_path / "run.jsonl", rows)))


def test_metrics_as_a_list_of_names_and_values_are_read(tmp_path):
    rows = [
        {"step": n, "metrics": [{"name": "train/reward", "value": r}]}
        for n, r in zip(STEPS, FALLING, strict=True)
    ]
    falls(read_run(jsonl(tmp_path / "run.jsonl", rows)))


def test_a_nan_under_a_wrapper_is_found(tmp_path):
    rows = [
        {"step": n, "data": {"critic/rewards/mean": 0.5, "actor/grad_norm": math.nan if n > 9 else 0.3}}
        for n in STEPS
    ]
    assert assess(read_run(jsonl(tmp_path / "run.jsonl", rows))).verdict == "abnormal"


@pytest.mark.parametrize("as_list", [True, False])
def test_a_history_of_wandb_is_read_by_the_trainers_own_step(tmp_path, as_list):
    rows = []
    for step, reward in zip(STEPS, FALLING, strict=True):
        rows.append(
            {
                "_step": 2 * step,
                "_runtime": 30.0 * step,
                "train/global_step": step,
                "train/reward": reward,
                "eval/loss": None,
            }
        )
        rows.append(
            {
                "_step": 2 * step + 1,
                "_runtime": 30.0 * step,
                "train/reward": None,
                "train/loss": None,
                "eval/loss": 1.0,
            }
        )
    path = tmp_path / "history.json"
    run = read_run(written(path, json.dumps(rows)) if as_list else jsonl(path, rows))
    falls(run)
    assert not any(math.isnan(entry.get("loss", 0.0)) for entry in run.history)


def test_a_history_of_wandb_as_csv_and_a_chart_are_read(tmp_path):
    values = list(zip(STEPS, FALLING, strict=True))
    falls(
        read_run(
            csv(
                tmp_path / "a.csv",
                "_step,_runtime,train/reward,train/kl",
                [(n, 3 * n, r, "") for n, r in values],
            )
        )
    )
    header = '"Step","run-7 - train/reward","run-7 - train/reward__MIN","run-7 - train/reward__MAX"'
    falls(read_run(csv(tmp_path / "b.csv", header, [(n, r, r, r) for n, r in values])))


def test_a_chart_of_two_runs_is_refused(tmp_path):
    rows = [(n, r, r) for n, r in zip(STEPS, FALLING, strict=True)]
    with pytest.raises(MedgrpoError, match="several runs"):
        read_run(csv(tmp_path / "b.csv", "Step,a - train/reward,b - train/reward", rows))


def test_a_table_of_swanlab_and_long_tables_are_read(tmp_path):
    values = list(zip(STEPS, FALLING, strict=True))
    falls(
        read_run(
            csv(
                tmp_path / "s.csv",
                "step,my-run-train/reward,my-run-train/reward_timestamp",
                [(n, r, 1) for n, r in values],
            )
        )
    )
    falls(
        read_run(
            csv(
                tmp_path / "l.csv", "key,value,timestamp,step", [("train/reward", r, 1, n) for n, r in values]
            )
        )
    )
    falls(
        read_run(
            csv(
                tmp_path / "run-x-tag-train_reward.csv",
                "Wall time,Step,Value",
                [(1.5, n, r) for n, r in values],
            )
        )
    )


def test_the_summary_of_wandb_is_one_entry(tmp_path):
    written(
        tmp_path / "run" / "files" / "wandb-summary.json",
        json.dumps({"_step": 40, "_runtime": 3, "train/reward": 0.2, "_wandb": {"runtime": 3}}),
    )
    run = read_run(tmp_path / "run")
    assert [(entry["step"], entry["reward"]) for entry in run.history] == [(40, 0.2)]


def test_event_files_of_tensorboard_are_read(tmp_path):
    writer = pytest.importorskip("torch.utils.tensorboard").SummaryWriter(str(tmp_path / "runs" / "x"))
    for step, reward in zip(STEPS, FALLING, strict=True):
        writer.add_scalar("train/reward", reward, step)
    writer.close()
    falls(read_run(tmp_path / "runs" / "x"))
    falls(read_run(next((tmp_path / "runs" / "x").glob("events*"))))
    falls(read_run(tmp_path / "runs"))


def test_metrics_of_mlflow_are_read(tmp_path):
    text = "".join(f"1700000000000 {r} {n}\n" for n, r in zip(STEPS, FALLING, strict=True))
    written(tmp_path / "run" / "metrics" / "train" / "reward", text)
    falls(read_run(tmp_path / "run"))


def test_the_table_of_a_notebook_is_read(tmp_path):
    rows = "".join(
        f"<tr><td>{n}</td><td>0.0</td><td>{r}</td><td>0.1</td></tr>"
        for n, r in zip(STEPS, FALLING, strict=True)
    )
    page = f"<div><table><thead><tr><th>Step</th><th>Training Loss</th><th>reward</th><th>rewards / right_form</th></tr></thead>{rows}</table></div>"
    run = read_run(written(tmp_path / "a.html", page))
    falls(run)
    assert run.components == ["right_form"]
    cells = [{"outputs": [{"data": {"text/html": [page]}}]}, {"source": []}]
    falls(read_run(written(tmp_path / "a.ipynb", json.dumps({"nbformat": 4, "cells": cells}))))
    lines = "".join(f"| {n} | 0.0 | {r} |\n" for n, r in zip(STEPS, FALLING, strict=True))
    falls(
        read_run(
            written(tmp_path / "a.md", "| Step | Training Loss | reward |\n| --- | --- | --- |\n" + lines)
        )
    )


def test_consoles_of_openrlhf_nemo_rl_and_prime_rl_are_read(tmp_path):
    values = list(zip(STEPS, FALLING, strict=True))
    openrlhf = "".join(
        f"(PPOTrainer pid=1) INFO ✨ Global step {n}: {{'policy_loss': 0.01, 'reward': {r:.4f}, 'kl': np.float64(0.1), "
        f"'actor_grad_norm': nan, 'response_length': 200.0}}\n"
        for n, r in values
    )
    run = read_run(written(tmp_path / "o.log", openrlhf))
    assert math.isnan(run.history[0]["grad_norm"])
    falls(run)
    nemo = "".join(
        f"========================= Step {n}/40 =========================\n▶ Preparing batch...\n\n📊 Training Results:\n"
        f"  • Loss: 0.0123\n  • Avg Reward: {r:.4f}\n  • Mean Generation Length: 1,325.3\n\n⏱️  Timing:\n  • Total step time: 12.3s\n"
        for n, r in values
    )
    run = read_run(written(tmp_path / "n.log", nemo))
    falls(run)
    assert (run.total_steps, run.history[0]["completions/mean_length"], run.history[0]["step_time"]) == (
        40,
        1325.3,
        12.3,
    )
    prime = "".join(
        f"12:00:01 SUCCESS Step {n} | Time: 35.20s | Reward: {r:.4f} | Seq. Length: 900.0 tokens/sample\n"
        f"12:00:02 SUCCESS Step {n} | Time: 30.10s | Loss: 0.0012 | Entropy: 0.45 | Grad. Norm: 0.1200 | LR: 1.00e-06\n"
        for n, r in values
    )
    run = read_run(written(tmp_path / "p.log", prime))
    falls(run)
    assert (run.history[0]["grad_norm"], run.history[0]["learning_rate"], run.history[0]["entropy"]) == (
        0.12,
        1e-6,
        0.45,
    )


@pytest.mark.parametrize("column", ["run", "Run_ID", "seed"])
def test_a_long_table_of_two_runs_is_refused(tmp_path, column):
    """They would be read as one run that jumps."""
    rows = [(name, n, r) for name in ("1", "2") for n, r in zip(STEPS, FALLING, strict=True)]
    with pytest.raises(MedgrpoError, match="several runs"):
        read_run(csv(tmp_path / "a.csv", f"{column},step,reward", rows))
    falls(read_run(csv(tmp_path / "b.csv", f"{column},step,reward", [row for row in rows if row[0] == "1"])))


def test_lines_whose_metrics_lie_two_levels_deep_are_counted_and_not_understood(tmp_path):
    """With infinite gradients; such lines were dropped, and the rest passed a check."""
    path = tmp_path / "log.jsonl"
    path.write_text(
        "".join(f'{{"iteration": {n}, "train": {{"stats": {{"gn": Infinity}}}}}}\n' for n in range(30))
    )
    assert assess(read_run(path)).verdict == "not_understood"


def test_a_log_without_a_known_metric_is_not_understood_and_fails_a_check(tmp_path):
    rows = [{"step": n, "score_of_mine": 0.5, "data": {"other": 2.0}} for n in STEPS]
    path = jsonl(tmp_path / "run.jsonl", rows)
    assert assess(read_run(path)).verdict == "not_understood"
    plain = CliRunner().invoke(app, [str(path), "--json"])
    document = json.loads(plain.stdout)
    assert (plain.exit_code, document["verdict"]) == (0, "not_understood")
    assert document["not_understood"] == ["other", "score_of_mine"]
    for level in ("warning", "abnormal"):
        assert CliRunner().invoke(app, [str(path), "--fail-on", level]).exit_code == 2
    assert "not understood: other, score_of_mine" in CliRunner().invoke(app, [str(path)]).stdout


def test_what_is_not_understood_beside_known_metrics_is_listed(tmp_path):
    rows = [{"step": n, "reward": 0.5, "my_own": 1.0} for n in STEPS]
    run = read_run(jsonl(tmp_path / "run.jsonl", rows))
    assert run.unknown == ["my_own"]
    assert assess(run).verdict != "not_understood"


def test_names_of_rewards_keep_their_case(tmp_path):
    rows = [{"step": n, "reward": 0.5, "rewards/CosineReward/mean": 0.5} for n in STEPS]
    assert read_run(jsonl(tmp_path / "run.jsonl", rows)).components == ["CosineReward"]


def test_completions_that_trl_stored_beside_its_state_are_looked_at(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    history = [
        {"step": n, "reward": 0.3 + 0.01 * n, "loss": 0.0, "kl": 0.1, "frac_reward_zero_std": 0.1}
        for n in STEPS
    ]
    written(
        tmp_path / "checkpoint-20" / "trainer_state.json",
        json.dumps({"log_history": history, "max_steps": 20}),
    )
    (tmp_path / "completions").mkdir()
    for step in STEPS:
        rows = [
            {
                "step": step,
                "prompt": f"Q{n // 4}",
                "completion": "the same",
                "mine": 0.1 * n,
                "advantage": 0.5,
            }
            for n in range(16)
        ]
        pq.write_table(
            pa.Table.from_pylist(rows), tmp_path / "completions" / f"completions_{step:05d}.parquet"
        )
    judged = assess(read_run(tmp_path), completions=True)
    assert "repetition" in {finding.rule for finding in judged.findings}


@pytest.mark.parametrize("whole_folder", [False, True])
def test_the_binary_file_of_wandb_is_known_and_not_understood(tmp_path, whole_folder):
    file = tmp_path / "run-k3.wandb"
    file.write_bytes(b":W&L\xe1\xbe\x00" + bytes(range(256)))
    run = read_run(tmp_path if whole_folder else file)
    health = assess(run)
    assert health.verdict == "not_understood"
    assert "wandb sync" in " ".join(run.notes)


def test_the_console_beside_the_binary_file_of_wandb_is_read(tmp_path):
    (tmp_path / "run-k3.wandb").write_bytes(b":W&L" + bytes(64))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "output.log").write_text(
        "{'loss': 0.5, 'epoch': 1.0}\n{'loss': 0.4, 'epoch': 2.0}\n"
    )
    assert len(read_run(tmp_path).history) == 2


def test_the_table_of_runs_of_wandb_is_no_log_of_one(tmp_path):
    header = "Name,State,Created,Runtime,train/loss,train/reward"
    rows = [("a", "finished", "2026-05-25", 732, 1.0, 0.4), ("b", "finished", "2026-05-25", 1521, 0.3, 0.6)]
    with pytest.raises(MedgrpoError, match="table of runs"):
        read_run(csv(tmp_path / "export.csv", header, rows))

"""The audit of prepared datasets, by task."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medgrpo.cli.main import app
from medgrpo.data.audit import audit_by_task, audit_dataset
from medgrpo.data.demo import DemoSize, write_demo_dataset
from medgrpo.data.prepared import PreparedDataset
from medgrpo.rewards.composite import CompositeReward


def test_questions_are_audited_by_the_usual_weights(tmp_path):
    write_demo_dataset(tmp_path / "demo", size=DemoSize(train=60, validation=8, test=8))
    dataset = PreparedDataset.open(tmp_path / "demo")
    report = audit_by_task(dataset)
    assert report["weights"] == "balanced"
    assert report["honest_all_rows"] == pytest.approx(1.0)
    assert report["ratio"] < 0.9


def test_masks_are_audited_from_their_files(tmp_path):
    for folder in ("image", "manual"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(20):
        mask = np.zeros((64, 64), dtype=np.uint8)
        mask[20 + number : 24 + number, 4:60] = 255
        Image.fromarray(mask).save(tmp_path / "raw" / "manual" / f"{number:02}.png")
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(
            tmp_path / "raw" / "image" / f"{number:02}.png"
        )
    result = CliRunner().invoke(
        app, ["preprocess", str(tmp_path / "raw"), str(tmp_path / "out"), "--task", "vessels", "--json", "--workers", "1"]
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    audit = json.loads(result.stdout)["audit"]
    assert audit["weights"] == "multi_objective_guarded"
    assert audit["honest_all_rows"] == pytest.approx(1.0)
    raw = audit_dataset(PreparedDataset.open(tmp_path / "out"), CompositeReward("multi_objective"))
    assert audit["ratio"] < raw.ratio
    again = [
        "preprocess",
        str(tmp_path / "raw"),
        str(tmp_path / "out"),
        "--task",
        "vessels",
        "--workers",
        "1",
    ]
    refused = CliRunner().invoke(app, [*again, "--audit-limit", "0.01"])
    assert refused.exit_code == 1
    assert "above --audit-limit 0.01" in refused.stderr

"""`kill -9` at random moments, again and again: the run comes out as if nobody had touched it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_run_killed_at_random_moments_comes_out_as_uninterrupted(dataset, tmp_path):
    """Log lines, losses, completions, validations and weights are compared bit for bit.

    Twenty kills take two minutes: `python -m tests.training.killing FOLDER --kills 20 --seed N`.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.training.killing",
            str(tmp_path),
            "--data",
            str(dataset),
            "--kills",
            "5",
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["kills"] == 5

"""From a base model to a merged one by one line, on the demo; a second call does nothing anew."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.leaks import leaks

FLOW = Path(__file__).parents[2] / "examples" / "flow.sh"
TINY = (
    "training.max_steps=4", "training.prompts_per_step=4", "rollout.num_generations=4", "rollout.max_completion_length=40",
    "stages.sft.max_steps=80", "validation.before_and_after=false", "logging.report_to=[\"tensorboard\"]",
)  # fmt: skip


@pytest.mark.slow
def test_the_flow_goes_from_base_to_merged_and_can_be_called_again(tmp_path):
    home = tmp_path / "home-of" / "drquince"
    home.mkdir(parents=True)
    words = [str(FLOW), str(home / "out"), "--quiet", *(word for one in TINY for word in ("--set", one))]
    environment = os.environ | {
        "MEDGRPO": f"{sys.executable} -m medgrpo.cli.main", "DPO_OPTIONS": "--set training.max_steps=3 --set training.prompts_per_step=1", "EVAL_LIMIT": "12", "PYTHON": sys.executable, "HOME": str(home), "LOGNAME": "drquince", "USER": "drquince",
    }  # fmt: skip
    started = time.monotonic()
    done = subprocess.run(words, env=environment, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    out = home / "out"
    assert (out / "report" / "report.html").is_file()
    check = json.loads((out / "merged" / "medgrpo.json").read_text())["merged"]["check"]
    assert check["peft"] < 1e-3
    assert check["equal_answers"] == check["prompts"]
    assert leaks(home / "out", "drquince", str(tmp_path), f"{Path.home()}/") == []
    seen = {file: file.stat().st_mtime for file in out.rglob("*.safetensors")}
    again = subprocess.run(words, env=environment, cwd=home, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {file: file.stat().st_mtime for file in out.rglob("*.safetensors")} == seen
    assert time.monotonic() - started < 24 * 60

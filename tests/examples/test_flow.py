"""From a base model to a merged one by one line, on the demo: killed in two steps it goes on, and a last call does nothing anew."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.leaks import leaks

FLOW = Path(__file__).parents[2] / "examples" / "flow.sh"
TINY = (
    "rollout.num_generations=4", "validation.before_and_after=false", "logging.report_to=[\"tensorboard\"]", "training.save_steps=2",
)  # fmt: skip
"""Of SFT and GRPO; what is left of the script's own settings are rates, lengths and the rest of its steps."""
MACHINE = "ward7-ct"
"""What the flow takes for the name of its machine: a real one may be as short as two letters, which noise spells."""
OPTIONS = {
    "SFT_OPTIONS": "--set training.max_steps=80",
    "GRPO_OPTIONS": "--set training.max_steps=6 --set training.prompts_per_step=4 --set training.per_device_train_batch_size=16",
    "DPO_OPTIONS": "--set training.max_steps=6 --set training.prompts_per_step=1 --set training.save_steps=2 "
    "--set validation.before_and_after=false",
    "EVAL_LIMIT": "12",
}


@pytest.fixture
def flow(tmp_path):
    """A function: starts the script on the demo in a process group of its own, in a home of one who must not be named."""
    home = tmp_path / "home-of" / "drquince"
    home.mkdir(parents=True)
    words = [str(FLOW), str(home / "out"), "--quiet", *(word for one in TINY for word in ("--set", one))]
    named = tmp_path / "named"
    named.mkdir()
    (named / "sitecustomize.py").write_text(
        f"import platform, socket\nsocket.gethostname = platform.node = lambda: {MACHINE!r}\n"
    )
    who = {"HOME": str(home), "LOGNAME": "drquince", "USER": "drquince", "PYTHONPATH": str(named)}
    how = {"MEDGRPO": f"{sys.executable} -m medgrpo.cli.main", "PYTHON": sys.executable}

    def start():
        with (tmp_path / "said.txt").open("w") as log:
            return subprocess.Popen(
                words, env=os.environ | OPTIONS | who | how, cwd=home, stdout=log, stderr=log, start_new_session=True
            )  # fmt: skip

    return start


def ended(process, tmp_path):
    assert process.wait(timeout=20 * 60) == 0, (tmp_path / "said.txt").read_text()[-3000:]


def killed_after(process, file, lines):
    """The whole group at once, when the file has so many lines."""
    until = time.monotonic() + 10 * 60
    while time.monotonic() < until and process.poll() is None:
        if file.is_file() and file.read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.05)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return file.read_text()


def steps(text):
    return [entry["step"] for entry in map(json.loads, text.splitlines())]


@pytest.mark.slow
def test_the_flow_goes_from_base_to_merged_is_killed_twice_goes_on_and_can_be_called_again(flow, tmp_path):
    out = tmp_path / "home-of" / "drquince" / "out"
    for name in ("grpo", "dpo"):
        log = out / name / "log.jsonl"
        before = killed_after(flow(), log, 3)
        assert steps(before)[:3] == [1, 2, 3]
        assert not (out / name / "final_lora").exists()
    ended(flow(), tmp_path)
    for name in ("grpo", "dpo"):
        assert steps((out / name / "log.jsonl").read_text())[-1] == 6
        info = json.loads((out / name / "training_info.json").read_text())
        assert info["resumed"]
    assert (out / "report" / "report.html").is_file()
    check = json.loads((out / "merged" / "medgrpo.json").read_text())["merged"]["check"]
    assert check["peft"] < 1e-3
    assert check["equal_answers"] == check["prompts"]
    assert leaks(out, "drquince", MACHINE, str(tmp_path), f"{Path.home()}/") == []
    seen = {file: file.stat().st_mtime for file in out.rglob("*.safetensors")}
    ended(flow(), tmp_path)
    assert {file: file.stat().st_mtime for file in out.rglob("*.safetensors")} == seen

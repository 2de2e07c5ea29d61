"""No command contacts anyone unasked: each is run where nothing can be reached and every look-up is recorded."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medgrpo.cli.main import COMMANDS
from medgrpo.data.demo import DemoSize, demo_texts, write_demo_dataset
from medgrpo.data.prepared import PreparedDataset
from medgrpo.models.demo import build_demo_model

ROOT = Path(__file__).resolve().parent.parent
TINY = (
    "--set=rollout.num_generations=2",
    "--set=rollout.max_completion_length=6",
    "--set=training.prompts_per_step=2",
    "--set=training.max_steps=1",
    "--set=stages.sft.max_steps=1",
    "--set=validation.rows=2",
    "--set=data.rows=4",
)


def can_isolate():
    """Why a network namespace cannot be made here; None where it can."""
    if shutil.which("unshare") is None:
        return "there is no unshare here"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False
    )
    return f"no network namespace can be made here: {tried.stderr.strip()}" if tried.returncode else None


def watched(folder, commands):
    """What each of the command lines looked up, and what it tried to reach."""
    (folder / "commands.json").write_text(json.dumps([[str(word) for word in words] for words in commands]))
    quiet = (
        "HF_",
        "WANDB",
        "DO_NOT_TRACK",
        "DISABLE_TEL",
        "VLLM",
        "MLFLOW",
        "GRADIO",
        "RAY_",
        "TRANSFORMERS_OFFLINE",
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(quiet)}
    done = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-m", "tests.without_network", str(folder)],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "seen.json").read_text())


@pytest.fixture
def place(tmp_path):
    reason = can_isolate()
    if reason:
        pytest.skip(reason)
    return tmp_path


def test_the_recorder_sees_a_look_up_and_a_connection(place):
    name = "import socket\ntry: socket.getaddrinfo('telemetry.example.org', 443)\nexcept OSError: pass"
    connect = "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError: pass"
    looked, connected, _ = watched(place, [("python", name), ("python", connect)])
    assert "telemetry.example.org" in looked["names"]
    assert connected["packets"]


def test_no_command_looks_anything_up_or_connects(place):
    write_demo_dataset(place / "data", size=DemoSize(train=6, validation=2, test=4))
    build_demo_model(place / "model", demo_texts(), seed=3)
    rows = [
        {**{key: row[key] for key in ("id", "question", "answer")}, "completion": said, "caption": "axial CT"}
        for row in PreparedDataset.open(place / "data").rows("train")
        for said in (f"<answer>{row['answer']}</answer>", "axial CT")
    ]
    (place / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = [{"id": row["id"], "question": row["question"], "answer": row["answer"]} for row in rows[::2]]
    (place / "raw").mkdir()
    (place / "raw" / "rows.json").write_text(json.dumps(raw))
    picture = next((place / "data" / "images").glob("*"))
    few = ("--limit", "2", "--max-new-tokens", "4")
    model = ("--data", "data", "--model", "model")
    commands = [
        ("doctor",),
        ("presets", "list"),
        ("preprocess", "raw", "prepared", "--model", "model", "--workers", "1"),
        ("estimate-time", *model),
        ("train", *model, "--dry-run"),
        ("train", *model, "--output", "run", "--set=tuning.method=lora", *TINY),
        ("train", "--dry-run"),
        ("train", "--resume", "run", "--set=training.max_steps=2"),
        ("ask", "run", picture, "what?", "--max-new-tokens", "4"),
        ("eval", "run", *few, "--output", "evaluated"),
        ("eval", "--predictions", "said.jsonl"),
        ("score", "said.jsonl", "--weights", "balanced_caption"),
        ("make-dpo", "said.jsonl", "--from", "models", "--data", "data"),
        ("compare", "run", "--output", "compared"),
        ("health", "run"),
        ("runs", "."),
        ("merge-lora", "run", "--output", "merged", "--verify", "0"),
    ]
    seen = watched(place, commands)
    assert {words[0] for words in commands} == set(COMMANDS) - {"bundle"}  # which fetches wheels, and says so
    assert [one for one in seen if one["names"] or one["packets"]] == []
    failed = [one["words"] for one in seen if one["code"] and one["words"][0] != "merge-lora"]
    assert failed == []  # an adapter of two tiny steps may change nothing


def test_reports_are_off_before_any_library_reads_its_environment():
    code = (
        "import medgrpo, huggingface_hub.constants as constants\n"
        "assert constants.HF_HUB_DISABLE_TELEMETRY\n"
        "import os\n"
        "assert os.environ['VLLM_NO_USAGE_STATS'] == os.environ['DO_NOT_TRACK'] == '1'\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "DO_NOT"))}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    late = (
        "import huggingface_hub.constants as constants, medgrpo\nassert constants.HF_HUB_DISABLE_TELEMETRY\n"
    )
    subprocess.run([sys.executable, "-c", late], env=environment, check=True)


def test_what_the_environment_asks_for_stays():
    environment = {**os.environ, "VLLM_NO_USAGE_STATS": "0"}
    code = "import medgrpo, os\nassert os.environ['VLLM_NO_USAGE_STATS'] == '0'\n"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)

"""The shell completes presets, settings, methods, splits and runs, as bash asks for them."""

import subprocess
import sys

import pytest

from medgrpo.runs.writer import RunWriter


def completed(line, here):
    """What bash offers after this line."""
    words = line.split(" ")
    environment = {
        "_MEDGRPO_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "PATH": "/usr/bin:/bin",
    }
    code = "import sys; from medgrpo.cli.main import main; sys.argv = ['medgrpo']; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=here, check=False
    )
    return done.stdout.split("\n")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RunWriter.create(tmp_path / "runs" / "fast-20260101-1", "fast", "", {}).finish("finished")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("medgrpo tr", "train"),
        ("medgrpo train --preset ba", "balanced"),
        ("medgrpo train --method g", "grpo"),
        ("medgrpo train --set training.learn", "training.learning_rate="),
        ("medgrpo train --set training.gradient_checkpointing=t", "training.gradient_checkpointing=true"),
        ("medgrpo presets show ver", "verify"),
        ("medgrpo eval --split va", "validation"),
        ("medgrpo eval la", "latest"),
        ("medgrpo health runs/f", "runs/fast-20260101-1"),
        ("medgrpo train --resume a", "auto"),
        ("medgrpo estimate-time --gpu H2", "H200"),
    ],
)
def test_values_are_completed(line, offered, here):
    assert offered in completed(line, here)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("medgrpo tr", "train"),
        ("medgrpo train --preset ba", "balanced"),
        ("medgrpo health runs/f", "runs/fast-20260101-1"),
    ],
)
def test_zsh_and_fish_are_offered_the_same(shell, line, offered, here):
    """As their completion scripts ask; both shells need not be installed."""
    environment = {
        "_MEDGRPO_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "PATH": "/usr/bin:/bin",
    }
    code = "import sys; from medgrpo.cli.main import main; sys.argv = ['medgrpo']; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=here, check=False
    )
    assert offered in done.stdout
    assert f"{offered}/" not in done.stdout

"""Every example of every `--help` runs word for word after the demo."""

import os
import shutil

import pytest

from medgrpo.cli.main import COMMANDS
from tests.cli.examples import example_of, run_line

pytestmark = pytest.mark.slow
NAMES = [
    "make-dpo",
    *(name for name in COMMANDS if name not in ("train", "presets", "make-dpo")),
    "presets show",
    "presets list",
]
"""make-dpo first: the newest run is then the one that stored completions."""
ROOM_OF_A_BUNDLE = 10e9  # bytes


@pytest.fixture(scope="module")
def after_the_demo(tmp_path_factory):
    """A folder in which the demo ran, with few steps."""
    folder = tmp_path_factory.mktemp("demo 数据")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run_line("medgrpo train --preset balanced") == 0
    return folder


def test_the_example_of_train_is_the_demo(capsys):
    assert example_of("train", capsys) == "medgrpo train --preset balanced"


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_command_runs_after_the_demo(name, after_the_demo, monkeypatch, capsys):
    monkeypatch.chdir(after_the_demo)
    if name == "bundle" and not os.environ.get("MEDGRPO_BUNDLE"):
        pytest.skip("fetches gigabytes of wheels; MEDGRPO_BUNDLE=1 does it, and test_supply a small bundle")
    if name == "bundle" and shutil.disk_usage(after_the_demo).free < ROOM_OF_A_BUNDLE:
        pytest.skip("the wheels of torch and of its CUDA libraries need 10 GB of free disk")
    line = example_of(name, capsys)
    assert f"medgrpo {name.split()[0]}" in line
    code = run_line(line)
    said = capsys.readouterr()
    assert code == 0, f"{line}\n{said.err}"
    assert said.out.strip(), line
    if name == "bundle":
        shutil.rmtree(after_the_demo / "for-the-hospital")

"""The wheel holds what it must, and the stub file says what the compiled module is."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "maturin", "build", "--release", "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = folder.glob("*.whl")
    assert "abi3" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.slow
def test_the_wheel_holds_every_module_preset_and_data_file(wheel_names):
    kept = {".py", ".pyi", ".toml", ".json", ".typed", ".html", ".js", ".css", ".jsonl"}
    expected = {
        f"medgrpo/{name}/{path.relative_to(ROOT / name)}"
        for name in ("cli", "presets")
        for path in (ROOT / name).rglob("*")
        if path.suffix in kept
    }
    expected |= {
        str(path.relative_to(ROOT))
        for path in (ROOT / "medgrpo").rglob("*")
        if path.suffix in kept and "__pycache__" not in path.parts
    }
    assert len(expected) > 60
    assert expected <= wheel_names, sorted(expected - wheel_names)


@pytest.mark.slow
def test_the_wheel_holds_the_compiled_core_and_nothing_named_cli_or_tests(wheel_names):
    assert any(name.startswith("medgrpo/_reward_core") and name.endswith(".so") for name in wheel_names)
    assert {name.split("/")[0].split("-")[0] for name in wheel_names} == {"medgrpo"}


@pytest.mark.slow
def test_the_stub_agrees_with_the_compiled_core():
    command = [sys.executable, "-m", "mypy.stubtest", "medgrpo._reward_core", "--ignore-missing-stub"]
    done = subprocess.run(command[:-1], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-500:]


def test_the_version_is_the_same_everywhere():
    import medgrpo
    from medgrpo import _reward_core

    assert _reward_core.__version__ == medgrpo.__version__
    assert f'version = "{medgrpo.__version__}"' in (ROOT / "Cargo.toml").read_text()

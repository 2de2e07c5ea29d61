"""What medgrpo stands on: licences, a bill of materials, ranges that are stated, an installation without a network."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from medgrpo.bundle import refuse_cuda_builds
from medgrpo.cli.main import main
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.packages import Package, needed_packages, plain_name

ROOT = Path(__file__).parents[1]


def called(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_the_packages_of_an_extra_are_found_with_what_they_need():
    found, missing = needed_packages(["train"])
    by_name = {one.name: one for one in found}
    assert {"medgrpo", "numpy", "torch", "transformers", "trl", "peft", "huggingface-hub"} <= by_name.keys()
    assert by_name["trl"].needed_by == "medgrpo"
    assert by_name["tqdm"].is_copyleft
    assert not by_name["numpy"].is_copyleft
    assert not [one.name for one in found if one.licence == "unknown"][3:]
    assert "trl" not in {one.name for one in needed_packages()[0]}
    assert missing == []
    with pytest.raises(UsageError, match="no extra called 'trian'"):
        needed_packages(["trian"])


def test_nothing_under_the_gpl_or_lgpl_comes_with_training():
    """num2words (LGPL) came with trl[vlm], for a family that is not ours."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["train"]
    assert not any("vlm" in one for one in wanted)
    bound = [one.name for one in needed_packages(["train"])[0] if re.search("GPL|Lesser", one.licence)]
    assert bound in ([], ["num2words"])  # the second where an older environment has it still


def test_the_bill_of_materials_is_cyclonedx_and_whole(tmp_path, capsys):
    file = tmp_path / "bill.json"
    assert called("doctor", "--sbom", file, "--extra", "data", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    bill = json.loads(file.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "medgrpo"
    names = {one["name"] for one in bill["components"]}
    assert names == {one["name"] for one in printed["packages"]} - {"medgrpo"}
    assert all(one["purl"].startswith("pkg:pypi/") for one in bill["components"])


@pytest.mark.parametrize(
    "words", [("doctor", "--sbom", "b.json", "--extra", "data"), ("bundle", "b", "--extra", "data")]
)
def test_a_source_that_is_not_installed_says_so(words, tmp_path, monkeypatch, capsys):
    from importlib import metadata

    from medgrpo import packages

    def only_others(name):
        if name == "medgrpo":
            raise metadata.PackageNotFoundError(name)
        return metadata.distribution(name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(packages, "distribution", only_others)
    assert called(*words) == 1
    assert "is not installed, so that nothing says what it needs" in capsys.readouterr().err


def test_the_lock_of_ci_has_every_package_within_its_range():
    from packaging.requirements import Requirement

    locked = {}
    for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines():
        if match := re.match(r"([\w.-]+)==([\w.+-]+)", line):
            locked.setdefault(plain_name(match[1]), []).append(match[2])
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = [
        *extras["dependencies"],
        *(
            one
            for name in ("data", "report", "medical", "train", "test")
            for one in extras["optional-dependencies"][name]
        ),
    ]
    for text in stated:
        wanted = Requirement(text)
        if wanted.name == "medgrpo":
            continue
        assert any(wanted.specifier.contains(version) for version in locked[plain_name(wanted.name)]), text


def test_both_ends_of_the_libraries_that_move_are_stated():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, extra in (
        ("torch", "train"),
        ("transformers", "train"),
        ("peft", "train"),
        ("trl", "train"),
        ("vllm", "vllm"),
    ):
        found = [one for one in extras[extra] if re.match(rf"{name}(\[[\w,]+\])?[<>=]", one)]
        assert any(">=" in one and "<" in one for one in found), name


def test_a_bundle_without_cuda_is_refused_where_torch_would_not_start():
    torch = Package("torch", "2.15.0", "BSD", "medgrpo")
    refuse_cuda_builds([torch])
    with pytest.raises(MedgrpoError) as caught:
        refuse_cuda_builds([torch, Package("nvidia-cublas", "13.1", "other", "torch")])
    assert "torch 2.15.0 here is the build for CUDA" in caught.value.problem
    assert "leave --without-gpu out" in caught.value.hint


@pytest.mark.slow
def test_a_bundle_installs_without_a_network(tmp_path):
    """In a network namespace without routes, with no index."""
    pytest.importorskip("pip")
    done = subprocess.run([sys.executable, "-m", "medgrpo.cli.main", "bundle", str(tmp_path / "bundle"), "--json"], capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode and "is the package index reached" in done.stderr:
        pytest.skip(f"no registry here: {done.stderr.strip()[:200]}")
    assert done.returncode == 0, done.stderr
    wheels = list((tmp_path / "bundle" / "wheels").iterdir())
    assert json.loads(done.stdout)["packages"] == len(wheels)
    script = f"cd {tmp_path} && PYTHON={sys.executable} sh bundle/install.sh venv && venv/bin/medgrpo presets list && ! venv/bin/python -m pip download numpy==1.0"
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PIP_", "PYTHONPATH", "VIRTUAL_ENV"))
    }
    there = subprocess.run(["unshare", "--net", "--map-root-user", "sh", "-c", script], capture_output=True, text=True, check=False, env=environment)  # fmt: skip
    if "unshare" in there.stderr:
        pytest.skip(f"no private networks here: {there.stderr.strip()[:80]}")
    assert there.returncode == 0, there.stderr
    assert "balanced" in there.stdout

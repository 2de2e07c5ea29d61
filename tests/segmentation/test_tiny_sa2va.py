"""The tiny Sa2VA learns real vessels: the first part of `benchmarks/tiny_sa2va.py`, whole."""

import argparse
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from medgrpo.data.prepare import PrepareOptions, prepare
from tests.conftest import ROOT


@pytest.mark.slow
def test_it_overfits_four_crops_of_four_patients(shared_data, tmp_path):
    spec = spec_from_file_location("tiny_sa2va", ROOT / "benchmarks" / "tiny_sa2va.py")
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    options = PrepareOptions(task="vessels")
    drive = prepare(shared_data / "vessels" / "drive", tmp_path / "drive", options, workers=1)[0].path
    asked = argparse.Namespace(seed=0, small_side=32, overfit_steps=220, overfit_rate=8e-3)
    found = benchmark.overfit([drive], tmp_path, asked)
    assert len(found["dice"]) == 4
    assert max(found["dice_before"]) < 0.4
    assert min(found["dice"]) > 0.85
    assert sum(found["dice"]) / 4 > 0.9
    assert found["ceiling"] == 1.0  # masks of 32 px for crops of 32 px

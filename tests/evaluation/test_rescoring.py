"""The example that scores LLaVA-Med's answers by its own script's rule and by ours."""

import importlib.util
import json
from pathlib import Path

import pytest

from medgrpo.evaluation.evaluate import evaluate_predictions
from medgrpo.evaluation.predictions import read_predictions

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/rescore_llava_med.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("rescore_llava_med", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_original_rule_forgets_wrong_answers(example):
    rows = [{"answer_type": "CLOSED", "answer": "Yes"}] * 3 + [{"answer_type": "OPEN", "answer": "liver"}]
    # right: 1; wrong with the word "no": forgotten; wrong without either word: 0; open: not closed
    assert example.original_hits(rows, ["yes", "no", "maybe", "yes"]) == {0: 1, 2: 0}


@pytest.mark.parametrize(
    ("name", "hits", "counted"),
    [
        ("answer-file.jsonl", 100, 127),
        ("answer-file-1epoch.jsonl", 46, 165),
        ("answer-file-llava-zeorshot.jsonl", 61, 162),
    ],
)
def test_counting_every_answer_lowers_the_closed_figure(example, shared_data, name, hits, counted):
    testset = shared_data / "vqa_rad/testset.json"
    rows = json.loads(testset.read_text(encoding="utf-8"))
    found = read_predictions(shared_data / "model_outputs/llava_med" / name, references=testset, join="row")
    original = example.original_hits(rows, found.completions)
    assert (sum(original.values()), len(original)) == (hits, counted)
    closed = evaluate_predictions(found).document["closed"]
    assert closed["n"] == 194
    assert closed["value"] < hits / counted

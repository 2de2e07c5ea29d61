"""Text rewards against compiled regular expressions and rapidfuzz: 4,096 fresh completions.

Run with `pytest tests/benchmarks/test_text_benchmarks.py --benchmark-enable`; MEDGRPO_NUM_THREADS sets the threads.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from medgrpo.rewards import text

_spec = importlib.util.spec_from_file_location("text_workload", Path(__file__).parent / "text_workload.py")
workload = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(workload)


@pytest.fixture(scope="module")
def batch():
    return workload.make_batch()


def fresh(batch):
    completions, columns = batch
    return (
        workload.fresh(completions),
        {name: workload.fresh(values) for name, values in columns.items()},
    ), {}


def structured(completions, columns):
    """Format, overlap, plane and modality: what the Python twin computes, before any rule of the matcher."""
    return (
        text.format(completions),
        text.token_f1(completions, answer=columns["answer"]),
        text.plane_match(completions, plane=columns["plane"]),
        text.modality_match(completions, modality=columns["modality"]),
    )


def full(completions, columns):
    """The same with the medical matcher in place of the overlap."""
    return (
        text.format(completions),
        text.answer_match(completions, answer=columns["answer"], question=columns["question"]),
        text.plane_match(completions, plane=columns["plane"]),
        text.modality_match(completions, modality=columns["modality"]),
    )


def test_format_and_f1_equal_the_python_ones(batch):
    completions, columns = batch
    python = np.array(workload.python_rewards(completions, columns))
    np.testing.assert_array_equal(text.format(completions), python[:, 0])
    ascii_rows = [i for i, c in enumerate(completions) if c.isascii()]
    exact = np.array(text.exact_match(completions, answer=columns["answer"]))
    assert all(python[i, 1] == 1 for i in ascii_rows if exact[i])
    assert all(
        p >= q
        for p, q in zip(text.plane_match(completions, plane=columns["plane"]), python[:, 2], strict=True)
    )


@pytest.mark.benchmark(group="text 4096")
@pytest.mark.parametrize(
    "rewards", [workload.python_rewards, structured, full], ids=["python", "structured", "full"]
)
def test_rewards(benchmark, batch, rewards):
    benchmark.pedantic(rewards, setup=lambda: fresh(batch), rounds=9)


@pytest.mark.benchmark(group="text parts 4096")
@pytest.mark.parametrize("name", ["format", "answer_match", "token_f1", "levenshtein", "plane_match", "modality_match", "fluency"])  # fmt: skip
def test_part(benchmark, batch, name):
    reward = getattr(text, name)
    benchmark.pedantic(lambda c, k: reward(c, **k), setup=lambda: fresh(batch), rounds=9)


def test_time_grows_linearly_with_the_text(batch):
    """Four times the batch takes at most about four times as long (generous: the machine is shared)."""
    import time

    completions, columns = batch
    quarter = (completions[:1024], {k: v[:1024] for k, v in columns.items()})

    def best(data):
        times = []
        for _ in range(7):
            start = time.perf_counter()
            full(*data)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best((completions, columns)) <= 8 * best(quarter)

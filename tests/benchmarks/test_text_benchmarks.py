"""Text rewards against compiled regular expressions and rapidfuzz: 4,096 fresh completions.

    pytest tests/benchmarks/test_text_benchmarks.py --benchmark-enable -s

prints the table of BENCHMARKS.md: both sides in one run, one thread (or MEDGRPO_NUM_THREADS), least processor time of
21 rounds, so that a lost turn on a busy machine does not count.
"""

import importlib.util
import os
import time
from pathlib import Path

import numpy as np
import pytest

from medgrpo.rewards import masks, text
from medgrpo.rewards.composite import CompositeReward

_spec = importlib.util.spec_from_file_location("text_workload", Path(__file__).parent / "text_workload.py")
workload = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(workload)

STRUCTURED = ("format", "token_f1", "plane_match", "modality_match")
"""What the Python twin computes, before any rule of the matcher."""
FULL = ("format", "answer_match", "plane_match", "modality_match")
"""The same with the medical matcher in place of the overlap."""


@pytest.fixture(scope="module")
def batch():
    return workload.make_batch()


@pytest.fixture
def one_thread():
    masks.set_num_threads(int(os.environ.get("MEDGRPO_NUM_THREADS", "1")))
    yield
    masks.set_num_threads(0)


def fresh(batch):
    completions, columns = batch
    return workload.fresh(completions), {name: workload.fresh(values) for name, values in columns.items()}


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


def test_all_at_once_equal_one_by_one(batch):
    completions, columns = batch
    names = sorted({*STRUCTURED, *FULL})
    together = text.score(names, completions, **columns)
    for name, values in zip(names, together.T, strict=True):
        np.testing.assert_array_equal(getattr(text, name)(completions, **columns), values)


def least_ms(call, data, rounds=21):
    """Least processor time of `call(completions, columns)`; `data()` makes its arguments, untimed."""
    times = []
    for _ in range(rounds):
        completions, columns = data()
        start = time.process_time()
        call(completions, columns)
        times.append(time.process_time() - start)
    return 1e3 * min(times)


@pytest.mark.benchmark
def test_the_table(benchmark, batch, one_thread):
    composite = CompositeReward(dict.fromkeys(FULL, 1.0))
    jobs = {
        "Python + rapidfuzz": workload.python_rewards,
        "structured": lambda c, k: text.score(STRUCTURED, c, **k),
        "full": lambda c, k: text.score(FULL, c, **k),
        "CompositeReward, full, as lists": lambda c, k: composite(c, **k),
        **{name: lambda c, k, name=name: text.score([name], c, **k) for name in (*STRUCTURED, "answer_match", "levenshtein", "fluency")},
    }  # fmt: skip
    fresh_ms = {name: least_ms(job, lambda: fresh(batch)) for name, job in jobs.items()}
    seen_ms = {name: least_ms(job, lambda: batch) for name, job in jobs.items()}
    python, seen = fresh_ms["Python + rapidfuzz"], seen_ms["Python + rapidfuzz"]
    print("\n| job | fresh, ms | ratio | seen before, ms | ratio |\n| --- | ---: | ---: | ---: | ---: |")
    for name in jobs:
        print(
            f"| {name} | {fresh_ms[name]:.2f} | {python / fresh_ms[name]:.1f}× "
            f"| {seen_ms[name]:.2f} | {seen / seen_ms[name]:.1f}× |"
        )
    print(f"full / structured, fresh: {fresh_ms['full'] / fresh_ms['structured']:.2f}")
    benchmark.pedantic(jobs["structured"], setup=lambda: (fresh(batch), {}), rounds=9)


def test_time_grows_linearly_with_the_text(batch):
    """Four times the batch takes at most about four times as long (generous: the machine is shared)."""
    completions, columns = batch
    quarter = completions[:1024], {name: values[:1024] for name, values in columns.items()}

    def full(completions, columns):
        text.score(FULL, completions, **columns)

    assert least_ms(full, lambda: batch, 7) <= 8 * least_ms(full, lambda: quarter, 7)

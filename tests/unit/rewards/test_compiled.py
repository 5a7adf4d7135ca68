"""The compiled matching against the one in numpy and scipy: the same columns, also where matchings tie."""

import platform
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rewards import bbox_rewards, matching, warm_up
from rewards.geometry import assign
from rewards.matching import _half_costs, _scratch

pytest.importorskip("numba", reason="numba is not installed: large problems stay with scipy")
from rewards.compiled import match_all

Floats = NDArray[np.float64]
RNG = np.random.default_rng(0)


def boxes(problems: int, number: int, extent: int) -> Floats:
    ends = np.sort(RNG.integers(0, extent, (problems, number, 2, 2)), axis=2)
    return ends.reshape(problems, number, 4) / extent


def compiled(rows: Floats, columns: Floats) -> NDArray[np.int64]:
    matched = np.empty(rows.shape[:2], dtype=np.int64)
    match_all(rows, columns, matched)
    return matched


@pytest.mark.parametrize("extent", [2, 4, 16, 1000])
@pytest.mark.parametrize(("num_rows", "num_columns"), [(6, 6), (6, 9), (8, 8), (11, 30), (20, 20), (60, 64)])
def test_same_columns_as_numpy_and_scipy(num_rows: int, num_columns: int, extent: int) -> None:
    """A grid of two or four lines makes equal boxes, boxes without area and ties the rule."""
    rows, columns = boxes(60, num_rows, extent), boxes(60, num_columns, extent)
    costs = _half_costs(rows, columns, _scratch(5 * 60 * num_rows * num_columns))
    found = compiled(rows, columns)
    assert np.array_equal(found, assign(costs))
    for cost, columns_of in zip(costs, found, strict=True):
        cheapest = cost[linear_sum_assignment(cost)].sum()
        assert cost[np.arange(num_rows), columns_of].sum() == pytest.approx(cheapest, abs=1e-9)


@pytest.fixture
def count_from_zero(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    def start(pairs_to_compile: float) -> None:
        monkeypatch.setattr(matching, "_pairs_of_large_problems", 0)
        monkeypatch.setattr(matching, "PAIRS_TO_COMPILE", pairs_to_compile)

    return start


def test_rewards_stay_the_same_when_the_compiled_code_comes_in(count_from_zero: Callable[[float], None]) -> None:
    truths = [boxes(1, int(number), 300)[0] * 300 for number in RNG.integers(1, 40, 50)]
    texts = [f"m <box>{np.round(RNG.permutation(truth) + RNG.integers(0, 9)).tolist()}</box>" for truth in truths]
    count_from_zero(np.inf)
    plain = bbox_rewards(texts, truths).tolist()
    count_from_zero(10_000)
    assert matching._compiled(10_000) is None
    assert matching._compiled(1) is match_all
    assert bbox_rewards(texts, truths).tolist() == plain


def test_a_process_that_is_there_to_score_has_it_from_the_first_call(count_from_zero: Callable[[float], None]) -> None:
    count_from_zero(10_000)
    assert matching._compiled(1) is None
    assert warm_up()
    assert matching._compiled(1) is match_all
    assert match_all.signatures  # compiled, not to be at the first call


def test_other_processes_have_it_after_three_steps_of_100_boxes() -> None:
    code = """
import numpy as np
from rewards import bbox_rewards, matching
rng = np.random.default_rng(0)
truths = [np.sort(rng.integers(0, 999, (100, 2, 2)), axis=1).reshape(100, 4) for _ in range(32)]
texts = [f"m <box>{rng.permutation(truth).tolist()}</box>" for truth in truths]
matching._pairs_of_large_problems = 3 * 1024 * 100 * 100 - 32 * 100 * 100
bbox_rewards(texts, truths)
print(matching._match_all.cache_info().currsize)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1", done.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="freed memory is kept by a setting of glibc")
def test_a_process_that_is_there_to_score_keeps_its_memory_from_call_to_call() -> None:
    code = """
import resource
import numpy as np
from rewards import bbox_rewards, warm_up
warm_up()
truths = [np.array([[0.0, 0, 9, 9], [10, 10, 30, 30], [5, 5, 8, 40], [7, 1, 9, 9]])] * 1024
texts = ["m <box>[[0, 0, 9, 9], [10, 10, 30, 30], [5, 5, 8, 40], [7, 1, 9, 9]]</box>"] * 1024
bbox_rewards(texts, truths)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    bbox_rewards(texts, truths)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 20  # page faults a call; some hundred without

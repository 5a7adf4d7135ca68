"""Which points stand for a series."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmo_ray.reports.series import Points, Series, group_size, metric, metric_keys, points, rolling_std, smoothed

NAN = math.nan


def series(values: list[float], first_step: int = 1) -> Series:
    return Series(np.arange(first_step, first_step + len(values)), np.array(values))


def test_a_short_series_is_plotted_as_it_is() -> None:
    shown = points(series([3.0, NAN, 1.0]))
    assert shown.x == (1, 2, 3)
    assert shown.y == pytest.approx((3.0, NAN, 1.0), nan_ok=True)
    assert shown.labels == ("step 1", "step 2", "step 3")
    assert shown.size == 1


def test_a_long_series_is_plotted_as_means_over_equal_groups_of_steps() -> None:
    shown = points(series([1.0, 3.0, 5.0, NAN, NAN, NAN, 7.0]), max_points=4)
    assert shown.size == 2
    assert shown.x == (1.5, 3.5, 5.5, 7)
    assert shown.y == pytest.approx((2.0, 5.0, NAN, 7.0), nan_ok=True)
    assert shown.labels == ("steps 1–2", "steps 3–4", "steps 5–6", "step 7")


@pytest.mark.parametrize(
    ("rows", "size"), [(0, 1), (150, 1), (151, 2), (300, 2), (301, 5), (15_000, 100), (15_001, 200)]
)
def test_groups_are_of_round_size(rows: int, size: int) -> None:
    assert group_size(rows, 150) == size


@given(st.lists(st.floats(-1e6, 1e6) | st.just(NAN), min_size=1, max_size=700))
def test_no_more_points_than_allowed_and_no_value_is_lost(values: list[float]) -> None:
    shown = points(series(values), max_points=150)
    assert len(shown.x) <= 150
    sizes = [len(values[start : start + shown.size]) for start in range(0, len(values), shown.size)]
    assert sum(sizes) == len(values) and len(sizes) == len(shown.y)
    for place, mean in enumerate(shown.y):
        finite = [v for v in values[place * shown.size : (place + 1) * shown.size] if math.isfinite(v)]
        assert (math.isnan(mean) and not finite) or mean == pytest.approx(sum(finite) / len(finite))


def test_a_metric_keeps_the_steps_that_carry_it() -> None:
    rows = [
        {"step": 1, "loss": 2},
        {"step": 2},
        {"step": 3, "loss": None},
        {"step": 4, "loss": "2"},
        {"step": 5, "loss": 1e308},
        {"step": 6, "loss": 10**400},
        {"step": 7, "loss": True},
    ]
    read = metric(rows, "loss")
    assert read.steps.tolist() == [1, 3, 4, 5, 6, 7]
    assert read.values.tolist() == pytest.approx([2, NAN, NAN, NAN, NAN, 1], nan_ok=True)
    assert read.num_gaps == 4
    assert len(metric(rows, "entropy")) == 0


def test_keys_are_those_with_a_number_somewhere() -> None:
    rows = [{"step": 1, "b": None, "c": "text"}, {"step": 2, "a": 1.0, "b": 2.0}]
    assert metric_keys(rows) == ["a", "b"]


def test_rolling_std_looks_back_over_the_window_and_past_gaps() -> None:
    spread = rolling_std(np.array([1.0, 3.0, NAN, 5.0, 5.0]), window=3)
    assert spread.tolist() == pytest.approx([0.0, 1.0, 1.0, 1.0, 0.0])


def test_the_trend_of_a_straight_line_is_that_line_even_at_its_ends() -> None:
    x = tuple(float(step) for step in range(1, 41))
    line = Points(x, tuple(0.5 * step - 3 for step in x), ("",) * 40, 1)
    assert smoothed(line, width=4) == pytest.approx(line.y)


def test_the_trend_takes_noise_away_and_bridges_gaps() -> None:
    x = tuple(float(step) for step in range(200))
    noise = np.random.default_rng(0).normal(0, 1, 200)
    y = [*(5 + noise).tolist()]
    y[60:120] = [NAN] * 60
    trend = np.array(smoothed(Points(x, tuple(y), ("",) * 200, 1), width=15))
    assert np.isfinite(trend).all()
    assert trend.std() < 0.5 and abs(trend.mean() - 5) < 0.3


def test_the_trend_of_one_point_or_none() -> None:
    assert smoothed(Points((1.0,), (2.0,), ("",), 1), 1.0) == (2.0,)
    assert math.isnan(smoothed(Points((1.0,), (NAN,), ("",), 1), 1.0)[0])

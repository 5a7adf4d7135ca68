"""A metric over the steps of a stage, thinned to what a plot can show."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 150
"""A plotted line has at most so many points; a longer run is plotted as means over equal groups of steps."""

LARGEST = 1e100
"""A larger number is as unreadable as an infinite one: sums and squares of it may overflow."""


@dataclass(frozen=True)
class Series:
    """One metric.

    Attributes:
        steps: [N] rising step numbers of the rows that carry the metric.
        values: [N], NaN where the row carries it without a finite number.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def num_gaps(self) -> int:
        """Steps without a finite value."""
        return int(np.isnan(self.values).sum())

    def with_values(self, values: NDArray[np.float64]) -> "Series":
        """Other values at the same steps."""
        return Series(self.steps, values)


@dataclass(frozen=True)
class Points:
    """What is plotted of a series.

    Attributes:
        x: middle of the steps behind each point.
        y: mean of the finite values behind each point, NaN where there is none.
        labels: the steps behind each point, in words.
        size: rows behind a point; the last one may have fewer.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    labels: tuple[str, ...]
    size: int


def metric(rows: Sequence[Mapping[str, Any]], key: str) -> Series:
    """The series of a key in rows sorted by step; rows without the key are left out."""
    having = [(row["step"], _number(row[key])) for row in rows if key in row]
    steps, values = zip(*having, strict=True) if having else ((), ())
    return Series(np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64))


def metric_keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every key that carries a finite number in some row, in the order in which they first appear."""
    keys: dict[str, None] = {}
    for row in rows:
        keys.update(dict.fromkeys(key for key, value in row.items() if key != "step" and math.isfinite(_number(value))))
    return list(keys)


def group_size(num_rows: int, max_points: int = MAX_POINTS) -> int:
    """Rows behind one point: the smallest of 1, 2, 5, 10, 20, 50, … that keeps the points within the limit."""
    size, factors = 1, (2.0, 2.5, 2.0)
    for turn in range(60):
        if size * max_points >= num_rows:
            break
        size = int(size * factors[turn % 3])
    return size


def points(series: Series, max_points: int = MAX_POINTS) -> Points:
    """The points that stand for a series: groups of `group_size` rows, each at its middle step with its mean."""
    size = group_size(len(series), max_points)
    x, y, labels = [], [], []
    for start in range(0, len(series), size):
        steps, values = series.steps[start : start + size], series.values[start : start + size]
        finite = values[np.isfinite(values)]
        first, last = int(steps[0]), int(steps[-1])
        x.append((first + last) / 2)
        y.append(float(finite.mean()) if len(finite) else math.nan)
        labels.append(f"step {first:,}" if first == last else f"steps {first:,}–{last:,}")
    return Points(tuple(x), tuple(y), tuple(labels), size)


def rolling_std(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Standard deviation of the last `window` values at each place; NaN values are left out, fewer than two give 0."""
    out = np.zeros(len(values))
    for end in range(1, len(values) + 1):
        seen = values[max(0, end - window) : end]
        seen = seen[np.isfinite(seen)]
        out[end - 1] = seen.std() if len(seen) > 1 else 0.0
    return out


def smoothed(points: Points, width: float) -> tuple[float, ...]:
    """Trend of points: at each x the straight line that fits its surroundings best, weighted by a Gaussian.

    A local line, unlike a local mean, does not bend towards the middle at the two ends of a run.

    Args:
        points: what to smooth.
        width: standard deviation of the Gaussian, in steps.
    """
    x, y = np.array(points.x), np.array(points.y)
    finite = np.isfinite(y)
    if not finite.any():
        return points.y
    away = (x[None, finite] - x[:, None]) / width
    exponents = -0.5 * away**2
    # Relative to the nearest point, so that a gap wider than the Gaussian takes the nearest values instead of 0 / 0.
    weights = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    s0, s1, s2 = weights.sum(axis=1), (weights * away).sum(axis=1), (weights * away**2).sum(axis=1)
    t0, t1 = weights @ y[finite], (weights * away) @ y[finite]
    spread = s0 * s2 - s1**2
    straight = spread > 1e-9 * s0**2
    return tuple(np.where(straight, (s2 * t0 - s1 * t1) / np.where(straight, spread, 1.0), t0 / s0).tolist())


def window_of(series: Series) -> int:
    """Rows of the rolling window: a twentieth of the run, at least 5, at most 100."""
    return int(np.clip(len(series) // 20, 5, 100))


def _number(value: Any) -> float:
    if not isinstance(value, bool | int | float):
        return math.nan
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    if not abs(number) < LARGEST:
        return math.nan
    return number if abs(number) > 1 / LARGEST else 0.0

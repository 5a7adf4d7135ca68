"""From values to pixels of a plot: ticks at round numbers, and numbers as short text."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A linear axis.

    Attributes:
        low: value at `start`.
        high: value at `end`.
        start: pixel of the low end.
        end: pixel of the high end; smaller than `start` on an axis that points up.
        ticks: round values between low and high.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def tick_texts(self) -> list[str]:
        """The ticks as text, all with the decimals that tell neighbours apart."""
        gap = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else abs(self.ticks[0]) or 1.0
        largest = max(abs(tick) for tick in self.ticks)
        return [_tick_text(tick, gap, largest) for tick in self.ticks]


def axis(values: Iterable[float], start: float, end: float, num_ticks: int = 5, *, whole: bool = False) -> Axis:
    """An axis that holds all finite values.

    Args:
        values: what is plotted along it; at least one is finite.
        start: pixel of its low end.
        end: pixel of its high end.
        num_ticks: about so many ticks.
        whole: the values are counts (steps, images): ticks at whole numbers only, ends at the outermost values.

    Raises:
        ValueError: no value is finite.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        raise ValueError("an axis needs at least one finite value")
    low, high = min(finite), max(finite)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        pad = 0.5 if whole else 0.5 * abs(low) or 0.5
        low, high = low - pad, high + pad
    step = _round_step((high - low) / num_ticks)
    step = max(1.0, step) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if not whole:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        low, high = first * step, last * step
    ticks = tuple(index * step for index in range(first, last + 1)) or (low,)
    return Axis(low, high, start, end, ticks)


def number_text(value: float | int | None, digits: int = 3) -> str:
    """A number with so many significant digits; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e6):
        return f"{int(value):,}"
    if not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def duration_text(seconds: float | None) -> str:
    """A duration in its two largest units; a dash where there is none."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s" if seconds < 600 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _round_step(raw: float) -> float:
    """The smallest of 1, 2, 5 × 10^n that is no less than `raw`."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def _tick_text(tick: float, gap: float, largest: float) -> str:
    if tick == 0:
        return "0"
    if largest < 1e-3 or largest >= 1e7:
        return f"{tick:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    if largest >= 1e4 and gap >= 100:
        return f"{tick / 1000:,.{0 if gap >= 1000 else 1}f}k"
    decimals = max(0, -math.floor(math.log10(gap) + 1e-9))
    return f"{tick:,.{decimals}f}"

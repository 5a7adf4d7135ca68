"""Line charts as SVG, drawn from numbers; `report.js` adds the values under the pointer."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from medmo_ray.reports.markup import Markup, escape, joined, tag
from medmo_ray.reports.scale import Axis, axis, number_text
from medmo_ray.reports.series import Points

NUM_COLOURS = 7
"""`--c1` … `--c7` of report.css: told apart with every common colour vision, on light and on dark ground."""
FEW_POINTS = 40


@dataclass(frozen=True)
class Line:
    """A line of a chart; a NaN in `y` is a gap.

    Attributes:
        name: for the legend and the values under the pointer.
        x: [N], rising.
        y: [N].
        labels: [N], what each x is, in words.
        colour: 1 … NUM_COLOURS.
        style: "thin", "thick" or "dashed".
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    labels: Sequence[str]
    colour: int = 1
    style: str = "thin"

    @classmethod
    def of(cls, name: str, points: Points, colour: int = 1, style: str = "thin") -> "Line":
        """A line through the points of a series."""
        return cls(name, points.x, points.y, points.labels, colour, style)


@dataclass(frozen=True)
class Band:
    """A shaded area between two lines."""

    name: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    colour: int = 1


@dataclass(frozen=True)
class Chart:
    """What a chart shows.

    Attributes:
        x_label: with its unit.
        y_label: with its unit.
        lines: drawn in order.
        bands: drawn beneath the lines.
        stacked: `lines` are parts that add up; each is filled down to the one before.
        floor: a value that the y axis must reach, such as 0.
    """

    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    bands: tuple[Band, ...] = ()
    stacked: bool = False
    floor: float | None = None
    summary: str = field(default="", kw_only=True)

    @property
    def is_empty(self) -> bool:
        return not any(math.isfinite(value) for line in self.lines for value in line.y)


@dataclass(frozen=True)
class Size:
    """Of a chart, in SVG units: CSS pixels where it is shown at its own size."""

    width: int = 420
    height: int = 250
    left: int = 52
    right: int = 12
    top: int = 26
    bottom: int = 38


WIDE = Size(width=1160, height=360, left=56)


def draw(chart: Chart, size: Size = Size()) -> Markup:
    """The chart as one SVG element; a chart without a finite value says so."""
    if chart.is_empty:
        return tag("p", "No finite value was recorded.", class_="empty")
    lines = _stack(chart.lines) if chart.stacked else chart.lines
    x_axis = axis((x for line in lines for x in line.x), size.left, size.width - size.right, 6, whole=True)
    heights = [value for line in lines for value in line.y]
    heights += [value for band in chart.bands for value in (*band.low, *band.high)]
    heights += [0.0] if chart.stacked else [] if chart.floor is None else [chart.floor]
    y_axis = axis(heights, size.height - size.bottom, size.top)
    return tag(
        "svg",
        tag("title", f"{chart.y_label} against {chart.x_label}. {chart.summary}".strip()),
        _grid(chart, size, x_axis, y_axis),
        joined(_band(band, x_axis, y_axis) for band in chart.bands),
        joined(_area(low, line, x_axis, y_axis) for low, line in _floors(lines)) if chart.stacked else None,
        joined(_line(line, x_axis, y_axis) for line in lines),
        tag("line", class_="cross", y1=size.top, y2=size.height - size.bottom),
        class_="chart",
        viewBox=f"0 0 {size.width} {size.height}",
        role="img",
        tabindex=0,
        data_chart=_values(chart, x_axis),
    )


def legend(chart: Chart) -> Markup | None:
    """Names of the lines with their colour and stroke; None for a single line."""
    if len(chart.lines) + len(chart.bands) < 2:
        return None
    entries = [(line.name, f"key {line.style} c{line.colour}") for line in chart.lines]
    entries += [(band.name, f"key band c{band.colour}") for band in chart.bands]
    return tag("ul", *(tag("li", tag("i", class_=style), name) for name, style in entries), class_="legend")


def _grid(chart: Chart, size: Size, x_axis: Axis, y_axis: Axis) -> Markup:
    right, bottom = size.width - size.right, size.height - size.bottom
    rows = [
        joined(
            (
                tag("line", class_="grid", x1=size.left, x2=right, y1=_px(y_axis(tick)), y2=_px(y_axis(tick))),
                tag("text", text, class_="tick", x=size.left - 7, y=_px(y_axis(tick) + 4), text_anchor="end"),
            )
        )
        for tick, text in zip(y_axis.ticks, y_axis.tick_texts(), strict=True)
    ]
    columns = [
        joined(
            (
                tag("line", class_="notch", x1=_px(x_axis(tick)), x2=_px(x_axis(tick)), y1=bottom, y2=bottom + 4),
                tag("text", text, class_="tick", x=_px(x_axis(tick)), y=bottom + 16, text_anchor="middle"),
            )
        )
        for tick, text in zip(x_axis.ticks, x_axis.tick_texts(), strict=True)
    ]
    return joined(
        (
            *rows,
            *columns,
            tag("line", class_="base", x1=size.left, x2=right, y1=bottom, y2=bottom),
            tag("text", chart.y_label, class_="label", x=4, y=13),
            tag("text", chart.x_label, class_="label", x=right, y=size.height - 6, text_anchor="end"),
        )
    )


def _line(line: Line, x_axis: Axis, y_axis: Axis) -> Markup:
    runs = list(_runs(line.x, line.y))
    path = "".join(
        f"M{_px(x_axis(run[0][0]))} {_px(y_axis(run[0][1]))}"
        + "".join(f"L{_px(x_axis(x))} {_px(y_axis(y))}" for x, y in run[1:])
        for run in runs
        if len(run) > 1
    )
    few = len(line.x) <= FEW_POINTS and line.style == "thin"
    dots = [point for run in runs for point in run if few or len(run) == 1]
    return joined(
        (
            tag("path", class_=f"line {line.style} c{line.colour}", d=path) if path else None,
            *(
                tag("circle", class_=f"dot c{line.colour}", cx=_px(x_axis(x)), cy=_px(y_axis(y)), r=2.2)
                for x, y in dots
            ),
        )
    )


def _band(band: Band, x_axis: Axis, y_axis: Axis) -> Markup:
    lows = dict(zip(band.x, band.low, strict=True))
    paths = []
    for run in _runs(
        band.x, [high if math.isfinite(lows[x]) else math.nan for x, high in zip(band.x, band.high, strict=True)]
    ):
        there = [f"{_px(x_axis(x))} {_px(y_axis(high))}" for x, high in run]
        back = [f"{_px(x_axis(x))} {_px(y_axis(lows[x]))}" for x, _ in reversed(run)]
        paths.append("M" + "L".join([*there, *back]) + "Z")
    return tag("path", class_=f"band c{band.colour}", d="".join(paths))


def _area(low: Sequence[float], line: Line, x_axis: Axis, y_axis: Axis) -> Markup:
    there = [f"{_px(x_axis(x))} {_px(y_axis(y))}" for x, y in zip(line.x, line.y, strict=True)]
    back = [f"{_px(x_axis(x))} {_px(y_axis(y))}" for x, y in zip(line.x, low, strict=True)]
    return tag("path", class_=f"area c{line.colour}", d="M" + "L".join([*there, *reversed(back)]) + "Z")


def _stack(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Lines on top of each other over all their x; a missing value adds nothing."""
    labels = {x: label for line in lines for x, label in zip(line.x, line.labels, strict=True)}
    across = sorted(labels)
    total, stacked = [0.0] * len(across), []
    for line in lines:
        values = dict(zip(line.x, line.y, strict=True))
        parts = [values.get(x, math.nan) for x in across]
        total = [under + (part if math.isfinite(part) else 0.0) for under, part in zip(total, parts, strict=True)]
        stacked.append(Line(line.name, across, total, [labels[x] for x in across], line.colour, line.style))
    return tuple(stacked)


def _floors(lines: Sequence[Line]) -> Iterable[tuple[Sequence[float], Line]]:
    """Each stacked line with what it stands on, the topmost first."""
    floors = [[0.0] * len(lines[0].x), *(line.y for line in lines[:-1])]
    return reversed(list(zip(floors, lines, strict=True)))


def _runs(x: Sequence[float], y: Sequence[float]) -> Iterable[list[tuple[float, float]]]:
    """Stretches of a line without a gap."""
    run: list[tuple[float, float]] = []
    for point in zip(x, y, strict=True):
        if math.isfinite(point[1]):
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _values(chart: Chart, x_axis: Axis) -> Markup:
    """What the script shows under the pointer: every x with its words, and the value of each line there."""
    labels = {x: label for line in chart.lines for x, label in zip(line.x, line.labels, strict=True)}
    across = sorted(labels)
    by_line = [dict(zip(line.x, line.y, strict=True)) for line in chart.lines]
    data = {
        "px": [round(x_axis(x), 1) for x in across],
        "at": [labels[x] for x in across],
        "lines": [
            {"name": line.name, "c": line.colour, "text": [number_text(values.get(x), 4) for x in across]}
            for line, values in zip(chart.lines, by_line, strict=True)
        ],
    }
    return escape(json.dumps(data, ensure_ascii=False, separators=(",", ":")))


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")

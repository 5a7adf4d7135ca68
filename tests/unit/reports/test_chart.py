"""A chart shows the numbers it was given: read back from the drawing itself, through its own ticks."""

import json
import math
import re
from xml.etree import ElementTree

import pytest

from medmo_ray.reports.chart import Band, Chart, Line, draw, legend
from medmo_ray.reports.markup import Markup

NAN = math.nan


def line(name: str, y: list[float], colour: int = 1, x: list[float] | None = None, style: str = "thin") -> Line:
    steps = x or [float(step) for step in range(1, len(y) + 1)]
    return Line(name, steps, y, [f"step {step:g}" for step in steps], colour, style)


class Drawing:
    """An SVG chart, read back."""

    def __init__(self, markup: Markup) -> None:
        self.svg = ElementTree.fromstring(markup)
        self.x = self._axis("middle", "x")
        self.y = self._axis("end", "y", shift=-4)

    def _axis(self, anchor: str, place: str, shift: float = 0) -> tuple[float, float]:
        """Scale and offset from pixels to values, from the first and the last tick."""
        ticks = [e for e in self.svg.iter("text") if e.get("class") == "tick" and e.get("text-anchor") == anchor]
        pixels = [float(tick.get(place) or 0) + shift for tick in ticks]
        values = [float((tick.text or "").replace(",", "")) for tick in ticks]
        scale = (values[-1] - values[0]) / (pixels[-1] - pixels[0])
        return scale, values[0] - scale * pixels[0]

    def paths(self, kind: str) -> list[list[list[tuple[float, float]]]]:
        """Points of each path of a class, in values, one list for each stroke."""
        found = [e.get("d") or "" for e in self.svg.iter("path") if kind in (e.get("class") or "").split()]
        return [[self._points(stroke) for stroke in d.split("M")[1:]] for d in found]

    def _points(self, stroke: str) -> list[tuple[float, float]]:
        pairs = [pair.split() for pair in stroke.rstrip("Z").split("L")]
        return [(float(x) * self.x[0] + self.x[1], float(y) * self.y[0] + self.y[1]) for x, y in pairs]


def about(points: list[tuple[float, float]], tolerance: float = 0.02) -> list[object]:
    return [pytest.approx(point, abs=tolerance) for point in points]


def test_the_line_goes_through_the_values() -> None:
    drawing = Drawing(draw(Chart("step", "loss", (line("loss", [2.0, 1.0, 0.5, 0.75]),))))
    ((stroke,),) = drawing.paths("line")
    assert stroke == about([(1, 2.0), (2, 1.0), (3, 0.5), (4, 0.75)])


def test_a_gap_splits_the_line_and_a_lonely_value_becomes_a_dot() -> None:
    values = [1.0, 2.0, NAN, 3.0, NAN, 2.0, 1.0] + [1.0] * 40
    drawing = Drawing(draw(Chart("step", "loss", (line("loss", values),))))
    (strokes,) = drawing.paths("line")
    assert [len(stroke) for stroke in strokes] == [2, 42]
    (dot,) = drawing.svg.iter("circle")
    place = (
        float(dot.get("cx") or 0) * drawing.x[0] + drawing.x[1],
        float(dot.get("cy") or 0) * drawing.y[0] + drawing.y[1],
    )
    assert place == pytest.approx((4, 3.0), abs=0.15)


def test_few_points_are_marked_each() -> None:
    drawing = draw(Chart("step", "loss", (line("loss", [1.0, 2.0, 3.0]),)))
    assert len(list(ElementTree.fromstring(drawing).iter("circle"))) == 3


def test_a_band_lies_between_its_bounds() -> None:
    mean = line("mean", [0.0, 1.0])
    drawing = Drawing(draw(Chart("step", "reward", (mean,), (Band("±", mean.x, [-0.5, 0.5], [0.5, 1.5]),))))
    ((outline,),) = drawing.paths("band")
    assert outline == about([(1, 0.5), (2, 1.5), (2, 0.5), (1, -0.5)])


def test_stacked_parts_add_up_over_all_steps() -> None:
    rollout, sync = line("rollout", [8.0, 6.0]), line("sync", [1.0, 2.0], 2, [2.0, 3.0])
    drawing = Drawing(draw(Chart("step", "s", (rollout, sync), stacked=True)))
    assert [stroke for (stroke,) in drawing.paths("line")] == [
        about([(1, 8), (2, 6), (3, 0)]),
        about([(1, 8), (2, 7), (3, 2)]),
    ]
    assert len(drawing.paths("area")) == 2


def test_the_floor_is_on_the_axis() -> None:
    texts = [
        e.text
        for e in ElementTree.fromstring(draw(Chart("step", "s", (line("a", [5.0, 6.0]),), floor=0.0))).iter("text")
    ]
    assert "0" in texts
    without = [e.text for e in ElementTree.fromstring(draw(Chart("step", "s", (line("a", [5.0, 6.0]),)))).iter("text")]
    assert "0" not in without


def test_the_values_under_the_pointer_are_the_values() -> None:
    chart = Chart("step", "reward", (line("a", [0.125, NAN]), line("b", [7.0, 8.0], 2, [2.0, 3.0])))
    data = json.loads(ElementTree.fromstring(draw(chart)).get("data-chart") or "")
    assert data["at"] == ["step 1", "step 2", "step 3"]
    assert data["lines"] == [
        {"name": "a", "c": 1, "text": ["0.1250", "–", "–"]},
        {"name": "b", "c": 2, "text": ["–", "7", "8"]},
    ]
    assert data["px"] == sorted(data["px"]) and len(data["px"]) == 3


def test_nothing_to_plot_says_so() -> None:
    assert "No finite value" in draw(Chart("step", "loss", (line("loss", [NAN, NAN]),)))
    assert "No finite value" in draw(Chart("step", "loss", ()))


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [1e99, -1e99], [1e-90, 0.0], [1e15, 1e15 + 1]])
def test_awkward_values_give_finite_coordinates(values: list[float]) -> None:
    markup = draw(Chart("step", "x", (line("x", values),)))
    assert not re.search(r"nan|inf", markup.replace("x against", ""))


def test_a_hostile_name_is_text() -> None:
    chart = Chart("step", "</svg><script>", (line('<script>alert("1")</script>', [1.0]), line("b", [2.0], 2)))
    for markup in (draw(chart), legend(chart)):
        assert markup is not None and "<script" not in markup
    assert json.loads(ElementTree.fromstring(draw(chart)).get("data-chart") or "")["lines"][0]["name"].startswith(
        "<script>"
    )

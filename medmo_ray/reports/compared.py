"""Two models on the same held-out images: which ones, and how the IoU of each image changed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medmo_ray.reports.chart import Chart, Line
from medmo_ray.reports.gather import RunFacts
from medmo_ray.reports.held_out import HeldOutRow

MAX_IMAGES = 200
"""Points of a line over images, at most; of more images every n-th is plotted."""
SAME = 0.005
"""A smaller change of an image's IoU counts as none."""


@dataclass(frozen=True)
class Compared:
    """Held-out rows of two models.

    Attributes:
        before: rows of the earlier model by sample id; empty if only one was measured.
        before_name: of the earlier model.
        after: rows of the later model, in file order.
        after_name: of the later model.
    """

    before: Mapping[str, HeldOutRow]
    before_name: str
    after: Sequence[HeldOutRow]
    after_name: str


def compared(run: RunFacts) -> Compared | None:
    """The last stage that was measured, and what it started from; None before anything was measured."""
    done = [stage for stage in run.stages if stage.after]
    if not done:
        started = [stage for stage in run.stages if stage.before]
        return Compared({}, "", started[-1].before, f"before stage {started[-1].number}") if started else None
    last = done[-1]
    if last.before:
        before, name = last.before, f"before stage {last.number}"
    elif len(done) > 1:
        before, name = done[-2].after, f"after stage {done[-2].number}"
    else:
        before, name = (), ""
    return Compared({row.id: row for row in before}, name, last.after, f"after stage {last.number}")


def iou_chart(run: RunFacts) -> Chart | None:
    """IoU of every held-out image, sorted, one line a measured model."""
    models = [(f"after stage {stage.number}", stage.after) for stage in run.stages]
    first = next((stage for stage in run.stages if stage.before), None)
    if first is not None:
        models.insert(0, (f"before stage {first.number}", first.before))
    sorted_ious = [
        (name, sorted((row.iou for row in rows if math.isfinite(row.iou)), reverse=True)) for name, rows in models
    ]
    measured = [(name, ious) for name, ious in sorted_ious if ious]
    lines = tuple(_over_images(name, ious, 1 + index) for index, (name, ious) in enumerate(measured))
    return Chart("held-out images, best to worst [%]", "IoU", lines, floor=0.0) if lines else None


def change_chart(pair: Compared) -> tuple[Chart, str] | None:
    """How the IoU of each image changed, from the largest gain to the largest loss, and the caption that counts them."""
    both = [(pair.before[row.id].iou, row.iou) for row in pair.after if row.id in pair.before]
    changes = sorted((after - before for before, after in both if math.isfinite(after - before)), reverse=True)
    if not changes:
        return None
    better, worse = sum(change > SAME for change in changes), sum(change < -SAME for change in changes)
    chart = Chart(
        "held-out images, most to least gained [%]", "change of IoU", (_over_images("change", changes, 1),), floor=0.0
    )
    same = len(changes) - better - worse
    caption = (
        f"{pair.before_name.capitalize()} → {pair.after_name}: {better} of {len(changes)} images gained, {worse} lost, "
        f"{same} stayed within {SAME}; on average {sum(changes) / len(changes):+.3f}."
    )
    return chart, caption


def _over_images(name: str, values: Sequence[float], colour: int) -> Line:
    """A line through sorted values of images, over the share of the images."""
    shown = range(0, len(values), math.ceil(len(values) / MAX_IMAGES))
    share = [100 * (place + 0.5) / len(values) for place in shown]
    labels = [f"image {place + 1} of {len(values)}" for place in shown]
    return Line(name, share, [values[place] for place in shown], labels, colour, "plain")

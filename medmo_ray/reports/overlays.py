"""Held-out images with true and predicted boxes, before and after the last measured stage (figures 11-14 of the paper)."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medmo_ray.reports.compared import Compared, change_chart, compared, iou_chart
from medmo_ray.reports.curves import figure, grid
from medmo_ray.reports.gather import RunFacts
from medmo_ray.reports.held_out import HeldOutRow, choose
from medmo_ray.reports.images import MAX_SIDE_PX, data_uri, find_images
from medmo_ray.reports.markup import Markup, joined, tag
from medmo_ray.reports.scale import number_text
from rewards.boxes import LabelledBox, format_boxes
from rewards.frames import Frame, from_frame

NUM_LABEL_COLOURS = 6
MAX_TEXT_CHARS = 1200
MAX_LABEL_CHARS = 40
MAX_TAGGED_BOXES = 6
"""An image with more boxes of a kind names them under the pointer only."""


def overlay_section(run: RunFacts, note: Callable[[str], None]) -> Markup:
    """The sorted IoU curve and up to twelve images: best, median and worst after the last measured stage."""
    pair = compared(run)
    if pair is None:
        return tag("p", "No model of this run was measured on held-out images yet.", class_="note")
    groups = choose(pair.after)
    rows = [row for _, chosen in groups for row in chosen]
    frame: Frame = run.manifest.frame if run.manifest else "pixel"
    images = find_images(run.corpus, run.manifest, [row.id for row in rows], note) if run.manifest else {}
    both = [*rows, *(pair.before[row.id] for row in rows if row.id in pair.before)]
    counts = Counter(box.label for row in both for box in row.predicted)
    colours = {label: 1 + index % NUM_LABEL_COLOURS for index, (label, _) in enumerate(counts.most_common())}
    cards = [
        joined(
            (
                tag("h3", f"{heading} IoU {pair.after_name}"),
                *(_card(row, pair, frame, images.get(row.id), colours) for row in chosen),
            )
        )
        for heading, chosen in groups
    ]
    return joined((_iou_figures(run, pair), _key(colours), *cards))


def _iou_figures(run: RunFacts, pair: Compared) -> Markup:
    shown = []
    if (chart := iou_chart(run)) is not None:
        caption = (
            "IoU of every held-out image, sorted for each model on its own: a line further up is better everywhere."
        )
        shown.append(figure("IoU per image", chart, caption))
    if (change := change_chart(pair)) is not None:
        shown.append(figure("Change of IoU per image", *change))
    return grid(shown)


def _key(colours: Mapping[str, int]) -> Markup:
    entries = [tag("li", tag("i", class_="key truth"), "true box")]
    entries += [
        tag("li", tag("i", class_=f"key predicted p{colour}"), f"predicted {_short(label)}")
        for label, colour in list(colours.items())[:24]
    ]
    toggles = [
        tag("label", tag("input", type="checkbox", id=f"show-{kind}", checked=True), f" {kind} boxes")
        for kind in ("true", "predicted")
    ]
    return tag("div", tag("ul", *entries, class_="legend"), tag("div", *toggles, class_="toggles"), class_="box-key")


def _card(
    row: HeldOutRow, pair: Compared, frame: Frame, image: tuple[bytes, float] | None, colours: Mapping[str, int]
) -> Markup:
    before = pair.before.get(row.id)
    shown = [(pair.before_name, before), (pair.after_name, row)] if before else [(pair.after_name, row)]
    panels = [_panel(name, model, frame, image, colours, index) for index, (name, model) in enumerate(shown)]
    texts = [(f"{name}", model.completion) for name, model in shown]
    return tag(
        "article",
        tag("div", *panels, class_="panels"),
        tag(
            "div",
            tag("p", tag("b", row.id[:120]), class_="sample"),
            _text("asked", row.prompt),
            _text("true", _written(row.truth)),
            *(_text(name, text or "(empty)") for name, text in texts),
            class_="texts",
        ),
        class_="card",
    )


def _panel(
    name: str, row: HeldOutRow, frame: Frame, image: tuple[bytes, float] | None, colours: Mapping[str, int], index: int
) -> Markup:
    ratio = image[1] if image else row.width / row.height
    width, height = MAX_SIDE_PX * min(1.0, ratio), MAX_SIDE_PX * min(1.0, 1 / ratio)
    place = _Place(row.frame or frame, row.width, row.height, width, height)
    iou = f"IoU {number_text(row.iou, 2)}" if math.isfinite(row.iou) else "no IoU"
    spoken = f"{name}: {len(row.truth)} true and {len(row.predicted)} predicted boxes, {iou}"
    drawing = tag(
        "svg",
        tag("title", spoken),
        _ground(row.id, image[0] if image else None, width, height, first=index == 0),
        _boxes(row.truth, place, "truth", {}),
        _boxes(row.predicted, place, "predicted", colours),
        class_="overlay",
        viewBox=f"0 0 {width:.1f} {height:.1f}",
        role="img",
    )
    return tag("figure", drawing, tag("figcaption", tag("span", name), tag("b", iou)), class_="panel")


def _ground(sample: str, jpeg: bytes | None, width: float, height: float, *, first: bool) -> Markup:
    """The image itself the first time, a reference to it the second: each image is in the page once."""
    identity = "image-" + hashlib.sha256(sample.encode("utf-8", "replace")).hexdigest()[:16]
    size = {"width": f"{width:.1f}", "height": f"{height:.1f}"}
    if jpeg is None:
        words = tag(
            "text",
            "image not found",
            x=f"{width / 2:.0f}",
            y=f"{height / 2:.0f}",
            class_="absent",
            text_anchor="middle",
        )
        return joined((tag("rect", class_="no-image", **size), words))
    if first:
        return tag("image", href=data_uri(jpeg), id=identity, preserveAspectRatio="none", **size)
    return tag("use", href=f"#{identity}")


@dataclass(frozen=True)
class _Place:
    """From boxes of a row to the drawn image of `width` × `height`."""

    frame: Frame
    model_width: float
    model_height: float
    width: float
    height: float

    def drawn(self, box: LabelledBox) -> tuple[tuple[float, float, float, float], bool]:
        """Corners on the drawn image, cut at its edges, and whether something was cut off."""
        x1, y1, x2, y2 = from_frame((box,), self.frame, self.model_width, self.model_height)[0].box
        across, down = self.width / self.model_width, self.height / self.model_height
        whole = (x1 * across, y1 * down, x2 * across, y2 * down)
        ends = (self.width, self.height) * 2
        cut = tuple(min(max(value, 0.0), end) for value, end in zip(whole, ends, strict=True))
        beyond = any(abs(value - inside) > 1 for value, inside in zip(whole, cut, strict=True))
        return (cut[0], cut[1], cut[2], cut[3]), beyond


def _boxes(boxes: Sequence[LabelledBox], place: _Place, kind: str, colours: Mapping[str, int]) -> Markup:
    return joined(_box(box, place, kind, colours.get(box.label), len(boxes) <= MAX_TAGGED_BOXES) for box in boxes)


def _box(box: LabelledBox, place: _Place, kind: str, colour: int | None, tagged: bool) -> Markup:
    (x1, y1, x2, y2), beyond = place.drawn(box)
    corners = {
        "x": f"{x1:.1f}",
        "y": f"{y1:.1f}",
        "width": f"{max(x2 - x1, 1):.1f}",
        "height": f"{max(y2 - y1, 1):.1f}",
    }
    numbers = ", ".join(number_text(corner, 4) for corner in box.box)
    edge = ", reaches beyond the image" if beyond else ""
    # The name of a true box stands over it, that of a predicted one under it, so that matching pairs stay readable.
    over = y1 - 4 if y1 > 18 else y1 + 14
    under = y2 + 14 if y2 < place.height - 18 else y2 - 5
    return tag(
        "g",
        tag("title", f"{kind}: {_short(box.label)} ({numbers}){edge}"),
        tag("rect", class_="halo", **corners),
        tag("rect", class_="box", **corners),
        tag("text", _short(box.label), x=f"{x1 + 2:.1f}", y=f"{over if kind == 'truth' else under:.1f}") if tagged else None,
        class_=kind if colour is None else f"{kind} p{colour}",
    )  # fmt: skip


def _text(name: str, text: str) -> Markup:
    shown = text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]} … ({len(text):,} characters)"
    return tag("div", tag("span", name, class_="who"), tag("pre", shown), class_="said")


def _written(boxes: Sequence[LabelledBox]) -> str:
    """True boxes in the grammar of the answers, to a tenth of a pixel."""
    near = [
        LabelledBox(label, (round(x1, 1), round(y1, 1), round(x2, 1), round(y2, 1)))
        for label, (x1, y1, x2, y2) in boxes
    ]
    return format_boxes(near) if near else "no box"


def _short(label: str) -> str:
    return label if len(label) <= MAX_LABEL_CHARS else label[: MAX_LABEL_CHARS - 1] + "…"

"""Rows of held_out.jsonl: what a model said about each held-out image."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewards.boxes import LabelledBox
from rewards.frames import Frame

MAX_BOXES = 100
"""Boxes of one image that are kept, true and predicted each."""


@dataclass(frozen=True)
class HeldOutRow:
    """One held-out image.

    Attributes:
        id: of the sample.
        prompt: what was asked.
        completion: what the model answered, any text.
        truth: true boxes, in `frame`.
        predicted: boxes read from the completion, in `frame`.
        iou: of the image, NaN where none was recorded.
        width: of the image as the model saw it, in pixels.
        height: of the image as the model saw it, in pixels.
        frame: of the boxes, where the row says it.
    """

    id: str
    prompt: str
    completion: str
    truth: tuple[LabelledBox, ...]
    predicted: tuple[LabelledBox, ...]
    iou: float
    width: float
    height: float
    frame: Frame | None = None


def read_held_out(file: Path, note: Callable[[str], None]) -> tuple[HeldOutRow, ...]:
    """Rows in the order of the file; a damaged one is left out and counted in a note."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ()
    except OSError as error:
        note(f"{file.parent.name}/{file.name} cannot be read ({error})")
        return ()
    rows, reasons = [], []
    for line in filter(str.strip, text.split("\n")):
        try:
            rows.append(_row(json.loads(line)))
        except (json.JSONDecodeError, RecursionError):
            reasons.append("not valid JSON")
        except (KeyError, TypeError, ValueError) as error:
            reasons.append(str(error))
    if reasons:
        note(f"{file.parent.name}/{file.name}: {len(reasons)} damaged rows are left out, the first: {reasons[0]}")
    return tuple(rows)


def choose(rows: Sequence[HeldOutRow], each: int = 4) -> list[tuple[str, list[HeldOutRow]]]:
    """The best, the median and the worst rows by IoU, no row twice; ties are settled by id.

    Args:
        rows: of one model; rows without an IoU are not chosen.
        each: rows of each kind, at most.

    Returns:
        (heading, rows), best first, without empty groups.
    """
    ranked = sorted((row for row in rows if math.isfinite(row.iou)), key=lambda row: (-row.iou, row.id))
    if len(ranked) <= 3 * each:
        third = math.ceil(len(ranked) / 3)
        parts = ranked[:third], ranked[third : len(ranked) - third], ranked[max(third, len(ranked) - third) :]
    else:
        middle = (len(ranked) - each) // 2
        parts = ranked[:each], ranked[middle : middle + each], ranked[-each:]
    return [(name, part) for name, part in zip(("Best", "Median", "Worst"), parts, strict=True) if part]


def _row(values: Any) -> HeldOutRow:
    if not isinstance(values, dict):
        raise ValueError("a row that is no object")
    width, height = _number(values.get("width")), _number(values.get("height"))
    if not (width > 0 and height > 0):
        raise ValueError("no width and height of the image")
    if not isinstance(values.get("id"), str):
        raise ValueError("no id")
    frame = values.get("frame")
    return HeldOutRow(
        id=values["id"],
        prompt=str(values.get("prompt") or ""),
        completion=str(values.get("completion") or ""),
        truth=_boxes(values.get("truth")),
        predicted=_boxes(values.get("predicted")),
        iou=_number(values.get("iou")),
        width=width,
        height=height,
        frame=frame if frame in ("pixel", "relative_1000") else None,
    )


def _boxes(values: Any) -> tuple[LabelledBox, ...]:
    if not isinstance(values, list):
        raise ValueError("boxes that are no list")
    return tuple(_box(value) for value in values[:MAX_BOXES])


def _box(value: Mapping[str, Any]) -> LabelledBox:
    x1, y1, x2, y2 = (_number(corner) for corner in value["box"])
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise ValueError("a box without four finite numbers")
    return LabelledBox(str(value["label"]), (x1, y1, x2, y2))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if abs(value) < 1e12 else math.nan

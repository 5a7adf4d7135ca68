"""Coordinate frames: what the numbers of a box count.

MedMO's own answers are pixels of the image as the model sees it (its loader writes the pixels of the resized image);
Qwen3-VL counts thousandths of the width and the height. Which one holds is a setting of the run and is never guessed
from the numbers: every number below 1,000 fits both.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

from rewards.boxes import LabelledBox

Frame = Literal["pixel", "relative_1000"]
RELATIVE_EXTENT = 1000.0


def extent(frame: Frame, width: float, height: float) -> tuple[float, float]:
    """Width and height of the whole image in `frame`.

    Raises:
        ValueError: if the frame is unknown or the image has no area.
    """
    if frame not in get_args(Frame):
        raise ValueError(f"unknown coordinate frame {frame!r}: choose one of {', '.join(get_args(Frame))}")
    if not (0 < width < np.inf and 0 < height < np.inf):
        raise ValueError(f"image size {width} x {height} px: both sides must be positive")
    return (float(width), float(height)) if frame == "pixel" else (RELATIVE_EXTENT, RELATIVE_EXTENT)


@overload
def to_frame(boxes: Sequence[LabelledBox], frame: Frame, width: float, height: float) -> tuple[LabelledBox, ...]: ...
@overload
def to_frame(boxes: NDArray, frame: Frame, width: float, height: float) -> NDArray[np.float64]: ...
def to_frame(boxes, frame, width, height):
    """Pixel boxes in the coordinates of `frame`, not rounded.

    Args:
        boxes: [N, 4] pixels (x1, y1, x2, y2) of an image of `width` x `height`, or labelled boxes.
        frame: the frame wanted.
        width: image width in pixels, as the model sees it.
        height: image height in pixels, as the model sees it.
    """
    wide, high = extent(frame, width, height)
    return _scaled(boxes, wide / width, high / height)


@overload
def from_frame(boxes: Sequence[LabelledBox], frame: Frame, width: float, height: float) -> tuple[LabelledBox, ...]: ...
@overload
def from_frame(boxes: NDArray, frame: Frame, width: float, height: float) -> NDArray[np.float64]: ...
def from_frame(boxes, frame, width, height):
    """Boxes of `frame` in pixels of an image of `width` x `height`: the inverse of `to_frame`."""
    wide, high = extent(frame, width, height)
    return _scaled(boxes, width / wide, height / high)


def _scaled(boxes: Any, across: float, down: float) -> tuple[LabelledBox, ...] | NDArray[np.float64]:
    if isinstance(boxes, np.ndarray):
        return boxes.astype(np.float64).reshape(-1, 4) * (across, down, across, down)
    return tuple(
        LabelledBox(label, (x1 * across, y1 * down, x2 * across, y2 * down)) for label, (x1, y1, x2, y2) in boxes
    )

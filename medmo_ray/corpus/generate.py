"""Microscopy-like images with exact boxes, drawn from a seed: cells and bacteria on a textured, unevenly lit ground."""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmo_ray.config.corpus import GeneratedImages
from rewards.boxes import LabelledBox

Kind = Literal["cell", "bacterium"]

LENGTH_SHARE = {"cell": (0.24, 0.44), "bacterium": (0.28, 0.46)}
"""Longest side of an object as a share of the image's side, while few objects share the image."""
COLOUR = {"cell": (0.95, 0.85, 0.9), "bacterium": (0.1, 0.08, 0.25)}
"""Red, green, blue of each kind before an object's own shade: as in phase contrast, one is lighter and one darker than the
grey ground."""
FREE_OBJECTS = 4
"""Up to so many objects keep the lengths above; more of them shrink so that the covered area stays."""
MAX_OVERLAP = 0.02
"""Largest share of an object's pixels that another one may already hold."""
PLACEMENT_TRIES = 24


@dataclass(frozen=True)
class GeneratedImage:
    """One drawn image and all that is known about it.

    Attributes:
        pixels: H × W × 3, uint8.
        boxes: label and (x1, y1, x2, y2) of each object in pixels, where x2 and y2 are the edges after the last pixel;
            sorted by label, then from left to right.
        covered_share: share of the pixels that belong to an object.
    """

    pixels: NDArray[np.uint8]
    boxes: tuple[LabelledBox, ...]
    covered_share: float

    def png(self) -> bytes:
        """The image as a PNG file."""
        stream = io.BytesIO()
        Image.fromarray(self.pixels).save(stream, format="PNG", compress_level=1)
        return stream.getvalue()

    def count(self, label: Kind) -> int:
        """How many objects carry the label."""
        return sum(box.label == label for box in self.boxes)


def generate_image(index: int, seed: int, settings: GeneratedImages) -> GeneratedImage:
    """Draw image `index` of the series that `seed` names; the same arguments give the same pixels.

    Args:
        index: place in the series, from 0.
        seed: names the series.
        settings: side of the image and how many objects it holds at most (at least one is drawn).

    Returns:
        The pixels with a box around each object, taken from the mask that was drawn.
    """
    rng = np.random.default_rng((seed, index))
    side = settings.size_px
    canvas = _ground(rng, side)
    taken = np.zeros((side, side), dtype=bool)
    boxes: list[LabelledBox] = []
    num_objects = int(rng.integers(1, settings.max_objects + 1))
    for _ in range(num_objects):
        kind: Kind = "cell" if rng.random() < 0.5 else "bacterium"
        shape = _cell if kind == "cell" else _bacterium
        depth = _trimmed(shape(rng, _length_px(rng, kind, side, num_objects)))
        place = _free_place(rng, depth > 0, taken)
        if place is None:
            continue
        top, left = place
        window = (slice(top, top + depth.shape[0]), slice(left, left + depth.shape[1]))
        taken[window] |= depth > 0
        _paint(rng, canvas[window], depth, kind)
        boxes.append(LabelledBox(kind, _box_of(depth > 0, top, left)))
    pixels = np.clip(canvas * _light(rng, side) + rng.normal(0, 0.02, canvas.shape), 0, 1)
    return GeneratedImage(
        pixels=(pixels * 255).astype(np.uint8),
        boxes=tuple(sorted(boxes, key=lambda box: (box.label != "cell", box.box))),
        covered_share=float(taken.mean()),
    )


def _ground(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """H × W × 3 ground: grey of a slight tint with a slow, faint texture."""
    tint = rng.uniform(0.44, 0.56) + rng.uniform(-0.04, 0.04, 3)
    coarse = Image.fromarray(rng.normal(0, 0.03, (8, 8)).astype(np.float32))
    texture = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)
    return tint + texture[:, :, None]


def _light(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """H × W × 1 gain of the lamp: a linear gradient in any direction, 12 % from side to side at most."""
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.12)
    ramp = np.linspace(-0.5, 0.5, side)
    return (1 + strength * (np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None]))[:, :, None]


def _length_px(rng: np.random.Generator, kind: Kind, side: int, num_objects: int) -> float:
    crowding = min(1.0, (FREE_OBJECTS / num_objects) ** 0.5)
    return max(4.0, side * rng.uniform(*LENGTH_SHARE[kind]) * crowding)


def _turned_grid(rng: np.random.Generator, half_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two coordinates of each pixel of a square window, in a frame turned by a random angle around its centre."""
    line = np.arange(-half_px, half_px + 1, dtype=np.float64)
    turn = rng.uniform(0, np.pi)
    x, y = line[None, :], line[:, None]
    return x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)


def _cell(rng: np.random.Generator, length: float) -> NDArray[np.float64]:
    """Depth in pixels of each pixel below the rim of a wobbly ellipse; negative outside."""
    radius = length / 2
    u, v = _turned_grid(rng, int(radius * 1.2) + 1)
    v = v / rng.uniform(0.75, 1.0)
    theta = np.arctan2(v, u)
    rim = np.full_like(theta, radius)
    for order in (2, 3):
        rim += radius * rng.uniform(0, 0.07) * np.cos(order * theta + rng.uniform(0, 2 * np.pi))
    return rim - np.hypot(u, v)


def _bacterium(rng: np.random.Generator, length: float) -> NDArray[np.float64]:
    """Depth in pixels of each pixel below the rim of a rod with round ends; negative outside."""
    half_width = max(1.5, length * rng.uniform(0.13, 0.2))
    half_axis = max(0.0, length / 2 - half_width)
    along, across = _turned_grid(rng, int(length / 2) + 1)
    return half_width - np.hypot(across, along - np.clip(along, -half_axis, half_axis))


def _trimmed(depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """The window without the rows and columns that hold no trace of the object."""
    left, top, right, bottom = _box_of(depth > -0.5, 0, 0)
    return depth[top:bottom, left:right]


def _free_place(rng: np.random.Generator, mask: NDArray[np.bool_], taken: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Top and left of a spot where the mask lies in the image and covers next to nothing of other objects."""
    height, width = mask.shape
    side = len(taken)
    if height > side or width > side:
        return None
    allowed = MAX_OVERLAP * mask.sum()
    for _ in range(PLACEMENT_TRIES):
        top, left = (int(v) for v in rng.integers(0, (side - height + 1, side - width + 1)))
        if (taken[top : top + height, left : left + width] & mask).sum() <= allowed:
            return top, left
    return None


def _paint(rng: np.random.Generator, window: NDArray[np.float64], depth: NDArray[np.float64], kind: Kind) -> None:
    """Blend one object into its window of the canvas, in place: opaque where depth ≥ 0.5; cells get a nucleus."""
    colour = np.array(COLOUR[kind]) + rng.uniform(-0.08, 0.08, 3)
    window += np.clip(depth + 0.5, 0, 1)[:, :, None] * (colour - window)
    if kind == "cell":
        nucleus = np.clip(depth - rng.uniform(0.5, 0.65) * depth.max(), 0, 1)[:, :, None] * 0.8
        window += nucleus * (colour * 0.75 - window)


def _box_of(mask: NDArray[np.bool_], top: int, left: int) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1)

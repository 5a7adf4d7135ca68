"""Random cases for the bounding-box reward: every coordinate style and every way a prediction can miss."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

STYLES = ("grid", "integer", "float", "normalized", "degenerate", "mixed")

Boxes = list[list[float]]


def array(boxes: Boxes) -> NDArray[np.float64]:
    """[N, 4], also for no boxes."""
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def random_interval(rng: random.Random, style: str) -> tuple[float, float]:
    """Two ordered coordinates. A grid of five lines makes touching, identical and tying boxes common."""
    if style == "grid":
        ends: tuple[float, float] = (rng.randint(0, 4), rng.randint(0, 4))
    elif style == "integer":
        ends = (rng.randint(0, 1280), rng.randint(0, 1280))
    elif style == "normalized":
        ends = (rng.random(), rng.random())
    else:
        ends = (rng.uniform(0, 1000), rng.uniform(0, 1000))
    return min(ends), max(ends)


def random_box(rng: random.Random, style: str) -> list[float]:
    """One box; style `degenerate` flattens half of them to a line or a point, `mixed` draws a style for each box."""
    if style == "mixed":
        style = rng.choice(STYLES[:-1])
    flatten = rng.randrange(6) if style == "degenerate" else 3
    (x1, x2), (y1, y2) = (random_interval(rng, "grid" if style == "degenerate" else style) for _ in range(2))
    return [x1, y1, x1 if flatten in (0, 1) else x2, y1 if flatten in (0, 2) else y2]


def random_prediction(rng: random.Random, style: str, truth: Boxes) -> list[float]:
    """A box unrelated to the truth, or a truth box: copied, moved a little, beside it (touching) or far outside."""
    relation = rng.choice(("fresh", "fresh", "copy", "moved", "touching", "outside"))
    if relation == "fresh" or not truth:
        return random_box(rng, style)
    x1, y1, x2, y2 = rng.choice(truth)
    if relation == "copy":
        return [x1, y1, x2, y2]
    if relation == "touching":
        return [x2, y1, 2 * x2 - x1, y2] if rng.random() < 0.5 else [x1, y2, x2, 2 * y2 - y1]
    reach = max(x2 - x1, y2 - y1)
    dx, dy = (20 * reach, 10 * reach) if relation == "outside" else (rng.random() * reach / 4, rng.random() * reach / 4)
    return [x1 + dx, y1 + dy, x2 + dx, y2 + dy]


def random_case(rng: random.Random, style: str) -> tuple[Boxes, Boxes]:
    """(predicted, truth) with 0 to 5 boxes each; the truth never lies wholly in the origin, where L1 is 0/0."""
    truth = [random_box(rng, style) for _ in range(rng.randint(0, 5))]
    while truth and max(max(box) for box in truth) == 0:
        truth[0] = random_box(rng, style)
    return [random_prediction(rng, style, truth) for _ in range(rng.randint(0, 5))], truth


def random_penalty(rng: random.Random) -> float:
    return rng.choice((0.0, 0.0, 0.1, 0.5, 1.0, rng.uniform(0, 2)))

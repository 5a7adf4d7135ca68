"""Geometry of boxes (x1, y1, x2, y2): IoU, GIoU, L1 and optimal matching, for whole batches at once.

Everything follows from the signed overlap of two intervals, o = min(right) - max(left): the overlap is max(o, 0), the
hull is (sum of the lengths) - o, and the L1 distance of the ends is (sum of the lengths) - 2o.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Pairwise(NamedTuple):
    """How each of P boxes relates to each of G boxes; arrays [..., P, G]."""

    l1: Floats  # |dx1| + |dy1| + |dx2| + |dy2|
    iou: Floats  # in [0, 1]
    giou: Floats  # in [-1, 1]


def as_boxes(boxes: ArrayLike) -> Floats:
    """Float64 [N, 4] of any boxes, corners put in order.

    Raises:
        ValueError: if they are not rows of four finite numbers.
    """
    xyxy = np.asarray(boxes, dtype=np.float64)
    if xyxy.size == 0:
        return np.empty((0, 4))
    if xyxy.ndim != 2 or xyxy.shape[1] != 4:
        raise ValueError(f"boxes have shape {xyxy.shape}: rows of four numbers (x1, y1, x2, y2) are wanted")
    if not np.isfinite(xyxy).all():
        raise ValueError("boxes hold a coordinate that is not finite")
    return in_order(xyxy)


def in_order(xyxy: Floats) -> Floats:
    """Boxes [N, 4] with x1 <= x2 and y1 <= y2; the array itself where nothing is to be done."""
    upper_left, lower_right = xyxy[:, :2], xyxy[:, 2:]
    if (upper_left <= lower_right).all():
        return xyxy
    return np.concatenate([np.minimum(upper_left, lower_right), np.maximum(upper_left, lower_right)], axis=1)


def pairwise(first: Floats, second: Floats) -> Pairwise:
    """L1, IoU and GIoU of every box of `first` with every box of `second`, for one problem or B of the same shape.

    Where the union has no area (two points, two lines), IoU is 1 if the boxes are the same and 0 if not; a hull without
    area has no empty part.

    Args:
        first: [P, 4] or [B, P, 4], corners in order.
        second: [G, 4] or [B, G, 4], corners in order.

    Returns:
        Arrays [P, G] or [B, P, G].

    Source: Rezatofighi et al. 2019, GIoU = I/U - (H - U)/H with intersection I, union U and enclosing box H.
    """
    l1, iou, fill = overlaps(first, second)
    fill += iou
    fill -= 1
    return Pairwise(l1, iou, fill)


def overlaps(first: Floats, second: Floats) -> tuple[Floats, Floats, Floats]:
    """L1, IoU and the part of the hull that the union fills, U/H; so that GIoU = IoU + U/H - 1. See `pairwise`."""
    if first.ndim == 2:
        return _overlaps(first.T[:, :, None], second.T[:, None])
    if len(first) <= second.shape[1]:
        return _overlaps(first.transpose(2, 0, 1)[..., None], second.transpose(2, 0, 1)[:, :, None])
    # numpy runs along the last axis: with many small problems that had better be B.
    l1, iou, fill = _overlaps(first.transpose(2, 1, 0).copy()[:, :, None], second.transpose(2, 1, 0).copy()[:, None])
    return l1.transpose(2, 0, 1), iou.transpose(2, 0, 1), fill.transpose(2, 0, 1)


def _overlaps(first: Floats, second: Floats) -> tuple[Floats, Floats, Floats]:
    """`overlaps` of coordinates [4, ...] that broadcast against each other."""
    ax1, ay1, ax2, ay2 = first
    bx1, by1, bx2, by2 = second
    a_wide, a_high, b_wide, b_high = ax2 - ax1, ay2 - ay1, bx2 - bx1, by2 - by1
    a_area, b_area = a_wide * a_high, b_wide * b_high

    across = np.minimum(ax2, bx2)
    spare = np.maximum(ax1, bx1)
    across -= spare  # signed overlap
    down = np.minimum(ay2, by2)
    down -= np.maximum(ay1, by1, out=spare)
    hull_wide = np.add(a_wide, b_wide, out=spare)
    hull_wide -= across
    hull_high = a_high + b_high
    hull_high -= down
    l1 = hull_wide + hull_high
    l1 -= across
    l1 -= down

    hull = np.multiply(hull_wide, hull_high, out=hull_wide)
    shared = np.multiply(np.maximum(across, 0, out=across), np.maximum(down, 0, out=down), out=across)
    union = np.add(a_area, b_area, out=down)
    union -= shared
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = np.divide(shared, union, out=shared)
        fill = np.divide(union, hull, out=hull)
    if not (a_area.all() or b_area.all()):  # only then can a union have no area
        iou[union == 0] = l1[union == 0] == 0
        fill[np.isnan(fill)] = 1
    return l1, iou, fill


def assign(cost: Floats) -> NDArray[np.intp]:
    """Optimal one-to-one matching of a batch of equally large problems.

    Where every row (of the shorter side) has a single cheapest partner and no two rows share one, that is the only
    optimum; the Hungarian algorithm runs for the rest alone.

    Args:
        cost: [B, R, C] with R <= C, finite.

    Returns:
        Integers [B, R]: the column matched to each row.
    """
    columns = cost.argmin(axis=2)
    if cost.shape[1] == 1:
        return columns
    cheapest = cost[np.arange(len(cost))[:, None], np.arange(cost.shape[1]), columns][..., None]
    ordered = np.sort(columns, axis=1)
    open_problems = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    open_problems |= np.count_nonzero(cost == cheapest, axis=(1, 2)) > cost.shape[1]
    unsolved = np.flatnonzero(open_problems)
    if unsolved.size:
        from scipy.optimize import linear_sum_assignment  # takes half a second to import, and is not always needed

        for index in unsolved:
            columns[index] = linear_sum_assignment(cost[index])[1]
    return columns

"""Which predicted box stands for which true box: the matching of stage 4's reward, for whole batches.

With L1_ij = (|dx1| + |dy1| + |dx2| + |dy2|) / (2 sqrt(H^2 + W^2)), H and W the extents of the true boxes, the matching
minimises the sum of C_ij = 5 L1_ij + 2 (1 - GIoU_ij) over one-to-one matchings, which have m = min(P, G) pairs.

Source: MedMO supplementary 1.1, equations 1 and 2. The denominator of L1 is 2 sqrt(H^2 + W^2), as printed, although the
text calls it the perimeter.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from rewards.batch import BoxBatch
from rewards.geometry import assign, overlaps
from rewards.labels import normalise

Matching = Literal["label_free", "per_label"]
Extent = Literal["truth", "image"]

MATCH_L1, MATCH_GIOU = 5.0, 2.0  # weights of the matching cost, equation 2
_CHUNK_PAIRS = 12_000  # pairs worked on at a time: temporaries below 128 kB, from where on malloc maps fresh pages


class Matches(NamedTuple):
    """The K matched pairs of a batch; indices count over all boxes of the batch."""

    text: NDArray[np.int64]  # [K] which text the pair belongs to
    predicted: NDArray[np.int64]  # [K]
    truth: NDArray[np.int64]  # [K]
    l1: NDArray[np.float64]  # [K] normalised, equation 1
    iou: NDArray[np.float64]  # [K]
    giou: NDArray[np.float64]  # [K]


def match(
    predicted: BoxBatch,
    truth: BoxBatch,
    matching: Matching = "label_free",
    image_sizes: NDArray[np.float64] | None = None,
) -> Matches:
    """The matching of least cost (equation 2) of every text of a batch.

    Problems with equally many boxes on either side are solved together, as one array.

    Raises:
        ValueError: if `matching` is unknown, or boxes have no labels to match by.
    """
    if matching not in get_args(Matching):
        raise ValueError(f"unknown matching {matching!r}: choose one of {', '.join(get_args(Matching))}")
    scale = _l1_scale(truth, image_sizes)
    text, boxes_p, num_p, boxes_g, num_g = (
        _problems_by_text(predicted, truth) if matching == "label_free" else _problems_by_label(predicted, truth)
    )
    start_p, start_g = np.cumsum(num_p) - num_p, np.cumsum(num_g) - num_g
    shapes = num_p * (num_g.max(initial=0) + 1) + num_g
    found = []
    for shape in np.unique(shapes[(num_p > 0) & (num_g > 0)]):
        problems = np.flatnonzero(shapes == shape)
        p, g = int(num_p[problems[0]]), int(num_g[problems[0]])
        step = max(1, _CHUNK_PAIRS // (p * g))
        for some in (problems[first : first + step] for first in range(0, len(problems), step)):
            index_p = boxes_p[start_p[some, None] + np.arange(p)]
            index_g = boxes_g[start_g[some, None] + np.arange(g)]
            found.append(_match_alike(predicted.xyxy, index_p, truth.xyxy, index_g, text[some], scale[text[some]]))
    if not found:
        nothing, none = np.empty(0, dtype=np.int64), np.empty(0)
        return Matches(nothing, nothing, nothing, none, none, none)
    return Matches(*map(np.concatenate, zip(*found, strict=True)))


def _match_alike(
    xyxy_p: NDArray[np.float64],
    index_p: NDArray[np.int64],
    xyxy_g: NDArray[np.float64],
    index_g: NDArray[np.int64],
    text: NDArray[np.int64],
    scale: NDArray[np.float64],
) -> Matches:
    """Solves B problems of the same shape: `index_p` [B, P] and `index_g` [B, G] name their boxes, `scale` [B]."""
    turned = index_p.shape[1] > index_g.shape[1]  # `assign` wants the shorter side first
    first, second = (xyxy_g[index_g], xyxy_p[index_p]) if turned else (xyxy_p[index_p], xyxy_g[index_g])
    l1, iou, fill = overlaps(first, second)
    l1 *= scale[:, None, None]
    closeness = iou + fill
    closeness *= MATCH_GIOU
    cost = MATCH_L1 * l1
    cost -= closeness  # equation 2 but for a constant, as GIoU = iou + fill - 1
    columns = assign(cost)
    problem, row = np.arange(columns.shape[0])[:, None], np.arange(columns.shape[1])
    if turned:
        index_p = index_p[problem, columns]
    else:
        index_g = index_g[problem, columns]
    l1, iou, fill = (values[problem, row, columns].ravel() for values in (l1, iou, fill))
    return Matches(np.repeat(text, len(row)), index_p.ravel(), index_g.ravel(), l1, iou, iou + fill - 1)


def _l1_scale(truth: BoxBatch, image_sizes: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Float64 [N]: 1 / (2 sqrt(H^2 + W^2)) of equation 1; extents of zero fall back to (1, 1)."""
    diagonal = np.zeros(len(truth))
    if image_sizes is not None:
        if image_sizes.shape != (len(truth), 2):
            raise ValueError(f"image sizes have shape {image_sizes.shape}: ({len(truth)}, 2) is wanted")
        diagonal = np.hypot(image_sizes[:, 0], image_sizes[:, 1])
    elif len(truth.xyxy):
        filled = truth.counts > 0
        extents = np.maximum.reduceat(truth.xyxy[:, 2:], truth.starts[filled], axis=0)
        diagonal[filled] = np.hypot(extents[:, 0], extents[:, 1])
    return 0.5 / np.where(diagonal > 0, diagonal, np.sqrt(2))


def _problems_by_text(predicted: BoxBatch, truth: BoxBatch) -> tuple[NDArray[np.int64], ...]:
    """Every text is one matching problem: its text, and order and number of the boxes of both sides."""
    return (
        np.arange(len(truth)),
        np.arange(len(predicted.xyxy)),
        predicted.counts,
        np.arange(len(truth.xyxy)),
        truth.counts,
    )


def _problems_by_label(predicted: BoxBatch, truth: BoxBatch) -> tuple[NDArray[np.int64], ...]:
    """Every label of every text is one matching problem."""
    codes: dict[str, int] = {}
    keys = []
    for batch in (predicted, truth):
        if len(batch.labels) != len(batch.xyxy):
            raise ValueError("matching by label wants labelled boxes on both sides: LabelledBox, or a completion")
        code = [codes.setdefault(normalise(name), len(codes)) for name in batch.labels]
        keys.append((np.repeat(np.arange(len(batch)), batch.counts), np.array(code, dtype=np.int64)))
    both = [text * max(len(codes), 1) + code for text, code in keys]
    problems, index = np.unique(np.concatenate(both), return_inverse=True)
    of_p, of_g = index[: len(both[0])], index[len(both[0]) :]
    return (
        problems // max(len(codes), 1),
        np.argsort(of_p, kind="stable"),
        np.bincount(of_p, minlength=len(problems)),
        np.argsort(of_g, kind="stable"),
        np.bincount(of_g, minlength=len(problems)),
    )

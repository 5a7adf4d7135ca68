"""Many texts to boxes at once: the flat arrays that the rewards are computed on.

`read_batch` finds what `rewards.boxes.parse_boxes` finds. A text whose groups are all well formed goes the fast way: the
groups of the whole batch are joined, one `translate` strips the digits and leaves a skeleton that says how many boxes a
group holds, and numpy reads all numbers together. Every other text goes to the careful reader, one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewards.boxes import Grammar, LabelledBox, parse_boxes
from rewards.geometry import as_boxes, in_order
from rewards.grammars import MAX_BOXES, MAX_COORDINATE, MAX_TEXT_CHARS, clean_label

Boxes = NDArray[Any] | Sequence[LabelledBox] | Sequence[Sequence[float]]

_MAX_DIGITS = 6  # of a number read the fast way: below the coordinate cap
_MAX_GROUPS = 64  # of a text read the fast way
_DIGITS = b"0123456789"
_NEWLINE, _COMMA, _OPEN, _CLOSE = b"\n,[]"
# What is left of `[[12, 34, 56, 78], …]` without blanks after commas and digits, and the number of boxes it stands for.
_SKELETONS = {b"[" + b",".join([b"[,,,]"] * k) + b"]": k for k in range(MAX_BOXES // 2 + 1)}


@dataclass(frozen=True, eq=False)
class BoxBatch:
    """The boxes of N texts, one after the other.

    Attributes:
        xyxy: float64 [M, 4], corners in order.
        counts: int64 [N], boxes of each text.
        labels: for each text, the label of each of its boxes; empty lists where the boxes came without labels.
        problems: for each text, why parts of it were not read.
        num_whole: int64 [N], well-formed groups.
        num_broken: int64 [N], groups and stray tags that are not well formed.
    """

    xyxy: NDArray[np.float64]
    counts: NDArray[np.int64]
    labels: list[list[str]]
    problems: list[tuple[str, ...]]
    num_whole: NDArray[np.int64]
    num_broken: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Int64 [N]: index of the first box of each text."""
        return np.cumsum(self.counts) - self.counts


class _Groups(NamedTuple):
    """The groups of the texts that may be read the fast way."""

    bodies: list[str]  # what stands between <box> and </box>
    labels: list[str]
    texts: list[int]  # index of the text that each group belongs to


def read_batch(texts: Sequence[str], grammar: Grammar = "medmo") -> BoxBatch:
    """Reads the boxes of N texts; see `rewards.boxes.parse_boxes` for what is read and what is not."""
    num_texts = len(texts)
    groups, careful = _split(texts) if grammar == "medmo" else (_Groups([], [], []), np.ones(num_texts, dtype=bool))
    numbers, group_counts = _read_groups(groups, careful)

    counts = np.zeros(num_texts, dtype=np.int64)
    num_whole = np.zeros(num_texts, dtype=np.int64)
    num_broken = np.zeros(num_texts, dtype=np.int64)
    labels: list[list[str]] = [[] for _ in texts]
    problems: list[tuple[str, ...]] = [()] * num_texts
    for text, label, count in zip(groups.texts, groups.labels, group_counts.tolist(), strict=True):
        if not careful[text]:
            labels[text] += [label] * count
            counts[text] += count
            num_whole[text] += 1
    rows = []
    for text in np.flatnonzero(careful).tolist():
        parsed = parse_boxes(texts[text], grammar)
        labels[text], problems[text] = list(parsed.labels), parsed.problems
        counts[text], num_whole[text], num_broken[text] = len(parsed), parsed.num_whole, parsed.num_broken
        rows.append(parsed.xyxy)
    if rows:
        is_careful = np.repeat(careful, counts)
        xyxy = np.empty((len(is_careful), 4))
        xyxy[is_careful] = np.concatenate(rows)
        xyxy[~is_careful] = numbers
    else:
        xyxy = numbers
    return BoxBatch(xyxy, counts, labels, problems, num_whole, num_broken)


def _split(texts: Sequence[str]) -> tuple[_Groups, NDArray[np.bool_]]:
    """The groups of each text, and which texts have to be read carefully because their tags do not pair up."""
    groups = _Groups([], [], [])
    careful = np.zeros(len(texts), dtype=bool)
    for index, text in enumerate(texts):
        before, *pieces = text.split("<box>")
        if len(pieces) != text.count("</box>") or len(pieces) > _MAX_GROUPS or len(text) > MAX_TEXT_CHARS:
            careful[index] = True
            continue
        for piece in pieces:
            body, closed, after = piece.partition("</box>")
            if not closed or "\n" in body:
                careful[index] = True
            groups.bodies.append(body.replace("\n", " "))
            groups.labels.append(clean_label(before))
            groups.texts.append(index)
            before = after
    return groups, careful


def _read_groups(groups: _Groups, careful: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Reads well-formed groups together; marks the texts of the others in `careful`.

    Returns:
        The boxes of the texts that are not marked, float64 [M, 4], and the number of boxes of each group.
    """
    if not groups.bodies:
        return np.empty((0, 4)), np.empty(0, dtype=np.int64)
    texts = np.array(groups.texts)
    joined = "\n".join(["", *groups.bodies, ""]).encode("ascii", "replace").replace(b", ", b",")
    skeletons = joined.translate(None, _DIGITS).split(b"\n")[1:-1]
    counts = np.array([_SKELETONS.get(skeleton, -1) for skeleton in skeletons])

    chars = np.frombuffer(joined, dtype=np.uint8)
    digits = chars - np.uint8(ord("0"))  # other characters wrap around to 10 and more
    edges = np.flatnonzero(np.diff(digits < 10))
    first, after = edges[::2] + 1, edges[1::2] + 1
    before_number, after_number = chars[first - 1], chars[after]
    in_place = (before_number == _COMMA) | (before_number == _OPEN)
    in_place &= (after_number == _COMMA) | (after_number == _CLOSE)
    in_place &= after - first <= _MAX_DIGITS
    # The skeleton has 4 places for numbers a box, each of which holds one at most: 4 in place and no other fill them all.
    bounds = np.searchsorted(first, np.flatnonzero(chars == _NEWLINE))
    numbers_of = np.diff(bounds)
    in_place_of = np.diff(np.concatenate([[0], np.cumsum(in_place)])[bounds])
    careful[texts[(numbers_of != 4 * counts) | (in_place_of != numbers_of)]] = True

    usable = np.repeat(~careful[texts], numbers_of)
    boxes = _values(digits, first[usable], after[usable]).reshape(-1, 4)
    swapped = (boxes[:, 0] > boxes[:, 2]) | (boxes[:, 1] > boxes[:, 3])
    if swapped.any():
        owner = np.repeat(texts, np.where(careful[texts], 0, counts))
        careful[owner[swapped]] = True
        boxes = boxes[~careful[owner]]
    return boxes, counts


def _values(digits: NDArray[np.uint8], first: NDArray[np.intp], after: NDArray[np.intp]) -> NDArray[np.float64]:
    """The numbers whose digits stand at [first, after)."""
    values = digits[after - 1].astype(np.float64)
    length = after - first
    for place in range(1, int(length.max(initial=1))):
        values += np.where(length > place, digits[after - 1 - place], 0) * 10.0**place
    return values


def box_batch(boxes: Sequence[Boxes], *, predicted: bool = False) -> BoxBatch:
    """A batch of boxes that are already numbers.

    Args:
        boxes: for each text, [n, 4] corners or labelled boxes.
        predicted: leave out boxes with a coordinate that is not finite or is beyond the cap, as the reader does, instead
            of refusing them.

    Raises:
        ValueError: if boxes are not rows of four finite numbers.
    """
    labels: list[list[str]] = []
    rows: list[NDArray[np.float64]] = []
    for item in boxes:
        names, corners = _names_and_corners(item)
        if predicted:
            corners = np.asarray(corners, dtype=np.float64).reshape(-1, 4)
            readable = np.abs(corners).max(axis=1, initial=0) <= MAX_COORDINATE
            corners, names = corners[readable], list(compress(names, readable.tolist()))
        labels.append(names)
        rows.append(as_boxes(corners))
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    zeros = np.zeros(len(rows), dtype=np.int64)
    xyxy = in_order(np.concatenate(rows)) if rows else np.empty((0, 4))
    return BoxBatch(xyxy, counts, labels, [()] * len(rows), zeros, zeros)


def _names_and_corners(boxes: Boxes) -> tuple[list[str], Any]:
    if isinstance(boxes, np.ndarray):
        return [], boxes
    labelled = [box for box in boxes if isinstance(box, LabelledBox)]
    if len(labelled) != len(boxes):
        return [], boxes
    return [box.label for box in labelled], [box.box for box in labelled]

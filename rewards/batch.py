"""Many texts to boxes at once: the flat arrays that the rewards are computed on.

`read_batch` finds what `rewards.boxes.parse_boxes` finds. A text whose groups are all well formed goes the fast way: the
groups of the whole batch are joined, one `translate` strips the digits and leaves a skeleton that says how many boxes a
group holds, and numpy reads all numbers together. Every other text goes to the careful reader, one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, compress, repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewards.boxes import Grammar, LabelledBox, parse_boxes
from rewards.geometry import as_boxes
from rewards.grammars import MAX_BOXES, MAX_COORDINATE, MAX_TEXT_CHARS, clean_label

Boxes = NDArray[Any] | Sequence[LabelledBox] | Sequence[Sequence[float]]

_MAX_DIGITS = 6  # of a number read the fast way: below the coordinate cap
_MAX_GROUPS = 64  # of a text read the fast way
_CHUNK_CHARS = 24_000
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
        labels: M labels, one for each box; empty where boxes came without.
        problems: for each text, why parts of it were not read.
        num_whole: int64 [N], well-formed groups.
        num_broken: int64 [N], groups and stray tags that are not well formed.
    """

    xyxy: NDArray[np.float64]
    counts: NDArray[np.int64]
    labels: list[str]
    problems: list[tuple[str, ...]]
    num_whole: NDArray[np.int64]
    num_broken: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Int64 [N]: index of the first box of each text."""
        return np.cumsum(self.counts) - self.counts

    def labels_of(self, index: int) -> list[str]:
        """The labels of the boxes of one text."""
        end = int(self.counts[: index + 1].sum())
        return self.labels[end - int(self.counts[index]) : end]


class _Groups(NamedTuple):
    """The groups of the texts that may be read the fast way."""

    bodies: list[str]  # what stands between <box> and </box>
    labels: list[str]
    texts: list[int]  # index of the text that each group belongs to


def read_batch(texts: Sequence[str], grammar: Grammar = "medmo") -> BoxBatch:
    """Reads the boxes of N texts; see `rewards.boxes.parse_boxes` for what is read and what is not."""
    num_texts = len(texts)
    groups, careful = _split(texts) if grammar == "medmo" else (_Groups([], [], []), np.ones(num_texts, dtype=bool))
    xyxy, group_counts = _read_groups(groups.bodies)
    text_of = np.array(groups.texts, dtype=np.int64)
    careful[text_of[group_counts < 0]] = True
    num_boxes = np.maximum(group_counts, 0)
    careful |= np.bincount(text_of, weights=num_boxes, minlength=num_texts) > MAX_BOXES

    kept = ~careful[text_of]
    num_whole = np.bincount(text_of[kept], minlength=num_texts)
    num_broken = np.zeros(num_texts, dtype=np.int64)
    counts = np.bincount(text_of, weights=num_boxes * kept, minlength=num_texts).astype(np.int64)
    labels = list(chain.from_iterable(map(repeat, groups.labels, (num_boxes * kept).tolist())))
    problems: list[tuple[str, ...]] = [()] * num_texts
    if not careful.any():
        return BoxBatch(xyxy, counts, labels, problems, num_whole, num_broken)

    xyxy = xyxy[np.repeat(kept, num_boxes)]
    readings = []
    for text in np.flatnonzero(careful).tolist():
        parsed = parse_boxes(texts[text], grammar)
        problems[text] = parsed.problems
        counts[text], num_whole[text], num_broken[text] = len(parsed), parsed.num_whole, parsed.num_broken
        readings.append(parsed)
    is_careful = np.repeat(careful, counts)
    all_xyxy, all_labels = np.empty((len(is_careful), 4)), np.empty(len(is_careful), dtype=object)
    all_xyxy[~is_careful], all_labels[~is_careful] = xyxy, labels
    all_xyxy[is_careful] = np.concatenate([parsed.xyxy for parsed in readings])
    all_labels[is_careful] = [label for parsed in readings for label in parsed.labels]
    return BoxBatch(all_xyxy, counts, all_labels.tolist(), problems, num_whole, num_broken)


def _split(texts: Sequence[str]) -> tuple[_Groups, NDArray[np.bool_]]:
    """The groups of each text whose tags pair up, and for each text whether they do not."""
    groups = _Groups([], [], [])
    careful = np.zeros(len(texts), dtype=bool)
    known: dict[str, str] = {}  # a batch has few different labels
    for index, text in enumerate(texts):
        before, *pieces = text.split("<box>")
        if len(pieces) != text.count("</box>") or len(pieces) > _MAX_GROUPS or len(text) > MAX_TEXT_CHARS:
            careful[index] = True
            continue
        for piece in pieces:
            body, closed, after = piece.partition("</box>")
            groups.bodies.append(body if closed and "\n" not in body else "?")
            label = known.get(before)
            if label is None:
                label = known[before] = clean_label(before)
            groups.labels.append(label)
            groups.texts.append(index)
            before = after
    return groups, careful


def _read_groups(bodies: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Reads groups, some thousand characters at a time, so that the temporaries stay in the cache.

    Returns:
        The boxes of the well-formed groups, float64 [M, 4], and for each group how many they are, or -1 if it is not well
        formed.
    """
    ends = np.cumsum(list(map(len, bodies)))
    boxes, counts = [np.empty((0, 4))], [np.empty(0, dtype=np.int64)]
    first = 0
    while first < len(bodies):
        done = ends[first - 1] if first else 0
        after = max(first + 1, int(np.searchsorted(ends, done + _CHUNK_CHARS)))
        some_boxes, some_counts = _read_some(bodies[first:after])
        boxes.append(some_boxes)
        counts.append(some_counts)
        first = after
    return np.concatenate(boxes), np.concatenate(counts)


def _read_some(bodies: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    joined = "\n".join(["", *bodies, ""]).encode("ascii", "replace").replace(b", ", b",")
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
    counts[(numbers_of != 4 * counts) | (in_place_of != numbers_of)] = -1

    usable = np.repeat(counts >= 0, numbers_of)
    boxes = _values(digits, first[usable], after[usable]).reshape(-1, 4)
    swapped = (boxes[:, 0] > boxes[:, 2]) | (boxes[:, 1] > boxes[:, 3])
    if swapped.any():  # the careful reader puts them in order and says so
        owner = np.repeat(np.arange(len(counts)), np.maximum(counts, 0))
        counts[owner[swapped]] = -1
        boxes = boxes[counts[owner] >= 0]
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
    labels: list[str] = []
    rows: list[NDArray[np.float64]] = []
    for item in boxes:
        names, corners = _names_and_corners(item)
        if predicted:
            corners = np.asarray(corners, dtype=np.float64).reshape(-1, 4)
            readable = np.abs(corners).max(axis=1, initial=0) <= MAX_COORDINATE
            corners, names = corners[readable], list(compress(names, readable.tolist()))
        labels += names
        rows.append(corners if isinstance(corners, np.ndarray) and corners.size else as_boxes(corners))
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    zeros = np.zeros(len(rows), dtype=np.int64)
    if not all(row.ndim == 2 and row.shape[1] == 4 for row in rows):
        raise ValueError(f"boxes have shapes {sorted({row.shape for row in rows})}: rows of four numbers are wanted")
    xyxy = as_boxes(np.concatenate(rows)) if rows else np.empty((0, 4))
    return BoxBatch(xyxy, counts, labels, [()] * len(rows), zeros, zeros)


def _names_and_corners(boxes: Boxes) -> tuple[list[str], Any]:
    if isinstance(boxes, np.ndarray):
        return [], boxes
    labelled = [box for box in boxes if isinstance(box, LabelledBox)]
    if len(labelled) != len(boxes):
        return [], boxes
    return [box.label for box in labelled], [box.box for box in labelled]

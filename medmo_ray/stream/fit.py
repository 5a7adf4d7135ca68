"""Best fit, longest first: which lengths share a pack, for many windows side by side.

The next longest samples go into the pack that they fill best, in which the least room is left. Samples of one length are
placed together: a pack takes as many of them as it holds. One pass of the loop does this for every window at once, so its
cost is shared, and a window of 2,048 samples takes a fraction of a microsecond a sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Owners = NDArray[np.uint16] | NDArray[np.uint32]
"""The pack of each sample that is not empty, longest sample first."""


def best_fit(windows: Sequence[NDArray[np.int32]], budget: int) -> list[Owners]:
    """Pack each window by itself.

    Args:
        windows: lengths in tokens of the samples of each window, in any order, none over the budget.
        budget: tokens of a pack.

    Returns:
        For each window the pack of each sample, longest first; samples of length 0 are left out.
    """
    room_type = np.uint16 if budget < 2**16 else np.uint32
    sizes = np.zeros((len(windows), max(map(len, windows))), room_type)
    for row, lengths in enumerate(windows):
        sizes[row, : len(lengths)] = lengths
    sizes.sort(axis=1)
    runs = _Runs.of(sizes[:, ::-1])
    packs, taken = _placed(runs, budget, _most_packs(sizes, budget), room_type)
    owner_type = np.uint16 if packs.max(initial=0) < 2**16 else np.uint32
    owners = np.repeat(packs.T.astype(owner_type).ravel(), taken.T.ravel())
    return np.split(owners, np.cumsum(taken.sum(axis=0))[:-1])


def _most_packs(sizes: NDArray[np.unsignedinteger], budget: int) -> int:
    """No two packs would fit into one, so all but one of them are more than half full on average."""
    return int(2 * sizes.sum(axis=1, dtype=np.int64).max(initial=0) // budget) + 2


@dataclass(frozen=True)
class _Runs:
    """Samples of equal length, longest first, window after window.

    Attributes:
        lengths: [runs]; each window ends with a run of no samples.
        counts: [runs].
        first: [W], the first run of each window.
        last: [W], its empty one.
    """

    lengths: NDArray[np.unsignedinteger]
    counts: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def of(cls, sizes: NDArray[np.unsignedinteger]) -> "_Runs":
        """Of lengths [W, n] that fall along each row, zeros at the end."""
        num_windows, longest = sizes.shape
        closed = np.zeros((num_windows, longest + 1), sizes.dtype)  # a zero closes each window
        closed[:, :-1] = sizes
        begins = np.ones_like(closed, np.bool_)
        begins[:, 1:] = closed[:, 1:] != closed[:, :-1]
        at = np.flatnonzero(begins)
        lengths = closed.ravel()[at]
        counts = np.diff(at, append=closed.size)
        last = np.flatnonzero(lengths == 0)
        counts[last], lengths[last] = 0, 1
        return cls(lengths, counts, np.concatenate(([0], last[:-1] + 1)), last)


def _placed(
    runs: _Runs, budget: int, most_packs: int, room_type: type[np.unsignedinteger]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each pass and window, the pack that was chosen and the samples that it took: two arrays [passes, W]."""
    num_windows = len(runs.first)
    rows = np.arange(num_windows)
    room = np.full((num_windows, most_packs), budget, room_type)
    beyond = np.empty_like(room)
    at, left = runs.first, runs.counts[runs.first]
    opened = 0
    packs, taken = [], []
    while left.any():
        length = runs.lengths[at]
        width = opened + 1  # one that is still empty, for what fits in no other
        # Unsigned: where a pack has less room than the length, the difference wraps and is larger than any room.
        np.subtract(room[:, :width], length[:, None], out=beyond[:, :width])
        chosen = beyond[:, :width].argmin(axis=1)
        free = room[rows, chosen]
        number = np.minimum(free // length, left)
        room[rows, chosen] = free - (number * length).astype(room_type)
        opened = max(opened, int(chosen[left > 0].max()) + 1)
        packs.append(chosen)
        taken.append(number)
        left = left - number
        at = np.where(left == 0, np.minimum(at + 1, runs.last), at)
        left = np.where(left == 0, runs.counts[at], left)
    shape = (len(packs), num_windows)
    return np.reshape(packs, shape).astype(np.int64), np.reshape(taken, shape).astype(np.int64)

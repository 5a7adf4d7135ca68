"""Packing: whole samples laid end to end into micro-batches of a fixed token budget, decided before the first is read.

Best fit, longest first, inside a window of the plan. A window's packs stand in the order of their earliest samples, and
the samples of a pack in the plan's order, so length says nothing about when a sample is seen.

How many packs a window makes, and how many samples of which length go into each, follows from the lengths in it alone;
that is found for many windows at a time and kept, two bytes a sample. Which of the equally long samples goes where waits
until a window is cut.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medmo_ray.errors import ConfigError
from medmo_ray.stream.fit import Owners, best_fit
from medmo_ray.stream.plan import EpochPlan, Window

PACKING_VERSION = 2
TOGETHER = 2**20
"""Samples, about, whose windows are packed side by side."""


@dataclass(frozen=True)
class PackedPlan(EpochPlan):
    """A plan whose micro-batches hold as many samples as fit.

    Attributes:
        token_budget: tokens that the samples of a micro-batch have at most.
        lengths: int32, tokens of each sample in the order of the row groups; 0 for one that will be skipped.

    Raises:
        ConfigError: the lengths are of other rows, or one is over the budget.
    """

    token_budget: int = 0
    lengths: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32), repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.lengths) != sum(self.rows):
            raise ConfigError(
                f"{len(self.lengths)} lengths were given for {sum(self.rows)} samples: measure them again."
            )
        if (longest := int(self.lengths.max())) > self.token_budget:
            raise ConfigError(f"A sample of {longest} tokens cannot be packed into token_budget={self.token_budget}.")

    @property
    def digest(self) -> str:
        """Names the order of the samples and the packs."""
        lengths = hashlib.sha256(np.ascontiguousarray(self.lengths, "<i4").tobytes()).hexdigest()
        packs = f"{super().digest}:{PACKING_VERSION}:{self.token_budget}:{lengths}"
        return hashlib.sha256(packs.encode()).hexdigest()[:16]

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """Every window of the run, in order."""
        found: list[Window] = []
        for window in self._whole:
            first = found[-1].stop if found else 0
            num_packs = int(self._owners[window.epoch, window.index].max(initial=0)) + 1
            found.append(replace(window, first=first, num_micro_batches=num_packs))
        return tuple(found)

    def cut(self, window: Window) -> list[NDArray[np.int64]]:
        """Rows of each pack of a window, counted through its row groups in the order of `row_groups`."""
        order = self._order(window)
        dealt = _deal(self._tokens(window)[order], self._owners[window.epoch, window.index])
        return [order[places] for places in dealt]

    @cached_property
    def _whole(self) -> tuple[Window, ...]:
        """The windows before they are cut."""
        return EpochPlan.windows.func(self)  # type: ignore[attr-defined]

    @cached_property
    def _owners(self) -> dict[tuple[int, int], Owners]:
        """By epoch and index of a window."""
        largest = self.window_row_groups * max(self.rows)
        step = max(1, TOGETHER // largest)
        found: dict[tuple[int, int], Owners] = {}
        for start in range(0, len(self._whole), step):
            some = self._whole[start : start + step]
            packed = best_fit([self._used_tokens(window) for window in some], self.token_budget)
            found |= {(window.epoch, window.index): owners for window, owners in zip(some, packed, strict=True)}
        return found

    def _used_tokens(self, window: Window) -> NDArray[np.int32]:
        """Lengths of the samples that are used, in no order that matters."""
        tokens = self._tokens(window)
        return tokens if window.rows == len(tokens) else tokens[self._order(window)]

    def _order(self, window: Window) -> NDArray[np.int64]:
        return np.concatenate(super().cut(window))

    def _tokens(self, window: Window) -> NDArray[np.int32]:
        return np.concatenate([self.lengths[self._starts[g] : self._starts[g + 1]] for g in window.row_groups])

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *np.cumsum(self.rows).tolist()]


def pack(lengths: Sequence[int] | NDArray[np.int32], budget: int) -> list[NDArray[np.int64]]:
    """Best fit, longest first; equal lengths go in their order.

    Args:
        lengths: tokens of each sample, none over the budget.
        budget: tokens of a pack.

    Returns:
        The places of the samples of each pack, rising; packs by their first place.
    """
    sizes = np.asarray(lengths, np.int32)
    return _deal(sizes, best_fit([sizes], budget)[0]) if len(sizes) else []


def _deal(sizes: NDArray[np.int32], owners: Owners) -> list[NDArray[np.int64]]:
    """The places of each pack's samples; empty ones, which training skips, lie in the first pack."""
    owner = np.zeros(len(sizes), np.int64)
    owner[np.argsort(-sizes, kind="stable")[: len(owners)]] = owners
    by_pack = np.argsort(owner, kind="stable")
    ends = np.cumsum(np.bincount(owner)).tolist()
    packs = [by_pack[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return sorted(packs, key=lambda places: int(places[0]))

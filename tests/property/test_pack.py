"""Packs: every sample once, within the budget, none that two others could have shared; the plan's promises hold for them."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medmo_ray.stream.fit import best_fit
from medmo_ray.stream.pack import PackedPlan, pack

BUDGET = 40
lengths = st.lists(st.integers(0, BUDGET), max_size=60)


@st.composite
def plans(draw: st.DrawFn) -> PackedPlan:
    rows = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8).map(tuple))
    tokens = draw(st.lists(st.integers(0, BUDGET), min_size=sum(rows), max_size=sum(rows)))
    return PackedPlan(
        corpus="c", rows=rows, seed=draw(st.integers(0, 99)), per_micro_batch=sum(rows), per_step=draw(st.integers(1, 4)),
        window_row_groups=draw(st.integers(1, 4)), epochs=draw(st.integers(1, 2)),
        num_samples=draw(st.none() | st.integers(1, 40)), token_budget=BUDGET, lengths=np.array(tokens, np.int32),
    )  # fmt: skip


@given(lengths)
def test_each_sample_is_in_one_pack_and_no_pack_is_too_full(tokens: list[int]) -> None:
    packs = pack(tokens, BUDGET)
    assert sorted(place for places in packs for place in places) == list(range(len(tokens)))
    assert all(sum(tokens[place] for place in places) <= BUDGET for places in packs)
    assert all(len(places) > 0 for places in packs)


def said_sample_by_sample(tokens: list[int], budget: int) -> list[list[int]]:
    """Best fit, longest first: the lengths in each pack, in the order in which packs were begun."""
    packs: list[list[int]] = []
    room: list[tuple[int, int]] = []
    for length in sorted(filter(None, tokens), reverse=True):
        place = bisect_left(room, length, key=lambda pack: pack[0])
        if place == len(room):
            room.append((budget, len(packs)))
            packs.append([])
        left, pack = room.pop(place)
        packs[pack].append(length)
        insort(room, (left - length, pack))
    return packs


@given(st.lists(lengths.filter(bool), min_size=1, max_size=5), st.sampled_from([BUDGET, 65_535, 65_536]))
def test_windows_side_by_side_are_packed_as_sample_by_sample(windows: list[list[int]], budget: int) -> None:
    scaled = [[length * (budget // BUDGET) for length in tokens] for tokens in windows]
    found = best_fit([np.array(tokens, np.int32) for tokens in scaled], budget)
    for tokens, owners in zip(scaled, found, strict=True):
        longest_first = sorted(filter(None, tokens), reverse=True)
        held: list[list[int]] = [[] for _ in range(max(owners.tolist(), default=-1) + 1)]
        for owner, length in zip(owners.tolist(), longest_first, strict=True):
            held[owner].append(length)
        assert held == said_sample_by_sample(tokens, budget)


def first_fit(tokens: NDArray[np.int32], budget: int) -> int:
    """Packs that first fit, longest first, needs."""
    room = np.full(len(tokens), budget)
    for length in np.sort(tokens)[::-1]:
        room[np.argmax(room >= length)] -= length
    return int((room < budget).sum())


@pytest.mark.parametrize(
    ("draw", "budget"),
    [
        (lambda random, count: np.minimum(random.lognormal(np.log(700), 0.6, count), 2048), 8192),
        (lambda random, count: random.integers(1, 8192, count), 8192),
        (lambda random, count: random.choice([1600, 600, 80], count) + random.integers(0, 400, count), 4096),
        (lambda random, count: 1900 + random.integers(0, 300, count), 8192),
        (lambda random, count: random.integers(2000, 6000, count), 8192),
    ],
    ids=["lognormal", "uniform", "three sizes", "four a pack", "one or two a pack"],
)
def test_no_more_is_wasted_than_by_first_fit(draw: Callable[..., NDArray[np.int32]], budget: int) -> None:
    tokens = np.asarray(draw(np.random.default_rng(7), 2048), np.int32)
    packs = len(pack(tokens, budget))
    assert packs <= first_fit(tokens, budget) * 1.005


@given(lengths)
def test_no_two_packs_would_fit_in_one(tokens: list[int]) -> None:
    used = sorted(sum(tokens[place] for place in places) for places in pack(tokens, BUDGET))
    assert len(used) < 2 or used[0] + used[1] > BUDGET


@given(lengths)
def test_samples_stand_in_order(tokens: list[int]) -> None:
    packs = pack(tokens, BUDGET)
    assert all(list(places) == sorted(places) for places in packs)
    assert [places[0] for places in packs] == sorted(places[0] for places in packs)


@given(plans())
def test_a_packed_epoch_shows_what_the_plan_without_packs_shows(plan: PackedPlan) -> None:
    seen = [(window.epoch, *place) for window in plan.windows for places in plan.samples(window) for place in places]
    whole = min(sum(plan.rows), plan.num_samples or sum(plan.rows))
    assert Counter(epoch for epoch, *_ in seen) == dict.fromkeys(range(plan.epochs), whole)
    assert len(set(seen)) == len(seen)


@given(plans())
def test_packs_are_numbered_without_gaps_and_within_the_budget(plan: PackedPlan) -> None:
    starts = np.concatenate(([0], np.cumsum(plan.rows)))
    numbers = [window.first + place for window in plan.windows for place in range(len(plan.cut(window)))]
    assert numbers == list(range(plan.windows[-1].stop))
    for window in plan.windows:
        assert len(plan.cut(window)) == window.num_micro_batches
        for places in plan.samples(window):
            assert sum(int(plan.lengths[starts[group] + row]) for group, row in places) <= BUDGET


@given(plans())
def test_the_digest_names_the_packs(plan: PackedPlan) -> None:
    values = {name: getattr(plan, name) for name in PackedPlan.__dataclass_fields__}
    assert PackedPlan(**values).digest == plan.digest
    assert PackedPlan(**{**values, "token_budget": BUDGET + 1}).digest != plan.digest
    other = plan.lengths.copy()
    other[0] = (other[0] + 1) % BUDGET
    assert PackedPlan(**{**values, "lengths": other}).digest != plan.digest

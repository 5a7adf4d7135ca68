"""Dynamic sampling without verl: groups end one by one, and the step always ends."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmo_ray.errors import TrainingError
from rollout.groups import GroupSelection

GOOD, FLAT, FAILED = [0.0, 1.0], [0.5, 0.5], [0.5, math.nan]


def play(selection: GroupSelection, outcomes: list[list[float]]) -> int:
    """Runs a step as the sampler does: groups end in any order, fresh prompts are asked for. Returns how many groups ended."""
    running, ended = selection.wanted, 0
    while True:
        if due := selection.refills_due(running):
            selection.refilled(due)
            running += due
        elif selection.is_settled(running):
            return ended
        else:
            selection.judge(f"g{ended}", outcomes[ended % len(outcomes)])
            running, ended = running - 1, ended + 1


def test_good_groups_need_no_refill() -> None:
    selection = GroupSelection(4)
    assert play(selection, [GOOD]) == 4
    assert selection.chosen() == ["g0", "g1", "g2", "g3"]
    assert selection.num_refills == 0


def test_flat_and_failed_groups_are_replaced_one_for_one() -> None:
    selection = GroupSelection(3)
    assert play(selection, [GOOD, FLAT, FAILED, GOOD, GOOD]) == 5
    assert selection.chosen() == ["g0", "g3", "g4"]
    assert selection.metrics() == {
        "groups/evicted": 1.0,
        "groups/flat": 1.0,
        "groups/failed": 1.0,
        "groups/refilled": 2.0,
    }


def test_a_policy_without_signal_does_not_sample_for_ever() -> None:
    """verl's own filter would: every group is worthless, and each is replaced by another."""
    selection = GroupSelection(4, max_refill_rounds=2)
    assert play(selection, [FLAT]) == 4 + 2 * 4
    assert selection.chosen() == ["g0", "g1", "g2", "g3"]
    assert selection.metrics()["groups/evicted"] == 8


def test_flat_groups_fill_only_what_is_missing() -> None:
    selection = GroupSelection(2, max_refill_rounds=1)
    play(selection, [FLAT, FLAT, GOOD, FLAT])
    assert selection.chosen() == ["g2", "g0"]


def test_failed_groups_are_never_trained_on() -> None:
    selection = GroupSelection(2, max_refill_rounds=1)
    assert play(selection, [FAILED, FLAT, FAILED, FAILED]) == 4
    with pytest.raises(TrainingError, match="3 of 4 prompt groups of this step failed"):
        selection.chosen()


def test_without_dynamic_sampling_flat_groups_stay_and_failed_ones_do_not() -> None:
    selection = GroupSelection(2, dynamic=False)
    play(selection, [FLAT, FAILED, FLAT])
    assert selection.chosen() == ["g0", "g2"]


def test_a_completion_without_a_score_leaves_its_group() -> None:
    selection = GroupSelection(3)
    selection.judge("others differ", [0.0, math.nan, 1.0])
    selection.judge("others alike", [0.5, 0.5, math.nan])
    selection.judge("one left", [0.5, math.nan, math.nan])
    assert (selection.kept, selection.flat, selection.failed) == (["others differ"], ["others alike"], ["one left"])


def test_spread_is_measured_against_the_recipes_bound() -> None:
    selection = GroupSelection(2, min_reward_std=0.01)
    selection.judge("near", [0.5, 0.501])
    selection.judge("apart", [0.5, 0.6])
    selection.judge("equal in floats", [0.1 + 0.2] * 7)
    assert (selection.kept, selection.flat) == (["apart"], ["near", "equal in floats"])


def test_a_group_that_did_not_come_back_whole_has_failed() -> None:
    selection = GroupSelection(1)
    selection.judge("cut", GOOD, complete=False)
    selection.judge("empty", [])
    assert selection.failed == ["cut", "empty"]


@given(
    wanted=st.integers(1, 8),
    rounds=st.integers(1, 4),
    outcomes=st.lists(st.sampled_from([GOOD, FLAT, FAILED]), min_size=1, max_size=60),
    seed=st.integers(0, 100),
)
def test_every_step_ends_within_its_bound(wanted: int, rounds: int, outcomes: list[list[float]], seed: int) -> None:
    random.Random(seed).shuffle(outcomes)
    selection = GroupSelection(wanted, max_refill_rounds=rounds)
    ended = play(selection, outcomes)
    assert wanted <= ended == wanted + selection.num_refills <= wanted * (1 + rounds)
    try:
        chosen = selection.chosen()
    except TrainingError:
        assert len(selection.kept) + len(selection.flat) < wanted
    else:
        assert len(chosen) == len(set(chosen)) == wanted
        assert not set(chosen) & set(selection.failed)
        assert set(selection.kept[:wanted]) <= set(chosen)

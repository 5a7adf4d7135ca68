"""The bounding-box reward against numbers worked by hand: the equations and every edge case that the paper names.

Each case runs against the oracle and against the package, so that neither can be wrong in the same way as the other.

Source: MedMO supplementary 1.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from reward_cases import Boxes, array
from reward_oracle import cheapest_matchings, cost_matrix, exact_reward

from rewards import bbox_reward

TOLERANCE = 1e-9

Reward = Callable[..., float]


@pytest.fixture(params=[exact_reward, bbox_reward], ids=["oracle", "rewards"])
def reward(request: pytest.FixtureRequest) -> Reward:
    """The oracle, then the package: a number worked by hand must come out of both."""
    return request.param


def test_worked_example(reward: Reward) -> None:
    """Every intermediate number of one example, worked by hand.

    truth      g0 = [0, 0, 10, 10], g1 = [20, 10, 40, 30]          so W = 40, H = 30, 2 sqrt(H^2 + W^2) = 100
    predicted  p0 = [20, 10, 40, 20], p1 = [5, 0, 15, 10], p2 = [0, 20, 10, 30]

    pair    sum |.|               L1    overlap  union  hull   GIoU = O/U - (hull - U)/hull   cost = 5 L1 + 2 (1 - GIoU)
    p0 g0   20 + 10 + 30 + 10     0.7     0      300     800   -500/800  = -5/8               3.5 + 13/4   = 6.75
    p0 g1    0 +  0 +  0 + 10     0.1   200      400     400   1/2                            0.5 + 1      = 1.5
    p1 g0    5 +  0 +  5 +  0     0.1    50      150     150   1/3                            0.5 + 4/3    = 1.8333
    p1 g1   15 + 10 + 25 + 20     0.7     0      500    1050   -550/1050 = -11/21             3.5 + 64/21  = 6.5476
    p2 g0    0 + 20 +  0 + 20     0.4     0      200     300   -100/300  = -1/3               2.0 + 8/3    = 4.6667
    p2 g1   20 + 10 + 30 +  0     0.6     0      500     800   -300/800  = -3/8               3.0 + 11/4   = 5.75

    Cheapest matching: (p0, g1), (p1, g0) at 10/3; p2 is a false positive; m = 2.
    s(p0, g1) = (5 * 0.9 + 2 * (1/2 + 1)/2) / 7 = 6/7           s(p1, g0) = (5 * 0.9 + 2 * (1/3 + 1)/2) / 7 = 5/6
    base = (6/7 + 5/6) / 2 = 71/84; penalty at lambda_fp = 0.1: 0.1 * (3 - 2) / 2 = 0.05.
    """
    truth = [[0, 0, 10, 10], [20, 10, 40, 30]]
    predicted = [[20, 10, 40, 20], [5, 0, 15, 10], [0, 20, 10, 30]]
    costs = [[6.75, 1.5], [11 / 6, 3.5 + 64 / 21], [14 / 3, 5.75]]
    assert cost_matrix(predicted, truth) == [pytest.approx(row) for row in costs]
    assert cheapest_matchings(costs) == (pytest.approx(10 / 3), [((1, 0), (0, 1))])
    assert reward(predicted, truth) == pytest.approx(71 / 84, abs=TOLERANCE)
    assert reward(predicted, truth, lambda_fp=0.1) == pytest.approx(71 / 84 - 0.05, abs=TOLERANCE)
    assert reward(predicted, truth, lambda_fn=0.1) == pytest.approx(71 / 84, abs=TOLERANCE)


@pytest.mark.parametrize(
    "truth", [[[0, 0, 1, 1]], [[5, 6, 70, 80], [0, 0, 3, 4]], [[0.125, 0.25, 0.5, 0.75]], [[5, 6, 5, 9], [2, 2, 2, 2]]]
)
def test_perfect_prediction_is_one(reward: Reward, truth: Boxes) -> None:
    """L1 = 0 and GIoU = 1 for each pair, whatever the order and the area: every score is (5 + 2) / 7."""
    assert reward(truth, truth, lambda_fn=1.0, lambda_fp=1.0) == pytest.approx(1.0, abs=TOLERANCE)
    assert reward(truth[::-1], truth) == pytest.approx(1.0, abs=TOLERANCE)


@pytest.mark.parametrize("predicted", [[], [[0, 0, 1, 1]], [[0, 0, 1, 1], [3, 3, 900, 900]]])
@pytest.mark.parametrize("penalty", [0.0, 0.1, 5.0])
def test_no_truth_is_neutral(reward: Reward, predicted: Boxes, penalty: float) -> None:
    """G = 0: 0.5, with and without predictions, whatever the penalties."""
    assert reward(array(predicted), array([]), lambda_fn=penalty, lambda_fp=penalty) == 0.5


@pytest.mark.parametrize("penalty", [0.0, 0.1, 5.0])
def test_truth_without_predictions_is_zero(reward: Reward, penalty: float) -> None:
    """P = 0: clip(0 - lambda_fn) = 0; the penalty never makes it negative."""
    truth = [[0, 0, 10, 10], [5, 5, 20, 20]]
    assert reward(array([]), array(truth), lambda_fn=penalty, lambda_fp=penalty) == 0.0


def test_missing_boxes_cost_coverage_and_penalty(reward: Reward) -> None:
    """G = 3, one perfect prediction: base = 1/3, penalty = 2 lambda_fn / 3."""
    truth = [[0, 0, 10, 10], [20, 20, 30, 30], [40, 0, 50, 10]]
    assert reward(truth[1:2], truth) == pytest.approx(1 / 3, abs=TOLERANCE)
    assert reward(truth[1:2], truth, lambda_fn=0.1) == pytest.approx(1 / 3 - 0.2 / 3, abs=TOLERANCE)
    assert reward(truth[1:2], truth, lambda_fp=0.9) == pytest.approx(1 / 3, abs=TOLERANCE)
    assert reward(truth[1:2], truth, lambda_fn=0.5) == 0.0
    assert reward(truth[1:2], truth, lambda_fn=3.0) == 0.0


def test_spurious_boxes_cost_only_the_penalty(reward: Reward) -> None:
    """G = 2 found perfectly, P = 5: base = 1 by default; the penalty divides by G = 2, not by P."""
    truth = [[0, 0, 10, 10], [20, 20, 30, 30]]
    predicted = [[0, 0, 10, 10], [1, 1, 9, 9], [20, 20, 30, 30], [0, 20, 9, 30], [0, 0, 10, 10]]
    assert reward(predicted, truth) == pytest.approx(1.0, abs=TOLERANCE)
    assert reward(predicted, truth, lambda_fp=0.25) == pytest.approx(1 - 0.25 * 3 / 2, abs=TOLERANCE)
    assert reward(predicted, truth, lambda_fn=0.25) == pytest.approx(1.0, abs=TOLERANCE)
    assert reward(predicted, truth, lambda_fp=1.0) == 0.0


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        # W = 30, H = 40: L1 = 20/100, GIoU = 1/2, s = (5 * 0.8 + 1.5) / 7.
        ([[0, 0, 30, 20]], [[0, 0, 30, 40]], 11 / 14),
        # A prediction that reaches further leaves W = 30, H = 40: L1 = 70/100, GIoU = 1/4, s = (5 * 0.3 + 1.25) / 7.
        ([[0, 0, 60, 80]], [[0, 0, 30, 40]], 11 / 28),
        # The largest x and y, not the box's own width 20 and height 20: W = 40, H = 30, L1 = 10/100, GIoU = 1/2.
        ([[20, 10, 40, 20]], [[20, 10, 40, 30]], 6 / 7),
        # W and H from different boxes, both unmatched halves counted: W = 40, H = 30; pair one is perfect, base = 1/2.
        ([[0, 0, 40, 10]], [[0, 0, 40, 10], [0, 0, 10, 30]], 1 / 2),
        # As above, and L1 of the second pair = 10/100, GIoU = 2/3: s = (4.5 + 5/3) / 7 = 37/42, base = (1 + 37/42) / 2.
        ([[0, 0, 40, 10], [0, 0, 10, 20]], [[0, 0, 40, 10], [0, 0, 10, 30]], 79 / 84),
        # Coordinates below 1 keep their own extent (W = 0.3, H = 0.4): the same value as at 100 times the size.
        ([[0, 0, 0.3, 0.2]], [[0, 0, 0.3, 0.4]], 11 / 14),
    ],
)
def test_extent_is_the_reach_of_the_truth(reward: Reward, predicted: Boxes, truth: Boxes, expected: float) -> None:
    """H and W are the largest y and x of the truth boxes; predictions do not move them."""
    assert reward(predicted, truth) == pytest.approx(expected, abs=TOLERANCE)


def test_l1_is_clamped_in_the_score(reward: Reward) -> None:
    """W = 3, H = 4. Far box: L1 = 140/10 = 14, clamped to 1; GIoU = -(33 * 44 - 24)/(33 * 44) = -119/121; s = 2/847.

    With a perfect pair beside it: base = (1 + s2) / 2, so the far pair takes nothing from the near one. There the hull
    of [0, 0, 3, 2] and the far box is 33 * 44 = 1452, the union 18, GIoU = -1434/1452, s2 = (18/1452) / 7.
    """
    far = [30, 40, 33, 44]
    assert reward([far], [[0, 0, 3, 4]]) == pytest.approx(2 / 847, abs=TOLERANCE)
    both = reward([[0, 0, 3, 4], far], [[0, 0, 3, 4], [0, 0, 3, 2]])
    assert both == pytest.approx((1 + 18 / 1452 / 7) / 2, abs=TOLERANCE)


def test_l1_is_not_clamped_in_the_matching(reward: Reward) -> None:
    """W = 3, H = 4: the raw costs [[17.367, 13.575], [7.733, 4.25]] match p0 g1 and p1 g0 (21.308 < 21.617).

    Clamped costs would match p0 g0 and p1 g1 (12.617 < 15.808) for a reward of 0.2815. Here both scores have L1 >= 1:
    GIoU(p0, g1) = -0.5375 and GIoU(p1, g0) = -11/30, base = (0.4625 + 19/30) / 7 / 2 = 263/3360.
    """
    predicted, truth = [[5, 5, 12, 10], [2, 1, 6, 5]], [[0, 0, 1, 3], [2, 2, 3, 4]]
    assert reward(predicted, truth) == pytest.approx(263 / 3360, abs=TOLERANCE)


def test_matching_minimises_cost_rather_than_maximising_score(reward: Reward) -> None:
    """GIoU weighs 2 in the cost and 1 in the score, so the cheapest matching may not score best.

    W = 40, H = 30. L1 [[0.9, 0.3], [0.5, 0.1]], GIoU [[-11/16, -1/12], [-4/9, 2/3]],
    cost [[7.875, 3.6667], [5.3889, 1.1667]]: p0 g0 and p1 g1 at 9.0417 beat 9.0556.
    base = ((0.5 + 5/16) + (4.5 + 5/3)) / 7 / 2 = 335/672; the dearer matching would give 0.5337.
    """
    predicted, truth = [[0, 20, 10, 40], [10, 20, 30, 30]], [[10, 0, 40, 10], [0, 20, 30, 30]]
    assert reward(predicted, truth) == pytest.approx(335 / 672, abs=TOLERANCE)


def test_matching_is_optimal_rather_than_greedy(reward: Reward) -> None:
    """W = 30, H = 40, cost [[4.3333, 8.6667], [3.6667, 4.0]]: greed takes 3.6667 and pays 12.33; the best is 8.33.

    L1 0.5 and 0.3, GIoU 1/12 and -1/4: base = ((2.5 + 13/12) + (3.5 + 3/4)) / 7 / 2 = 47/84; greed would give 0.3095.
    """
    predicted, truth = [[20, 0, 30, 10], [10, 20, 20, 40]], [[0, 0, 30, 40], [0, 30, 10, 40]]
    assert reward(predicted, truth) == pytest.approx(47 / 84, abs=TOLERANCE)


def test_one_prediction_serves_one_truth(reward: Reward) -> None:
    """Two identical truth boxes and one perfect prediction: m = 1, base = 1/2; two copies of it: 1."""
    truth = [[10, 10, 20, 20], [10, 10, 20, 20]]
    assert reward(truth[:1], truth) == pytest.approx(0.5, abs=TOLERANCE)
    assert reward(truth, truth) == pytest.approx(1.0, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        # A point in a box, W = H = 10: L1 = 20/(20 sqrt 2), overlap 0, union = hull = 100, GIoU = 0.
        ([[5, 5, 5, 5]], [[0, 0, 10, 10]], (5 * (1 - 1 / math.sqrt(2)) + 1) / 7),
        # Touching boxes, W = H = 10: L1 = 20/(20 sqrt 2), overlap 0, union = hull = 200, GIoU = 0.
        ([[10, 0, 20, 10]], [[0, 0, 10, 10]], (5 * (1 - 1 / math.sqrt(2)) + 1) / 7),
        # Two points, union 0 in a hull of 12, W = 3, H = 4: L1 = 14/10 clamped to 1, GIoU = 0 - 12/12 = -1.
        ([[0, 0, 0, 0]], [[3, 4, 3, 4]], 0.0),
        # Two segments of one line, union = hull = 0, W = 6, H = 8: L1 = 10/20, both terms of GIoU are 0.
        ([[0, 8, 1, 8]], [[5, 8, 6, 8]], (5 * 0.5 + 1) / 7),
    ],
)
def test_boxes_without_area(reward: Reward, predicted: Boxes, truth: Boxes, expected: float) -> None:
    """0/0 is 0 in a hull term, and in an IoU unless the two boxes are the same: a reading, the paper being silent."""
    assert reward(predicted, truth) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_failed_matching_counts_every_box_as_unmatched(bad: float) -> None:
    """No feasible pair: m = 0, so the base is 0 and the penalty cannot lift it."""
    predicted, truth = [[bad, bad, bad, bad], [0, bad, 10, 10]], [[0, 0, 10, 10]]
    assert bbox_reward(predicted, array(truth)) == 0.0
    assert bbox_reward(predicted, array(truth), lambda_fn=0.5, lambda_fp=0.5) == 0.0

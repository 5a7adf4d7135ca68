"""The bounding-box reward written a second time, from the paper alone, to judge `rewards.bbox_reward`.

Plain Python: areas and overlaps are exact fractions, and the minimum-cost matching is found by trying every
injection of the smaller side into the larger. Nothing here is fast and nothing is shared with the package under test.

Source: MedMO supplementary 1.1, equations 1 to 6. Two things that the equations leave open are read as follows:

* L1 is clamped inside the score (step 2, equation 3) and not in the matching cost (equation 2), although equation 7,
  which expands the base, prints it without the clamp.
* GIoU of two boxes without area is 0/0. The IoU is taken as 1 where they are the same box, as for any two equal boxes
  with area, and otherwise as 0; the enclosing-box term is 0 where the enclosing box is empty. (The code of GIoU's
  authors, `box_giou` in their darknet, has IoU 0 for equal boxes too: a perfect prediction would score 6/7.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import permutations

Box = Sequence[float]
Pairs = tuple[tuple[int, int], ...]

MATCH_L1, MATCH_GIOU = 5, 2
SCORE_L1, SCORE_GIOU = 5, 2


def clip01(value: float) -> float:
    """Clip to [0, 1]."""
    return min(1.0, max(0.0, value))


def exact_giou(a: Box, b: Box) -> Fraction:
    """Generalized IoU of two XYXY boxes with x1 <= x2 and y1 <= y2, as an exact fraction.

    Source: Rezatofighi et al. 2019, algorithm 1.
    """
    ax1, ay1, ax2, ay2 = map(Fraction, a)
    bx1, by1, bx2, by2 = map(Fraction, b)
    overlap = max(Fraction(0), min(ax2, bx2) - max(ax1, bx1)) * max(Fraction(0), min(ay2, by2) - max(ay1, by1))
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - overlap
    hull = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1))
    iou = overlap / union if union else Fraction(list(a) == list(b))
    return iou - ((hull - union) / hull if hull else Fraction(0))


def extent(truth: Sequence[Box]) -> tuple[float, float]:
    """Image size (H, W): the largest y and the largest x of any truth box."""
    return max(box[3] for box in truth), max(box[2] for box in truth)


def normalized_l1(p: Box, g: Box, height: float, width: float) -> float:
    """Equation 1: the L1 distance over twice the image diagonal."""
    distance = sum(abs(Fraction(u) - Fraction(v)) for u, v in zip(p, g, strict=True))
    return float(distance) / (2 * math.sqrt(float(height) ** 2 + float(width) ** 2))


def pair_cost(l1: float, giou: float) -> float:
    """Equation 2: what a pair costs the matching. L1 is not clamped here."""
    return MATCH_L1 * l1 + MATCH_GIOU * (1 - giou)


def pair_score(l1: float, giou: float) -> float:
    """Equation 3: what a matched pair is worth, in [0, 1]. L1 is clamped here."""
    return (SCORE_L1 * (1 - clip01(l1)) + SCORE_GIOU * (giou + 1) / 2) / (SCORE_L1 + SCORE_GIOU)


def metrics(predicted: Sequence[Box], truth: Sequence[Box]) -> list[list[tuple[float, float]]]:
    """(L1, GIoU) of every prediction (rows) with every truth box (columns)."""
    height, width = extent(truth)
    return [[(normalized_l1(p, g, height, width), float(exact_giou(p, g))) for g in truth] for p in predicted]


def cost_matrix(predicted: Sequence[Box], truth: Sequence[Box]) -> list[list[float]]:
    """Equation 2 for every pair, as [P][G]."""
    return [[pair_cost(*pair) for pair in row] for row in metrics(predicted, truth)]


def injections(num_predicted: int, num_truth: int) -> Iterator[Pairs]:
    """Every way to match min(P, G) predictions and truth boxes one to one, as (prediction, truth) pairs."""
    if num_predicted <= num_truth:
        for columns in permutations(range(num_truth), num_predicted):
            yield tuple(enumerate(columns))
    else:
        for rows in permutations(range(num_predicted), num_truth):
            yield tuple((row, column) for column, row in enumerate(rows))


def cheapest_matchings(costs: Sequence[Sequence[float]], tolerance: float = 1e-9) -> tuple[float, list[Pairs]]:
    """The minimum total cost of a [P][G] matrix (P, G > 0), and every matching within `tolerance` of it."""
    totals = {pairs: math.fsum(costs[i][j] for i, j in pairs) for pairs in injections(len(costs), len(costs[0]))}
    minimum = min(totals.values())
    return minimum, [pairs for pairs, total in totals.items() if total <= minimum + tolerance]


def possible_rewards(
    predicted: Sequence[Box], truth: Sequence[Box], lambda_fn: float = 0.0, lambda_fp: float = 0.0
) -> set[float]:
    """Every reward that the paper allows: one value, or one for each score sum of matchings that tie in cost.

    Args:
        predicted: P boxes XYXY with finite coordinates, x1 <= x2 and y1 <= y2.
        truth: G boxes likewise, reaching beyond the origin (a diagonal of 0 has no L1).
        lambda_fn: penalty for each truth box without a prediction.
        lambda_fp: penalty for each prediction without a truth box.

    Source: supplementary 1.1, equations 3 to 6 and the edge cases.
    """
    num_predicted, num_truth = len(predicted), len(truth)
    if not num_truth:
        return {0.5}
    matched = min(num_predicted, num_truth)
    penalty = (lambda_fn * (num_truth - matched) + lambda_fp * (num_predicted - matched)) / max(1, num_truth)
    if not num_predicted:
        return {clip01(0 - penalty)}
    pairs_metrics = metrics(predicted, truth)
    _, matchings = cheapest_matchings([[pair_cost(*pair) for pair in row] for row in pairs_metrics])
    bases = {math.fsum(pair_score(*pairs_metrics[i][j]) for i, j in pairs) / num_truth for pairs in matchings}
    return {clip01(base - penalty) for base in bases}


def exact_reward(
    predicted: Sequence[Box], truth: Sequence[Box], lambda_fn: float = 0.0, lambda_fp: float = 0.0
) -> float:
    """The reward where the cheapest matchings agree on it.

    Raises:
        ValueError: matchings of equal cost give rewards that differ by more than 1e-9.
    """
    rewards = possible_rewards(predicted, truth, lambda_fn, lambda_fp)
    if max(rewards) - min(rewards) > 1e-9:
        raise ValueError(f"matchings tie in cost and differ in reward: {sorted(rewards)}")
    return rewards.pop()

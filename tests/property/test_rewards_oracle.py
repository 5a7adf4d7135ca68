"""The bounding-box reward against an independent oracle: exact fractions, every matching tried.

Source: MedMO supplementary 1.1.
"""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from reward_cases import STYLES, Boxes, array, random_box, random_case, random_penalty
from reward_oracle import cheapest_matchings, cost_matrix, exact_giou, metrics, pair_score, possible_rewards
from scipy.optimize import linear_sum_assignment
from torchvision.ops import generalized_box_iou

from rewards import bbox_reward, bbox_rewards
from rewards.geometry import pairwise

TOLERANCE = 1e-9
CASES_PER_STYLE = 2000


@pytest.mark.parametrize("style", STYLES)
def test_random_cases_agree_with_the_oracle(style: str) -> None:
    """12 000 cases in all. Where matchings tie in cost, the reward of any of them is right."""
    rng = random.Random(f"bbox-{style}")
    wrong = []
    for _ in range(CASES_PER_STYLE):
        predicted, truth = random_case(rng, style)
        lambda_fn, lambda_fp = random_penalty(rng), random_penalty(rng)
        given = array(predicted) if rng.random() < 0.5 else predicted
        got = bbox_reward(given, array(truth), lambda_fn=lambda_fn, lambda_fp=lambda_fp)
        allowed = possible_rewards(predicted, truth, lambda_fn, lambda_fp)
        if not min(abs(got - value) for value in allowed) <= TOLERANCE:
            wrong.append((len(predicted) + len(truth), predicted, truth, lambda_fn, lambda_fp, got, sorted(allowed)))
    assert not wrong, f"{len(wrong)} of {CASES_PER_STYLE} differ; smallest: {min(wrong, key=lambda case: case[0])}"


def test_random_cases_cover_what_they_promise() -> None:
    """The generator really makes ties, clamped L1, flat boxes, and each count of predictions and truth boxes."""
    rng = random.Random("coverage")
    counts, ties, clamped, flat = set(), 0, 0, 0
    for index in range(2000):
        predicted, truth = random_case(rng, STYLES[index % len(STYLES)])
        counts.add((len(predicted), len(truth)))
        if predicted and truth:
            ties += len(cheapest_matchings(cost_matrix(predicted, truth))[1]) > 1
            clamped += any(l1 > 1 for row in metrics(predicted, truth) for l1, _ in row)
            flat += any(x1 == x2 or y1 == y2 for x1, y1, x2, y2 in truth)
    assert len(counts) == 36
    assert min(ties, clamped, flat) >= 20


def test_any_numbers_give_a_reward_within_bounds() -> None:
    """Inverted, negative and huge boxes are model output, never an error."""
    rng = random.Random("hostile")
    values = (-1e300, -5.0, 0.0, 1e-300, 3.0, 1e12, 1e200, 1e308)
    for _ in range(500):
        predicted = [[rng.choice(values) for _ in range(4)] for _ in range(rng.randint(1, 3))]
        truth = [random_box(rng, "integer") for _ in range(rng.randint(1, 3))]
        got = bbox_reward(predicted, array(truth), random_penalty(rng), random_penalty(rng))
        assert 0.0 <= got <= 1.0, (predicted, truth, got)


def test_giou_agrees_with_torchvision_and_with_exact_fractions() -> None:
    """Boxes with area: all 300 x 200 pairs against torchvision in double precision, 2 000 of them against fractions."""
    rng = random.Random("giou")
    boxes: Boxes = []
    while len(boxes) < 500:
        x1, y1, x2, y2 = random_box(rng, rng.choice(("grid", "integer", "float", "normalized")))
        if x1 < x2 and y1 < y2:
            boxes.append([x1, y1, x2, y2])
    ours = pairwise(array(boxes[:300]), array(boxes[300:])).giou
    first, second = (torch.tensor(part, dtype=torch.float64) for part in (boxes[:300], boxes[300:]))
    np.testing.assert_allclose(ours, generalized_box_iou(first, second).numpy(), rtol=0, atol=1e-12)
    for _ in range(2000):
        i, j = rng.randrange(300), rng.randrange(200)
        assert ours[i, j] == pytest.approx(float(exact_giou(boxes[i], boxes[300 + j])), abs=1e-12)


def test_brute_force_agrees_with_scipy_assignment() -> None:
    """The cheapest injection costs what the Hungarian algorithm finds, and its matching is one of the cheapest."""
    rng = random.Random("assignment")
    compared = 0
    while compared < 1500:
        predicted, truth = random_case(rng, rng.choice(STYLES))
        if not predicted or not truth:
            continue
        costs = cost_matrix(predicted, truth)
        rows, columns = linear_sum_assignment(np.asarray(costs))
        minimum, matchings = cheapest_matchings(costs)
        assert math.fsum(costs[i][j] for i, j in zip(rows, columns, strict=True)) == pytest.approx(minimum, abs=1e-9)
        assert set(zip(rows.tolist(), columns.tolist(), strict=True)) in [set(pairs) for pairs in matchings]
        pairs_metrics = metrics(predicted, truth)
        base = sum(pair_score(*pairs_metrics[i][j]) for i, j in zip(rows, columns, strict=True)) / len(truth)
        assert min(abs(base - value) for value in possible_rewards(predicted, truth)) <= TOLERANCE
        compared += 1


def written(boxes: Boxes) -> str:
    return "[" + ", ".join("[" + ", ".join(map(repr, box)) + "]" for box in boxes) + "]"


def random_text(rng: random.Random, boxes: Boxes) -> str:
    """The boxes as a completion: none, one group, or two groups with different labels and words around them."""
    if not boxes:
        return rng.choice(("", "No cell is visible.", "cell <box>[]</box>"))
    if len(boxes) == 1 or rng.random() < 0.5:
        return f"cell <box>{written(boxes)}</box>"
    return f"I see a cell <box>{written(boxes[:1])}</box> and a nucleus <box>{written(boxes[1:])}</box>."


def test_text_is_worth_what_its_boxes_are() -> None:
    """2 000 completions in one batch: each equals its own single call and a reward that the oracle allows."""
    rng = random.Random("text")
    cases = [random_case(rng, rng.choice(("grid", "integer", "float", "normalized"))) for _ in range(2000)]
    texts = [random_text(rng, predicted) for predicted, _ in cases]
    truths = [array(truth) for _, truth in cases]
    batched = bbox_rewards(texts, truths)
    assert batched.dtype == np.float64
    assert batched.shape == (2000,)
    for text, truth, got, (predicted, boxes) in zip(texts, truths, batched, cases, strict=True):
        assert got == bbox_reward(text, truth), text
        assert min(abs(got - value) for value in possible_rewards(predicted, boxes)) <= TOLERANCE, (text, boxes)


def test_the_example_completion() -> None:
    """The grammar's own example, found perfectly, and by half of its boxes."""
    text = "cell <box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box>"
    truth = array([[5, 6, 7, 8], [1, 2, 3, 4]])
    assert bbox_reward(text, truth) == pytest.approx(1.0, abs=TOLERANCE)
    assert bbox_reward("cell <box>[[1, 2, 3, 4]]</box>", truth) == pytest.approx(0.5, abs=TOLERANCE)
    assert bbox_rewards([], []).shape == (0,)


@pytest.mark.parametrize("text", ["", "no boxes here", "cell <box>[[1, 2, 3", "<box></box>", "a <box>[[b, c]]</box>"])
def test_unreadable_text_is_a_completion_without_predictions(text: str) -> None:
    """P = 0: worth 0 against truth boxes, and the neutral 0.5 where there are none."""
    got = bbox_rewards([text, text], [array([[0, 0, 10, 10]]), array([])])
    assert got.tolist() == [0.0, 0.5]

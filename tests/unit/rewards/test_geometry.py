"""Geometry against numbers worked by hand and against scipy."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from rewards.geometry import as_boxes, assign, pairwise


@pytest.mark.parametrize(
    ("first", "second", "l1", "iou", "giou"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 0, 1, 1),
        ((0, 0, 10, 10), (5, 0, 15, 10), 10, 50 / 150, 50 / 150),  # hull 150 = union
        ((0, 0, 10, 10), (20, 0, 30, 10), 40, 0, -100 / 300),  # union 200, hull 300
        ((0, 0, 10, 10), (20, 20, 30, 30), 80, 0, -700 / 900),  # union 200, hull 900
        ((0, 0, 10, 10), (10, 0, 20, 10), 20, 0, 0),  # touching: union 200 = hull
        ((0, 0, 10, 10), (2, 2, 4, 4), 16, 4 / 100, 4 / 100),  # one inside the other
        ((0, 0, 10, 10), (5, 5, 5, 5), 20, 0, 0),  # a point inside: hull = union
        ((5, 5, 5, 5), (5, 5, 5, 5), 0, 1, 1),  # the same point
        ((5, 5, 5, 5), (6, 7, 6, 7), 6, 0, -1),  # two points: hull 2, union 0
        ((5, 5, 5, 9), (5, 9, 5, 12), 7, 0, 0),  # two lines in one: no hull
    ],
)
def test_pairs_worked_by_hand(first: tuple, second: tuple, l1: float, iou: float, giou: float) -> None:
    for a, b in ((first, second), (second, first)):
        found = pairwise(np.array([a], dtype=float), np.array([b], dtype=float))
        assert [values.item() for values in found] == pytest.approx([l1, iou, giou], abs=1e-15)


def test_pairwise_of_a_batch_is_that_of_its_parts() -> None:
    rng = np.random.default_rng(0)
    first, second = np.sort(rng.random((5, 3, 2, 2)), axis=2), np.sort(rng.random((5, 4, 2, 2)), axis=2)
    first, second = first.reshape(5, 3, 4), second.reshape(5, 4, 4)
    together = pairwise(first, second)
    for index in range(5):
        for whole, part in zip(together, pairwise(first[index], second[index]), strict=True):
            assert np.array_equal(whole[index], part)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (2, 2), (3, 3), (3, 5), (6, 6), (5, 30), (30, 30)])
@pytest.mark.parametrize("levels", [2, 5, 10**9])
def test_assign_is_optimal(shape: tuple[int, int], levels: int) -> None:
    """Against scipy on every problem; few levels of cost make ties and shared favourites common."""
    cost = np.random.default_rng(levels).integers(0, levels, (200, *shape)).astype(float)
    columns = assign(cost)
    rows = np.arange(shape[0])
    for problem, found in zip(cost, columns, strict=True):
        assert len(set(found.tolist())) == shape[0]
        assert problem[rows, found].sum() == problem[linear_sum_assignment(problem)].sum()


def test_as_boxes_orders_corners_and_refuses_the_rest() -> None:
    assert as_boxes([[3, 4, 1, 2]]).tolist() == [[1, 2, 3, 4]]
    assert as_boxes([]).shape == (0, 4)
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        as_boxes([[1, 2, 3]])
    with pytest.raises(ValueError, match="not finite"):
        as_boxes([[1, 2, 3, np.nan]])

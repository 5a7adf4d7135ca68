"""The batched bounding-box reward against the plain one, and its settings."""

import numpy as np
import pytest
from numpy.typing import NDArray
from plain_reward import plain_boxes, plain_reward

from rewards import LabelledBox, bbox_reward, bbox_rewards, box_scores, format_boxes, mean_iou

RNG = np.random.default_rng(0)


def random_boxes(number: int) -> NDArray[np.float64]:
    corner = RNG.integers(0, 900, (number, 2)).astype(float)
    return np.concatenate([corner, corner + RNG.integers(1, 100, (number, 2))], axis=1)


def random_prediction(truth: NDArray[np.float64], spread: int) -> NDArray[np.float64]:
    """The truth moved by up to `spread`, without some boxes and with some others."""
    moved = truth + RNG.integers(-spread, spread + 1, truth.shape)
    moved = np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:]) + 1], axis=1)
    kept = moved[RNG.random(len(moved)) < 0.9]
    return RNG.permutation(np.concatenate([kept, random_boxes(int(RNG.integers(0, 3)))]))


def text_of(boxes: NDArray[np.float64]) -> str:
    return format_boxes([LabelledBox("mass", tuple(box)) for box in boxes.tolist()])


@pytest.mark.parametrize("spread", [0, 10, 200])
@pytest.mark.parametrize("most", [2, 8, 60])
def test_batch_agrees_with_the_plain_reward(most: int, spread: int) -> None:
    truths = [random_boxes(int(RNG.integers(0, most + 1))) for _ in range(200)]
    texts = [text_of(random_prediction(truth, spread)) for truth in truths]
    predicted = [plain_boxes(text) for text in texts]
    for penalties in ((0.0, 0.0), (0.3, 0.1)):
        plain = [plain_reward(p, g, *penalties) for p, g in zip(predicted, truths, strict=True)]
        assert bbox_rewards(texts, truths, *penalties) == pytest.approx(plain, abs=1e-12)
        single = [bbox_reward(p, g, *penalties) for p, g in zip(predicted, truths, strict=True)]
        assert single == pytest.approx(plain, abs=1e-12)


def test_text_that_has_to_be_read_carefully_does_not_disturb_its_neighbours() -> None:
    good, truth = "mass <box>[[1, 2, 30, 40]]</box>", [[1, 2, 30, 40]]
    bad = ["", "mass <box>[[nan, 2, 30, 40]]</box>", "mass <box>[[40, 2, 30, 1]]</box>", "mass <box>[[1.5, 2, 30, 40]]"]
    bad += ["mass <box>[5[1,,30,40]]</box>", "<box>[[1,2,3]]</box>", "<box>[[1, 2, 30, 40]]\n</box>", "</box>" * 70]
    texts = [text for one in bad for text in (good, one)]
    rewards = bbox_rewards(texts, [truth] * len(texts))
    assert rewards[::2].tolist() == [1.0] * len(bad)
    assert rewards[1::2].tolist() == [bbox_reward(one, truth) for one in bad]


def test_no_completions() -> None:
    assert bbox_rewards([], []).shape == (0,)


def test_completions_and_truths_must_pair_up() -> None:
    with pytest.raises(ValueError, match="2 completions but 1 truths"):
        bbox_rewards(["", ""], [[[1, 2, 3, 4]]])


def test_true_boxes_must_be_boxes() -> None:
    with pytest.raises(ValueError, match="not finite"):
        bbox_reward("", [[1, 2, 3, np.inf]])
    with pytest.raises(ValueError, match="shape"):
        bbox_reward("", [[1, 2, 3]])


@pytest.mark.parametrize("penalty", [-0.1, np.nan, np.inf])
def test_penalties_are_finite_and_not_negative(penalty: float) -> None:
    with pytest.raises(ValueError, match="penalties are finite"):
        bbox_reward("", [[1, 2, 3, 4]], lambda_fn=penalty)


def test_predictions_that_are_no_numbers_count_for_nothing() -> None:
    truth = [[0, 0, 10, 10]]
    assert bbox_reward([[np.nan, 0, 10, 10]], truth) == 0.0
    assert bbox_reward([[np.inf, 0, 10, 10], [0, 0, 10, 10]], truth, lambda_fp=0.5) == 1.0
    assert bbox_reward([[0, 0, 10, 2e6]], truth) == 0.0


def test_matching_per_label() -> None:
    """Two boxes with their labels exchanged: perfect for the paper's matching, far apart per label."""
    truth = [LabelledBox("mass", (0, 0, 10, 10)), LabelledBox("nodule", (30, 30, 40, 40))]
    exchanged = "nodule <box>[[0, 0, 10, 10]]</box> mass <box>[[30, 30, 40, 40]]</box>"
    assert bbox_reward(exchanged, truth) == 1.0
    # each pair: L1 = 120 / (2 * 40 sqrt 2), GIoU = 0 - (1600 - 200) / 1600
    l1, giou = 120 / (80 * np.sqrt(2)), -1400 / 1600
    expected = (5 * (1 - min(l1, 1)) + (giou + 1)) / 7
    assert bbox_reward(exchanged, truth, matching="per_label") == pytest.approx(expected, abs=1e-12)
    assert bbox_reward("Masses <box>[[0, 0, 10, 10]]</box>", truth[:1], matching="per_label") == 1.0
    assert bbox_reward("fracture <box>[[0, 0, 10, 10]]</box>", truth[:1], matching="per_label") == 0.0
    assert bbox_reward("fracture <box>[[0, 0, 10, 10]]</box>", truth, 0.5, matching="per_label") == 0.0


def test_matching_per_label_wants_labels() -> None:
    with pytest.raises(ValueError, match="wants labelled boxes"):
        bbox_reward("mass <box>[[0, 0, 10, 10]]</box>", [[0, 0, 10, 10]], matching="per_label")
    with pytest.raises(ValueError, match="unknown matching 'best'"):
        bbox_reward("", [], matching="best")  # type: ignore[arg-type]


def test_extent_of_the_image() -> None:
    """A box 10 px off, in the corner of an image of 300 x 400: L1 = 20 / (2 * 500); IoU = GIoU = 1/3."""
    expected = (5 * (1 - 20 / 1000) + (1 / 3 + 1)) / 7
    assert bbox_reward([[5, 0, 15, 10]], [[0, 0, 10, 10]], image_size=(300, 400)) == pytest.approx(
        (5 * (1 - 10 / 1000) + 4 / 3) / 7, abs=1e-12
    )
    text = "mass <box>[[10, 0, 30, 10]]</box>"
    two = bbox_rewards([text, text], [[[0, 0, 20, 10]]] * 2, image_sizes=[(300, 400), (3, 4)])
    assert two[0] == pytest.approx(expected, abs=1e-12)
    assert two[1] == pytest.approx((5 * 0 + 4 / 3) / 7, abs=1e-12)


def test_truth_in_the_origin_has_the_fallback_extent() -> None:
    """Extents of zero fall back to (1, 1): L1 = 1 / (2 sqrt 2); a point in the corner of a box has GIoU 0."""
    expected = (5 * (1 - 1 / (2 * np.sqrt(2))) + 1) / 7
    assert bbox_reward([[0, 0, 0.5, 0.5]], [[0, 0, 0, 0]]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        ([], [], (1, 1, 1, 1)),
        ([[0, 0, 1, 1]], [], (0, 0, 0, 0)),
        ([], [[0, 0, 1, 1]], (0, 0, 0, 0)),
        ([[0, 0, 10, 10]], [[0, 0, 10, 10]], (1, 1, 1, 1)),
        ([[0, 0, 10, 10]], [[0, 0, 10, 10], [20, 20, 30, 30]], (0.5, 1, 0.5, 2 / 3)),
        ([[0, 0, 10, 10], [50, 50, 60, 60], [70, 70, 80, 80]], [[0, 0, 10, 10]], (1, 1 / 3, 1, 0.5)),
        ([[0, 0, 10, 4]], [[0, 0, 10, 10]], (0.4, 0, 0, 0)),
        ([[0, 0, 10, 5]], [[0, 0, 10, 10]], (0.5, 1, 1, 1)),
        # greedy would give the first prediction its best truth (0.6) and leave 0 for the second: the sum counts
        ([[0, 0, 10, 6], [0, 0, 10, 10]], [[0, 0, 10, 10], [0, 0, 10, 3]], (0.75, 1, 1, 1)),
    ],
)
def test_mean_iou_and_its_companions(predicted: list, truth: list, expected: tuple) -> None:
    scores = box_scores(predicted, truth)
    assert (scores["mean_iou"], scores["precision"], scores["recall"], scores["f1"]) == pytest.approx(expected)
    assert mean_iou(predicted, truth) == scores["mean_iou"]


def test_threshold_of_a_detection() -> None:
    assert box_scores([[0, 0, 10, 4]], [[0, 0, 10, 10]], threshold=0.4)["f1"] == 1.0

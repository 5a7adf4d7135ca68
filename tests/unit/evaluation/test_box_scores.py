"""What held-out answers are worth, from the rows that a run keeps of them."""

import pytest

from medmo_ray.evaluation.grounding import Answer, scores

CELL = {"label": "cell", "box": [10.0, 10.0, 30.0, 40.0]}


def answer(completion: str, predicted: list[dict], truth: list[dict]) -> Answer:
    return Answer("a", "Where?", completion, truth, predicted, 0.0, 64, 64, "pixel")


RIGHT = answer("cell <box>[[10, 10, 30, 40]]</box>", [CELL], [CELL])
SILENT = answer("There is a cell.", [], [CELL])
BROKEN = answer("cell <box>[[10, 10, 30]]</box>", [], [])
NONE_THERE = answer("No cells found.", [], [])


@pytest.mark.parametrize(("one", "share"), [(RIGHT, 0), (SILENT, 1), (BROKEN, 1), (NONE_THERE, 0)])
def test_an_answer_without_boxes_is_unreadable_only_where_there_are_some(one: Answer, share: float) -> None:
    assert scores([one])["unreadable_share"] == share


def test_means_are_over_the_images() -> None:
    found = scores([RIGHT, SILENT, NONE_THERE])
    assert found["mean_iou"] == pytest.approx(2 / 3)  # nothing there and nothing predicted is right
    assert found["mean_reward"] == pytest.approx((1 + 0 + 0.5) / 3)  # equation 6: 0.5 without true boxes
    assert found["num_images"] == 3

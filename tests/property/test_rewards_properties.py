"""Properties that hold for all boxes and all texts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rewards import (
    LabelledBox,
    bbox_reward,
    bbox_rewards,
    box_scores,
    format_boxes,
    from_frame,
    map_boxes,
    parse_boxes,
    to_frame,
)
from rewards.batch import read_batch
from rewards.geometry import as_boxes, pairwise
from rewards.grammars import READERS, clean_label
from rewards.records import ScoreRequest, Truth
from rewards.scorer import Scorer

Corners = tuple[float, float, float, float]

# A sixty-fourth of a pixel: exact in binary and in decimal notation.
coordinate = st.integers(0, 64 * 700).map(lambda value: value / 64)
whole_coordinate = st.integers(0, 700)


@st.composite
def corners(draw: st.DrawFn, number: st.SearchStrategy[Any] = coordinate) -> Corners:
    (x1, x2), (y1, y2) = (sorted((draw(number), draw(number))) for _ in range(2))
    return float(x1), float(y1), float(x2), float(y2)


def several(number: st.SearchStrategy[Any] = coordinate, least: int = 0) -> st.SearchStrategy[list[Corners]]:
    return st.lists(corners(number), min_size=least, max_size=6)


label = st.text(max_size=20).map(clean_label).filter(lambda text: "<" not in text and clean_label(text) == text)
labelled = st.lists(st.builds(LabelledBox, label, corners()), max_size=8)


def array(boxes: list[Corners]) -> NDArray[np.float64]:
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


@given(several(least=1), several(least=1))
def test_iou_and_giou_are_symmetric_and_bounded(first: list[Corners], second: list[Corners]) -> None:
    there, back = pairwise(array(first), array(second)), pairwise(array(second), array(first))
    for one, other in zip(there, back, strict=True):
        assert np.array_equal(one, other.T)
    assert ((there.iou >= 0) & (there.iou <= 1)).all()
    assert ((there.giou >= -1) & (there.giou <= there.iou + 1e-12)).all()
    assert (there.l1 >= 0).all()
    assert np.array_equal(there.iou == 1, there.l1 == 0), "IoU is 1 for a box and itself alone"


@given(several(least=1), several(least=1), st.integers(-5000, 5000), st.integers(-10, 10))
def test_iou_and_giou_do_not_depend_on_place_and_size(
    first: list[Corners], second: list[Corners], step: int, power: int
) -> None:
    here = pairwise(array(first), array(second))
    moved = pairwise(array(first) + step, array(second) + step)
    scaled = pairwise(array(first) * 2.0**power, array(second) * 2.0**power)
    for other, l1 in ((moved, here.l1), (scaled, here.l1 * 2.0**power)):
        assert np.array_equal(here.iou, other.iou)
        assert np.array_equal(here.giou, other.giou)
        assert np.array_equal(l1, other.l1)


@given(several(), several(), st.floats(0, 2), st.floats(0, 2))
def test_reward_is_bounded_and_falls_with_the_penalties(
    predicted: list[Corners], truth: list[Corners], lambda_fn: float, lambda_fp: float
) -> None:
    free = bbox_reward(predicted, truth)
    charged = bbox_reward(predicted, truth, lambda_fn, lambda_fp)
    assert 0 <= charged <= free <= 1
    if len(predicted) == len(truth):
        assert charged == free


@given(several(least=1))
def test_truth_itself_is_worth_one(truth: list[Corners]) -> None:
    assert bbox_reward(truth, truth, 1.0, 1.0) == pytest.approx(1.0, abs=1e-15)
    assert box_scores(truth, truth) == {"mean_iou": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0}


@given(several(whole_coordinate), several(whole_coordinate), st.randoms(use_true_random=False))
def test_order_of_boxes_does_not_matter(predicted: list[Corners], truth: list[Corners], random: Any) -> None:
    """One true box of 1000 x 999 keeps the diagonal irrational and every L1 below its clamp.

    Then two matchings cost the same only if their sums of L1 and of GIoU are the same, and so is what they are worth.
    """
    truth = [*truth, (0, 0, 1000, 999)]
    shuffled = random.sample(predicted, len(predicted)), random.sample(truth, len(truth))
    assert bbox_reward(*shuffled) == pytest.approx(bbox_reward(predicted, truth), abs=1e-12)
    assert box_scores(*shuffled)["mean_iou"] == pytest.approx(box_scores(predicted, truth)["mean_iou"], abs=1e-12)


@given(several(), several(least=1), st.integers(-8, 8))
def test_reward_does_not_depend_on_the_unit(predicted: list[Corners], truth: list[Corners], power: int) -> None:
    assume(array(truth).max() > 0)
    scaled = (array(boxes) * 2.0**power for boxes in (predicted, truth))
    assert bbox_reward(*scaled) == pytest.approx(bbox_reward(predicted, truth), abs=1e-12)


@given(st.lists(st.tuples(several(whole_coordinate), several(whole_coordinate)), max_size=8))
def test_batch_is_worth_what_its_parts_are(cases: list[tuple[list[Corners], list[Corners]]]) -> None:
    texts = [format_boxes([LabelledBox("m", box) for box in predicted]) for predicted, _ in cases]
    together = bbox_rewards(texts, [truth for _, truth in cases], 0.25, 0.125)
    assert together.tolist() == [bbox_reward(predicted, truth, 0.25, 0.125) for predicted, truth in cases]


@given(several(), several())
def test_mean_iou_is_recall_of_the_area(predicted: list[Corners], truth: list[Corners]) -> None:
    scores = box_scores(predicted, truth, threshold=0.5)
    assert all(0 <= value <= 1 for value in scores.values())
    if scores["precision"] + scores["recall"] > 0:
        harmonic = 2 * scores["precision"] * scores["recall"] / (scores["precision"] + scores["recall"])
        assert scores["f1"] == pytest.approx(harmonic)
    assert scores["mean_iou"] >= 0.5 * box_scores(predicted, truth, threshold=0.5)["recall"] - 1e-12


@given(labelled)
def test_medmo_text_reads_back(boxes: list[LabelledBox]) -> None:
    grouped = sorted(boxes, key=lambda box: [one.label for one in boxes].index(box.label))
    text = format_boxes(boxes)
    parsed = parse_boxes(text)
    assert parsed.boxes == tuple(grouped)
    assert parsed.problems == ()
    assert format_boxes(parsed) == text
    assert map_boxes(text, lambda box: box) == text


@pytest.mark.parametrize("grammar", ["qwen_json", "qwen_tags", "medsg"])
@given(labelled)
def test_other_grammars_read_back(grammar: Any, boxes: list[LabelledBox]) -> None:
    text = format_boxes(boxes, grammar)
    parsed = parse_boxes(text, grammar)
    assert sorted(box.box for box in parsed) == sorted(box.box for box in boxes)
    assert parsed.problems == ()
    if grammar != "medsg":
        assert sorted(parsed) == sorted(boxes)
    assert format_boxes(parsed, grammar) == text


FRAGMENTS = (
    *("<box>", "</box>", "[[", "]]", "[", "]", ", ", ",", " ", "\n", "1", "23", "456", "7.5", "-8", "nan", "1234567"),
    *(
        "[1, 2, 3, 4]",
        "[[10, 20, 30, 40]]",
        "<box>[[1, 2, 3, 4]]</box>",
        "<box>[[9, 8, 7, 6]]</box>",
        "Mass ",
        "é",
        "١",
    ),
    *(
        '{"bbox_2d": ',
        '"label": "x"',
        "}",
        "(1,2),(3,4)",
        "<|box_start|>",
        "<|object_ref_start|>",
        "<|object_ref_end|>",
    ),
)
fragment = st.sampled_from(FRAGMENTS)
any_text = st.one_of(st.text(max_size=60), st.lists(fragment, max_size=24).map("".join))


@pytest.mark.parametrize("grammar", READERS)
@given(texts=st.lists(any_text, max_size=6))
def test_batch_reads_any_text_as_the_careful_reader_does(grammar: Any, texts: list[str]) -> None:
    batch = read_batch(texts, grammar)
    parsed = [parse_boxes(text, grammar) for text in texts]
    assert batch.counts.tolist() == [len(one) for one in parsed]
    assert batch.xyxy.tolist() == [list(box.box) for one in parsed for box in one]
    assert batch.labels == [label for one in parsed for label in one.labels]
    assert [tuple(batch.labels_of(index)) for index in range(len(texts))] == [one.labels for one in parsed]
    assert [batch.problems_of(index) for index in range(len(texts))] == [one.problems for one in parsed]
    assert batch.num_whole.tolist() == [one.num_whole for one in parsed]
    assert batch.num_broken.tolist() == [one.num_broken for one in parsed]
    assert np.isfinite(batch.xyxy).all()
    assert np.array_equal(batch.xyxy, as_boxes(batch.xyxy)), "corners are in order"


@given(any_text, labelled.filter(bool), st.integers(0, 2000))
def test_any_completion_has_a_score(text: str, boxes: list[LabelledBox], num_tokens: int) -> None:
    truth = Truth(tuple(boxes), width=700, height=700)
    (score,) = Scorer().score([ScoreRequest("a", text, truth.to_json(), num_tokens)])
    assert not score.failed
    assert -1 <= score.total <= 1.3
    assert score.total == pytest.approx(sum(score.weighted.values()))
    assert len(score.matching) == min(score.num_predicted, score.num_truth)


@given(several(), st.integers(1, 5000), st.integers(1, 5000))
def test_frames_go_there_and_back(boxes: list[Corners], width: int, height: int) -> None:
    there = to_frame(array(boxes), "relative_1000", width, height)
    assert from_frame(there, "relative_1000", width, height) == pytest.approx(array(boxes), rel=1e-12)

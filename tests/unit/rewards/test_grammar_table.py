"""Reading boxes, case by case: `tests/golden/rewards_grammar.jsonl` says what is in each text and where the text comes from."""

import json
from pathlib import Path
from typing import Any

import pytest

from rewards import parse_boxes
from rewards.batch import read_batch

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "golden" / "rewards_grammar.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['grammar']}: {case['origin']}")
def test_case(case: dict[str, Any]) -> None:
    parsed = parse_boxes(case["text"], case["grammar"])
    assert [[box.label, *box.box] for box in parsed] == case["boxes"]
    assert len(parsed.problems) == len(case["problems"])
    for problem, expected in zip(parsed.problems, case["problems"], strict=True):
        assert problem.startswith(expected)
    assert (parsed.num_whole, parsed.num_broken) == (case["whole"], case["broken"])


def test_table_is_wide() -> None:
    assert len(CASES) >= 200
    assert {case["grammar"] for case in CASES} == {"medmo", "qwen_json", "qwen_tags", "medsg"}


@pytest.mark.parametrize("grammar", ["medmo", "qwen_json", "qwen_tags", "medsg"])
def test_batch_reads_the_same(grammar: Any) -> None:
    """All cases of a grammar in one batch: texts that go the fast way beside texts that do not."""
    texts = [case["text"] for case in CASES if case["grammar"] == grammar]
    batch = read_batch(texts, grammar)
    parsed = [parse_boxes(text, grammar) for text in texts]
    assert batch.counts.tolist() == [len(one) for one in parsed]
    assert batch.xyxy.tolist() == [list(box.box) for one in parsed for box in one]
    assert batch.labels == [label for one in parsed for label in one.labels]
    assert [tuple(batch.labels_of(index)) for index in range(len(texts))] == [one.labels for one in parsed]
    assert [batch.problems_of(index) for index in range(len(texts))] == [one.problems for one in parsed]
    assert batch.num_whole.tolist() == [one.num_whole for one in parsed]
    assert batch.num_broken.tolist() == [one.num_broken for one in parsed]

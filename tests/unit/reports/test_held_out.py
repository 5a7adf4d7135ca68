"""Rows of held_out.jsonl: damaged ones are left out and counted, and which ones are shown."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from medmo_ray.reports.held_out import HeldOutRow, choose, read_held_out
from rewards.boxes import LabelledBox


def row(name: str, iou: float) -> HeldOutRow:
    return HeldOutRow(name, "", "", (), (), iou, 8, 8)


def good(**changed: Any) -> dict[str, Any]:
    return {
        "id": "a", "prompt": "p", "completion": "c", "truth": [{"label": "cell", "box": [1, 2, 3, 4]}], "predicted": [],
        "iou": 0.25, "width": 96, "height": 64, **changed,
    }  # fmt: skip


def test_a_row_is_read_as_it_was_written(tmp_path: Path) -> None:
    file, notes = tmp_path / "held_out.jsonl", []
    file.write_text(json.dumps(good(frame="relative_1000")) + "\n")
    (read,) = read_held_out(file, notes.append)
    assert read == HeldOutRow("a", "p", "c", (LabelledBox("cell", (1, 2, 3, 4)),), (), 0.25, 96, 64, "relative_1000")
    assert not notes


@pytest.mark.parametrize(
    "damaged",
    ['{"id": "b", "wid', "[" * 100_000, "[]", "null", '"text"', "{}", json.dumps(good(width=0)), json.dumps(good(height="64")),
     json.dumps(good(id=5)), json.dumps(good(truth=None)), json.dumps(good(predicted=[{"label": "x"}])),
     json.dumps(good(predicted=[{"label": "x", "box": [1, 2, 3]}])), json.dumps(good(predicted=[{"label": "x", "box": [1, 2, 3, None]}])),
     json.dumps(good(predicted=[{"label": "x", "box": [1, 2, 3, math.inf]}])), json.dumps(good(predicted=["x"])), "\ufffd"],
)  # fmt: skip
def test_a_damaged_row_is_left_out_and_counted(tmp_path: Path, damaged: str) -> None:
    file, notes = tmp_path / "held_out.jsonl", []
    file.write_text(f"{json.dumps(good())}\n{damaged}\n{json.dumps(good(id='c'))}\n")
    assert [read.id for read in read_held_out(file, notes.append)] == ["a", "c"]
    assert len(notes) == 1 and "1 damaged rows are left out" in notes[0]


def test_an_iou_that_is_missing_is_not_a_number(tmp_path: Path) -> None:
    file = tmp_path / "held_out.jsonl"
    file.write_text(json.dumps(good(iou=None)) + "\n")
    (read,) = read_held_out(file, pytest.fail)
    assert math.isnan(read.iou)


def test_no_file_is_no_row(tmp_path: Path) -> None:
    assert read_held_out(tmp_path / "held_out.jsonl", pytest.fail) == ()


def test_best_median_and_worst_are_chosen() -> None:
    rows = [row(f"{index:03d}", index / 100) for index in range(101)]
    chosen = {name: [one.id for one in part] for name, part in choose(rows)}
    assert chosen == {
        "Best": ["100", "099", "098", "097"],
        "Median": ["052", "051", "050", "049"],
        "Worst": ["003", "002", "001", "000"],
    }


@pytest.mark.parametrize("count", range(14))
def test_few_rows_are_all_shown_once(count: int) -> None:
    rows = [row(f"{index:02d}", index / 20) for index in range(count)]
    shown = [one.id for _, part in choose(rows) for one in part]
    assert shown == sorted((one.id for one in rows), reverse=True)[:12] if count <= 12 else len(set(shown)) == 12


def test_ties_are_settled_by_id_and_rows_without_an_iou_are_left_out() -> None:
    rows = [row("b", 0.5), row("a", 0.5), row("c", math.nan)]
    assert [one.id for _, part in choose(rows) for one in part] == ["a", "b"]

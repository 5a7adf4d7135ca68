"""What the drill of resumption calls wrong, and that the plan which it makes anew is the one that training follows."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import recipe, write_corpus

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from resume_verdict import MicroBatches, Samples, compare_losses, count_samples, planned

from medmo_ray.stream.read import training_rows

PER_STEP, RANKS, IMAGES, TEXTS = 6, 2, 19, 14
SAMPLES = IMAGES + TEXTS


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", num_images=IMAGES, num_texts=TEXTS, side_px=32)


@pytest.fixture(scope="module")
def plan(corpus: Path) -> MicroBatches:
    return planned(corpus, seed=0, size=2, window_row_groups=2, number=60)


def written(
    folder: Path, plan: MicroBatches, change: Callable[[list[list[dict]]], None] = lambda rows: None
) -> Samples:
    """What is counted of the records of two ranks that follow the plan, after a change to them."""
    files: list[list[dict]] = [[] for _ in range(RANKS)]
    for first in range(0, len(plan), PER_STEP):
        for rank in range(RANKS):
            numbers = [*range(first + rank, first + PER_STEP, RANKS)]
            ids = [name for number in numbers for name in plan[number]]
            files[rank].append({"step": 1 + first // PER_STEP, "micro_batches": numbers, "ids": ids, "skipped": []})
    change(files)
    for rank, rows in enumerate(files):
        (folder / f"rank-{rank:05d}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return count_samples(folder, plan, PER_STEP)


def test_the_plan_is_made_of_whole_epochs_and_is_the_one_that_training_follows(
    corpus: Path, plan: MicroBatches
) -> None:
    settings = recipe(run={"seed": 0}, batch={"per_worker": 2, "accumulation": 3}, epochs=4, max_steps=10)
    rows = training_rows(corpus, settings)
    read = [
        table.column("id").to_pylist() for window in rows.plan.windows for _, table in rows.micro_batches(window, 0)
    ]
    assert read == plan
    names = [name for batch in plan for name in batch]
    epochs = [names[start : start + SAMPLES] for start in range(0, len(names) - SAMPLES + 1, SAMPLES)]
    assert len(epochs) == 3
    assert all(len(set(epoch)) == SAMPLES for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_records_that_follow_the_plan_are_right(tmp_path: Path, plan: MicroBatches) -> None:
    found = written(tmp_path, plan)
    assert found.as_planned
    assert found.seen == found.planned == sum(map(len, plan))
    assert found.steps_by_workers == {2: 10}


def repeat_a_row(files: list[list[dict]]) -> None:
    files[0].append(files[0][4])


def lose_a_row(files: list[list[dict]]) -> None:
    del files[1][3]


def swap_two_epochs(files: list[list[dict]]) -> None:
    first, last = files[0][0], files[0][-1]
    first["ids"], last["ids"] = last["ids"], first["ids"]


def swap_in_a_step(files: list[list[dict]]) -> None:
    files[0][2]["ids"].reverse()


def keep_a_lost_step(files: list[list[dict]]) -> None:
    files[0].append({**files[0][-1], "step": 11})


def skip_a_sample(files: list[list[dict]]) -> None:
    files[0][0]["skipped"].append([files[0][0]["ids"].pop(), "too long"])


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (repeat_a_row, {"twice", "steps_out_of_order"}),
        (lose_a_row, {"missing", "steps_out_of_order"}),
        (swap_two_epochs, {"twice", "missing", "steps_out_of_order"}),
        (swap_in_a_step, {"steps_out_of_order"}),
        (keep_a_lost_step, {"twice", "steps_out_of_order"}),
        (skip_a_sample, {"missing", "skipped", "steps_out_of_order"}),
    ],
)
def test_what_is_wrong_is_counted(tmp_path: Path, plan: MicroBatches, change: Callable, names: set[str]) -> None:
    found = written(tmp_path, plan, change)
    assert not found.as_planned
    assert {name for name in ("twice", "missing", "skipped", "steps_out_of_order") if getattr(found, name)} == names


def row(step: int, loss: float) -> dict:
    return {"step": step, "loss": loss} | dict.fromkeys(("accuracy", "entropy", "grad_norm", "lr"), 0.5) | dict.fromkeys(
        ("samples", "skipped", "tokens", "targets"), 3
    )  # fmt: skip


def test_losses_are_compared_bit_by_bit_and_by_distance() -> None:
    calm = [row(1, 2.0), row(2, 1.0)]
    assert compare_losses(calm, [row(1, 2.0), row(2, 1.0)]).steps_that_differ == 0
    found = compare_losses(calm, [row(1, 2.0), row(2, 1.0 + 2**-52)])
    assert found.steps_that_differ == 1
    assert found.largest_difference == found.largest_relative == 2**-52
    assert compare_losses(calm, [row(1, 2.0), {**row(2, 1.0), "grad_norm": 0.25}]).steps_that_differ == 1


@pytest.mark.parametrize("steps", [[1], [1, 1, 2], [2, 1], [1, 2, 3]])
def test_a_run_with_other_steps_is_not_compared(steps: list[int]) -> None:
    with pytest.raises(ValueError, match="other steps"):
        compare_losses([row(1, 2.0), row(2, 1.0)], [row(step, 1.0) for step in steps])

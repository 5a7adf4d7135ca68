"""What a drill of resumption comes to: samples against a plan made anew, and losses against those of an undisturbed run."""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

LIMIT = 1e-5
"""Between losses of the same step on different numbers of workers."""
MEASURED = ("loss", "accuracy", "entropy", "grad_norm", "lr", "samples", "skipped", "tokens", "targets")
"""Columns of metrics.jsonl that are no clock."""

MicroBatches = list[list[str]]
Row = dict[str, Any]


def planned(corpus: Path, seed: int, size: int, window_row_groups: int, number: int) -> MicroBatches:
    """The samples of the first micro-batches of a run, from the corpus's files alone.

    The order is the one that docs/architecture.md promises, written down once more: nothing of `medmo_ray` is asked.

    Args:
        corpus: directory with the manifest.
        seed: of the run.
        size: samples of a micro-batch.
        window_row_groups: row groups that are shuffled together.
        number: of micro-batches.
    """
    shards = [
        shard for shard in json.loads((corpus / "manifest.json").read_text())["shards"] if shard["split"] == "train"
    ]
    files = [pq.ParquetFile(corpus / shard["file"]) for shard in shards]
    groups = [
        file.read_row_group(group, columns=["id"]).column("id").to_pylist()
        for file in files
        for group in range(file.num_row_groups)
    ]
    batches: MicroBatches = []
    for epoch in itertools.count():
        order = [groups[place] for place in _shuffled(len(groups), seed, epoch, 0)]
        for index, start in enumerate(range(0, len(order), window_row_groups)):
            window = [name for group in order[start : start + window_row_groups] for name in group]
            names = [window[place] for place in _shuffled(len(window), seed, epoch, 1, index)]
            batches += [names[first : first + size] for first in range(0, len(names), size)]
        if len(batches) >= number:
            return batches[:number]
    raise AssertionError("itertools.count ends")


def _shuffled(count: int, *key: int) -> list[int]:
    return np.argsort(np.random.PCG64(np.random.SeedSequence(key)).random_raw(count), kind="stable").tolist()


@dataclass(frozen=True)
class Samples:
    """What the steps that count consumed.

    Attributes:
        planned: samples of all steps, repeats in later epochs included.
        seen: samples in the records.
        twice: seen in a step more often than the plan has them there, or not planned there at all.
        missing: planned in a step and not seen there.
        skipped: not trained on, though read.
        steps_out_of_order: steps in which a rank's samples are not, in their order, those of its micro-batches.
        steps_by_workers: how many steps were made by so many workers.
    """

    planned: int
    seen: int
    twice: int
    missing: int
    skipped: int
    steps_out_of_order: int
    steps_by_workers: dict[int, int]

    @property
    def as_planned(self) -> bool:
        wrong = self.twice + self.missing + self.skipped + self.steps_out_of_order
        return self.planned == self.seen and not wrong


def count_samples(consumed: Path, plan: MicroBatches, per_step: int) -> Samples:
    """Hold the records of a stage against the plan, step by step.

    Args:
        consumed: the stage's folder of that name, a file for each rank.
        plan: all micro-batches of the run.
        per_step: micro-batches of a step.
    """
    by_step: defaultdict[int, list[Row]] = defaultdict(list)
    for file in consumed.iterdir():
        for row in map(json.loads, file.read_text().splitlines()):
            by_step[row["step"]].append(row)
    spans = {
        1 + first // per_step: range(first, min(first + per_step, len(plan))) for first in range(0, len(plan), per_step)
    }
    twice = missing = out_of_order = 0
    for step in by_step.keys() | spans.keys():
        rows, span = by_step.get(step, []), spans.get(step, range(0))
        seen = Counter(name for row in rows for name in row["ids"])
        due = Counter(name for number in span for name in plan[number])
        twice += (seen - due).total()
        missing += (due - seen).total()
        numbers = sorted(number for row in rows for number in row["micro_batches"])
        in_order = all(
            row["ids"] == [name for n in row["micro_batches"] for name in plan[n]] for row in rows if numbers == [*span]
        )
        out_of_order += not (numbers == [*span] and in_order)
    return Samples(
        planned=sum(map(len, plan)),
        seen=sum(len(row["ids"]) for rows in by_step.values() for row in rows),
        twice=twice,
        missing=missing,
        skipped=sum(len(row["skipped"]) for rows in by_step.values() for row in rows),
        steps_out_of_order=out_of_order,
        steps_by_workers=dict(sorted(Counter(map(len, by_step.values())).items())),
    )


@dataclass(frozen=True)
class Losses:
    """The metrics of a run against those of the undisturbed one, step by step.

    Attributes:
        steps: compared.
        steps_that_differ: in any bit of any column of `MEASURED`.
        largest_difference: between two losses of a step.
        largest_relative: the same, over the undisturbed loss.
        first, last: loss of the undisturbed run, to tell that it learnt something.
    """

    steps: int
    steps_that_differ: int
    largest_difference: float
    largest_relative: float
    first: float
    last: float


def compare_losses(calm: Sequence[Row], other: Sequence[Row]) -> Losses:
    """Hold the rows of metrics.jsonl against each other.

    Raises:
        ValueError: the runs do not have the same steps, each once, from the first to the last.
    """
    if not [row["step"] for row in calm] == [row["step"] for row in other] == [*range(1, len(calm) + 1)]:
        raise ValueError(f"The runs have other steps: {len(calm)} rows and {len(other)} rows")
    gaps = [abs(a["loss"] - b["loss"]) for a, b in zip(calm, other, strict=True)]
    return Losses(
        steps=len(calm),
        steps_that_differ=sum(any(a[name] != b[name] for name in MEASURED) for a, b in zip(calm, other, strict=True)),
        largest_difference=max(gaps),
        largest_relative=max(gap / row["loss"] for gap, row in zip(gaps, calm, strict=True)),
        first=calm[0]["loss"],
        last=calm[-1]["loss"],
    )


def show(rows: Sequence[Row]) -> str:
    """Rows as a table with aligned columns."""
    names = list(rows[0])
    cells = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def sample_rows(found: dict[str, Samples]) -> list[Row]:
    """A row of `show` for each run."""
    return [{"run": name, **asdict(samples)} for name, samples in found.items()]

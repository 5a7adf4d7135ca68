"""The ledger of stage 4: every completion that was scored, with all that its score was made of.

    runs/NAME/stage4/ledger/step-000001.parquet …       one file a step, one row a completion

A row holds the completion, the truth, the settings and each part of the score, so that the score can be computed again
without a cluster (`medmo_ray.replay`). Completions that were not trained on and those that could not be scored are in it.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medmo_ray.corpus.files import atomic
from medmo_ray.errors import DataError

LEDGER = "ledger"
SCHEMA_VERSION = 1
SCHEMA_VERSION_KEY = b"medmo_ray.ledger_schema"

_TEXT = pa.string()
_VALUES = pa.map_(_TEXT, pa.float64())
_PAIR = pa.struct([("predicted", pa.int32()), ("truth", pa.int32()), ("iou", pa.float64())])
LEDGER_SCHEMA = pa.schema(
    [
        pa.field("step", pa.int32(), nullable=False),
        pa.field("group", _TEXT, nullable=False),
        pa.field("completion_id", _TEXT, nullable=False),
        pa.field("sample_id", _TEXT, nullable=False),
        pa.field("data_source", _TEXT, nullable=False),
        pa.field("text", _TEXT, nullable=False),
        pa.field("truth_json", _TEXT, nullable=False),
        pa.field("num_tokens", pa.int32(), nullable=False),
        pa.field("terms", _VALUES, nullable=False),
        pa.field("weighted", _VALUES, nullable=False),
        pa.field("total", pa.float64()),
        pa.field("failed", pa.bool_(), nullable=False),
        pa.field("problems", pa.list_(_TEXT), nullable=False),
        pa.field("matching", pa.list_(_PAIR), nullable=False),
        pa.field("num_predicted", pa.int32(), nullable=False),
        pa.field("num_truth", pa.int32(), nullable=False),
        pa.field("version", _TEXT),
        pa.field("settings_json", _TEXT),
        pa.field("replica", _TEXT),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("latency_s", pa.float64(), nullable=False),
        pa.field("scored_at", pa.float64(), nullable=False),
        pa.field("verdict", _TEXT, nullable=False),
        pa.field("trained", pa.bool_(), nullable=False),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
"""Columns as in `rewards.records`; besides them

- `group`: the prompt's uid in its step; `sample_id`: the sample it was made from;
- `total`: null where `failed`;
- `version`, `settings_json`, `replica`: what scored it; null where no replica did;
- `attempts`: calls of the pool that the score took; `latency_s`: until the caller had it; `scored_at`: when that was, in
  seconds since the epoch, by the caller's clock;
- `verdict` of the group: kept, flat (rewards all alike) or failed; `trained`: whether the step's update was made with
  the completion. A flat group that was not trained on was evicted by dynamic sampling; a completion without a score is not
  trained on, and the others of its group are.
"""


def append_step(stage: Path, step: int, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write the completions of one step; a file of that step is replaced as a whole.

    Args:
        stage: directory of the stage.
        step: from 1.
        rows: one mapping a completion with the columns of `LEDGER_SCHEMA` but for `step`; `terms` and `weighted` are
            mappings, `matching` (predicted, truth, IoU).

    Returns:
        The file.
    """
    names = ("predicted", "truth", "iou")
    values = [
        {
            **row,
            "step": step,
            "total": None if row["failed"] else row["total"],
            "terms": list(row["terms"].items()),
            "weighted": list(row["weighted"].items()),
            "matching": [dict(zip(names, pair, strict=True)) for pair in row["matching"]],
        }
        for row in sorted(rows, key=lambda row: (row["group"], row["completion_id"]))
    ]
    file = _file(stage, step)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic(file) as unfinished:
        pq.write_table(pa.Table.from_pylist(values, schema=LEDGER_SCHEMA), unfinished, compression="zstd")
    return file


def drop_steps_after(stage: Path, step: int) -> None:
    """Remove the files of later steps: a run that goes on from a checkpoint makes these steps again."""
    for later, file in _files(stage).items():
        if later > step:
            file.unlink()


def ledger_steps(run: Path) -> list[int]:
    """Steps that the ledger holds, in order.

    Args:
        run: directory of the run, or of its stage 4.

    Raises:
        DataError: there is no ledger.
    """
    steps = sorted(_files(_stage(run)))
    if not steps:
        raise DataError(
            f"there is no ledger in {_stage(run) / LEDGER}: stage 4 writes one file there a step; name a run whose "
            "stage 4 has finished a step"
        )
    return steps


def read_ledger(run: Path, steps: Collection[int] | None = None) -> pa.Table:
    """The completions of some steps, of `LEDGER_SCHEMA`.

    Args:
        run: directory of the run, or of its stage 4.
        steps: which; unset: all.

    Raises:
        DataError: there is no ledger, a step is not in it, or a file is damaged or of another schema version.
    """
    there = ledger_steps(run)
    if missing := sorted(set(steps or ()) - set(there)):
        raise DataError(f"the ledger of {run} has no step {missing[0]}; it has {_ranges(there)}")
    return pa.concat_tables([_read(_file(_stage(run), step)) for step in sorted(steps or there)])


def _read(file: Path) -> pa.Table:
    try:
        table = pq.read_table(file, partitioning=None)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file} is damaged ({error}): remove it to read the other steps") from None
    found = (table.schema.metadata or {}).get(SCHEMA_VERSION_KEY, b"none").decode()
    if found != str(SCHEMA_VERSION):
        raise DataError(
            f"{file} has ledger schema {found}, and this code reads {SCHEMA_VERSION}: use the code that wrote it (git_revision "
            "in run.json)"
        )
    return table


def _stage(run: Path) -> Path:
    return run if (run / LEDGER).is_dir() else run / "stage4"


def _file(stage: Path, step: int) -> Path:
    return stage / LEDGER / f"step-{step:06d}.parquet"


def _files(stage: Path) -> dict[int, Path]:
    return {int(file.stem.removeprefix("step-")): file for file in (stage / LEDGER).glob("step-*.parquet")}


def _ranges(steps: Sequence[int]) -> str:
    """Steps in words: `1-4, 6`."""
    runs: list[list[int]] = []
    for step in steps:
        if runs and step == runs[-1][1] + 1:
            runs[-1][1] = step
        else:
            runs.append([step, step])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)

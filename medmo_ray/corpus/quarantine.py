"""Records that became no sample: kept with their address and reason, counted, and too many of them stop the build."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from medmo_ray.corpus.files import atomic
from medmo_ray.errors import DataError

REPEATED = "repeats another record"
NOT_DRAWN = "beyond the cap"
"""Counted and not listed: the cap of a mixture can leave out millions, and which ones its hash decides."""
QUARANTINE_SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("key", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("reason", pa.string()),
        ("problem", pa.string()),
        ("excluded", pa.bool_()),
    ]
)
LINE_COLUMNS = ["index", *QUARANTINE_SCHEMA.names[1:]]
"""What is needed of a scan's lines."""


def write_quarantine(
    units: Iterable[pa.Table], left_out: dict[str, NDArray[np.bool_]], dataset: str, path: Path
) -> tuple[dict[str, int], dict[str, int]]:
    """Write the records that became no sample, in the order of the raw data, in one step; not those that were not drawn.

    Args:
        units: Lines of the scan, with `LINE_COLUMNS`.
        left_out: By reason, which usable records are left out, by `index`.
        dataset: Its name.
        path: Of the quarantine file.

    Returns:
        Records by reason: the unusable ones, and the ones that the recipe leaves out.
    """
    bad: Counter[str] = Counter()
    excluded: Counter[str] = Counter()
    with atomic(path) as file, pq.ParquetWriter(file, QUARANTINE_SCHEMA, compression="zstd") as writer:
        for lines in units:
            rows = _quarantined(lines, left_out, dataset)
            for reason, is_excluded in zip(rows["reason"].to_pylist(), rows["excluded"].to_pylist(), strict=True):
                (excluded if is_excluded else bad)[reason] += 1
            rows = rows.filter(pc.not_equal(rows["reason"], NOT_DRAWN))
            if rows.num_rows:
                writer.write_table(rows)
    return dict(sorted(bad.items())), dict(sorted(excluded.items()))


def _quarantined(lines: pa.Table, left_out: dict[str, NDArray[np.bool_]], dataset: str) -> pa.Table:
    index = lines["index"].to_numpy()
    for reason, is_left_out in left_out.items():
        concerned = pa.array(is_left_out[index])
        reasons = pc.if_else(concerned, reason, lines["reason"])
        lines = lines.set_column(lines.schema.get_field_index("reason"), "reason", reasons)
        is_excluded = pc.or_(concerned, lines["excluded"])
        lines = lines.set_column(lines.schema.get_field_index("excluded"), "excluded", is_excluded)
    lines = lines.append_column("dataset", pa.array([dataset] * lines.num_rows, pa.string()))
    return lines.filter(pc.is_valid(lines["reason"])).select(QUARANTINE_SCHEMA.names).cast(QUARANTINE_SCHEMA)


def check_bad_share(bad: dict[str, int], num_read: int, num_records: int, max_bad_share: float, path: Path) -> None:
    """Stop a build whose raw data is not what the recipe takes it for.

    Args:
        bad: Unusable records by reason.
        num_read: Records read so far.
        num_records: Records of the raw data.
        max_bad_share: Share of `num_records` that may be unusable.
        path: Quarantine file, for the message.

    Raises:
        DataError: More are unusable.
    """
    count = sum(bad.values())
    if count > max_bad_share * num_records:
        reasons = ", ".join(f"{reason} ({number})" for reason, number in sorted(bad.items(), key=lambda item: -item[1]))
        raise DataError(
            f"{count} of {num_read} raw records are unusable, more than corpus.max_bad_share={max_bad_share:g} of "
            f"{num_records} allows: {reasons}. Each is listed in {path}. Repair or remove them, or raise corpus.max_bad_share."
        )

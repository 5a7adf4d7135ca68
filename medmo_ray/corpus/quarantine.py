"""Records that became no sample: kept with their address and reason, counted, and too many of them stop the build."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medmo_ray.corpus.files import atomic
from medmo_ray.errors import DataError

REPEATED = "repeats another record"
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


def quarantine_table(lines: pa.Table, repeats: list[int], dataset: str) -> pa.Table:
    """The records that became no sample, in the order of the raw data.

    Args:
        lines: Of the scan (`scan.SCAN_SCHEMA`).
        repeats: `index` of usable records that repeat another.
        dataset: Its name.
    """
    repeated = pc.is_in(lines["index"], pa.array(repeats, pa.int64()))
    reason = pc.if_else(repeated, REPEATED, lines["reason"])
    lines = lines.set_column(lines.schema.get_field_index("reason"), "reason", reason)
    lines = lines.set_column(lines.schema.get_field_index("excluded"), "excluded", pc.or_(repeated, lines["excluded"]))
    lines = lines.append_column("dataset", pa.array([dataset] * lines.num_rows, pa.string()))
    return lines.filter(pc.is_valid(lines["reason"])).select(QUARANTINE_SCHEMA.names).cast(QUARANTINE_SCHEMA)


def count_reasons(quarantine: pa.Table) -> tuple[dict[str, int], dict[str, int]]:
    """Records by reason: the unusable ones, and the ones that the recipe leaves out."""
    bad: Counter[str] = Counter()
    excluded: Counter[str] = Counter()
    for reason, left_out in zip(quarantine["reason"].to_pylist(), quarantine["excluded"].to_pylist(), strict=True):
        (excluded if left_out else bad)[reason] += 1
    return dict(sorted(bad.items())), dict(sorted(excluded.items()))


def write_quarantine(quarantine: pa.Table, path: Path) -> None:
    """Write the quarantine file in one step."""
    with atomic(path) as file:
        pq.write_table(quarantine, file, compression="zstd")


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

"""First pass of a build: read and check every raw record, and keep a line about each."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medmo_ray.corpus.checks import Unusable
from medmo_ray.corpus.files import BuildFiles, atomic
from medmo_ray.corpus.plan import Candidate
from medmo_ray.corpus.records import check_record
from medmo_ray.corpus.registry import Importer, RawRecord

RECORD_SCHEMA = pa.schema([("key", pa.string()), ("file", pa.string()), ("row", pa.int64()), ("detail", pa.string())])
SCAN_SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        *RECORD_SCHEMA,
        ("reason", pa.string()),  # null: the record is usable
        ("problem", pa.string()),
        ("excluded", pa.bool_()),
        ("split", pa.string()),
        ("owner", pa.string()),
        ("pixels", pa.list_(pa.string())),
        ("picture", pa.string()),
        ("content", pa.string()),
        ("stored_bytes", pa.int64()),
        ("labels", pa.list_(pa.string())),
    ]
)


def records_to_table(records: Iterable[RawRecord]) -> pa.Table:
    """Raw records as Arrow."""
    rows = [{"key": r.key, "file": r.file, "row": r.row, "detail": json.dumps(r.detail)} for r in records]
    return pa.Table.from_pylist(rows, schema=RECORD_SCHEMA)


def record_of(row: dict[str, Any]) -> RawRecord:
    """The raw record of a row of any table that has the columns of `RECORD_SCHEMA`."""
    return RawRecord(row["key"], row["file"], row["row"], json.loads(row["detail"]))


@dataclass(frozen=True)
class Scan:
    """Scans units of the listing; a unit is one of its row groups.

    Attributes:
        source: Reads the records; its recipe says what to leave out.
        files: Where the listing is, and where the lines go.
        unit_rows: Records in every unit but the last.
    """

    source: Importer
    files: BuildFiles
    unit_rows: int

    def __call__(self, unit: int) -> int:
        """Scan a unit and write its lines; returns how many of its records are bad."""
        with pq.ParquetFile(self.files.listing) as listing:
            rows = listing.read_row_group(unit).to_pylist()
        lines = [self._line(unit * self.unit_rows + place, row) for place, row in enumerate(rows)]
        with atomic(self.files.scan(unit)) as file:
            pq.write_table(pa.Table.from_pylist(lines, schema=SCAN_SCHEMA), file, compression="zstd")
        return sum(is_bad(line) for line in lines)

    def _line(self, index: int, row: dict[str, Any]) -> dict[str, Any]:
        line = {"index": index, **row, "excluded": False}
        try:
            checked = check_record(self.source, record_of(row))
        except Unusable as unusable:
            return line | {"reason": unusable.reason, "problem": unusable.detail, "excluded": unusable.excluded}
        return line | {
            "split": checked.annotated.split,
            "owner": checked.annotated.patient_id,
            "pixels": [image.pixels for image in checked.images],
            "picture": checked.picture_digest,
            "content": checked.content_digest,
            "stored_bytes": checked.stored_bytes,
            "labels": sorted({label for label, _ in checked.boxes}),
        }


def is_bad(line: dict[str, Any]) -> bool:
    """Whether a record is unusable, and not merely left out by the recipe."""
    return line.get("reason") is not None and not line["excluded"]


def candidates_of(lines: pa.Table) -> Iterator[Candidate]:
    """The usable records among the lines of a scan, in order."""
    columns = ["index", "key", "owner", "split", "pixels", "picture", "stored_bytes"]
    for batch in lines.filter(pc.is_null(lines["reason"])).select(columns).to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            yield Candidate(**row | {"pixels": tuple(row["pixels"])})

"""Read samples of a corpus, one after the other: for tests, tables and small sets. Training streams them (`stream`)."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medmo_ray.corpus.manifest import Manifest, Shard
from medmo_ray.corpus.sample import Sample, check_schema, from_table
from medmo_ray.errors import DataError


def read_samples(
    corpus_dir: Path, split: str | None = None, tasks: Iterable[str] | None = None, limit: int | None = None
) -> Iterator[Sample]:
    """The samples of a corpus in its own order, read a row group at a time.

    Args:
        corpus_dir: Directory with the manifest.
        split: Only this split; None reads all.
        tasks: Only these tasks; None reads all.
        limit: At most so many samples; None reads all.

    Raises:
        DataError: No corpus there, or a shard that cannot be read.
    """
    directory = Path(corpus_dir)
    shards = Manifest.load(directory).select(split, None if tasks is None else tuple(tasks))
    left = float("inf") if limit is None else limit
    for shard in shards:
        for group in range(len(shard.row_groups)):
            if left <= 0:
                return
            for sample in from_table(read_row_group(directory, shard, group)):
                if left <= 0:
                    return
                yield sample
                left -= 1


def read_row_group(corpus_dir: Path, shard: Shard, group: int, columns: list[str] | None = None) -> pa.Table:
    """One row group of a shard.

    Args:
        corpus_dir: Directory with the manifest.
        shard: One of the manifest's shards.
        group: Index into `shard.row_groups`.
        columns: Only these columns; None reads all.

    Raises:
        DataError: The file cannot be read, or is of another schema version.
    """
    path = Path(corpus_dir) / shard.file
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            check_schema(file.schema_arrow, str(path))
            return file.read_row_group(group, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"Shard {path}, row group {group}, cannot be read: {error}. Build the corpus again.") from error

"""Counts what a corpus is made of: read from its shards, without the images, and added up."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from medmo_ray.corpus.manifest import Composition, Histogram

CHAR_EDGES = (0, *(2**power for power in range(5, 16)))
PIXEL_EDGES = (0, *(side**2 for side in (64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 4096)))

_KEYS = ["dataset", "split", "task", "modality", "licence"]
_SUMS = ["rows", "images", "boxes", "chars"]


class Tally(BaseModel):
    """Composition and histograms of some samples (see `Manifest`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    composition: tuple[Composition, ...]
    chars: Histogram
    pixels: Histogram


def tally_shard(path: Path) -> Tally:
    """Count the samples of one shard."""
    columns = [
        *_KEYS,
        "num_chars",
        "boxes.list.element.label",
        "images.list.element.width_px",
        "images.list.element.height_px",
    ]
    with pq.ParquetFile(path) as file:
        table = file.read(columns=columns)
    images = pc.list_flatten(table["images"]).combine_chunks()
    pixels = pc.multiply(pc.struct_field(images, "width_px").cast(pa.int64()), pc.struct_field(images, "height_px"))
    counted = pa.table(
        {
            **{key: table[key] for key in _KEYS},
            "rows": np.ones(table.num_rows, dtype=np.int64),
            "images": pc.list_value_length(table["images"]),
            "boxes": pc.list_value_length(table["boxes"]),
            "chars": table["num_chars"],
        }
    )
    return Tally(
        composition=_composition(counted),
        chars=_histogram(table["num_chars"].to_numpy(), CHAR_EDGES),
        pixels=_histogram(pixels.to_numpy(zero_copy_only=False), PIXEL_EDGES),
    )


def merged(tallies: Iterable[Tally]) -> Tally:
    """The sum of tallies."""
    tallies = list(tallies)
    rows = [part.model_dump() for tally in tallies for part in tally.composition]
    schema = pa.schema([*((key, pa.string()) for key in _KEYS), *((name, pa.int64()) for name in _SUMS)])
    return Tally(
        composition=_composition(pa.Table.from_pylist(rows, schema=schema)),
        chars=_added(CHAR_EDGES, [tally.chars for tally in tallies]),
        pixels=_added(PIXEL_EDGES, [tally.pixels for tally in tallies]),
    )


def _composition(counted: pa.Table) -> tuple[Composition, ...]:
    grouped = counted.group_by(_KEYS).aggregate([(name, "sum") for name in _SUMS])
    rows = [
        {key: row[key] for key in _KEYS} | {name: row[f"{name}_sum"] for name in _SUMS} for row in grouped.to_pylist()
    ]
    return tuple(Composition(**row) for row in sorted(rows, key=lambda row: [str(row[key]) for key in _KEYS]))


def _histogram(values: np.ndarray, edges: tuple[int, ...]) -> Histogram:
    bins = np.searchsorted(edges, values, side="right") - 1
    return Histogram(edges=edges, counts=tuple(np.bincount(bins, minlength=len(edges)).tolist()))


def _added(edges: tuple[int, ...], histograms: list[Histogram]) -> Histogram:
    counts = np.sum([np.array(h.counts) for h in histograms], axis=0) if histograms else np.zeros(len(edges), dtype=int)
    return Histogram(edges=edges, counts=tuple(counts.tolist()))

"""Builds a corpus: raw data in, checked Parquet shards and a manifest out.

Two passes over the raw records, each in units that run in parallel and leave a file behind when they are done:

1. scan: read and check every record, keep a line about it (`scan`);
2. write: decide splits, order and shards from the lines (`plan`), then write the shards (`shards`).

A build that was killed goes on with the units that left no file. What is written depends on the recipe and the raw data
alone, so it ends with the digest of a build that was not. Images stay in the tasks; the driver holds a line for each
record, about 2.6 kB (measured with 500,000).
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.corpus.compose import Composer, check_tasks, text_samples
from medmo_ray.corpus.describe import summary
from medmo_ray.corpus.files import BuildFiles, atomic, clear_write_errors
from medmo_ray.corpus.manifest import Manifest, content_digest
from medmo_ray.corpus.plan import (
    ROW_OVERHEAD_BYTES,
    Candidate,
    assign_splits,
    cut_into_parts,
    shuffled,
    without_repeats,
)
from medmo_ray.corpus.quarantine import check_bad_share, count_reasons, quarantine_table, write_quarantine
from medmo_ray.corpus.registry import Importer, RawRecord, open_source
from medmo_ray.corpus.sample import SPLITS
from medmo_ray.corpus.scan import RECORD_SCHEMA, Scan, candidates_of, records_to_table
from medmo_ray.corpus.shards import WriteParts, WrittenPart, WrittenShard, write_part
from medmo_ray.corpus.state import begun, finished
from medmo_ray.corpus.tally import merged
from medmo_ray.corpus.work import run_units
from medmo_ray.errors import DataError

_SCAN_UNITS = 64  # at least so many units keep a cluster busy …
_SCAN_UNIT_RECORDS = (16, 4096)  # … within these sizes of a unit

Parts = dict[str, list[list[Candidate]]]


def build_corpus(recipe: CorpusRecipe, directory: Path) -> Manifest:
    """Build a corpus, or finish one that was begun, or return the one that is there.

    Args:
        recipe: What to build.
        directory: Where to; on a file system that all nodes of the cluster share.

    Returns:
        The manifest, which then lies in `directory` too.

    Raises:
        ConfigError: The recipe asks for what its source cannot give.
        DataError: The raw data is missing or laid out otherwise, too much of it is unusable, the disk is full, or
            `directory` holds the corpus of another recipe.
    """
    files = BuildFiles(Path(directory).resolve())
    check_tasks(recipe)
    if manifest := finished(recipe, files):
        shutil.rmtree(files.building, ignore_errors=True)  # left where a build was killed at its very end
        print(f"The corpus is there already.\n{summary(manifest)}")
        return manifest
    source = open_source(recipe)
    records = _listed(source)
    with clear_write_errors(), begun(recipe, files, records):
        scanned = _scan(source, files, records)
        parts = _plan(recipe, scanned.kept)
        composer = Composer(source, _vocabulary(scanned.lines))
        _write(composer, files, scanned, parts)
        manifest = _manifest(composer, files, scanned, parts)
        manifest.save(files.directory)
    shutil.rmtree(files.building)
    print(summary(manifest))
    return manifest


def _listed(source: Importer) -> list[RawRecord]:
    """The raw records that the recipe wants, each under a name of its own."""
    records = source.list_records()
    names = Counter(record.key for record in records)
    if len(names) < len(records):
        name, times = names.most_common(1)[0]
        raise DataError(
            f"{source.root} lists {name!r} {times} times; ids need a name for each record. Rename or remove some."
        )
    return records[: source.recipe.num_files]


@dataclass(frozen=True)
class Scanned:
    """What the first pass found.

    Attributes:
        lines: One for each record (`scan.SCAN_SCHEMA`), by `index`.
        kept: The records that become samples.
        bad: Unusable records by reason.
        excluded: Records that the recipe leaves out, by reason.
    """

    lines: pa.Table
    kept: list[Candidate]
    bad: dict[str, int]
    excluded: dict[str, int]


def _scan(source: Importer, files: BuildFiles, records: Sequence[RawRecord]) -> Scanned:
    """First pass; stops as soon as too many records are bad."""
    recipe = source.recipe
    smallest, largest = _SCAN_UNIT_RECORDS
    rows = min(max(len(records) // _SCAN_UNITS, smallest), largest)
    with atomic(files.listing) as file:
        pq.write_table(records_to_table(records), file, row_group_size=rows, compression="zstd")
    sizes = {unit: min(rows, len(records) - start) for unit, start in enumerate(range(0, len(records), rows))}
    todo = {unit: size for unit, size in sizes.items() if not files.scan(unit).exists()}
    num_bad = 0
    for bad in run_units(Scan(source, files, rows), todo, recipe.cluster, "checking"):
        num_bad += bad
        if num_bad > recipe.max_bad_share * len(records):
            break
    lines = pa.concat_tables([pq.read_table(files.scan(unit)) for unit in sizes if files.scan(unit).exists()])
    kept, repeats = without_repeats(candidates_of(lines))
    quarantine = quarantine_table(lines, [c.index for c in repeats], source.dataset)
    write_quarantine(quarantine, files.quarantine)
    counts, excluded = count_reasons(quarantine)
    try:
        check_bad_share(counts, lines.num_rows, len(records), recipe.max_bad_share, files.quarantine)
    except DataError:
        files.identity.unlink()  # the next build reads the raw data anew, since it may have been repaired
        raise
    return Scanned(lines, kept, counts, excluded)


def _plan(recipe: CorpusRecipe, kept: Sequence[Candidate]) -> Parts:
    """Which records make up each part of each split, in order."""
    sides = assign_splits(kept, recipe.held_out_share, recipe.run.seed)
    parts = {}
    for split in SPLITS:
        members = shuffled((c for c in kept if sides[c.index] == split), recipe.run.seed)
        if not members:
            raise DataError(
                f"None of the {len(kept)} usable records is left for split {split!r}. Records of one patient and equal images "
                "stay on one side, and the dataset's own split counts. Give more raw data, or allow more of it "
                "(corpus.num_files, corpus.max_boxes_per_image)."
            )
        parts[split] = cut_into_parts(members, recipe.shard_mb * 1e6, recipe.row_group_rows)
    return parts


def _vocabulary(lines: pa.Table) -> tuple[str, ...]:
    """Every label of the usable records, sorted."""
    return tuple(sorted(label for label in pc.unique(pc.list_flatten(lines["labels"])).to_pylist()))


def _write(composer: Composer, files: BuildFiles, scanned: Scanned, parts: Parts) -> None:
    """Second pass; then the text-only samples, one for each image at most."""
    recipe = composer.source.recipe
    for split, members in parts.items():
        _write_plan(files.plan(split), scanned.lines, members)
    units = tuple((split, number) for split, members in parts.items() for number in range(len(members)))
    todo = {
        unit: parts[split][number]
        for unit, (split, number) in enumerate(units)
        if not files.part(split, number).exists()
    }
    copies = 1 if composer.source.has_text_of_its_own else len(composer.image_tasks)
    check_space(
        files.directory, copies * sum(c.stored_bytes + ROW_OVERHEAD_BYTES for part in todo.values() for c in part)
    )
    sizes = {unit: len(part) for unit, part in todo.items()}
    for _ in run_units(WriteParts(composer, files, units), sizes, recipe.cluster, "writing"):
        pass
    if composer.adds_texts:
        for split, samples in text_samples(len(scanned.kept), recipe).items():
            number = len(parts[split])
            if not files.part(split, number).exists():
                write_part(samples, split, number, files, recipe.row_group_rows)


def _write_plan(path: Path, lines: pa.Table, members: Sequence[Sequence[Candidate]]) -> None:
    """The records of a split in their order, a row group for each part."""
    plan = lines.select([*RECORD_SCHEMA.names, "content"]).take([c.index for part in members for c in part])
    with atomic(path) as file, pq.ParquetWriter(file, plan.schema, compression="zstd") as writer:
        start = 0
        for part in members:
            writer.write_table(plan.slice(start, len(part)), row_group_size=len(part))
            start += len(part)


def check_space(directory: Path, needed_bytes: int) -> None:
    """Refuse to begin writing what the disk cannot hold.

    Raises:
        DataError: Says how much is needed and how much is free.
    """
    free = shutil.disk_usage(directory).free
    if needed_bytes > free:
        raise DataError(
            f"The corpus needs about {needed_bytes / 1e9:.2f} GB more in {directory}, where {free / 1e9:.2f} GB are free. "
            "Free space, set run.root to a larger disk, or build fewer tasks (corpus.tasks) or files (corpus.num_files)."
        )


def _manifest(composer: Composer, files: BuildFiles, scanned: Scanned, parts: Parts) -> Manifest:
    recipe = composer.source.recipe
    written: list[WrittenShard] = []
    for split, members in parts.items():
        for number in range(len(members) + composer.adds_texts):
            written += WrittenPart.model_validate_json(files.part(split, number).read_bytes()).shards
    shards = tuple(sorted((w.shard for w in written), key=lambda s: (SPLITS.index(s.split), s.task, s.file)))
    tally = merged(w.tally for w in written)
    return Manifest(
        digest=content_digest(recipe.frame, shards),
        frame=recipe.frame,
        shards=shards,
        composition=tally.composition,
        chars=tally.chars,
        pixels=tally.pixels,
        num_records=scanned.lines.num_rows,
        num_used=len(scanned.kept),
        quarantined=scanned.bad,
        excluded=scanned.excluded,
        recipe=recipe.model_dump(mode="json"),
    )

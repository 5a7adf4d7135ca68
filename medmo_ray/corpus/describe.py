"""What a corpus is made of, in words and tables for the terminal.

python -m medmo_ray.corpus.describe runs/NAME/corpus
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from medmo_ray.corpus.manifest import Histogram, Manifest

_BAR_CHARS = 40


def summary(manifest: Manifest) -> str:
    """A corpus in a few lines: its digest, its samples, and what became of the raw records."""
    tasks = ", ".join(f"{task} {rows}" for task, rows in manifest.count_by("task").items())
    splits = ", ".join(f"{split} {rows}" for split, rows in manifest.count_by("split").items())
    lines = [
        f"corpus {manifest.digest}: {manifest.num_samples} samples in {len(manifest.shards)} shards, frame {manifest.frame}",
        f"  tasks: {tasks}",
        f"  splits: {splits}",
        f"  raw records: {manifest.num_records} read, {manifest.num_used} used",
    ]
    for title, counts in (("unusable", manifest.quarantined), ("left out", manifest.excluded)):
        lines += [f"  {title}: {number} {reason}" for reason, number in counts.items()]
    lines += [
        f"  WARNING: trained on {number} records that {name} itself holds out (train_on_held_out): every result says so"
        for name, number in manifest.trained_on_held_out.items()
    ]
    return "\n".join(lines)


def describe(manifest: Manifest) -> str:
    """Composition by dataset, split, task, modality and licence; lengths of texts and sizes of images."""
    header = (
        "dataset",
        "split",
        "task",
        "modality",
        "licence",
        "samples",
        "images",
        "boxes",
        "characters",
        "boxes/sample",
    )
    rows = []
    for part in manifest.composition:
        words = (part.dataset, part.split, part.task, part.modality or "none", part.licence)
        counts = (part.rows, part.images, part.boxes, part.chars)
        rows.append((*words, *(f"{count:,}" for count in counts), f"{part.boxes / part.rows:.1f}"))
    return "\n\n".join(
        [
            summary(manifest),
            table(header, rows),
            f"characters of text in a sample\n{histogram(manifest.chars)}",
            f"pixels of an image\n{histogram(manifest.pixels)}",
        ]
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns under a header: words to the left, numbers to the right."""
    rows = [header, *rows]
    widths = [max(len(row[n]) for row in rows) for n in range(len(header))]
    is_number = [
        all(row[n].replace(",", "").replace(".", "").isdigit() for row in rows[1:]) for n in range(len(header))
    ]
    lines = [
        "  ".join(
            cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(row, widths, is_number, strict=True)
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in [lines[0], "-" * len(lines[0].rstrip()), *lines[1:]])


def histogram(values: Histogram) -> str:
    """A bar for each bin, from the first to the last that holds anything."""
    full = [n for n, count in enumerate(values.counts) if count]
    if not full:
        return "  none"
    uppers = [f"{edge:,}" for edge in values.edges[1:]] + ["more"]
    most = max(values.counts)
    lines = []
    for n in range(full[0], full[-1] + 1):
        bar = "#" * round(_BAR_CHARS * values.counts[n] / most)
        lines.append(f"  {values.edges[n]:>12,} to {uppers[n]:<12}{values.counts[n]:>10,}  {bar}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m medmo_ray.corpus.describe CORPUS_DIRECTORY")
    print(describe(Manifest.load(Path(sys.argv[1]))))

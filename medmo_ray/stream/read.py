"""Windows of a corpus as raw rows, one table a micro-batch."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medmo_ray.config.sft import SftRecipe
from medmo_ray.corpus.manifest import Manifest, Shard
from medmo_ray.corpus.read import read_row_group
from medmo_ray.errors import DataError
from medmo_ray.stream.pack import PackedPlan
from medmo_ray.stream.plan import EpochPlan, Window

COLUMNS = ["id", "dataset", "task", "messages"] + [
    f"images.list.element.{name}" for name in ("bytes", "width_px", "height_px")
]
"""What training needs of a sample."""


class TrainingRows:
    """The training split of a corpus under a plan.

    Args:
        corpus: directory with the manifest.
        recipe: of a supervised stage: tasks, sizes, seed.
        lengths: file of `stream.lengths.measure_lengths`; needed with `data.packing`.

    Attributes:
        groups: (shard, row group) of each of the plan's row groups; datasets of a mixture come as often as their weight says.

    Raises:
        DataError: no corpus there, or one without samples of the recipe's tasks.
    """

    def __init__(self, corpus: Path, recipe: SftRecipe, lengths: Path | None = None) -> None:
        self.corpus = Path(corpus)
        manifest = Manifest.load(self.corpus)
        self.frame = manifest.frame
        tasks = recipe.data.tasks
        self.groups = manifest.training_groups(tasks)
        if not self.groups:
            have = ", ".join(f"{task} ({count})" for task, count in _training_tasks(manifest).items()) or "none"
            raise DataError(
                f"The corpus in {corpus} has no training samples of the tasks {', '.join(tasks or ('any',))}; it has: {have}. "
                "Change data.tasks, or build the corpus with these tasks."
            )
        rows = tuple(shard.row_groups[group] for shard, group in self.groups)
        order: dict[str, Any] = {
            "corpus": f"{manifest.digest}:{','.join(sorted(tasks or ('all',)))}",
            "rows": rows,
            "seed": recipe.run.seed,
            "per_step": recipe.batch.accumulation * recipe.cluster.num_workers,
            "window_row_groups": recipe.data.window_row_groups,
            "epochs": recipe.epochs,
            "num_samples": recipe.data.num_samples,
            "max_steps": recipe.max_steps,
        }
        self.plan: EpochPlan
        if recipe.data.packing is None:
            self.plan = EpochPlan(**order, per_micro_batch=recipe.batch.per_worker)
        else:
            if lengths is None:
                raise DataError(
                    "A packed run needs the lengths of its samples: call stream.lengths.measure_lengths first."
                )
            # A window in one piece, for the packs to be cut from.
            self.plan = PackedPlan(
                **order,
                per_micro_batch=sum(rows),
                token_budget=recipe.data.packing.token_budget,
                lengths=_per_group(np.load(lengths), manifest.select("train", tasks), self.groups),
            )

    def micro_batches(self, window: Window, start: int) -> Iterator[tuple[int, pa.Table]]:
        """Read a window and cut it.

        Args:
            window: one of the plan's.
            start: the first micro-batch wanted; earlier ones are left out.

        Yields:
            The number of a micro-batch and its raw rows: views of what was read, a chunk each.
        """
        table = pa.concat_tables([self.row_group(group) for group in window.row_groups])
        for number, rows in enumerate(self.plan.cut(window), window.first):
            if start <= number < self.plan.num_micro_batches:
                yield number, pa.concat_tables([table.slice(row, 1) for row in rows.tolist()])

    def row_group(self, group: int) -> pa.Table:
        """One of the plan's row groups, `COLUMNS` of it."""
        shard, index = self.groups[group]
        return read_row_group(self.corpus, shard, index, COLUMNS)


def _per_group(
    lengths: NDArray[np.int32], shards: tuple[Shard, ...], groups: list[tuple[Shard, int]]
) -> NDArray[np.int32]:
    """Lengths in the order of the plan's row groups, from those in the order of the corpus."""
    rows = [shard.row_groups[group] for shard in shards for group in range(len(shard.row_groups))]
    if len(lengths) != sum(rows):
        return lengths  # of other rows; the plan says so
    names = [(shard.file, group) for shard in shards for group in range(len(shard.row_groups))]
    parts = dict(zip(names, np.split(lengths, np.cumsum(rows)[:-1]), strict=True))
    return np.concatenate([parts[shard.file, group] for shard, group in groups])


@lru_cache(maxsize=2)
def training_rows(corpus: Path, recipe: SftRecipe, lengths: Path | None = None) -> TrainingRows:
    """The rows of a corpus under a recipe; a process that reads many windows of them makes the plan once."""
    return TrainingRows(corpus, recipe, lengths)


def _training_tasks(manifest: Manifest) -> dict[str, int]:
    counts: dict[str, int] = {}
    shards: tuple[Shard, ...] = manifest.select("train")
    for shard in shards:
        counts[shard.task] = counts.get(shard.task, 0) + shard.rows
    return counts

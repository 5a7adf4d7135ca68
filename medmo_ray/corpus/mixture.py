"""A corpus of several datasets: each is built by itself, in a folder of its own; one manifest joins their shards."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.corpus.manifest import Manifest, content_digest
from medmo_ray.corpus.tally import Tally, merged
from medmo_ray.errors import ConfigError, DataError

FOLDER = "datasets"


def build_parts(
    recipe: CorpusRecipe, directory: Path, build: Callable[[CorpusRecipe, Path], Manifest]
) -> dict[str, Manifest]:
    """Build each dataset in its folder, one after the other; finished ones are found.

    Args:
        recipe: With `datasets`.
        directory: Of the whole corpus.
        build: Builds one dataset.

    Raises:
        DataError, ConfigError: One of them cannot be built; names it.
    """
    manifests = {}
    for name, part in recipe.parts().items():
        try:
            manifests[name] = build(part, directory / FOLDER / name)
        except (DataError, ConfigError) as error:
            raise type(error)(f"dataset {name}: {error}") from error
    return manifests


def joined(recipe: CorpusRecipe, parts: Mapping[str, Manifest]) -> Manifest:
    """One manifest over the shards of all parts.

    Args:
        recipe: With `datasets`; their weights go into the manifest.
        parts: By name, in the recipe's order.

    Raises:
        DataError: No part has training samples.
    """
    shards = tuple(
        shard.model_copy(update={"file": f"{FOLDER}/{name}/{shard.file}"})
        for name, part in parts.items()
        for shard in part.shards
    )
    if not any(shard.split == "train" for shard in shards):
        raise DataError(f"None of the datasets has training samples: {', '.join(parts)}. Their tables say why.")
    weights = {name: part.weight for name, part in recipe.datasets.items() if part.weight != 1}
    tally = merged(Tally(composition=p.composition, chars=p.chars, pixels=p.pixels) for p in parts.values())
    return Manifest(
        digest=content_digest(recipe.frame, shards, weights),
        frame=recipe.frame,
        shards=shards,
        composition=tally.composition,
        chars=tally.chars,
        pixels=tally.pixels,
        num_records=sum(part.num_records for part in parts.values()),
        num_used=sum(part.num_used for part in parts.values()),
        quarantined=_added(part.quarantined for part in parts.values()),
        excluded=_added(part.excluded for part in parts.values()),
        access={name: how for part in parts.values() for name, how in part.access.items()},
        weights=weights,
        parts={name: part.digest for name, part in parts.items()},
        evaluation=next((part.evaluation for part in parts.values()), {}),
        leaks=_added(part.leaks for part in parts.values()),
        trained_on_held_out=_added(part.trained_on_held_out for part in parts.values()),
        recipe=recipe.model_dump(mode="json"),
    )


def _added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in counts:
        total.update(part)
    return dict(sorted(total.items()))

"""The nearest setting that fits, for a recipe that does not: single changes, each judged by the plan's own arithmetic."""

from collections.abc import Callable, Iterator

from medmo_ray.config.hardware import ACCELERATORS
from medmo_ray.config.plan import fits
from medmo_ray.config.sft import SftRecipe

MOST_WORKERS = 1024


def nearest_that_fits(recipe: SftRecipe, needed_gib: Callable[[SftRecipe], float]) -> str | None:
    """The first of the single changes with which a stage fits into its cards, and what it needs then.

    In this order: activation checkpointing; smaller micro-batches with more accumulation, so that the step stays as it
    is; a cross entropy without all logits; more GPUs; adapters; another card.

    Args:
        recipe: that does not fit.
        needed_gib: memory of a GPU under a recipe.

    Returns:
        The change as it is written on the command line; None when no single one is enough.
    """
    for change, note in _changes(recipe):
        changed = recipe.replaced(**{key.replace(".", "__"): value for key, value in change.items()})
        needed, kind = needed_gib(changed), changed.cluster.hardware
        if fits(needed, kind):
            written = " ".join(f"{key}={_written(value)}" for key, value in change.items())
            return f"{written} ({needed:.1f} of {ACCELERATORS[kind].memory_gib:g} GiB{note})"
    return None


def _changes(recipe: SftRecipe) -> Iterator[tuple[dict[str, object], str]]:
    batch, workers = recipe.batch, recipe.cluster.num_workers
    if not recipe.activation_checkpointing:
        yield {"activation_checkpointing": True}, ""
    yield from _smaller_batches(recipe)
    if recipe.tuning.cross_entropy == "whole":
        yield {"tuning.cross_entropy": "chunked"}, ""
        yield {"tuning.cross_entropy": "liger"}, ""
    more = 2 ** workers.bit_length()
    while more <= MOST_WORKERS:
        accumulation, left = divmod(batch.accumulation * workers, more)
        if left == 0:
            yield {"cluster.num_workers": more, "batch.accumulation": accumulation}, ""
        else:
            yield {"cluster.num_workers": more}, f"; a step grows {more / workers:g} times"
        more *= 2
    if recipe.tuning.lora is None and not recipe.tuning.frozen:
        yield {"tuning.lora": {"rank": 16}}, ""
    for name, card in sorted(ACCELERATORS.items(), key=lambda row: row[1].memory_gib):
        if card.memory_gib > ACCELERATORS[recipe.cluster.hardware].memory_gib:
            yield {"cluster.hardware": name}, ""


def _smaller_batches(recipe: SftRecipe) -> Iterator[tuple[dict[str, object], str]]:
    batch, packing = recipe.batch, recipe.data.packing
    if packing is None:
        for parts in range(2, batch.per_worker + 1):
            if batch.per_worker % parts == 0:
                change = {
                    "batch.per_worker": batch.per_worker // parts,
                    "batch.accumulation": batch.accumulation * parts,
                }
                yield {**change}, ""
        return
    parts = 2
    while packing.token_budget // parts >= recipe.data.max_length_tokens:
        change = {
            "data.packing.token_budget": packing.token_budget // parts,
            "batch.accumulation": batch.accumulation * parts,
        }
        yield {**change}, ""
        parts *= 2


def _written(value: object) -> str:
    if isinstance(value, dict):
        return "'{" + ", ".join(f"{key}: {_written(one)}" for key, one in value.items()) + "}'"
    return str(value).lower() if isinstance(value, bool) else str(value)

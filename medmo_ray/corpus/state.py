"""Whose corpus a directory holds: finished, begun, of another recipe, or none."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.corpus.files import PART_SUFFIX, BuildFiles, atomic
from medmo_ray.corpus.manifest import MANIFEST_FILE, Manifest
from medmo_ray.corpus.registry import RawRecord
from medmo_ray.errors import DataError

# Where and how fast a corpus is built, and when the build gives up, change nothing in it.
_NOT_CONTENT = ("run.name", "run.root", "run.overwrite", "cluster.", "max_bad_share")


def finished(recipe: CorpusRecipe, files: BuildFiles) -> Manifest | None:
    """The corpus that `recipe` already built here, or None if there is none yet.

    Raises:
        DataError: There is one of another recipe, or a damaged one, and `run.overwrite` is not set.
    """
    if not (files.directory / MANIFEST_FILE).exists():
        return None
    try:
        manifest = Manifest.load(files.directory)
        _check_same(manifest.recipe, recipe, files)
    except DataError:
        if not recipe.run.overwrite:
            raise
        _remove_corpus(files)
        return None
    return manifest


@contextmanager
def begun(recipe: CorpusRecipe, files: BuildFiles, records: Sequence[RawRecord]) -> Iterator[None]:
    """Hold the directory for one build: a new one, or the rest of one that `recipe` began on the same raw data.

    Raises:
        DataError: Another build is at work here; or one was begun with another recipe or other raw data, and
            `run.overwrite` is not set.
    """
    files.building.mkdir(parents=True, exist_ok=True)
    with files.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"Another build is writing to {files.directory}: wait for it, or set another run.name."
            ) from error
        try:
            _check_begun(recipe, files, records)
        except DataError:
            if not recipe.run.overwrite:
                raise
            _remove_corpus(files)
        if not files.identity.exists():
            _remove_corpus(files)
            with atomic(files.identity) as file:
                file.write(json.dumps({"recipe": recipe.model_dump(mode="json"), "listing": _digest(records)}).encode())
        files.shards.mkdir(exist_ok=True)
        for stale in (*files.building.glob(f"*{PART_SUFFIX}"), *files.shards.glob(f"*{PART_SUFFIX}")):
            stale.unlink()
        yield


def _check_begun(recipe: CorpusRecipe, files: BuildFiles, records: Sequence[RawRecord]) -> None:
    if not files.identity.exists():
        return
    identity = json.loads(files.identity.read_text())
    _check_same(identity["recipe"], recipe, files)
    if identity["listing"] != _digest(records):
        raise DataError(
            f"{files.directory} holds a build that was begun on other raw data: files were added, removed or renamed since. "
            "Set run.overwrite=true to build anew."
        )


def _check_same(there: dict[str, Any], recipe: CorpusRecipe, files: BuildFiles) -> None:
    old, new = _flat(there), _flat(recipe.model_dump(mode="json"))
    if old != new:
        names = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        changes = ", ".join(f"{name} is {old.get(name)!r} there and {new.get(name)!r} here" for name in names)
        raise DataError(
            f"{files.directory} holds the corpus of another recipe: {changes}. "
            "Set run.name to build beside it, or run.overwrite=true to build anew in its place."
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings that decide what is in a corpus, by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}.")
        elif not name.startswith(_NOT_CONTENT):
            flat[name] = value
    return flat


def _digest(records: Sequence[RawRecord]) -> str:
    """Names the raw records by where they lie, not by what is in them."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(repr(record).encode())
    return digest.hexdigest()


def _remove_corpus(files: BuildFiles) -> None:
    """Remove what a build writes, and nothing else; the manifest first, so that no half of it is taken for a corpus."""
    for path in (files.directory / MANIFEST_FILE, files.quarantine):
        path.unlink(missing_ok=True)
    if files.shards.exists():
        shutil.rmtree(files.shards)
    if files.building.exists():
        for path in files.building.iterdir():
            if path != files.lock:
                path.unlink()

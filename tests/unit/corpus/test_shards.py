"""Shards, the manifest over them, and reading them back."""

import errno
import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.corpus.compose import Composer
from medmo_ray.corpus.files import BuildFiles, atomic
from medmo_ray.corpus.manifest import MANIFEST_FILE, Manifest, Shard, content_digest
from medmo_ray.corpus.read import read_samples
from medmo_ray.corpus.records import check_record
from medmo_ray.corpus.registry import open_source
from medmo_ray.corpus.sample import Sample, check_schema
from medmo_ray.corpus.shards import WrittenPart, write_part
from medmo_ray.corpus.tally import CHAR_EDGES, merged
from medmo_ray.errors import DataError

RECIPE = CorpusRecipe(row_group_rows=4)


def samples(numbers: range, split: str = "train") -> Iterator[Sample]:
    source = open_source(RECIPE)
    composer = Composer(source, ("bacterium", "cell"))
    for record in source.list_records()[numbers.start : numbers.stop]:
        yield from composer.of_record(check_record(source, record), split)


@pytest.fixture
def files(tmp_path: Path) -> BuildFiles:
    files = BuildFiles(tmp_path)
    files.shards.mkdir()
    files.building.mkdir()
    return files


@pytest.fixture
def corpus(files: BuildFiles) -> Path:
    """Ten images in train and three held out, with caption, vqa and detection of each."""
    write_part(samples(range(10)), "train", 0, files, 4)
    write_part(samples(range(10, 13), "held_out"), "held_out", 0, files, 4)
    written = [*part(files, "train", 0).shards, *part(files, "held_out", 0).shards]
    tally = merged(w.tally for w in written)
    shards = tuple(w.shard for w in written)
    Manifest(
        digest=content_digest("pixel", shards),
        frame="pixel",
        shards=shards,
        composition=tally.composition,
        chars=tally.chars,
        pixels=tally.pixels,
        num_records=13,
        num_used=13,
        quarantined={},
        excluded={},
        recipe=RECIPE.model_dump(mode="json"),
    ).save(files.directory)
    return files.directory


def part(files: BuildFiles, split: str, number: int) -> WrittenPart:
    return WrittenPart.model_validate_json(files.part(split, number).read_text())


def test_a_part_becomes_one_shard_for_each_task_in_row_groups(files: BuildFiles) -> None:
    write_part(samples(range(10)), "train", 3, files, 4)
    shards = {w.shard.task: w.shard for w in part(files, "train", 3).shards}
    assert {task: shard.file for task, shard in shards.items()} == {
        task: f"shards/train-{task}-00003.parquet" for task in ("caption", "vqa", "detection")
    }
    for shard in shards.values():
        metadata = pq.read_metadata(files.directory / shard.file)
        assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [4, 4, 2]
        assert shard.row_groups == (4, 4, 2)
        assert shard.rows == 10
        assert shard.bytes == (files.directory / shard.file).stat().st_size


def test_images_are_stored_as_they_are_and_the_rest_is_compressed(files: BuildFiles) -> None:
    write_part(samples(range(4)), "train", 0, files, 4)
    path = files.shard("train", "detection", 0)
    group = pq.read_metadata(path).row_group(0)
    columns = {c.path_in_schema: c for c in (group.column(n) for n in range(group.num_columns))}
    assert {name for name, c in columns.items() if c.compression == "UNCOMPRESSED"} == {"images.list.element.bytes"}
    assert {c.compression for name, c in columns.items() if not name.endswith("bytes")} == {"ZSTD"}
    check_schema(pq.read_schema(path), "the shard")
    stored = b"".join(s.images[0].bytes for s in samples(range(4)) if s.task == "detection")
    assert columns["images.list.element.bytes"].total_uncompressed_size >= len(stored)
    assert all(s.images[0].bytes in path.read_bytes() for s in samples(range(4)) if s.task == "detection")


def test_the_content_digest_does_not_depend_on_row_groups_or_the_file(files: BuildFiles) -> None:
    write_part(samples(range(6)), "train", 0, files, 2)
    write_part(samples(range(6)), "train", 1, files, 5)
    write_part(samples(range(1, 7)), "train", 2, files, 5)
    first, again, other = ([w.shard for w in part(files, "train", n).shards] for n in range(3))
    assert [s.content for s in first] == [s.content for s in again]
    assert [s.sha256 for s in first] != [s.sha256 for s in again]
    assert all(a.content != b.content for a, b in zip(first, other, strict=True))


def test_a_shard_is_named_by_the_hash_of_its_file(files: BuildFiles) -> None:
    write_part(samples(range(6)), "train", 0, files, 2)
    for shard in (written.shard for written in part(files, "train", 0).shards):
        assert hashlib.sha256((files.directory / shard.file).read_bytes()).hexdigest() == shard.sha256


def test_samples_come_back_as_they_were_written(corpus: Path) -> None:
    written = sorted([*samples(range(10)), *samples(range(10, 13), "held_out")], key=lambda s: s.id)
    assert sorted(read_samples(corpus), key=lambda s: s.id) == written
    assert [s.id for s in read_samples(corpus, "held_out", ["vqa"])] == [
        f"generated:held_out:{n:06d}/vqa" for n in (10, 11, 12)
    ]
    assert len(list(read_samples(corpus, limit=7))) == 7
    assert list(read_samples(corpus, limit=0)) == []


def test_the_manifest_counts_what_is_there(corpus: Path) -> None:
    manifest = Manifest.load(corpus)
    all_samples = list(read_samples(corpus))
    assert manifest.num_samples == len(all_samples) == 39
    assert manifest.count_by("task") == {"caption": 13, "detection": 13, "vqa": 13}
    assert manifest.count_by("split") == {"held_out": 9, "train": 30}
    assert manifest.licences == {"generated": "unknown"}
    assert sum(c.boxes for c in manifest.composition) == sum(len(s.boxes) for s in all_samples)
    assert sum(c.chars for c in manifest.composition) == sum(s.num_chars for s in all_samples)
    by_hand = [sum(low <= s.num_chars < high for s in all_samples) for low, high in pairwise(CHAR_EDGES)]
    assert manifest.chars.counts == (*by_hand, 0)
    assert dict(zip(manifest.pixels.edges, manifest.pixels.counts, strict=True))[64**2] == 39
    assert [s.task for s in manifest.select("held_out", ("vqa", "caption"))] == ["caption", "vqa"]


def test_the_digest_names_samples_and_row_groups_only() -> None:
    shard = Shard(file="a", split="train", task="vqa", rows=2, row_groups=(2,), bytes=9, sha256="x", content="y")
    assert content_digest("pixel", (shard,)) == content_digest(
        "pixel", (shard.model_copy(update={"sha256": "z", "bytes": 8}),)
    )
    for change in ({"content": "z"}, {"row_groups": (1, 1)}, {"split": "held_out"}):
        assert content_digest("pixel", (shard.model_copy(update=change),)) != content_digest("pixel", (shard,))
    assert content_digest("relative_1000", (shard,)) != content_digest("pixel", (shard,))


def altered(corpus: Path, **changes: object) -> None:
    path = corpus / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_directory_without_a_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"No corpus at {tmp_path}"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"manifest_version": 1}', "\xff\xfe"])
def test_a_manifest_that_cannot_be_read_is_refused(corpus: Path, text: str) -> None:
    (corpus / MANIFEST_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"cannot be read as a manifest|is of manifest version None"):
        Manifest.load(corpus)


def test_another_version_and_an_edited_manifest_are_refused(corpus: Path) -> None:
    altered(corpus, frame="relative_1000")
    with pytest.raises(DataError, match="its digest does not match"):
        Manifest.load(corpus)
    altered(corpus, manifest_version=2)
    with pytest.raises(DataError, match="is of manifest version 2; this medmo-ray reads version 1"):
        Manifest.load(corpus)


def test_a_missing_a_short_and_a_damaged_shard_are_named(corpus: Path) -> None:
    shard = Manifest.load(corpus).shards[0]
    path = corpus / shard.file
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    with pytest.raises(DataError, match=f"{shard.file} has {len(data) - 100} bytes instead of {len(data)}"):
        Manifest.load(corpus)
    path.write_bytes(data[:4] + bytes(len(data) - 4))
    with pytest.raises(DataError, match=f"{shard.file}, row group 0, cannot be read"):
        list(read_samples(corpus))
    path.unlink()
    with pytest.raises(DataError, match=f"{shard.file} is missing"):
        Manifest.load(corpus)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), atomic(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    with atomic(path) as file:
        file.write(b"whole")
        assert path.read_text() == "before"
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_part_that_fails_leaves_no_shard(files: BuildFiles) -> None:
    def failing() -> Iterator[Sample]:
        yield from samples(range(6))
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_part(failing(), "train", 0, files, 4)
    assert list(files.shards.iterdir()) == []
    assert not files.part("train", 0).exists()

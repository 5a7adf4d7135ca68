"""A corpus in tables."""

from medmo_ray.corpus.describe import describe, histogram, table
from medmo_ray.corpus.manifest import Composition, Histogram, Manifest, Shard, content_digest

SHARD = Shard(
    file="shards/a", split="train", task="vqa", rows=1200, row_groups=(1200,), bytes=1, sha256="x", content="y"
)
MANIFEST = Manifest(
    digest=content_digest("pixel", (SHARD,)),
    frame="pixel",
    shards=(SHARD,),
    composition=(
        Composition(
            dataset="blood",
            split="train",
            task="vqa",
            modality="microscopy",
            licence="MIT",
            rows=1200,
            images=1200,
            boxes=3000,
            chars=9,
        ),
    ),
    chars=Histogram(edges=(0, 32, 64, 128), counts=(0, 300, 0, 900)),
    pixels=Histogram(edges=(0, 4096), counts=(0, 0)),
    num_records=1203,
    num_used=1200,
    quarantined={"not an image": 2},
    excluded={"too many boxes": 1},
    recipe={},
)


def test_everything_in_the_manifest_is_told() -> None:
    text = describe(MANIFEST)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "blood train vqa microscopy MIT 1,200 1,200 3,000 9 2.5" in lines
    assert "raw records: 1203 read, 1200 used" in lines
    assert "unusable: 2 not an image" in lines
    assert "left out: 1 too many boxes" in lines
    assert lines[0] == f"corpus {MANIFEST.digest}: 1200 samples in 1 shards, frame pixel"


def test_a_histogram_shows_the_bins_between_the_first_and_the_last() -> None:
    shown = [line.split() for line in histogram(MANIFEST.chars).splitlines()]
    assert [row[:4] for row in shown] == [
        ["32", "to", "64", "300"],
        ["64", "to", "128", "0"],
        ["128", "to", "more", "900"],
    ]
    assert [len(row[4]) if len(row) > 4 else 0 for row in shown] == [13, 0, 40]
    assert histogram(MANIFEST.pixels) == "  none"


def test_words_stand_left_and_numbers_right() -> None:
    assert table(("name", "rows"), [("a", "1"), ("long name", "1,000")]).splitlines() == [
        "name        rows",
        "----------------",
        "a              1",
        "long name  1,000",
    ]

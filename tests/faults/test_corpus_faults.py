"""Raw data as it is found: damaged, mislabelled, elsewhere, changing; and disks that are full."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from local_ray import local_ray
from raw_data import encoded, many_boxes, picture, voc_xml, write_pictures, write_voc

from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.corpus.arrange import SplitPlan, arrange
from medmo_ray.corpus.build import build_corpus
from medmo_ray.corpus.checks import Unusable, check_image
from medmo_ray.corpus.compose import Composer
from medmo_ray.corpus.files import BuildFiles
from medmo_ray.corpus.listing import write_listing
from medmo_ray.corpus.read import read_samples
from medmo_ray.corpus.registry import open_source
from medmo_ray.corpus.scan import Lines, Scan
from medmo_ray.corpus.shards import WriteParts
from medmo_ray.corpus.work import run_units
from medmo_ray.errors import ConfigError, DataError

DAMAGE = {
    "image-000": ("truncated", "image cannot be decoded"),
    "image-001": ("a web page", "not an image"),
    "image-002": ("no bytes", "not an image"),
    "image-003": ("box outside", "box outside the image"),
    "image-004": ("box without area", "box without area"),
    "image-005": ("no annotation", "image without an annotation"),
    "image-006": ("broken annotation", "annotation cannot be read"),
    "image-007": ("too small", "image too small"),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with local_ray(num_cpus=2):
        yield


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Forty images, eight of them damaged in as many ways."""
    root = write_voc(tmp_path / "raw", many_boxes(40))
    images, boxes = root / "JPEGImages", root / "Annotations"
    whole = (images / "image-000.png").read_bytes()
    (images / "image-000.png").write_bytes(whole[: len(whole) // 2])
    (images / "image-001.png").write_text("<html>404</html>")
    (images / "image-002.png").write_bytes(b"")
    (boxes / "image-003.xml").write_text(voc_xml([("cell", (50, 10, 65, 20))]))
    (boxes / "image-004.xml").write_text(voc_xml([("cell", (50, 10, 50, 20))]))
    (boxes / "image-005.xml").unlink()
    (boxes / "image-006.xml").write_text("<annotation><object>")
    (images / "image-007.png").write_bytes(encoded(picture(7, 8, 8)))
    return root


@pytest.mark.integration
def test_each_damaged_record_is_quarantined_with_its_reason(damaged: Path, tmp_path: Path, cluster: None) -> None:
    recipe = CorpusRecipe(source="voc", path=str(damaged), max_bad_share=0.2)
    manifest = build_corpus(recipe, tmp_path / "corpus")
    rows = pq.read_table(tmp_path / "corpus/quarantine.parquet").to_pylist()
    assert {row["key"]: row["reason"] for row in rows} == {key: reason for key, (_, reason) in DAMAGE.items()}
    assert {row["dataset"] for row in rows} == {"raw"}
    assert all((damaged / row["file"]).exists() for row in rows)
    assert sum(manifest.quarantined.values()) == 8
    assert manifest.num_used == 32
    assert not any(key in sample.id for sample in read_samples(tmp_path / "corpus") for key in DAMAGE)


@pytest.mark.integration
def test_too_much_damage_stops_the_build_and_a_repair_lets_it_go_on(
    damaged: Path, tmp_path: Path, cluster: None
) -> None:
    recipe = CorpusRecipe(source="voc", path=str(damaged), max_bad_share=0.1)
    quarantine = tmp_path / "corpus/quarantine.parquet"
    with pytest.raises(DataError) as stopped:
        build_corpus(recipe, tmp_path / "corpus")
    message = str(stopped.value)
    assert "raw records are unusable, more than corpus.max_bad_share=0.1 of 40 allows" in message
    assert str(quarantine) in message
    listed = pq.read_table(quarantine)["reason"].to_pylist()
    assert len(listed) > 4
    assert all(f"{reason} ({listed.count(reason)})" in message for reason in listed)
    write_voc(damaged, many_boxes(40))
    manifest = build_corpus(recipe, tmp_path / "corpus")
    assert manifest.num_used == 40
    assert pq.read_table(quarantine).num_rows == 0


@pytest.mark.integration
def test_a_disk_that_fills_up_in_a_task_is_told_in_words_of_the_corpus(cluster: None) -> None:
    def write_to_full_disk(unit: int) -> int:
        with Path("/dev/full").open("wb") as disk:
            return disk.write(bytes(10**6))

    with pytest.raises(DataError, match=r"cannot be written: .*No space left on device.* it goes on where it stopped"):
        list(run_units(write_to_full_disk, {0: 5}, CorpusRecipe().cluster, "writing"))


def test_a_place_that_is_no_directory_is_told_in_words_of_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(DataError, match=r"cannot be written: .*runs/medmo.* set run.root to another disk"):
        build_corpus(CorpusRecipe(), tmp_path / "runs" / "medmo")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: root.mkdir(), "is empty"),
        (lambda root: (root / "photos").mkdir(parents=True), r"holds no voc data. Found: 1 folders \(photos\)"),
        (lambda root: write_voc(root, {}), "holds no voc data"),
    ],
    ids=["missing", "empty", "another layout", "no images"],
)
def test_a_wrong_folder_is_refused_before_anything_is_written(tmp_path: Path, make: object, words: str) -> None:
    make(tmp_path / "raw")  # type: ignore[operator]
    with pytest.raises(DataError, match=words):
        build_corpus(CorpusRecipe(source="voc", path=str(tmp_path / "raw")), tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


def test_a_table_with_one_id_for_two_records_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.png", "b.png")
    images = [{"id": 1, "file_name": name} for name in ("a.png", "b.png")]
    (tmp_path / "boxes.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    with pytest.raises(DataError, match=r"lists 'boxes/1' 2 times; ids need a name for each record"):
        build_corpus(CorpusRecipe(source="coco", path=str(tmp_path)), tmp_path / "corpus")


def test_a_task_that_boxes_are_not_enough_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"corpus\.tasks has report, which boxes are not enough for"):
        build_corpus(CorpusRecipe(tasks=("detection", "report")), tmp_path / "corpus")


def scanned(recipe: CorpusRecipe, files: BuildFiles) -> int:
    """A scan of one unit and a plan that writes it to train, without a cluster; returns its usable records."""
    files.building.mkdir(parents=True)
    files.shards.mkdir()
    source = open_source(recipe)
    listing = write_listing(source.records(), files.listing, "here")
    Scan(source, files)(0)
    lines = Lines((files.scan(0),))
    index = lines.candidates().index
    arrange(lines, {"train": SplitPlan(index, (slice(0, len(index)),), (1,))}, files, listing.num_records)
    return len(index)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: (root / "JPEGImages/image-003.png").write_text("404"), "not an image"),
        (lambda root: (root / "JPEGImages/image-003.png").write_bytes(encoded(picture(99))), "it holds something else"),
        (
            lambda root: (root / "Annotations/image-003.xml").write_text(voc_xml([("rod", (1, 1, 9, 9))])),
            "something else",
        ),
        (lambda root: (root / "JPEGImages/image-003.png").unlink(), "file cannot be read"),
    ],
    ids=["image broken", "another image", "other boxes", "image gone"],
)
def test_raw_data_that_changes_under_a_build_is_noticed(tmp_path: Path, change: object, words: str) -> None:
    root = write_voc(tmp_path / "raw", many_boxes(6))
    recipe = CorpusRecipe(source="voc", path=str(root))
    files = BuildFiles(tmp_path / "corpus")
    assert scanned(recipe, files) == 6
    write = WriteParts(Composer(open_source(recipe), ("cell", "rod")), files, (("train", 0),))
    change(root)  # type: ignore[operator]
    with pytest.raises(DataError, match=rf"'image-003' changed while the corpus was being built \(.*{words}"):
        write(0)
    assert list(files.shards.iterdir()) == []


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"])
def test_no_damage_to_an_image_file_raises_anything_but_unusable(form: str) -> None:
    """Cut at each length and with each byte turned over: what still decodes has a size, all else has a reason."""
    data = encoded(picture(1), form)
    reasons = set()
    for place in range(0, len(data), max(1, len(data) // 300)):
        for damaged_data in (data[:place], data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]):
            try:
                image = check_image("x", damaged_data).image
                assert image.width_px >= 16 and image.height_px >= 16
            except Unusable as unusable:
                reasons.add(unusable.reason)
    assert "not an image" in reasons
    assert reasons <= {
        "not an image",
        "image cannot be decoded",
        "image too small",
        "image too large",
        "image too elongated",
    }

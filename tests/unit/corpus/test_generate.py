"""Generated images: repeatable, with boxes that fit what was drawn."""

import io

import numpy as np
import pytest
from PIL import Image

from medmo_ray.config.corpus import GeneratedImages
from medmo_ray.corpus.generate import GeneratedImage, generate_image

ONE = GeneratedImages(size_px=96, max_objects=1)
MANY = GeneratedImages(size_px=160, max_objects=40)


def _seen_extent(image: GeneratedImage) -> tuple[int, int, int, int]:
    """Where pixels differ from the ground, found without knowing what was drawn."""
    values = image.pixels.astype(float) / 255
    ground = np.median(values.reshape(-1, 3), axis=0)
    differs = np.abs(values - ground).max(axis=2) > 0.22
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.parametrize("index", range(40))
def test_the_box_is_what_the_eye_sees(index: int) -> None:
    image = generate_image(index, seed=5, settings=ONE)
    (only,) = image.boxes
    assert np.abs(np.subtract(only.box, _seen_extent(image))).max() <= 1


def test_the_same_index_and_seed_give_the_same_image() -> None:
    first, again = (generate_image(3, seed=9, settings=MANY) for _ in range(2))
    assert np.array_equal(first.pixels, again.pixels)
    assert first.boxes == again.boxes
    for other in (generate_image(4, seed=9, settings=MANY), generate_image(3, seed=8, settings=MANY)):
        assert not np.array_equal(first.pixels, other.pixels)


def test_an_image_of_a_series_does_not_depend_on_its_length() -> None:
    short, long = (generate_image(2, 1, GeneratedImages(num_images=n)) for n in (8, 5000))
    assert np.array_equal(short.pixels, long.pixels)


@pytest.mark.parametrize("settings", [ONE, MANY, GeneratedImages(size_px=32, max_objects=200)])
def test_boxes_lie_in_the_image_and_there_is_at_least_one(settings: GeneratedImages) -> None:
    for index in range(30):
        image = generate_image(index, 0, settings)
        assert 1 <= len(image.boxes) <= settings.max_objects
        assert image.pixels.shape == (settings.size_px, settings.size_px, 3)
        for label, (x1, y1, x2, y2) in image.boxes:
            assert label in {"cell", "bacterium"}
            assert 0 <= x1 < x2 <= settings.size_px
            assert 0 <= y1 < y2 <= settings.size_px


def test_boxes_come_by_label_and_then_from_left_to_right() -> None:
    for index in range(30):
        boxes = generate_image(index, 0, MANY).boxes
        keys = [(label != "cell", box[0]) for label, box in boxes]
        assert keys == sorted(keys)


def test_objects_hardly_overlap() -> None:
    for index in range(30):
        image = generate_image(index, 2, GeneratedImages(size_px=96, max_objects=3))
        cells = [box for label, box in image.boxes if label == "cell"]
        for i, a in enumerate(cells):
            for b in cells[i + 1 :]:
                width = min(a[2], b[2]) - max(a[0], b[0])
                height = min(a[3], b[3]) - max(a[1], b[1])
                shared = max(0, width) * max(0, height)
                smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
                # Two round shapes that only touch may share a corner of their boxes.
                assert shared <= 0.35 * smaller


def test_the_series_varies() -> None:
    images = [generate_image(index, 0, GeneratedImages(max_objects=3)) for index in range(60)]
    assert {len(image.boxes) for image in images} == {1, 2, 3}
    assert {box.label for image in images for box in image.boxes} == {"cell", "bacterium"}
    widths = [box.box[2] - box.box[0] for image in images for box in image.boxes]
    assert max(widths) >= 2 * min(widths)


def test_facts_agree_with_the_boxes() -> None:
    image = generate_image(0, 0, MANY)
    assert image.count("cell") + image.count("bacterium") == len(image.boxes)
    areas = sum((x2 - x1) * (y2 - y1) for _, (x1, y1, x2, y2) in image.boxes)
    assert 0.3 * areas < image.covered_share * image.pixels[:, :, 0].size <= areas


def test_the_png_holds_the_pixels() -> None:
    image = generate_image(0, 0, ONE)
    with Image.open(io.BytesIO(image.png())) as read:
        assert read.format == "PNG"
        assert np.array_equal(np.asarray(read), image.pixels)

"""Images and boxes that a corpus takes, changes or refuses."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from raw_data import encoded, picture

from medmo_ray.corpus.checks import (
    Unusable,
    check_boxes,
    check_image,
    difference_hash,
    in_answer_order,
    keep_picture_memory,
)
from rewards.boxes import LabelledBox, format_boxes, parse_boxes

PNG, JPEG = encoded(picture(0)), encoded(picture(0), "JPEG")


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


@pytest.mark.parametrize(("data", "form"), [(PNG, "png"), (JPEG, "jpeg")])
def test_png_and_jpeg_are_stored_as_they_are(data: bytes, form: str) -> None:
    image = check_image("x", data).image
    assert (image.bytes, image.format, image.width_px, image.height_px) == (data, form, 64, 48)


@pytest.mark.parametrize("form", ["TIFF", "BMP", "WEBP", "GIF"])
def test_other_formats_become_png_with_the_same_pixels(form: str) -> None:
    data = encoded(picture(0), form)
    image = check_image("x", data).image
    assert image.format == "png"
    before, after = (np.asarray(Image.open(io.BytesIO(d)).convert("RGB")) for d in (data, image.bytes))
    assert np.array_equal(before, after)


def test_sixteen_bits_are_scaled_to_eight_from_minimum_to_maximum() -> None:
    values = np.linspace(1000, 60000, 32 * 32).reshape(32, 32).astype(np.uint16)
    image = check_image("x", encoded(Image.fromarray(values), "PNG")).image
    pixels = np.asarray(Image.open(io.BytesIO(image.bytes)))
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(float) - (values - 1000.0) * 255 / 59000).max() <= 0.5


def test_a_flat_sixteen_bit_image_is_black() -> None:
    image = check_image("x", encoded(Image.fromarray(np.full((32, 32), 700, np.uint16)), "PNG")).image
    assert np.asarray(Image.open(io.BytesIO(image.bytes))).max() == 0


def test_equal_pictures_in_different_files_have_the_same_pixels() -> None:
    assert check_image("a", PNG).pixels == check_image("b", encoded(picture(0), "BMP")).pixels
    assert check_image("a", PNG).pixels != check_image("b", encoded(picture(1))).pixels


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an image"),
        (b"<html>not found</html>", "not an image"),
        (PNG[: len(PNG) // 2], "image cannot be decoded"),
        (JPEG[: len(JPEG) // 2], "image cannot be decoded"),
        (PNG[:60] + b"\x00" * 40 + PNG[100:], "image cannot be decoded"),
        (encoded(picture(0, 15, 64)), "image too small"),
        (encoded(picture(0, 16, 1700)), "image too elongated"),
        (png_header(20_001, 100), "image too large"),
        (png_header(12_000, 12_000), "image too large"),
        (png_header(200_000, 200_000), "image too large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_usable_image_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Unusable) as refused:
        check_image("x", data)
    assert (refused.value.reason, refused.value.excluded) == (reason, False)


def test_pictures_that_look_alike_have_near_hashes() -> None:
    original = picture(3, 256, 192)
    small = original.resize((128, 96), Image.Resampling.BICUBIC)
    again = Image.open(io.BytesIO(encoded(original, "JPEG")))
    others = [difference_hash(picture(n, 256, 192)) for n in range(10, 20)]
    for alike in (small, again):
        assert (difference_hash(alike) ^ difference_hash(original)).bit_count() <= 4
    assert min((other ^ difference_hash(original)).bit_count() for other in others) > 10


def test_the_hash_has_a_bit_for_each_step_to_the_right() -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 252, 28, dtype=np.uint8), (8, 1)))
    assert difference_hash(ramp) == 2**64 - 1
    assert difference_hash(ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) == 0


def test_boxes_come_in_reading_order_without_repeats() -> None:
    given = [
        ("rod", (1, 2, 3, 4)),
        ("cell", (9, 5, 12, 8)),
        ("cell", (1, 5, 4, 8)),
        ("cell", (9, 1, 12, 4)),
        ("rod", (1, 2, 3, 4)),
    ]
    ordered = check_boxes(tuple(LabelledBox(*box) for box in given), 20, 20, 4)
    assert ordered == (("cell", (9, 1, 12, 4)), ("cell", (1, 5, 4, 8)), ("cell", (9, 5, 12, 8)), ("rod", (1, 2, 3, 4)))


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        (("cell", (5, 5, 5, 9)), "box without area"),
        (("cell", (9, 5, 5, 9)), "box without area"),
        (("cell", (-1, 5, 5, 9)), "box outside the image"),
        (("cell", (1, 5, 20.5, 9)), "box outside the image"),
        (("cell", (1, 5, 5, float("inf"))), "box coordinate is no number"),
        (("", (1, 5, 5, 9)), "box label cannot be written"),
        (("a <box> b", (1, 5, 5, 9)), "box label cannot be written"),
    ],
)
def test_a_box_that_cannot_be_is_refused(box: tuple[str, tuple[float, float, float, float]], reason: str) -> None:
    with pytest.raises(Unusable) as refused:
        check_boxes((LabelledBox("cell", (1, 1, 2, 2)), LabelledBox(*box)), 20, 20, 100)
    assert (refused.value.reason, refused.value.excluded) == (reason, False)


def numbered(count: int, label: str) -> tuple[LabelledBox, ...]:
    return tuple(LabelledBox(f"{label}{n:03d}", (n, 1, n + 1, 2)) for n in range(count))


@pytest.mark.parametrize(("count", "label"), [(513, "cell"), (200, "x" * 200), (2, "c" * 300)])
def test_boxes_beyond_what_readers_take_are_refused(count: int, label: str) -> None:
    with pytest.raises(Unusable, match="box label cannot be written"):
        check_boxes(numbered(count, label), 2000, 20, 1000)


@pytest.mark.parametrize(("count", "label"), [(512, "cell"), (60, "x" * 200)])
def test_many_boxes_and_long_labels_are_taken_as_far_as_readers_go(count: int, label: str) -> None:
    assert check_boxes(numbered(count, label), 2000, 20, 1000) == numbered(count, label)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=3, unique=True))
def test_labels_are_taken_if_their_text_gives_them_back(labels: list[str]) -> None:
    boxes = in_answer_order(LabelledBox(label, (n, 1.5, n + 1, 2)) for n, label in enumerate(labels))
    try:
        taken = check_boxes(boxes, 20, 20, 5) == boxes
    except Unusable:
        taken = False
    assert taken == (all(map(str.strip, labels)) and parse_boxes(format_boxes(boxes)).boxes == boxes)


def test_memory_that_is_kept_for_the_next_picture_changes_none() -> None:
    files = [
        encoded(picture(n, *size), form)
        for n, size in enumerate([(400, 900), (64, 48), (1200, 300)])
        for form in ("PNG", "JPEG")
    ]
    before = [check_image("x", data) for data in files]
    keep_picture_memory()
    assert [check_image("x", data) for data in [*files, *files]] == [*before, *before]


def test_a_box_may_fill_the_image() -> None:
    assert len(check_boxes((LabelledBox("cell", (0, 0, 20, 30)),), 20, 30, 1)) == 1


@pytest.mark.parametrize(("count", "reason"), [(0, "no boxes"), (6, "too many boxes")])
def test_an_image_that_the_recipe_leaves_out_is_not_bad(count: int, reason: str) -> None:
    with pytest.raises(Unusable) as refused:
        check_boxes(tuple(LabelledBox("cell", (n, 1, n + 2, 2)) for n in range(count)), 20, 20, 5)
    assert (refused.value.reason, refused.value.excluded) == (reason, True)

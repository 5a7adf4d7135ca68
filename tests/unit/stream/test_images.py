"""Sizes, decoding and patches, against Qwen's own processor."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2.functional import InterpolationMode, resize
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor, smart_resize

from medmo_ray.errors import ConfigError, DataError
from medmo_ray.stream.images import image_tokens, load_pixels, patchify, pixel_values, target_size

HALF = (0.5, 0.5, 0.5)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=form, **options)
    return stream.getvalue()


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def smooth(width: int, height: int) -> Image.Image:
    return Image.fromarray(noise(8, 6)).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(64, 96), (33, 31), (1000, 40), (2000, 1999), (16, 16), (5000, 3000), (48, 80)])
@pytest.mark.parametrize("budget", [(1024, 1280 * 1280), (4096, 65536), (256 * 256, 300 * 300)])
def test_sizes_are_those_of_qwens_processor(size: tuple[int, int], budget: tuple[int, int]) -> None:
    high, wide = smart_resize(size[1], size[0], factor=32, min_pixels=budget[0], max_pixels=budget[1])
    assert target_size(*size, None, *budget) == (wide, high)


def test_a_fixed_side_is_a_square() -> None:
    assert target_size(517, 201, 768) == (768, 768)
    assert image_tokens((768, 768)) == 576


@pytest.mark.parametrize(("size", "side"), [((0, 5), None), ((201 * 4, 4), None), ((4, 201 * 4), 64)])
def test_an_image_that_is_no_image_is_a_bad_sample(size: tuple[int, int], side: int | None) -> None:
    with pytest.raises(DataError, match="1:200"):
        target_size(*size, side)


def test_a_side_between_two_sizes_is_a_wrong_recipe() -> None:
    with pytest.raises(ConfigError, match="use 96"):
        target_size(64, 64, 100)


@pytest.mark.parametrize("size", [(64, 96), (160, 32)])
def test_patches_equal_the_processors(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    stock = Qwen2VLImageProcessor(
        patch_size=16,
        temporal_patch_size=2,
        merge_size=2,
        image_mean=list(HALF),
        image_std=[0.4, 0.5, 0.6],
        do_resize=False,
    )
    expected = stock(images=[Image.fromarray(pixels)], return_tensors="pt")["pixel_values"]
    found = pixel_values(torch.from_numpy(patchify(pixels)), HALF, (0.4, 0.5, 0.6))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_resized_image_equals_the_processors() -> None:
    image = smooth(150, 100)
    stock = Qwen2VLImageProcessor(
        patch_size=16, temporal_patch_size=2, merge_size=2, image_mean=list(HALF), image_std=list(HALF),
        size={"shortest_edge": 1024, "longest_edge": 100 * 100},
    )  # fmt: skip
    expected = stock(images=[image], return_tensors="pt")["pixel_values"]
    size = target_size(150, 100, None, 1024, 100 * 100)
    found = pixel_values(torch.from_numpy(patchify(load_pixels(encoded(image), size))), HALF, HALF)
    # Both round to whole levels of 1/127.5, in another order: at most one level apart.
    torch.testing.assert_close(found, expected, rtol=0, atol=1 / 127.5 + 1e-6)


KINDS = [
    *(("PNG", mode) for mode in ("RGB", "L", "RGBA", "LA", "P", "1")),
    *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
    *(("BMP", mode) for mode in ("RGB", "L", "P")),
    *(("TIFF", mode) for mode in ("RGB", "L", "CMYK")),
]


@pytest.mark.parametrize(("form", "mode"), KINDS)
def test_every_kind_of_image_becomes_the_colours_that_pillow_sees(form: str, mode: str) -> None:
    raw = encoded(smooth(64, 64).convert(mode), form)
    found = load_pixels(raw, (64, 64)).astype(int)
    expected = np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")).astype(int)
    assert found.shape == (64, 64, 3)
    assert np.abs(found - expected).max() <= (2 if form == "JPEG" else 0)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(96, 64), (160, 224)])
def test_decoding_and_resizing_are_torchvisions(form: str, size: tuple[int, int]) -> None:
    raw = encoded(smooth(150, 100), form)
    image = decode_image(torch.frombuffer(bytearray(raw), dtype=torch.uint8), ImageReadMode.RGB)
    shown = resize(image, [size[1], size[0]], InterpolationMode.BICUBIC, antialias=True)
    np.testing.assert_array_equal(load_pixels(raw, size), shown.permute(1, 2, 0).numpy())


def test_sixteen_bit_grey_is_scaled_to_eight() -> None:
    levels = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    found = load_pixels(encoded(Image.fromarray(levels)), (64, 64))
    np.testing.assert_array_equal(found, np.repeat(np.rint(levels / 257).astype(np.uint8)[:, :, None], 3, axis=2))


def test_a_photograph_keeps_its_place_when_it_shrinks() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[100:, :100] = (255, 0, 0)
    for form in ("PNG", "JPEG"):
        found = load_pixels(encoded(Image.fromarray(picture), form), (64, 64))
        assert found[48, 16, 0] > 240
        assert found[48, 48].max() < 15
        assert found[16].max() < 15


@pytest.mark.parametrize("raw", [b"", b"no image", b"\xff\xd8\xff\xe0 cut off", encoded(smooth(64, 64))[:60]])
def test_bytes_that_are_no_image_are_a_bad_sample(raw: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_pixels(raw, (64, 64))


def test_a_real_photograph_is_read_like_pillow_reads_it(real_folder: Callable[[str], Path]) -> None:
    file = min(real_folder("BCCD").rglob("*.jpg"))
    image = Image.open(file)
    size = target_size(*image.size, None, 1024, 256 * 256)
    found = load_pixels(file.read_bytes(), size).astype(int)
    expected = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(found - expected).max() <= 3

"""From an encoded image to the patches that Qwen3-VL reads.

Patches travel as uint8, once for both frames of Qwen's temporal patch: an eighth of the float32 that the stock processor
hands over. `pixel_values` normalises them where the model is.

torch is imported where it is used: a reader whose images need no resizing starts without it.
"""

import io
import math
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmo_ray.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

PATCH_PX = 16
MERGE = 2
CELL_PX = PATCH_PX * MERGE
"""Side of the square that becomes one token of the language model."""
PATCH_VALUES = 3 * PATCH_PX * PATCH_PX
MAX_ASPECT = 200
"""Longer images have no size that Qwen's processor accepts."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_RGB = 3
"""torchvision's `ImageReadMode.RGB`."""


def target_size(
    width: int,
    height: int,
    image_side_px: int | None = None,
    min_pixels: int = CELL_PX**2,
    max_pixels: int = 1280 * 1280,
) -> tuple[int, int]:
    """Width and height at which the model sees an image, multiples of 32.

    Args:
        width: of the stored image, pixels.
        height: of the stored image, pixels.
        image_side_px: side of the square that every image becomes (stages 1 and 2 of the paper); None keeps the aspect
            within the budget.
        min_pixels: least area.
        max_pixels: largest area.

    Returns:
        (width, height).

    Raises:
        ConfigError: `image_side_px` is no multiple of 32, or the budget is empty.
        DataError: the image has no area, or is more than 200 times as long as wide.

    Source: supplementary tables 1 and 2; `smart_resize` of Qwen2-VL's image processor.
    """
    if width < 1 or height < 1 or max(width, height) > MAX_ASPECT * min(width, height):
        raise DataError(
            f"An image of {width} × {height} px cannot be shown: its aspect must be at most 1:{MAX_ASPECT}."
        )
    if image_side_px is not None:
        if image_side_px % CELL_PX:
            raise ConfigError(
                f"image_side_px={image_side_px} is no multiple of {CELL_PX}: use "
                f"{max(1, round(image_side_px / CELL_PX)) * CELL_PX}"
            )
        return image_side_px, image_side_px
    if not CELL_PX**2 <= min_pixels <= max_pixels:
        raise ConfigError(f"min_pixels={min_pixels} and max_pixels={max_pixels} must satisfy 1024 ≤ min ≤ max")
    # Python's round, as in Qwen's processor: halves go to the even neighbour.
    wide, high = round(width / CELL_PX) * CELL_PX, round(height / CELL_PX) * CELL_PX
    if wide * high > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        wide = max(CELL_PX, math.floor(width / shrink / CELL_PX) * CELL_PX)
        high = max(CELL_PX, math.floor(height / shrink / CELL_PX) * CELL_PX)
    elif wide * high < min_pixels:
        grow = math.sqrt(min_pixels / (width * height))
        wide = math.ceil(width * grow / CELL_PX) * CELL_PX
        high = math.ceil(height * grow / CELL_PX) * CELL_PX
    return wide, high


def image_tokens(size: tuple[int, int]) -> int:
    """Tokens of the language model that an image of this (width, height) takes."""
    return (size[0] // CELL_PX) * (size[1] // CELL_PX)


def load_pixels(encoded: bytes | memoryview, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode an image to RGB at a size.

    Grey becomes three equal channels, alpha is dropped, 16 bits are scaled to 8.

    Args:
        encoded: PNG, JPEG or anything that Pillow reads.
        size: (width, height) wanted; resizing is bicubic with antialiasing.

    Returns:
        uint8, height × width × 3.

    Raises:
        DataError: the bytes are no image that can be read.
    """
    if _needs_pillow(encoded):
        pixels = _decode_pillow(encoded)
        if pixels.shape[:2] == (size[1], size[0]):
            return pixels
        return _resized(pixels, size)
    if bytes(encoded[:8]) == _PNG and _png_size(encoded) == size:
        return _decode_pillow(encoded)  # lossless: the same pixels, and no need for torch
    return _resized(_decode_torch(encoded), size)


def load_decoders() -> None:
    """Import what most images need; else the first of them does."""
    _image_operators()


def patchify(pixels: NDArray[np.uint8], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Cut an image into patches in the order of Qwen's processor: the four patches of a token stand together.

    Args:
        pixels: height × width × 3, sides multiples of 32.
        out: where to write; None allocates.

    Returns:
        uint8 [patches, 768], a row being channel × row × column of a 16 × 16 patch.
    """
    high, wide = pixels.shape[0] // PATCH_PX, pixels.shape[1] // PATCH_PX
    if out is None:
        out = np.empty((high * wide, PATCH_VALUES), np.uint8)
    cells = pixels.reshape(high // MERGE, MERGE, PATCH_PX, wide // MERGE, MERGE, PATCH_PX, 3)
    target = out.reshape(high // MERGE, wide // MERGE, MERGE, MERGE, 3, PATCH_PX, PATCH_PX)
    np.copyto(target, cells.transpose(0, 3, 1, 4, 6, 2, 5))
    return out


def pixel_values(patches: "torch.Tensor", mean: tuple[float, ...], std: tuple[float, ...]) -> "torch.Tensor":
    """Normalise patches on the device they are on and repeat them for the two frames of a temporal patch.

    Args:
        patches: uint8 [P, 768].
        mean: of each channel, in 0 … 1.
        std: of each channel, in 0 … 1.

    Returns:
        float32 [P, 1536], equal to `pixel_values` of Qwen's processor.
    """
    import torch

    shape = (1, 3, 1, 1)
    shift = torch.tensor(mean, device=patches.device).mul_(255).view(shape)
    scale = torch.tensor(std, device=patches.device).mul_(255).view(shape)
    values = (patches.view(-1, 3, 1, PATCH_PX**2).float() - shift) / scale
    return values.expand(-1, -1, 2, -1).reshape(len(patches), 2 * PATCH_VALUES)


def _needs_pillow(encoded: bytes | memoryview) -> bool:
    """Whether torchvision would read another picture than Pillow: anything but JPEG and PNG of 8 bits a channel."""
    head = bytes(encoded[:25])
    if head[:8] == _PNG:
        return len(head) < 25 or head[24] != 8
    return head[:2] != _JPEG


def _png_size(encoded: bytes | memoryview) -> tuple[int, int]:
    return int.from_bytes(encoded[16:20], "big"), int.from_bytes(encoded[20:24], "big")


def _decode_pillow(encoded: bytes | memoryview) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.load()
            if image.mode.startswith("I") or image.mode == "F":
                return _eight_bits(np.asarray(image))
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"An image of {len(encoded)} bytes cannot be read: {error}.") from error


def _eight_bits(grey: NDArray[Any]) -> NDArray[np.uint8]:
    """16-bit grey as three equal 8-bit channels: 65535 becomes 255."""
    levels = np.clip(grey, 0, 65535) / 257
    return np.repeat(np.rint(levels).astype(np.uint8)[:, :, None], 3, axis=2)


def _decode_torch(encoded: bytes | memoryview) -> NDArray[np.uint8]:
    import torch

    raw = torch.from_numpy(np.frombuffer(encoded, np.uint8).copy())
    try:
        return _image_operators().decode_image(raw, _RGB, False).permute(1, 2, 0).numpy()
    except RuntimeError:
        # What libjpeg or libpng refuses outright (CMYK, a cut-off end), Pillow reads or names.
        return _decode_pillow(encoded)


@cache
def _image_operators() -> Any:
    """torchvision's decoders, without torchvision itself, whose import takes a reader longer than torch's library.

    Its package brings them as a library of operators; where that is built otherwise, the package is imported.
    """
    import torch

    package = find_spec("torchvision")
    library = Path(package.origin).parent / "image.so" if package and package.origin else Path()
    if library.is_file():
        torch.ops.load_library(library)
    else:
        import torchvision.io  # noqa: F401 - registers them
    return torch.ops.image


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if pixels.shape[:2] == (size[1], size[0]):
        return np.ascontiguousarray(pixels)
    import torch
    from torch.nn.functional import interpolate

    # Channels stay last in memory: torch's uint8 kernel is twice as fast on that layout.
    image = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    shown = interpolate(image, (size[1], size[0]), mode="bicubic", antialias=True)
    return np.ascontiguousarray(shown.permute(0, 2, 3, 1)[0].numpy())

"""Corpus images for the page: found by sample id, made small, written into the page itself."""

import base64
import io
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from PIL import Image

from medmo_ray.corpus.manifest import Manifest
from medmo_ray.corpus.read import read_row_group
from medmo_ray.errors import DataError

MAX_SIDE_PX = 384
MAX_JPEG_BYTES = 64 * 1024
QUALITIES = (85, 70, 50, 30, 10)


def find_images(
    corpus: Path, manifest: Manifest, ids: Collection[str], note: Callable[[str], None]
) -> dict[str, tuple[bytes, float]]:
    """The first image of each sample as a small JPEG, with its width / height.

    Only the row groups that hold a wanted id are read whole. An image that is not there or cannot be decoded is left out.

    Args:
        corpus: directory of the corpus.
        manifest: of that corpus.
        ids: of held-out samples.
        note: told what could not be read.
    """
    wanted = set(ids)
    found: dict[str, tuple[bytes, float]] = {}
    for shard in manifest.select("held_out"):
        for group in range(len(shard.row_groups)):
            if not wanted:
                return found
            try:
                here = wanted.intersection(read_row_group(corpus, shard, group, ["id"]).column("id").to_pylist())
                rows = read_row_group(corpus, shard, group, ["id", "images"]).to_pylist() if here else []
            except DataError as error:
                note(str(error))
                continue
            for row in rows:
                if row["id"] in here and row["images"]:
                    small = _small(row["id"], row["images"][0]["bytes"], note)
                    found.update({row["id"]: small} if small else {})
            wanted -= here
    if wanted:
        note(f"{len(wanted)} held-out images are not in the corpus {corpus}, the first: {min(wanted)}")
    return found


def small_jpeg(image: Image.Image) -> bytes:
    """An image as a JPEG of at most MAX_SIDE_PX a side and MAX_JPEG_BYTES; depths beyond 8 bits are stretched to 8."""
    image = _to_rgb(image)
    image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS)
    data = b""
    for quality in QUALITIES:
        stream = io.BytesIO()
        image.save(stream, format="JPEG", quality=quality, optimize=True)
        data = stream.getvalue()
        if len(data) <= MAX_JPEG_BYTES:
            break
    return data


def data_uri(jpeg: bytes) -> str:
    """A JPEG as the address of an image element."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _small(name: str, data: bytes, note: Callable[[str], None]) -> tuple[bytes, float] | None:
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        note(f"the image of {name} cannot be decoded ({error})")
        return None
    return small_jpeg(image), image.width / image.height


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":
        values = np.asarray(image, dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        image = Image.fromarray(((values - low) / max(high - low, 1e-9) * 255).astype(np.uint8))
    return image.convert("RGB")

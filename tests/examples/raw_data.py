"""Small raw data sets on disk, made to order for tests of the corpus."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Boxes = Sequence[tuple[str, tuple[float, float, float, float]]]


def picture(number: int, width: int = 64, height: int = 48) -> Image.Image:
    """A picture of its own for each number, with areas that compress."""
    coarse = np.random.default_rng(number).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    """The bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, format=form)
    return stream.getvalue()


def voc_xml(boxes: Boxes) -> str:
    """A Pascal VOC annotation."""
    things = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, (x1, y1, x2, y2) in boxes
    )
    return f"<annotation><size><width>64</width><height>48</height></size>{things}</annotation>"


def write_voc(root: Path, annotations: dict[str, Boxes], test: Sequence[str] = ()) -> Path:
    """A Pascal VOC folder with a picture for each annotation; `test` names the held-out ones."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, (name, boxes) in enumerate(annotations.items()):
        (root / "JPEGImages" / f"{name}.png").write_bytes(encoded(picture(number)))
        (root / "Annotations" / f"{name}.xml").write_text(voc_xml(boxes))
    if test:
        (root / "ImageSets/Main/test.txt").write_text("".join(f"{name}\n" for name in test))
        train = [name for name in annotations if name not in test]
        (root / "ImageSets/Main/trainval.txt").write_text("".join(f"{name}\n" for name in train))
    return root


def many_boxes(count: int) -> dict[str, Boxes]:
    """Annotations for so many pictures: one or two objects, no two alike."""
    return {
        f"image-{n:03d}": [("cell", (n % 20, 3, 30 + n % 20, 40))] + ([("rod", (5, n % 11, 9, 20))] if n % 3 else [])
        for n in range(count)
    }


def write_pictures(folder: Path, *names: str) -> None:
    """A picture of 64 x 48 px under each name."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(number)))

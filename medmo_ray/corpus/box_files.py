"""Boxes in files beside images: YOLO's text and Pascal VOC's XML.

Sources: docs.ultralytics.com/datasets/detect; the VOC2012 development kit.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import yaml

from medmo_ray.corpus.checks import Unusable
from medmo_ray.corpus.layout import within
from medmo_ray.errors import DataError
from rewards.boxes import Corners, LabelledBox


def yolo_boxes(content: str, size: tuple[int, int], names: Sequence[str], file: str) -> tuple[LabelledBox, ...]:
    """The boxes of a YOLO text: `class centre_x centre_y width height` on each line, or a polygon `class x1 y1 x2 y2 …`.

    Args:
        content: The text; lines without words say nothing.
        size: (width, height) of the image in pixels, which the text gives shares of.
        names: Names of the classes by their number.
        file: Name of the text, for messages.

    Raises:
        Unusable: A line is something else, or of an unknown class.
    """
    boxes = []
    for number, line in enumerate(content.splitlines(), start=1):
        if words := line.split():
            try:
                label, corners = names[_index(words[0])].strip(), _corners([float(word) for word in words[1:]])
            except (ValueError, IndexError) as error:
                raise Unusable("annotation cannot be read", f"{file}, line {number}: {line!r} ({error})") from error
            x1, y1, x2, y2 = corners
            boxes.append(LabelledBox(label, within((x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1]), size)))
    return tuple(boxes)


def yolo_names(path: Path) -> list[str]:
    """Names of the classes in a YOLO .yaml file; none where it has no `names`.

    Raises:
        DataError: It is no YAML, or its names are not numbered from 0.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
    except yaml.YAMLError as error:
        raise DataError(f"{path} is no YAML: {error}. Repair it or move it out of the raw data's folder.") from error
    names = found.get("names") if isinstance(found, dict) else None
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise DataError(f"{path}: the keys of `names` are {list(names)}, not 0 to {len(names) - 1}.")
        names = [names[n] for n in range(len(names))]
    return [str(name) for name in names] if isinstance(names, list) else []


def voc_boxes(content: str | bytes, file: str) -> tuple[LabelledBox, ...]:
    """The boxes of a Pascal VOC annotation, corners as the file has them.

    The tools that write VOC today (LabelImg, CVAT) count from 0 and put the lower right corner after the last pixel,
    while the kit itself counted pixels from 1.

    Raises:
        Unusable: It is no XML, or an object has no name or not four corners.
    """
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Unusable("annotation cannot be read", f"{file}: {error}") from error
    boxes = []
    for thing in root.iter("object"):
        label = (thing.findtext("name") or "").strip()
        box = thing.find("bndbox")
        corners = [None if box is None else box.findtext(corner) for corner in ("xmin", "ymin", "xmax", "ymax")]
        try:
            x1, y1, x2, y2 = (float(corner or "") for corner in corners)
        except ValueError as error:
            raise Unusable("annotation cannot be read", f"{file}: corners {corners} of {label!r}") from error
        if not label:
            raise Unusable("annotation cannot be read", f"{file}: an object without a name")
        boxes.append(LabelledBox(label, (x1, y1, x2, y2)))
    return tuple(boxes)


def _index(word: str) -> int:
    index = int(word)
    if index < 0:
        raise ValueError("the class is negative")
    return index


def _corners(numbers: list[float]) -> Corners:
    """(x1, y1, x2, y2) in shares of the image, of a box, of a box with a confidence, or of a polygon."""
    if len(numbers) in (4, 5):
        x, y, width, height = numbers[:4]
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"{len(numbers)} numbers are neither a box nor a polygon")
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])

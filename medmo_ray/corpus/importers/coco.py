"""COCO: one JSON file with images, categories and boxes for each split.

Source: cocodataset.org/#format-data; `bbox` is [x, y, width, height] in pixels from the upper left corner.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from medmo_ray.corpus.checks import Unusable
from medmo_ray.corpus.layout import SPLIT_NAMES, image_size, own_sides, within
from medmo_ray.corpus.registry import Annotated, Importer, RawImage, RawRecord, importer
from medmo_ray.errors import DataError
from rewards.boxes import LabelledBox

_PARTS = ("images", "annotations", "categories")


@importer("coco")
class Coco(Importer):
    """annotations/*.json, *.json or SPLIT/*.json, with the images beside the file, in images/ or in a folder of the split."""

    layout = (
        "a .json file with images, annotations and categories, in the folder, in annotations/ or in a folder for each "
        "split, and the images beside it, in images/ or in the split's folder"
    )

    def list_records(self) -> list[RawRecord]:
        sets = {path: found for path in sorted(self._json_files()) if (found := _read_set(path)) is not None}
        if not any(found["images"] for found in sets.values()):
            raise self.wrong_layout()
        sides = own_sides(split for path in sets if (split := _split_of(path)))
        records = []
        for path, found in sets.items():
            labels = {category["id"]: str(category["name"]) for category in found["categories"]}
            boxes = defaultdict(list)
            for thing in found["annotations"]:
                boxes[thing["image_id"]].append(_box(thing, labels))
            split = _split_of(path)
            file = path.relative_to(self.root).as_posix()
            for row, image in enumerate(found["images"]):
                detail = {"image": str(image["file_name"]), "boxes": json.dumps(boxes[image["id"]])}
                if split in sides:
                    detail["split"] = sides[split]
                records.append(RawRecord(f"{file.removesuffix('.json')}/{image['id']}", file, row, detail))
        return records

    def _json_files(self) -> list[Path]:
        return [path for pattern in ("*.json", "*/*.json") for path in self.root.glob(pattern) if path.is_file()]

    def read(self, record: RawRecord) -> Annotated:
        annotation, name = self.root / record.file, record.detail["image"]
        path = self._find(annotation, name)
        data = path.read_bytes()
        size = image_size(data)
        boxes = []
        for label, xywh, is_crowd in json.loads(record.detail["boxes"]):
            if is_crowd:
                raise Unusable("box around a crowd", f"{label} {xywh}: how many are in it is not known", excluded=True)
            if label is None or not _is_box(xywh):
                raise Unusable("annotation cannot be read", f"category {label!r}, bbox {xywh}")
            x, y, width, height = map(float, xywh)
            boxes.append(LabelledBox(label, within((x, y, x + width, y + height), size)))
        image = RawImage(path.relative_to(self.root).as_posix(), data)
        return Annotated((image,), tuple(boxes), split=record.detail.get("split"))

    def _find(self, annotation: Path, name: str) -> Path:
        stem = annotation.stem
        for folder in (
            annotation.parent,
            self.root,
            self.root / "images",
            self.root / stem,
            self.root / stem.split("_")[-1],
        ):
            if (folder / name).is_file():
                return folder / name
        raise Unusable(
            "annotation without an image", f"{name} is not beside {annotation.name}, in images/ or in {stem}/"
        )


def _read_set(path: Path) -> dict[str, Any] | None:
    """A COCO file, or None where a JSON file holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}. Repair it or move it out of the raw data's folder.") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(part), list) for part in _PARTS):
        return None
    for part, keys in (("images", ("id", "file_name")), ("annotations", ("image_id",)), ("categories", ("id", "name"))):
        for row, entry in enumerate(found[part]):
            if not isinstance(entry, dict) or any(key not in entry for key in keys):
                raise DataError(f"{path}: entry {row} of {part!r} lacks one of {', '.join(keys)}. Repair the file.")
    return found


def _split_of(path: Path) -> str | None:
    """The split that a file or its folder is named after: instances_val2017, train/_annotations.coco."""
    for word in (*reversed(path.stem.split("_")), path.parent.name):
        if (name := word.rstrip("0123456789")).lower() in SPLIT_NAMES:
            return name
    return None


def _box(thing: dict[str, Any], labels: dict[Any, str]) -> tuple[str | None, Any, bool]:
    return labels.get(thing.get("category_id")), thing.get("bbox"), bool(thing.get("iscrowd"))


def _is_box(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(isinstance(c, int | float) for c in value)

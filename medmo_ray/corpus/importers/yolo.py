"""YOLO: a text file with boxes beside every image, in shares of its width and height.

Source: docs.ultralytics.com/datasets/detect: `class centre_x centre_y width height`, or a polygon `class x1 y1 x2 y2 …`;
an image without a text file, or with an empty one, shows none of the objects.
"""

from pathlib import Path

import yaml

from medmo_ray.corpus.checks import Unusable
from medmo_ray.corpus.layout import files_by_stem, image_size, own_sides, within
from medmo_ray.corpus.registry import Annotated, Importer, RawImage, RawRecord, importer
from medmo_ray.errors import DataError
from rewards.boxes import Corners, LabelledBox

_NAME_FILES = ("classes.txt", "obj.names", "names.txt")


@importer("yolo")
class Yolo(Importer):
    """images/[SPLIT/] beside labels/[SPLIT/], or SPLIT/images beside SPLIT/labels; names in a .yaml or classes.txt."""

    layout = (
        "images/ beside labels/ (one .txt of the same name for each image; folders for splits inside, or outside as "
        "SPLIT/images), and the names of the classes in a .yaml file (names: …) or in classes.txt"
    )

    def list_records(self) -> list[RawRecord]:
        folders = [*self._folders()]
        if not folders:
            raise self.wrong_layout()
        names = self._names()
        sides = own_sides(split for _, _, split in folders if split)
        records = []
        for images, labels, split in folders:
            notes = files_by_stem(labels, (".txt",)) if labels.is_dir() else {}
            for stem, path in files_by_stem(images).items():
                detail = {"names": names} | ({"split": sides[split]} if split in sides else {})
                if stem in notes:
                    detail["labels"] = notes[stem].relative_to(self.root).as_posix()
                key = f"{split}/{stem}" if split else stem
                records.append(RawRecord(key, path.relative_to(self.root).as_posix(), detail=detail))
        return records

    def _folders(self) -> list[tuple[Path, Path, str]]:
        """(images, labels, split) of each folder that holds images; the split is empty where there is none."""
        top, found = self.root / "images", []
        inside = [p for p in sorted(top.iterdir()) if p.is_dir()] if top.is_dir() else []
        for images, split in ((top, ""), *((p, p.name) for p in inside)):
            found.append((images, self.root / "labels" / split, split))
        for split_dir in sorted(p for p in self.root.iterdir() if p.is_dir()):
            found.append((split_dir / "images", split_dir / "labels", split_dir.name))
        has_labels = any(labels.is_dir() for _, labels, _ in found)
        return [f for f in found if has_labels and f[0].is_dir() and files_by_stem(f[0])]

    def _names(self) -> str:
        """Names of the classes, one a line, in their order."""
        for path in sorted((*self.root.glob("*.yaml"), *self.root.glob("*.yml"))):
            names = _yaml_names(path)
            if names:
                return "\n".join(names)
        for name in _NAME_FILES:
            if (self.root / name).is_file():
                return (self.root / name).read_text().strip()
        raise DataError(
            f"{self.root} says nowhere what its classes are called. Expected: a .yaml file with `names`, or "
            f"one of {', '.join(_NAME_FILES)} with a name on each line."
        )

    def read(self, record: RawRecord) -> Annotated:
        data = (self.root / record.file).read_bytes()
        size, names = image_size(data), record.detail["names"].split("\n")
        boxes = []
        note = record.detail.get("labels")
        for number, line in enumerate((self.root / note).read_text().splitlines() if note else (), start=1):
            if words := line.split():
                try:
                    label, corners = names[_index(words[0])].strip(), _corners([float(w) for w in words[1:]])
                except (ValueError, IndexError) as error:
                    raise Unusable("annotation cannot be read", f"{note}, line {number}: {line!r} ({error})") from error
                x1, y1, x2, y2 = corners
                box = within((x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1]), size)
                boxes.append(LabelledBox(label, box))
        return Annotated((RawImage(record.file, data),), tuple(boxes), split=record.detail.get("split"))


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


def _yaml_names(path: Path) -> list[str]:
    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise DataError(f"{path} is no YAML: {error}. Repair it or move it out of the raw data's folder.") from error
    names = found.get("names") if isinstance(found, dict) else None
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DataError(f"{path}: the keys of `names` are {sorted(names)}, not 0 to {len(names) - 1}.")
        names = [names[n] for n in range(len(names))]
    return [str(name) for name in names] if isinstance(names, list) else []

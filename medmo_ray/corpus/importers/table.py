"""CSV: one row for each box, with the image it lies on.

The columns are found by their names, in any order; each has several that are in use (`_ALIASES`). A box is
x1, y1, x2, y2 or x, y, width, height, in pixels. The header of NIH ChestX-ray14 (`Image Index,Finding Label,Bbox [x,y,w,h]`)
is one of those that are understood.
"""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

from medmo_ray.corpus.checks import Unusable
from medmo_ray.corpus.layout import image_size, own_sides, within
from medmo_ray.corpus.registry import Annotated, Importer, RawImage, RawRecord, importer
from medmo_ray.errors import DataError
from rewards.boxes import LabelledBox

_ALIASES = {
    "image": ("image", "imageindex", "imagename", "imagepath", "imageid", "filename", "filepath", "file", "path"),
    "label": ("label", "class", "classname", "category", "finding", "findinglabel", "name"),
    "x1": ("x1", "xmin", "left", "x", "bboxx"),
    "y1": ("y1", "ymin", "top", "y", "bboxy"),
    "x2": ("x2", "xmax", "right"),
    "y2": ("y2", "ymax", "bottom"),
    "width": ("width", "w", "bboxw", "bboxwidth"),
    "height": ("height", "h", "bboxh", "bboxheight"),
    "split": ("split", "subset", "fold"),
    "patient": ("patient", "patientid", "subject", "subjectid"),
}
_NEEDED = ("image", "label", "x1", "y1")
_SHAPES = (("x2", "y2"), ("width", "height"))

Row = dict[str, str]


@importer("csv")
class Table(Importer):
    """*.csv in the folder; images in it, in images/ or at the path that the row says."""

    layout = (
        "a .csv file with a header and a row for each box: image, label, x1, y1, x2, y2 (or x, y, width, height), in "
        "pixels, and perhaps split and patient; the images beside it or in images/"
    )

    def list_records(self) -> list[RawRecord]:
        tables = {path: _read_rows(path) for path in sorted(self.root.glob("*.csv"))}
        rows_of: dict[str, list[tuple[str, int, Row]]] = {}
        for path, rows in tables.items():
            for number, row in enumerate(rows or ()):
                rows_of.setdefault(row["image"], []).append((path.name, number, row))
        if not rows_of:
            raise self.wrong_layout()
        sides = own_sides({row["split"] for rows in rows_of.values() for _, _, row in rows if row.get("split")})
        records = []
        for image, found in rows_of.items():
            file, number, first = found[0]
            detail = {"image": image, "rows": json.dumps([row for _, _, row in found])}
            detail |= {"split": sides[first["split"]]} if first.get("split") in sides else {}
            detail |= {"patient": first["patient"]} if first.get("patient") else {}
            records.append(RawRecord(image, file, number, detail))
        return records

    def read(self, record: RawRecord) -> Annotated:
        name = record.detail["image"]
        path = next((p for p in (self.root / name, self.root / "images" / name) if p.is_file()), None)
        if path is None:
            raise Unusable("annotation without an image", f"{name} is neither beside {record.file} nor in images/")
        data = path.read_bytes()
        size = image_size(data)
        boxes = tuple(_box(row, size) for row in json.loads(record.detail["rows"]) if row["label"] or row["x1"])
        image = RawImage(path.relative_to(self.root).as_posix(), data)
        detail = record.detail
        return Annotated((image,), boxes, split=detail.get("split"), patient_id=detail.get("patient"))


def _read_rows(path: Path) -> list[Row] | None:
    """The rows by our names of the columns; None where the file is another kind of table."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            columns = _columns(next(reader, []))
            if columns is None:
                return None
            return list(_named(reader, columns))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}. Save it as UTF-8, or move it elsewhere.") from error


def _columns(header: list[str]) -> dict[str, int] | None:
    words = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in header]
    found = {name: words.index(alias) for name, known in _ALIASES.items() for alias in known[::-1] if alias in words}
    has_box = any(all(name in found for name in shape) for shape in _SHAPES)
    return found if has_box and all(name in found for name in _NEEDED) else None


def _named(reader: Iterator[list[str]], columns: dict[str, int]) -> Iterator[Row]:
    for row in reader:
        if any(cell.strip() for cell in row):
            yield {name: row[place].strip() if place < len(row) else "" for name, place in columns.items()}


def _box(row: Row, size: tuple[int, int]) -> LabelledBox:
    try:
        x1, y1 = float(row["x1"]), float(row["y1"])
        if "x2" in row and "y2" in row:
            x2, y2 = float(row["x2"]), float(row["y2"])
        else:
            x2, y2 = x1 + float(row["width"]), y1 + float(row["height"])
    except ValueError as error:
        raise Unusable("annotation cannot be read", f"{row} ({error})") from error
    return LabelledBox(row["label"], within((x1, y1, x2, y2), size))

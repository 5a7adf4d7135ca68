"""Published rows of the box datasets, against counts that their publishers and others found in them.

The pictures that belong to the rows are not at hand: one of the right size and depth stands in for each.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from raw_pictures import picture_file

from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.corpus.checks import Unusable
from medmo_ray.corpus.records import check_record
from medmo_ray.corpus.registry import open_source


def test_nih_has_984_boxes_on_880_images_of_the_test_list(real_folder: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copy(real_folder("NIH-ChestXray") / "BBox_List_2017.csv", tmp_path)
    source = open_source(CorpusRecipe(source="nih_chest_xray", path=str(tmp_path)))
    records = source.list_records()
    assert len(records) == 880
    (tmp_path / "images").mkdir()
    stand_in = picture_file({"size": [1024, 1024], "type": "uint8"})
    labels: Counter[str] = Counter()
    for record in records:
        image = tmp_path / "images" / record.key
        image.write_bytes(stand_in)
        annotated = source.read(record)
        image.unlink()
        labels.update(label for label, _ in annotated.boxes)
        assert annotated.split == "held_out"
        assert all(0 <= x1 < x2 <= 1024 and 0 <= y1 < y2 <= 1024 for _, (x1, y1, x2, y2) in annotated.boxes)
    # Counted in the published file by others: 984 boxes, here by finding.
    assert labels == {
        "Atelectasis": 180,
        "Cardiomegaly": 146,
        "Effusion": 153,
        "Infiltration": 123,
        "Mass": 85,
        "Nodule": 79,
        "Pneumonia": 120,
        "Pneumothorax": 98,
    }


def test_deeplesion_rows_become_slices(real_folder: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copy(real_folder("DeepLesion") / "DL_info_sample.csv", tmp_path / "DL_info.csv")
    for name in ("000089_01_01/037", "000091_03_01/093", "000092_02_03/212"):
        path = tmp_path / "Images_png" / f"{name}.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(picture_file({"size": [512, 512], "ground": 32768}))
    source = open_source(CorpusRecipe(source="deeplesion", path=str(tmp_path)))
    found = {}
    for record in source.list_records():
        try:
            found[record.key] = check_record(source, record).annotated
        except Unusable as unusable:
            assert unusable.reason == "image is not there"
    assert len(source.list_records()) == 8
    assert {name: (len(each.boxes), each.split, each.patient_id) for name, each in found.items()} == {
        "000089_01_01_037.png": (1, "train", "89"),
        "000091_03_01_093.png": (2, "held_out", "91"),
        "000092_02_03_212.png": (1, "train", "92"),
    }


def test_ctc_label_images_give_a_box_for_each_cell(real_folder: Callable[[str], Path], tmp_path: Path) -> None:
    masks = sorted((real_folder("CTC-Fluo-N2DL-HeLa") / "01_RES").glob("mask*.tif"))
    assert len(masks) == 4
    for name in ("01", "01_ST/SEG"):
        (tmp_path / name).mkdir(parents=True)
    for mask in masks:
        number = mask.stem.removeprefix("mask")
        shutil.copy(mask, tmp_path / "01_ST" / "SEG" / f"man_seg{number}.tif")
        with Image.open(mask) as picture:
            spec = {"size": list(picture.size), "ground": 33_000, "marks": [[34_000, 0, 0, 50, 50]], "as": "tiff"}
        (tmp_path / "01" / f"t{number}.tif").write_bytes(picture_file(spec))
    source = open_source(CorpusRecipe(source="ctc", path=str(tmp_path), max_boxes_per_image=10_000))
    for record, mask in zip(source.list_records(), masks, strict=True):
        checked = check_record(source, record)
        values = np.asarray(Image.open(mask))
        assert len(checked.boxes) == len(np.unique(values)) - 1
        for _, (x1, y1, x2, y2) in checked.boxes[:10]:
            rows, columns = np.nonzero(values[int(y1) : int(y2), int(x1) : int(x2)])
            assert rows.size and columns.size


def test_dsb2018_masks_give_the_boxes_of_its_index(real_folder: Callable[[str], Path]) -> None:
    root = real_folder("DSB2018-nuclei")
    index = json.loads((root / "index.json").read_text())
    source = open_source(CorpusRecipe(source="masks", path=str(root), label="nucleus", max_boxes_per_image=10_000))
    expected = {Path(entry["image"]).stem: sorted(map(tuple, entry["boxes_xyxy"])) for entry in index}
    found = {record.key: sorted(box for _, box in source.read(record).boxes) for record in source.list_records()}
    assert found.keys() == expected.keys()
    # The index was made from one mask a nucleus; where two overlap, the label image has lost a row of one of them.
    differing = [name for name in found if found[name] != expected[name]]
    assert len(differing) <= 1
    for name in differing:
        assert np.abs(np.subtract(found[name], expected[name])).max() <= 1

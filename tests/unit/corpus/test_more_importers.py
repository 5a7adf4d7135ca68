"""COCO, YOLO, CSV and conversations, read from disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from raw_data import write_pictures

from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.corpus.checks import Unusable
from medmo_ray.corpus.compose import Composer
from medmo_ray.corpus.layout import own_sides, within
from medmo_ray.corpus.records import check_record
from medmo_ray.corpus.registry import Importer, open_source
from medmo_ray.corpus.sample import Sample
from medmo_ray.errors import DataError

Box = tuple[str, tuple[float, ...]]
BOXES: list[Box] = [("rod", (4.0, 6.0, 20.5, 30.0)), ("cell", (32.0, 0.0, 64.0, 48.0))]


def source(name: str, root: Path, **settings: object) -> Importer:
    return open_source(CorpusRecipe(source=name, path=str(root), **settings))


def read_all(importer: Importer) -> dict[str, tuple[list[Box], str | None]]:
    """Boxes and own split of each record."""
    read = {record.key: importer.read(record) for record in importer.list_records()}
    return {key: (list(annotated.boxes), annotated.split) for key, annotated in read.items()}


def reasons(importer: Importer) -> dict[str, str]:
    """Why each unusable record is."""
    found = {}
    for record in importer.list_records():
        try:
            check_record(importer, record)
        except Unusable as unusable:
            found[record.key] = unusable.reason
    return found


# ---- COCO


def coco(*names: str, boxes: list[Box] | None = None) -> dict[str, Any]:
    labels = ["cell", "rod"]
    things = [
        {"image_id": number, "category_id": labels.index(label) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for number in range(len(names))
        for label, (x1, y1, x2, y2) in (BOXES if boxes is None else boxes)
    ]
    return {
        "images": [{"id": number, "file_name": name, "width": 64, "height": 48} for number, name in enumerate(names)],
        "annotations": things,
        "categories": [{"id": n + 1, "name": label} for n, label in enumerate(labels)],
    }


@pytest.mark.parametrize(
    ("files", "keys"),
    [
        (
            {"annotations/instances_train2017.json": "train2017", "annotations/instances_val2017.json": "val2017"},
            ["annotations/instances_train2017/0", "annotations/instances_val2017/0"],
        ),
        (
            {"train/_annotations.coco.json": "train", "valid/_annotations.coco.json": "valid"},
            ["train/_annotations.coco/0", "valid/_annotations.coco/0"],
        ),
    ],
    ids=["the original", "a folder for each split"],
)
def test_coco_reads_both_layouts(tmp_path: Path, files: dict[str, str], keys: list[str]) -> None:
    for number, (file, folder) in enumerate(files.items()):
        write_pictures(tmp_path / folder, f"{number}.png")
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(json.dumps(coco(f"{number}.png")))
    importer = source("coco", tmp_path)
    read = [importer.read(record) for record in importer.list_records()]
    assert [list(r.boxes) for r in read] == [BOXES, BOXES]
    assert [r.split for r in read] == ["train", "held_out"]
    assert [record.key for record in importer.list_records()] == keys


def test_coco_takes_rounding_off_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", "a.png", "b.png", "c.png", "d.png", "e.png")
    found = coco("a.png", "b.png", "c.png", "d.png", "gone.png", boxes=[])
    found["annotations"] = [
        {"image_id": 0, "category_id": 1, "bbox": [31.7, -0.2, 32.4, 48.3]},
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"image_id": 2, "category_id": 9, "bbox": [0, 0, 9, 9]},
        {"image_id": 3, "category_id": 1, "bbox": [0, 0, 9]},
        {"image_id": 4, "category_id": 1, "bbox": [0, 0, 9, 9]},
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(found))
    (tmp_path / "other.json").write_text('{"licence": "CC0"}')
    importer = source("coco", tmp_path)
    assert list(importer.read(importer.list_records()[0]).boxes) == [("cell", (31.7, 0.0, 64.0, 48.0))]
    assert reasons(importer) == {
        "boxes/1": "box around a crowd",
        "boxes/2": "annotation cannot be read",
        "boxes/3": "annotation cannot be read",
        "boxes/4": "annotation without an image",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"images": [', r"boxes.json is no JSON"),
        (
            '{"images": [{"id": 1}], "annotations": [], "categories": []}',
            "entry 0 of 'images' lacks one of id, file_name",
        ),
        ("[]", "holds no coco data"),
        (json.dumps(coco()), "holds no coco data"),
    ],
)
def test_coco_refuses_a_file_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(DataError, match=words):
        source("coco", tmp_path).list_records()


# ---- YOLO


YOLO_LINES = "1 0.19140625 0.375 0.2578125 0.5\n0 0.75 0.5 0.5 1.0\n"


@pytest.mark.parametrize("inside", [True, False], ids=["images/SPLIT", "SPLIT/images"])
def test_yolo_reads_both_layouts(tmp_path: Path, inside: bool) -> None:
    for split in ("train", "test"):
        images, labels = (Path(kind, split) if inside else Path(split, kind) for kind in ("images", "labels"))
        write_pictures(tmp_path / images, f"{split}.png")
        (tmp_path / labels).mkdir(parents=True)
        (tmp_path / labels / f"{split}.txt").write_text(YOLO_LINES)
    (tmp_path / "data.yaml").write_text("nc: 2\nnames: {0: cell, 1: rod}\n")
    assert read_all(source("yolo", tmp_path)) == {"train/train": (BOXES, "train"), "test/test": (BOXES, "held_out")}


def test_yolo_reads_a_flat_folder_polygons_confidences_and_empty_images(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", "box.png", "polygon.png", "confidence.png", "none.png", "empty.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/box.txt").write_text(YOLO_LINES)
    (tmp_path / "labels/polygon.txt").write_text("1 0.0625 0.125 0.3203125 0.2 0.1 0.625\n")
    (tmp_path / "labels/confidence.txt").write_text("0 0.75 0.5 0.5 1.0 0.93\n")
    (tmp_path / "labels/empty.txt").write_text("\n")
    (tmp_path / "classes.txt").write_text("cell\nrod\n")
    importer = source("yolo", tmp_path)
    assert read_all(importer) == {
        "box": (BOXES, None),
        "polygon": (BOXES[:1], None),
        "confidence": (BOXES[1:], None),
        "none": ([], None),
        "empty": ([], None),
    }
    assert reasons(importer) == {"none": "no boxes", "empty": "no boxes"}


@pytest.mark.parametrize(
    "line", ["2 0.5 0.5 0.1 0.1", "-1 0.5 0.5 0.1 0.1", "cell 0.5 0.5 0.1 0.1", "0 0.5 0.5", "0 a b c d"]
)
def test_yolo_names_the_line_that_cannot_be_read(tmp_path: Path, line: str) -> None:
    write_pictures(tmp_path / "images", "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    (tmp_path / "classes.txt").write_text("cell\nrod\n")
    importer = source("yolo", tmp_path)
    with pytest.raises(Unusable, match=r"annotation cannot be read: labels/a.txt, line 2"):
        importer.read(importer.list_records()[0])


def test_yolo_in_pixels_is_outside(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 30 20 10 10\n")
    (tmp_path / "classes.txt").write_text("cell\n")
    assert reasons(source("yolo", tmp_path)) == {"a": "box outside the image"}


def test_yolo_without_names_or_labels_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", "a.png")
    with pytest.raises(DataError, match="holds no yolo data"):
        source("yolo", tmp_path).list_records()
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match="says nowhere what its classes are called"):
        source("yolo", tmp_path).list_records()
    (tmp_path / "data.yaml").write_text("names: {0: cell, 2: rod}")
    with pytest.raises(DataError, match=r"the keys of `names` are \[0, 2\], not 0 to 1"):
        source("yolo", tmp_path).list_records()


# ---- CSV


@pytest.mark.parametrize(
    "header",
    [
        "image,label,x1,y1,x2,y2",
        "Image Index,Finding Label,xmin,ymin,xmax,ymax,width,height",
        "path,class_name,left,top,right,bottom",
    ],
)
def test_csv_finds_its_columns_by_name(tmp_path: Path, header: str) -> None:
    write_pictures(tmp_path / "images", "a.png")
    rows = [f"a.png,{label},{','.join(map(str, box))}" for label, box in BOXES]
    (tmp_path / "boxes.csv").write_text("\n".join([header, *rows, ""]))
    assert read_all(source("csv", tmp_path)) == {"a.png": (BOXES, None)}


def test_csv_understands_nih_and_keeps_patients_and_splits(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.png", "b.png")
    (tmp_path / "nih.csv").write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\na.png,Mass,4.0,6.0,16.5,24.0,,,\n")
    assert read_all(source("csv", tmp_path)) == {"a.png": ([("Mass", (4.0, 6.0, 20.5, 30.0))], None)}
    (tmp_path / "nih.csv").write_text(
        "subject_id,split,file,finding,x,y,w,h\np1,Test,a.png,Mass,4,6,9,9\np2,train,b.png,Mass,4,6,9,9\n,,,\n"
    )
    importer = source("csv", tmp_path)
    read = [importer.read(record) for record in importer.list_records()]
    assert [(r.patient_id, r.split) for r in read] == [("p1", "held_out"), ("p2", "train")]


def test_csv_names_what_cannot_be_read(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.png", "b.png", "c.png")
    rows = ["a.png,Mass,4,six,9,9", "b.png,Mass,4", "c.png,,,,,", "gone.png,Mass,1,1,2,2"]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,label,x1,y1,x2,y2", *rows]))
    assert reasons(source("csv", tmp_path)) == {
        "a.png": "annotation cannot be read",
        "b.png": "annotation cannot be read",
        "c.png": "no boxes",
        "gone.png": "annotation without an image",
    }


def test_csv_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ages.csv").write_text("name,age\na,3\n")
    with pytest.raises(DataError, match="holds no csv data"):
        source("csv", tmp_path).list_records()
    (tmp_path / "ages.csv").write_bytes("größe,x\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"ages.csv cannot be read as CSV.* Save it as UTF-8"):
        source("csv", tmp_path).list_records()


# ---- conversations


def llava(question: str, answer: str, image: object = None, **more: object) -> dict[str, object]:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": "same", "conversations": turns, **({"image": image} if image else {}), **more}


def samples(importer: Importer) -> list[Sample]:
    composer = Composer(importer, ())
    return [s for r in importer.list_records() for s in composer.of_record(check_record(importer, r), "train")]


def as_lines(entries: list[Any]) -> str:
    return "".join(f"{json.dumps(entry)}\n" for entry in entries)


@pytest.mark.parametrize(("suffix", "write"), [("jsonl", as_lines), ("json", json.dumps)])
def test_conversations_become_samples_as_they_are(
    tmp_path: Path, suffix: str, write: Callable[[list[Any]], str]
) -> None:
    write_pictures(tmp_path, "images/a.png", "b.png")
    entries = [
        llava("What is it?\n<image>", "A cell.", "a.png"),
        llava("Compare.", "Equal.", ["b.png", "a.png"]),
        llava("What is a cell?", "The unit of life."),
        llava("Where is it?", "cell <box>[[1, 2, 30, 40]]</box>", "b.png"),
        {
            "images": [None],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Größe?"},
                {"role": "assistant", "content": "7 µm."},
                {"role": "user", "content": "Of what?"},
                {"role": "assistant", "content": "A red cell."},
            ],
        },
    ]
    (tmp_path / f"chat.{suffix}").write_text(write(entries))
    made = samples(source("llava", tmp_path, dataset="chat"))
    assert [(s.id, s.task, len(s.images), len(s.boxes), s.modality) for s in made] == [
        ("chat:train:chat/0000000/vqa", "vqa", 1, 0, "microscopy"),
        ("chat:train:chat/0000001/vqa", "vqa", 2, 0, "microscopy"),
        ("chat:train:chat/0000002/text_qa", "text_qa", 0, 0, None),
        ("chat:train:chat/0000003/detection", "detection", 1, 1, "microscopy"),
        ("chat:train:chat/0000004/text_qa", "text_qa", 0, 0, None),
    ]
    assert [s.turns[0]["content"] for s in made] == [
        "What is it?\n<image>",
        "<image>\n<image>\nCompare.",
        "What is a cell?",
        "<image>\nWhere is it?",
        "Be brief.\nGröße?",
    ]
    assert [t["content"] for t in made[4].turns[1:]] == ["7 µm.", "Of what?", "A red cell."]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("[1, 2]", "conversation cannot be read"),
        ("{broken", "line is no JSON"),
        ("{}", "conversation cannot be read"),
        (llava("<image>", "A cell.", "a.png"), "empty text"),
        (llava("What?", " "), "empty text"),
        (llava("<image> What?", "A cell."), "images and placeholders differ"),
        (llava("<image><image> What?", "A cell.", "a.png"), "images and placeholders differ"),
        (llava("What?", "A cell.", "gone.png"), "conversation without its image"),
        (llava("What?", "A cell.", [1]), "conversation cannot be read"),
        (llava("Where?", "cell <box>[[1, 2, 300, 40]]</box>", "a.png"), "box outside the image"),
        ({"conversations": [{"from": "gpt", "value": "A."}]}, "turns out of order"),
        ({"conversations": [{"from": "human", "value": "A?"}]}, "turns out of order"),
        ({"conversations": [{"from": "robot", "value": "A?"}]}, "turns out of order"),
        ({"conversations": [{"from": "human", "value": ["A?"]}]}, "conversation cannot be read"),
    ],
)
def test_a_conversation_that_cannot_be_used_is_named(tmp_path: Path, entry: object, reason: str) -> None:
    write_pictures(tmp_path, "a.png")
    line = entry if isinstance(entry, str) else json.dumps(entry)
    (tmp_path / "chat.jsonl").write_text(f"\n{line}\n")
    assert reasons(source("llava", tmp_path)) == {"chat/0000000": reason}


def test_conversations_of_tasks_that_are_not_wanted_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "chat.jsonl").write_text(json.dumps(llava("What?", "A cell.")))
    importer = source("llava", tmp_path, tasks=("vqa",))
    with pytest.raises(Unusable) as left_out:
        check_record(importer, importer.list_records()[0])
    assert (left_out.value.reason, left_out.value.excluded) == ("task text_qa not wanted", True)


# ---- what they share


@pytest.mark.parametrize(
    ("names", "sides"),
    [
        (("train", "val", "test"), {"train": "train", "val": "train", "test": "held_out"}),
        (("train", "valid"), {"train": "train", "valid": "held_out"}),
        (("Training", "Testing"), {"Training": "train", "Testing": "held_out"}),
        (("trainval", "train", "val"), {"trainval": "train", "train": "train", "val": "held_out"}),
        (("train", "other"), {}),
        (("test",), {}),
        ((), {}),
    ],
)
def test_a_datasets_own_splits(names: tuple[str, ...], sides: dict[str, str]) -> None:
    assert own_sides(names) == sides


def test_only_overhang_that_rounding_explains_is_cut_off() -> None:
    assert within((-0.4, 0.123456, 64.9, 48.0), (64, 48)) == (0.0, 0.12, 64.0, 48.0)
    assert within((-2.0, 1.0, 66.0, 60.0), (64, 48)) == (-2.0, 1.0, 66.0, 60.0)

"""Samples refuse what contradicts itself."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest
from raw_data import encoded, picture

from medmo_ray.corpus.checks import check_image
from medmo_ray.corpus.sample import SAMPLE_SCHEMA, SCHEMA_VERSION_KEY, Sample, from_table, to_table
from medmo_ray.errors import DataError
from rewards.boxes import LabelledBox

IMAGE = check_image("a.png", encoded(picture(1))).image
QUESTION = {"role": "user", "content": "<image>\nLocate the cell."}
ANSWER = {"role": "assistant", "content": "cell <box>[[1, 2, 30, 40]]</box>"}
SAMPLE = Sample(
    id="blood:train:a/detection",
    dataset="blood",
    split="train",
    task="detection",
    messages=json.dumps([QUESTION, ANSWER]),
    images=(IMAGE,),
    boxes=(LabelledBox("cell", (1.0, 2.0, 30.0, 40.0)),),
    answer=ANSWER["content"],
    modality="microscopy",
    licence="MIT",
    access="local files",
    origin_file="a.png",
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "blood:held_out:a"}, "blood:train:<native id>"),
        ({"id": "blood:train:"}, "blood:train:<native id>"),
        ({"split": "test", "id": "blood:test:a"}, "its split is 'test'"),
        ({"task": "guess"}, "its task is 'guess'"),
        ({"messages": "not json"}, "not a JSON list"),
        ({"messages": json.dumps([QUESTION])}, "not user and assistant in turn"),
        ({"messages": json.dumps([ANSWER, QUESTION])}, "not user and assistant in turn"),
        ({"messages": json.dumps([QUESTION, {"role": "assistant", "content": " "}]), "answer": " "}, "answer is empty"),
        ({"answer": "another"}, "not the last assistant turn"),
        ({"images": ()}, "shows 1 <image> for 0 images"),
        ({"images": (IMAGE, IMAGE)}, "shows 1 <image> for 2 images"),
        ({"boxes": (LabelledBox("cell", (5.0, 2.0, 5.0, 9.0)),)}, "not x1 < x2"),
        ({"boxes": (LabelledBox("cell", (5.0, 2.0, float("nan"), 9.0)),)}, "not x1 < x2"),
    ],
)
def test_a_contradiction_is_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words.replace("(", r"\(")):
        replace(SAMPLE, **change)


def test_the_turns_are_counted_in_characters() -> None:
    assert SAMPLE.turns == [QUESTION, ANSWER]
    assert SAMPLE.num_chars == len("<image>\nLocate the cell.") + len("cell <box>[[1, 2, 30, 40]]</box>")


def test_the_table_has_the_columns_and_types_of_the_schema() -> None:
    table = to_table([SAMPLE])
    assert table.schema.equals(SAMPLE_SCHEMA, check_metadata=True)
    (row,) = table.to_pylist()
    assert row["boxes"] == [{"label": "cell", "x1": 1.0, "y1": 2.0, "x2": 30.0, "y2": 40.0}]
    assert row["images"][0]["bytes"] == IMAGE.bytes
    assert row["num_chars"] == SAMPLE.num_chars


@pytest.mark.parametrize(("metadata", "found"), [(None, "none"), ({SCHEMA_VERSION_KEY: b"99"}, "99")])
def test_another_schema_version_is_refused(metadata: dict[bytes, bytes] | None, found: str) -> None:
    table = to_table([SAMPLE]).replace_schema_metadata(metadata)
    with pytest.raises(DataError, match=f"schema version {found}; this medmo-ray reads version 1"):
        from_table(table)


def test_a_row_that_contradicts_itself_is_refused() -> None:
    table = to_table([SAMPLE])
    changed = table.set_column(table.schema.get_field_index("task"), SAMPLE_SCHEMA.field("task"), pa.array(["guess"]))
    with pytest.raises(DataError, match="its task is 'guess'"):
        from_table(changed)


@pytest.mark.parametrize("change", [{"licence": "CC0"}, {"body_system": "blood"}, {"origin_row": 1}])
def test_the_digest_sees_every_field(change: dict[str, object]) -> None:
    assert replace(SAMPLE, **change).content_digest() != SAMPLE.content_digest()


def test_the_digest_sees_the_pixels() -> None:
    other = check_image("a.png", encoded(picture(2))).image
    assert replace(SAMPLE, images=(replace(other, sha256=IMAGE.sha256),)).content_digest() != SAMPLE.content_digest()

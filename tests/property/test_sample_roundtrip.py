"""A sample survives the way through Arrow and Parquet."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from medmo_ray.corpus.sample import SPLITS, TASKS, Sample, SampleImage, from_table, to_table
from rewards.boxes import LabelledBox

# No surrogates: they are no text, and Parquet (UTF-8) cannot hold them.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(lambda text: "<image>" not in text)
ANSWER = TEXT.filter(str.strip)
OPTIONAL = st.none() | TEXT
COORDINATE = st.floats(0, 1e4, allow_nan=False)


@st.composite
def boxes(draw: st.DrawFn) -> LabelledBox:
    x1, y1 = draw(COORDINATE), draw(COORDINATE)
    width, height = draw(st.floats(0.1, 100)), draw(st.floats(0.1, 100))
    return LabelledBox(draw(TEXT), (x1, y1, x1 + width, y1 + height))


IMAGES = st.builds(
    SampleImage,
    bytes=st.binary(max_size=64),
    path=TEXT,
    width_px=st.integers(1, 2**31 - 1),
    height_px=st.integers(1, 2**31 - 1),
    format=st.sampled_from(["png", "jpeg"]),
    sha256=TEXT,
    phash=st.integers(0, 2**64 - 1),
)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    images = tuple(draw(st.lists(IMAGES, max_size=2)))
    dataset, split, answer = draw(TEXT), draw(st.sampled_from(SPLITS)), draw(ANSWER)
    turns = [
        {"role": "user", "content": "<image>" * len(images) + draw(TEXT)},
        {"role": "assistant", "content": answer},
    ]
    return Sample(
        id=f"{dataset}:{split}:{draw(st.integers(0, 10**9))}",
        dataset=dataset,
        split=split,
        task=draw(st.sampled_from(TASKS)),
        messages=json.dumps(turns),
        images=images,
        boxes=tuple(draw(st.lists(boxes(), max_size=3))),
        answer=answer,
        modality=draw(OPTIONAL),
        licence=draw(TEXT),
        access=draw(TEXT),
        origin_file=draw(TEXT),
        origin_row=draw(st.integers(0, 2**63 - 1)),
        body_system=draw(OPTIONAL),
        patient_id=draw(OPTIONAL),
        study_id=draw(OPTIONAL),
    )


@settings(deadline=None)  # the first example pays for the import of pyarrow
@given(st.lists(samples(), max_size=4))
def test_arrow_gives_the_same_samples_back(given: list[Sample]) -> None:
    assert from_table(to_table(given)) == given


@settings(deadline=None)  # the first example pays for the import of pyarrow
@given(st.lists(samples(), min_size=1, max_size=3))
def test_parquet_gives_the_same_samples_and_digests_back(given: list[Sample]) -> None:
    file = io.BytesIO()
    pq.write_table(to_table(given), file)
    read = from_table(pq.read_table(pa.BufferReader(file.getvalue())))
    assert read == given
    assert [s.content_digest() for s in read] == [s.content_digest() for s in given]

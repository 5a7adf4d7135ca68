"""Boxes are drawn where they are, on the right image, and whatever a model wrote stays text."""

import base64
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from example_run import MODEL_SIDE_PX, begin_stage, held_out_row, write_corpus, write_rows, write_run
from PIL import Image

from medmo_ray.reports.gather import gather
from medmo_ray.reports.images import MAX_JPEG_BYTES, MAX_SIDE_PX, small_jpeg
from medmo_ray.reports.markup import Markup
from medmo_ray.reports.overlays import overlay_section
from rewards.boxes import LabelledBox

SVG = re.compile(r'<svg[^>]*class="overlay".*?</svg>', re.DOTALL)


def section(directory: Path) -> Markup:
    return overlay_section(gather(directory), pytest.fail)


def drawings(markup: Markup) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in SVG.findall(markup)]


def boxes(drawing: ElementTree.Element, kind: str) -> list[list[float]]:
    """Corners as drawn, as shares of the drawing."""
    _, _, width, height = map(float, (drawing.get("viewBox") or "").split())
    found = []
    for group in drawing.iter("g"):
        if kind in (group.get("class") or "").split():
            rect = next(rect for rect in group.iter("rect") if rect.get("class") == "box")
            x, y, w, h = (float(rect.get(name) or 0) for name in ("x", "y", "width", "height"))
            found.append([x / width, y / height, (x + w) / width, (y + h) / height])
    return found


def one_row(directory: Path, **changed: Any) -> Path:
    """A run in which one held-out image was measured after stage 1."""
    (sample, *_) = write_corpus(directory / "corpus", 2)
    box = LabelledBox("cell", (32.0, 64.0, 96.0, 128.0))
    row = {**held_out_row(sample, [box]), "truth": [{"label": "cell", "box": [0, 0, 64, 32]}], **changed}
    write_rows(begin_stage(directory, 1).path / "held_out.jsonl", [row])
    return directory


def test_boxes_lie_where_the_rows_say(tmp_path: Path) -> None:
    (drawing,) = drawings(section(one_row(tmp_path)))
    assert boxes(drawing, "truth") == [pytest.approx([0, 0, 0.5, 0.25], abs=1e-3)]
    assert boxes(drawing, "predicted") == [pytest.approx([0.25, 0.5, 0.75, 1.0], abs=1e-3)]


def test_boxes_in_thousandths_are_scaled_by_the_frame(tmp_path: Path) -> None:
    predicted = [{"label": "cell", "box": [500, 250, 1000, 750]}]
    (drawing,) = drawings(section(one_row(tmp_path, predicted=predicted, truth=[], frame="relative_1000")))
    assert boxes(drawing, "predicted") == [pytest.approx([0.5, 0.25, 1.0, 0.75], abs=1e-3)]


def test_the_frame_of_the_corpus_holds_where_a_row_names_none(tmp_path: Path) -> None:
    (sample, *_) = write_corpus(tmp_path / "corpus", 2, frame="relative_1000")
    row = {**held_out_row(sample, []), "predicted": [{"label": "cell", "box": [500, 250, 1000, 750]}]}
    write_rows(begin_stage(tmp_path, 1).path / "held_out.jsonl", [row])
    (drawing,) = drawings(section(tmp_path))
    assert boxes(drawing, "predicted") == [pytest.approx([0.5, 0.25, 1.0, 0.75], abs=1e-3)]


def test_a_box_beyond_the_image_is_cut_and_says_so(tmp_path: Path) -> None:
    markup = section(one_row(tmp_path, predicted=[{"label": "cell", "box": [-50, 64, 1e6, 96]}]))
    (drawing,) = drawings(markup)
    assert boxes(drawing, "predicted") == [pytest.approx([0, 0.5, 1, 0.75], abs=1e-3)]
    assert "reaches beyond the image" in markup


def test_each_model_has_a_picture_and_the_image_is_there_once(tmp_path: Path) -> None:
    markup = section(write_run(tmp_path, num_steps=2, num_images=3))
    assert markup.count("data:image/jpeg") == 3
    assert len(drawings(markup)) == 6
    assert markup.count("<span>after stage 3</span>") == markup.count("<span>after stage 4</span>") == 3
    for first, second in zip(drawings(markup)[::2], drawings(markup)[1::2], strict=True):
        image, reference = next(first.iter("image")), next(second.iter("use"))
        assert reference.get("href") == f"#{image.get('id')}"
        assert boxes(first, "truth") == boxes(second, "truth")


def test_the_picture_is_the_sample_of_the_row(tmp_path: Path) -> None:
    samples = write_corpus(tmp_path / "corpus", 5)
    write_rows(begin_stage(tmp_path, 1).path / "held_out.jsonl", [held_out_row(samples[3], [])])
    (drawing,) = drawings(section(tmp_path))
    data = base64.b64decode((next(drawing.iter("image")).get("href") or "").split(",")[1])
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=float)
    stored = [
        np.asarray(Image.open(io.BytesIO(sample.images[0].bytes)).convert("RGB"), dtype=float) for sample in samples
    ]
    difference = [np.abs(shown - pixels).mean() for pixels in stored]
    assert difference.index(min(difference)) == 3 and min(difference) < 6


def test_what_a_stage_measured_before_itself_comes_first(tmp_path: Path) -> None:
    markup = section(write_run(tmp_path, stages=(2,), num_steps=2, num_images=3))
    assert "<span>before stage 2</span>" in markup and "<span>after stage 2</span>" in markup


def test_labels_have_a_colour_each(tmp_path: Path) -> None:
    predicted = [{"label": label, "box": [1, 1, 9, 9]} for label in ("cell", "cell", "bacterium")]
    markup = section(one_row(tmp_path, predicted=predicted))
    assert re.findall(r'class="predicted (p\d)"', markup) == ["p1", "p1", "p2"]
    assert "predicted cell" in markup and "predicted bacterium" in markup


HOSTILE = '</pre></svg><script>alert("x")</script><img src=x onerror=alert(1)>'


def test_whatever_a_model_wrote_is_shown_as_text(tmp_path: Path) -> None:
    predicted = [{"label": HOSTILE, "box": [1, 1, 9, 9]}]
    markup = section(one_row(tmp_path, completion=HOSTILE, prompt=HOSTILE, predicted=predicted))
    assert "<script" not in markup and "<img" not in markup
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in markup


def test_a_long_completion_is_cut(tmp_path: Path) -> None:
    markup = section(one_row(tmp_path, completion="cell " * 20_000))
    assert "… (100,000 characters)" in markup
    assert len(markup) < 60_000


@pytest.mark.parametrize("name", ["generated:held_out:9999", "<script>", "\ud800"])
def test_an_image_that_is_not_in_the_corpus_is_replaced_and_noted(tmp_path: Path, name: str) -> None:
    notes: list[str] = []
    markup = overlay_section(gather(one_row(tmp_path, id=name)), notes.append)
    assert "image not found" in markup and "<script" not in markup
    assert len(notes) == 1 and "1 held-out images are not in the corpus" in notes[0]


def test_a_damaged_shard_is_noted_and_boxes_are_drawn_without_images(tmp_path: Path) -> None:
    shard = one_row(tmp_path) / "corpus" / "shards" / "held_out-00000.parquet"
    shard.write_bytes(b"PAR1" + b"\x00" * 200)
    notes: list[str] = []
    (drawing,) = drawings(overlay_section(gather(tmp_path), notes.append))
    assert any("cannot be read" in note for note in notes)
    assert len(boxes(drawing, "predicted")) == 1


def test_nothing_measured_says_so(tmp_path: Path) -> None:
    assert "No model of this run was measured" in section(tmp_path)


def _pixels(mode: str, size: Sequence[int]) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(noise[:, :, 0].astype(np.uint16) * 16)
    if mode == "F":
        return Image.fromarray(noise[:, :, 0].astype(np.float32) / 1000)
    return Image.fromarray(noise, "RGBA").convert(mode)


@pytest.mark.parametrize("size", [(2000, 1500), (40, 30), (3000, 2), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1", "I;16", "F", "CMYK"])
def test_every_kind_of_image_becomes_a_small_jpeg(mode: str, size: tuple[int, int]) -> None:
    data = small_jpeg(_pixels(mode, size))
    shown = Image.open(io.BytesIO(data))
    assert shown.format == "JPEG" and shown.mode == "RGB"
    assert max(shown.size) <= MAX_SIDE_PX and len(data) <= MAX_JPEG_BYTES
    assert max(shown.size) == min(MAX_SIDE_PX, max(size))


def test_sixteen_bits_are_stretched_over_eight() -> None:
    ramp = np.tile(np.linspace(1000, 1400, 64, dtype=np.uint16), (64, 1))
    shown = np.asarray(Image.open(io.BytesIO(small_jpeg(Image.fromarray(ramp)))).convert("L"))
    assert shown[:, 0].mean() < 8 and shown[:, -1].mean() > 247


def test_the_row_of_the_example_is_in_the_models_pixels(tmp_path: Path) -> None:
    (sample, *_) = write_corpus(tmp_path / "corpus", 2)
    row = json.loads(json.dumps(held_out_row(sample, [])))
    scale = MODEL_SIDE_PX / 96
    assert row["truth"][0]["box"] == pytest.approx([scale * corner for corner in sample.boxes[0].box])

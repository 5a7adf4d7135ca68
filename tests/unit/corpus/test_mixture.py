"""Corpora of several datasets: built apart, joined, resumed, capped, weighted, refused by licence."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from raw_data import many_boxes, write_voc

from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.corpus.build import build_corpus
from medmo_ray.corpus.describe import summary
from medmo_ray.corpus.manifest import Manifest
from medmo_ray.corpus.read import read_samples
from medmo_ray.errors import ConfigError, DataError
from medmo_ray.reports.composition import corpus_section


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two datasets: thirty pictures with boxes, and forty multiple-choice questions, ten of them a test split."""
    write_voc(tmp_path / "raw" / "cells", many_boxes(30))
    folder = tmp_path / "raw" / "MedQA"
    folder.mkdir()
    for split, numbers in (("train", range(30)), ("test", range(30, 40))):
        rows = [
            {
                "question": f"Question {n}?",
                "answer": f"no {n}",
                "answer_idx": "A",
                "options": {"A": f"no {n}", "B": f"yes {n}"},
            }
            for n in numbers
        ]
        (folder / f"phrases_no_exclude_{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return tmp_path / "raw"


def recipe(raw: Path, **changes: object) -> CorpusRecipe:
    parts = {"medqa": {"path": "MedQA"}, "cells": {"source": "voc", "path": "cells", "licence": "MIT"}}
    values = {"data_root": str(raw), "row_group_rows": 4, "max_bad_share": 0, "datasets": parts}
    return CorpusRecipe.model_validate(values | changes)


def test_each_dataset_is_built_apart_and_one_manifest_joins_them(raw: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    manifest = build_corpus(recipe(raw), corpus)
    assert manifest == Manifest.load(corpus)
    assert manifest.count_by("dataset") == {"cells": 90, "medqa": 40}
    assert manifest.licences == {"cells": "MIT", "medqa": "MIT"}
    assert manifest.access == {"cells": "local files", "medqa": "open"}
    assert (manifest.num_records, manifest.num_used) == (70, 70)
    samples = list(read_samples(corpus))
    assert Counter(sample.dataset for sample in samples) == {"cells": 90, "medqa": 40}
    assert len({sample.id for sample in samples}) == 130
    assert sum(sample.dataset == "medqa" and sample.split == "held_out" for sample in samples) == 10
    for name, digest in manifest.parts.items():
        part = corpus / "datasets" / name
        assert Manifest.load(part).digest == digest
        assert pq.read_table(part / "quarantine.parquet").num_rows == 0
    assert {shard.file.split("/")[1] for shard in manifest.shards} == {"cells", "medqa"}
    assert build_corpus(recipe(raw), tmp_path / "again").digest == manifest.digest


def test_a_dataset_that_is_added_leaves_the_others_as_they_are(raw: Path, tmp_path: Path) -> None:
    one = recipe(raw, datasets={"medqa": {"path": "MedQA"}})
    build_corpus(one, tmp_path / "corpus")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus/datasets").rglob("*.parquet")}
    with pytest.raises(DataError, match=r"another recipe: datasets.cells.*run.overwrite=true"):
        build_corpus(recipe(raw), tmp_path / "corpus")
    both = build_corpus(recipe(raw).replaced(run__overwrite=True), tmp_path / "corpus")
    assert both.count_by("dataset") == {"cells": 90, "medqa": 40}
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_a_dataset_that_fails_stops_the_build_with_its_name(raw: Path, tmp_path: Path) -> None:
    (raw / "cells/JPEGImages/image-003.png").write_text("404")
    with pytest.raises(DataError, match=r"^dataset cells: 1 of \d+ raw records are unusable"):
        build_corpus(recipe(raw), tmp_path / "corpus")
    assert not (tmp_path / "corpus/manifest.json").exists()
    assert Manifest.load(tmp_path / "corpus/datasets/medqa").num_used == 40
    write_voc(raw / "cells", many_boxes(30))
    assert build_corpus(recipe(raw), tmp_path / "corpus").num_used == 70


def test_a_cap_draws_the_same_records_each_time_and_counts_the_rest(raw: Path, tmp_path: Path) -> None:
    def capped(cap: int, name: str) -> tuple[Manifest, set[str]]:
        small = recipe(raw, datasets={"medqa": {"path": "MedQA", "cap": cap}})
        manifest = build_corpus(small, tmp_path / name)
        return manifest, {sample.origin_file + str(sample.origin_row) for sample in read_samples(tmp_path / name)}

    (five, few), (twenty, many) = capped(5, "five"), capped(20, "twenty")
    assert (five.num_used, twenty.num_used) == (5, 20)
    assert five.excluded == {"beyond the cap": 35} and five.quarantined == {}
    assert pq.read_table(tmp_path / "five/datasets/medqa/quarantine.parquet").num_rows == 0
    assert few < many
    assert capped(5, "again")[0].digest == five.digest


def test_training_on_what_a_dataset_holds_out_is_drawn_counted_and_said(raw: Path, tmp_path: Path) -> None:
    parts = {"medqa": {"path": "MedQA", "train_on_held_out": True}, "cells": {"source": "voc", "path": "cells"}}
    manifest = build_corpus(recipe(raw, datasets=parts), tmp_path / "corpus")
    tests = [s for s in read_samples(tmp_path / "corpus", "train") if "phrases_no_exclude_test" in s.origin_file]
    assert 0 < len(tests) <= 10 and manifest.trained_on_held_out == {"medqa": len(tests)}
    assert manifest.num_used == 70 and any(s.dataset == "medqa" for s in read_samples(tmp_path / "corpus", "held_out"))
    words = f"trained on {len(tests)} records that medqa itself holds out"
    assert words in summary(manifest)
    assert f"medqa ({len(tests)} records)" in str(corpus_section(manifest, "corpus"))
    assert build_corpus(recipe(raw), tmp_path / "plain").trained_on_held_out == {}


def test_records_held_out_by_a_dataset_are_held_against_evaluation_sets_once_they_are_trained_on(
    raw: Path, tmp_path: Path
) -> None:
    parts = {"medqa": {"path": "MedQA", "train_on_held_out": True}}
    evaluation = {"theirs": {"source": "medqa", "path": "MedQA"}}
    manifest = build_corpus(recipe(raw, datasets=parts, evaluation=evaluation), tmp_path / "corpus")
    assert manifest.leaks == {"medqa in theirs": 10} and manifest.trained_on_held_out == {}
    assert manifest.num_used == 30


def test_weights_name_another_corpus_and_say_how_often_rows_come(raw: Path, tmp_path: Path) -> None:
    plain = build_corpus(recipe(raw), tmp_path / "corpus")
    groups = plain.training_groups()
    assert sum(shard.row_groups[group] for shard, group in groups) == plain.count_by("split")["train"]
    parts = {"medqa": {"path": "MedQA", "weight": 2.5}, "cells": {"source": "voc", "path": "cells", "licence": "MIT"}}
    weighted = build_corpus(recipe(raw, datasets=parts).replaced(run__overwrite=True), tmp_path / "corpus")
    assert weighted.shards == plain.shards and weighted.digest != plain.digest
    assert weighted.weights == {"medqa": 2.5}
    times = Counter((shard.file, group) for shard, group in weighted.training_groups())
    assert {count for (file, _), count in times.items() if "/cells/" in file} == {1}
    assert {count for (file, _), count in times.items() if "/medqa/" in file} == {2, 3}
    assert weighted.training_groups() == Manifest.load(tmp_path / "corpus").training_groups()


def test_a_licence_that_does_not_allow_the_purpose_is_refused_before_anything_is_read(
    raw: Path, tmp_path: Path
) -> None:
    parts = {"medqa": {"path": "MedQA"}, "cells": {"source": "voc", "path": "cells", "licence": "CC-BY-NC-4.0"}}
    with pytest.raises(ConfigError, match=r"does not allow it, or says nothing, for: cells \(CC-BY-NC-4.0\)\. Leave"):
        build_corpus(recipe(raw, datasets=parts, purpose="commercial"), tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()
    assert build_corpus(recipe(raw, purpose="commercial"), tmp_path / "corpus").num_used == 70


def test_datasets_and_a_source_of_its_own_are_refused_together(raw: Path) -> None:
    with pytest.raises(ValueError, match=r"corpus.datasets is given and so is path, source: say it for each dataset"):
        recipe(raw, source="voc", path="cells")

"""Every dataset of which real rows are at hand, built in one corpus: each row is used, quarantined or excluded, none is lost.

Where the images are not at hand, every row of a set is quarantined for that, which counts.
"""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.corpus.build import build_corpus
from medmo_ray.corpus.dataset import datasets
from medmo_ray.corpus.describe import table
from medmo_ray.corpus.manifest import Manifest
from medmo_ray.corpus.registry import open_source
from medmo_ray.errors import DataError

pytestmark = pytest.mark.integration


def lines(folder: Path, pattern: str) -> int:
    """Lines of the files that match."""
    return sum(len(path.read_text().splitlines()) for path in folder.glob(pattern))


def entries(folder: Path, pattern: str) -> int:
    """Entries of the JSON arrays or objects that match."""
    return sum(len(json.loads(path.read_text())) for path in folder.glob(pattern))


def values(folder: Path, file: str, column: str) -> int:
    """Different values of a column."""
    with (folder / file).open(newline="") as rows:
        return len({row[column] for row in csv.DictReader(rows)})


# Dataset (or layout): its folder, and how many records it holds, counted here by other means than the importers'.
REAL: dict[str, tuple[str, Callable[[Path], int]]] = {
    "alpacare_medinstruct": ("AlpaCare-MedInstruct", lambda at: lines(at, "MedInstruct-test.jsonl")),
    "ctc": ("CTC-Fluo-N2DL-HeLa", lambda at: len(list(at.glob("*_RES/mask*.tif")))),
    "deeplesion": ("DeepLesion", lambda at: values(at, "DL_info_sample.csv", "File_name")),
    "masks": ("DSB2018-nuclei", lambda at: len(list(at.glob("images/*.png")))),
    "meadow_wikidoc": ("Medical-Meadow-Wikidoc-Patient-Information", lambda at: entries(at, "*.json")),
    "medqa": ("MedQA", lambda at: lines(at, "*.jsonl")),
    "medquad": (
        "MedQuAD",
        lambda at: sum(
            len(re.findall(r"<(?:QA)?pair\b", path.read_text(), re.IGNORECASE)) for path in at.glob("*/*.xml")
        ),
    ),
    "nih_chest_xray": ("NIH-ChestXray", lambda at: values(at, "BBox_List_2017.csv", "Image Index")),
    "pubmedqa": ("PubMedQA", lambda at: entries(at, "data/ori_pqal.json")),
    "roco": ("ROCO", lambda at: lines(at, "data/*/*/captions.txt")),
    "slake": ("SLAKE", lambda at: entries(at, "Slake1.0/*.json")),
    "voc": ("BCCD", lambda at: len(list(at.glob("Annotations/*.xml")))),
    "vqa_rad": ("VQA-RAD", lambda at: entries(at, "data_RAD/*set.json")),
}


def test_every_row_of_the_real_datasets_is_accounted_for(real_data: Path, tmp_path: Path) -> None:
    there = {name: real_data / folder for name, (folder, _) in REAL.items() if (real_data / folder).is_dir()}
    if not there:
        pytest.skip(f"none of {', '.join(folder for folder, _ in REAL.values())} is in {real_data}")
    parts = {name: {"path": str(folder)} for name, folder in there.items()}
    recipe = CorpusRecipe.model_validate({"datasets": parts, "max_bad_share": 1})
    whole = build_corpus(recipe, tmp_path)
    rows = []
    for name, folder in there.items():
        part = Manifest.load(tmp_path / "datasets" / name)
        quarantine = pq.read_table(tmp_path / "datasets" / name / "quarantine.parquet")
        reasons = {**part.quarantined, **part.excluded}
        num_bad, num_excluded = sum(part.quarantined.values()), sum(part.excluded.values())
        assert part.num_records == REAL[name][1](folder), name
        assert part.num_records == part.num_used + num_bad + num_excluded, name
        assert quarantine.num_rows == num_bad + num_excluded
        assert set(quarantine["reason"].to_pylist()) == set(reasons)
        counts = (part.num_records, part.num_used, num_bad, num_excluded)
        rows.append((name, *(f"{count:,}" for count in counts), "; ".join(f"{n} {why}" for why, n in reasons.items())))
    print(table(("dataset", "rows", "used", "quarantined", "excluded", "reasons"), rows))
    assert whole.num_records == sum(REAL[name][1](folder) for name, folder in there.items())
    assert whole.num_records == whole.num_used + sum(whole.quarantined.values()) + sum(whole.excluded.values())
    assert not {"column is missing", "line is no JSON"} & whole.quarantined.keys()


def test_a_folder_with_a_benchmark_alone_is_no_training_data(real_folder: Callable[[str], Path]) -> None:
    folder = real_folder("IU-Xray")
    assert "iu_xray" in datasets()
    source = open_source(CorpusRecipe(source="iu_xray", path=str(folder)))
    with pytest.raises(DataError, match=r"holds no iu_xray data\. Found: 1 files \(\.json\)"):
        source.list_records()

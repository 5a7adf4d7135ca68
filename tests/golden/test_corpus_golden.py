"""What a small Pascal VOC folder becomes, word by word.

`corpus_voc.json` was written by hand from the annotations below: counts and halves by looking at the boxes, boxes in
reading order. Which wording and which question comes up is drawn by hash and was taken over from the first run; the answers
were checked against the boxes. A change of it means that every corpus built so far reads differently.
"""

import json
from pathlib import Path

from raw_data import write_voc

from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.corpus.compose import Composer
from medmo_ray.corpus.records import check_record
from medmo_ray.corpus.registry import open_source

ANNOTATIONS = {
    # A white cell on the right, far larger than the two red ones on the left; listed lower one first.
    "smear-1": [("RBC", (4, 26, 14, 36)), ("WBC", (34, 8, 62, 40)), ("RBC", (6, 4, 16, 14))],
    # One platelet near the middle line: neither left nor right.
    "smear-2": [("Platelets", (29, 20, 35, 26))],
    # Four red cells of equal size: none is the largest.
    "smear-3": [("RBC", (x, y, x + 10, y + 10)) for x in (2, 50) for y in (3, 33)],
}


def test_a_voc_folder_becomes_these_samples(tmp_path: Path) -> None:
    recipe = CorpusRecipe(source="voc", path=str(write_voc(tmp_path / "blood", ANNOTATIONS)), dataset="smears")
    source = open_source(recipe)
    composer = Composer(source, ("Platelets", "RBC", "WBC"))
    samples = [
        sample
        for record in source.list_records()
        for sample in composer.of_record(check_record(source, record), "train")
    ]
    said = {s.id: [turn["content"] for turn in s.turns] for s in samples}
    assert said == json.loads((Path(__file__).parent / "corpus_voc.json").read_text())

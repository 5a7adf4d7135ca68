"""Real rows, as far as they are at hand: how many become records, and that answers and splits are the publisher's own."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.corpus.checks import Unusable
from medmo_ray.corpus.registry import Annotated, RawRecord, open_source


def _read(name: str, folder: Path) -> tuple[list[tuple[RawRecord, Annotated]], Counter[str]]:
    """The readable records with what they say, and the reasons of the others; those left out on purpose in brackets."""
    source = open_source(CorpusRecipe(source=name, path=str(folder)))
    readable, reasons = [], Counter[str]()
    for record in source.list_records():
        try:
            readable.append((record, source.read(record)))
        except Unusable as unusable:
            reasons[f"({unusable.reason})" if unusable.excluded else unusable.reason] += 1
    return readable, reasons


@pytest.mark.parametrize(
    ("name", "folder", "splits", "reasons"),
    [
        ("medqa", "MedQA", {"held_out": 1273}, {}),
        ("pubmedqa", "PubMedQA", {"held_out": 500, "train": 500}, {}),
        ("medquad", "MedQuAD", {None: 1618}, {"(answer was removed by the publisher)": 183}),
        ("meadow_wikidoc", "Medical-Meadow-Wikidoc-Patient-Information", {None: 2000}, {}),
        ("alpacare_medinstruct", "AlpaCare-MedInstruct", {}, {"(task of the test set)": 216}),
    ],
)
def test_every_real_row_is_accounted_for(
    name: str, folder: str, splits: dict[str | None, int], reasons: dict[str, int], real_folder: Callable[[str], Path]
) -> None:
    readable, others = _read(name, real_folder(folder))
    assert Counter(annotated.split for _, annotated in readable) == splits
    assert others == reasons


def test_pubmedqa_holds_out_its_official_test_and_answers_as_its_experts(real_folder: Callable[[str], Path]) -> None:
    folder = real_folder("PubMedQA")
    readable, _ = _read("pubmedqa", folder)
    tests = json.loads((folder / "data/test_ground_truth.json").read_text())
    labelled = json.loads((folder / "data/ori_pqal.json").read_text())
    assert {record.key for record, annotated in readable if annotated.split == "held_out"} == set(tests)
    for record, annotated in readable:
        row = labelled[record.key]
        assert annotated.conversation[1] == f"{row['final_decision']}\n\n{row['LONG_ANSWER'].strip()}"
        assert row["LONG_ANSWER"] not in annotated.conversation[0], "the abstract gives the conclusion away"


def test_medqa_answers_with_the_official_letter(real_folder: Callable[[str], Path]) -> None:
    folder = real_folder("MedQA")
    readable, _ = _read("medqa", folder)
    lines = (folder / "US_4opt_test_1273.jsonl").read_text().splitlines()
    for (_, annotated), row in zip(readable, map(json.loads, lines), strict=True):
        assert annotated.conversation[1] == f"{row['answer_idx']}. {row['options'][row['answer_idx']].strip()}"


def test_medquad_has_every_question_of_its_documents(real_folder: Callable[[str], Path]) -> None:
    folder = real_folder("MedQuAD")
    readable, reasons = _read("medquad", folder)
    tags = sum(path.read_text().lower().count("<question ") for path in folder.glob("*/*.xml"))
    assert len(readable) + reasons.total() == tags

"""Questions about boxes have true answers."""

import re
from collections import Counter

import pytest

from medmo_ray.config.corpus import GeneratedImages
from medmo_ray.corpus.checks import check_boxes
from medmo_ray.corpus.generate import generate_image
from medmo_ray.corpus.tasks import IMAGE_TASKS, Seen, _questions, caption, clearly_largest, detection, half_of, vqa
from medmo_ray.corpus.wording import FRAME_WORDS, choose, counted, hash_number, listed, plural
from rewards.boxes import LabelledBox, parse_boxes

SETTINGS = GeneratedImages(size_px=128, max_objects=9)
VOCABULARY = ("bacterium", "cell")


def seen(index: int, **changes: object) -> Seen:
    boxes = check_boxes(generate_image(index, 0, SETTINGS).boxes, 128, 128, 100)
    values = {"key": str(index), "modality": "microscopy", "boxes": boxes, "width_px": 128, "vocabulary": VOCABULARY}
    return Seen(**values | {"frame": "pixel"} | changes)


@pytest.mark.parametrize("index", range(30))
def test_a_caption_counts_what_is_there(index: int) -> None:
    what = seen(index)
    counts = Counter(label for label, _ in what.boxes)
    told = {word: int(n) for n, word in re.findall(r"(\d+) (\w+)", caption(what)[1])}
    assert told == {label if n == 1 else plural(label): n for label, n in counts.items()}


@pytest.mark.parametrize("index", range(60))
def test_every_question_has_the_answer_that_the_boxes_give(index: int) -> None:
    what = seen(index)
    singular = {plural(label): label for label in VOCABULARY} | {label: label for label in VOCABULARY}
    counts = Counter(label for label, _ in what.boxes)
    for question, answer in _questions(what):
        if match := re.fullmatch(r"How many (\w+) does this image show\?", question):
            assert answer == str(counts[singular[match[1]]])
        elif match := re.fullmatch(r"Does this image show any (\w+)\?", question):
            assert answer == ("yes" if counts[singular[match[1]]] else "no")
        elif question == "Which of these does the image show: bacteria or cells?":
            assert {singular[word] for word in answer.split(" and ")} == set(counts)
        elif match := re.fullmatch(
            r"Does the (largest )?(\w+) lie in the left or in the right half of the image\?", question
        ):
            named = [b for b in what.boxes if b.label == match[2]]
            assert bool(match[1]) == (len(named) > 1)
            x1, _, x2, _ = max(named, key=lambda b: (b.box[2] - b.box[0]) * (b.box[3] - b.box[1])).box
            assert answer == ("left" if (x1 + x2) / 2 < 64 else "right")
        else:
            assert question == "What does this image show more of, bacteria or cells?"
            assert counts[singular[answer]] > len(what.boxes) / 2


def test_all_kinds_of_questions_are_asked() -> None:
    kinds = {" ".join(vqa(seen(index))[0].split()[:2]) for index in range(200)}
    assert kinds == {"How many", "Does this", "Which of", "Does the", "What does"}


def test_nothing_is_asked_about_absent_labels_of_a_single_label_set() -> None:
    one = seen(0, vocabulary=("cell",), boxes=(LabelledBox("cell", (10, 10, 20, 20)),))
    assert [q for q, _ in _questions(one)] == [
        "How many cells does this image show?",
        "Does the cell lie in the left or in the right half of the image?",
    ]


@pytest.mark.parametrize("frame", ["pixel", "relative_1000"])
def test_detection_states_its_frame_and_answers_with_every_box(frame: str) -> None:
    what = seen(7, frame=frame)
    prompt, answer = detection(what)
    assert prompt.endswith(FRAME_WORDS[frame])
    assert "bacteria and cells" in prompt
    assert parse_boxes(answer).boxes == what.boxes
    assert parse_boxes(answer).problems == ()


def test_a_prompt_names_no_more_labels_than_fit() -> None:
    prompt, _ = detection(seen(7, vocabulary=tuple("abcdefghi")))
    assert "objects" in prompt


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_wording_depends_on_the_key_alone(task: str) -> None:
    write = IMAGE_TASKS[task]
    assert write(seen(4)) == write(seen(4))
    assert len({write(seen(4, key=str(key)))[0] for key in range(40)}) > 2


def test_sizes_and_halves_are_told_only_where_they_are_clear() -> None:
    big, near, left = (LabelledBox("cell", box) for box in ((0, 0, 11, 10), (50, 0, 60, 10), (46, 0, 50, 9)))
    assert clearly_largest([big, near]) is None
    assert clearly_largest([big, left]) == big
    assert [half_of(box, 100) for box in (big, near, left)] == ["left", "right", None]


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("cell", "cells"),
        ("bacterium", "bacteria"),
        ("Nucleus", "Nuclei"),
        ("RBC", "RBCs"),
        ("Platelets", "Platelets"),
        ("white blood cell", "white blood cells"),
        ("mass", "masses"),
        ("opacity", "opacities"),
        ("x-ray", "x-rays"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


def test_labels_that_are_plural_already_have_a_singular() -> None:
    labels = ("Platelets", "red cells", "bacteria", "cell", "RBC")
    assert [counted(label, 1) for label in labels] == ["1 Platelet", "1 red cell", "1 bacterium", "1 cell", "1 RBC"]
    assert [counted(label, 2) for label in labels[:3]] == ["2 Platelets", "2 red cells", "2 bacteria"]


def test_lists() -> None:
    assert [listed(list("abc")[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert listed(["a", "b"], "or") == "a or b"


def test_a_choice_is_the_same_everywhere() -> None:
    # From bash's `printf '42\x1fa' | sha256sum`: another number would silently reword and resplit every corpus.
    assert hash_number(42, "a") == 0x20150472A6BD525D
    assert choose("abcdefg", 42, "a") == "abcdefg"[0x20150472A6BD525D % 7]

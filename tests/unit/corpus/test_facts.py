"""Text-only samples."""

from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.corpus.compose import text_samples
from medmo_ray.corpus.facts import MAX_TEXTS, texts
from rewards.boxes import parse_boxes


def test_texts_differ_and_there_are_as_many_as_asked() -> None:
    for count in (1, 50, 700):
        drawn = texts(count, seed=1)
        assert len(drawn) == count
        assert len({text.key for text in drawn}) == count
        assert len({text.question for text in drawn}) == count
    assert len(texts(MAX_TEXTS + 10, seed=1)) == MAX_TEXTS


def test_texts_depend_on_the_seed_alone() -> None:
    assert texts(100, seed=1) == texts(100, seed=1)
    assert texts(100, seed=1) != texts(100, seed=2)


def test_a_box_told_in_words_is_the_box_in_the_answer() -> None:
    told = [text for text in texts(400, seed=3) if text.key.startswith("boxes-")]
    assert len(told) > 200
    for text in told:
        for label, box in parse_boxes(text.answer).boxes:
            x1, y1, x2, y2 = map(int, box)
            assert f"a {label} from ({x1}, {y1}) to ({x2}, {y2})" in text.question
        assert text.question.count(" from (") == len(parse_boxes(text.answer))


def test_wordings_of_one_fact_stay_on_one_side() -> None:
    samples = text_samples(600, CorpusRecipe(held_out_share=0.4))
    facts = {
        split: {s.id.split(":")[-1][:8] for s in members if ":fact-" in s.id} for split, members in samples.items()
    }
    assert facts["train"] and facts["held_out"]
    assert not facts["train"] & facts["held_out"]
    assert {s.split for s in samples["held_out"]} == {"held_out"}
    assert all(s.licence == "Apache-2.0" and not s.images for members in samples.values() for s in members)

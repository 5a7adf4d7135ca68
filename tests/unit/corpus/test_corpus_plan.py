"""Splits, repeats and shards of a corpus, decided without reading anything."""

from medmo_ray.corpus.plan import (
    ROW_OVERHEAD_BYTES,
    Candidate,
    assign_splits,
    cut_into_parts,
    shuffled,
    without_repeats,
)


def candidate(
    index: int, *, pixels: str | None = None, owner: str | None = None, split: str | None = None, size: int = 1000
) -> Candidate:
    digest = pixels or f"pixels {index}"
    return Candidate(index, f"record-{index}", owner, split, (digest,), f"{digest} annotated {index}", size)


def test_the_share_of_a_large_set_is_held_out() -> None:
    sides = assign_splits([candidate(n) for n in range(4000)], 0.1, seed=1)
    assert 340 <= sum(side == "held_out" for side in sides.values()) <= 460


def test_a_record_stays_on_its_side_when_others_are_added() -> None:
    before = assign_splits([candidate(n) for n in range(500)], 0.2, seed=1)
    after = assign_splits([candidate(n) for n in range(900)], 0.2, seed=1)
    assert {index: after[index] for index in before} == before


def test_the_seed_draws_another_side() -> None:
    first, second = (assign_splits([candidate(n) for n in range(200)], 0.5, seed) for seed in (1, 2))
    assert first != second


def test_equal_pictures_and_patients_stay_together_also_over_others() -> None:
    # 0 and 1 share a patient, 1 and 2 a picture, 2 and 3 a patient: one group. The rest are alone.
    chain = [
        candidate(0, owner="p"),
        candidate(1, owner="p", pixels="same"),
        candidate(2, owner="q", pixels="same"),
        candidate(3, owner="q"),
    ]
    for seed in range(40):
        sides = assign_splits([*chain, *(candidate(n) for n in range(4, 12))], 0.5, seed)
        assert len({sides[n] for n in range(4)}) == 1


def test_neither_side_is_empty() -> None:
    for count in (2, 3, 5):
        for seed in range(20):
            assert set(assign_splits([candidate(n) for n in range(count)], 0.01, seed).values()) == {
                "train",
                "held_out",
            }
            assert set(assign_splits([candidate(n) for n in range(count)], 0.89, seed).values()) == {
                "train",
                "held_out",
            }


def test_the_datasets_own_split_counts_and_a_divided_group_is_held_out() -> None:
    own = [
        candidate(0, split="train"),
        candidate(1, split="held_out"),
        candidate(2, split="train", pixels="same"),
        candidate(3, split="held_out", pixels="same"),
    ]
    assert assign_splits(own, 0.5, 0) == {0: "train", 1: "held_out", 2: "held_out", 3: "held_out"}


def test_a_split_without_a_held_out_side_is_drawn() -> None:
    sides = assign_splits([candidate(n, split="train") for n in range(50)], 0.3, 0)
    assert set(sides.values()) == {"train", "held_out"}


def test_the_second_of_equal_records_is_a_repeat() -> None:
    first, other = candidate(0), candidate(1)
    again = Candidate(2, "elsewhere", None, None, first.pixels, first.picture, 1000)
    assert without_repeats([first, other, again]) == ([first, other], [again])


def test_the_order_is_drawn_by_the_seed_and_not_by_the_list() -> None:
    members = [candidate(n) for n in range(100)]
    assert shuffled(members, 1) == shuffled(members[::-1], 1)
    assert shuffled(members, 1) != shuffled(members, 2)
    assert sorted(c.index for c in shuffled(members, 1)) == list(range(100))


def test_parts_hold_whole_row_groups_of_about_the_size_asked() -> None:
    members = [candidate(n, size=9000) for n in range(105)]
    parts = cut_into_parts(members, 20 * (9000 + ROW_OVERHEAD_BYTES), row_group_rows=8)
    assert [c for part in parts for c in part] == members
    assert [len(part) for part in parts] == [24, 24, 24, 24, 9]


def test_a_small_set_is_one_part() -> None:
    assert [len(part) for part in cut_into_parts([candidate(n) for n in range(3)], 1e9, 64)] == [3]

"""Splits and parts hold for any set of records."""

from hypothesis import given, settings
from hypothesis import strategies as st

from medmo_ray.corpus.plan import Candidate, assign_splits, cut_into_parts, shuffled, without_repeats


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    """Records with few patients and few pictures, so that many are shared."""
    some = st.sampled_from("abcdef")
    rows = draw(st.lists(st.tuples(st.none() | some, some, st.sampled_from([None, "train", "held_out"])), max_size=40))
    return [
        Candidate(n, f"k{n}", owner, split, (pixels,), f"{pixels}{n % 5}", 10 + n)
        for n, (owner, pixels, split) in enumerate(rows)
    ]


@settings(deadline=None)
@given(candidates(), st.floats(0.01, 0.89), st.integers(0, 3))
def test_no_patient_and_no_picture_is_on_two_sides(given_: list[Candidate], share: float, seed: int) -> None:
    sides = assign_splits(given_, share, seed)
    assert sides.keys() == {c.index for c in given_}
    for mark in ("owner", "pixels"):
        seen: dict[object, set[str]] = {}
        for c in given_:
            if getattr(c, mark) is not None:
                seen.setdefault(getattr(c, mark), set()).add(sides[c.index])
        assert all(len(split) == 1 for split in seen.values())


@settings(deadline=None)
@given(candidates(), st.randoms(use_true_random=False))
def test_sides_do_not_depend_on_the_order_of_the_records(given_: list[Candidate], random: object) -> None:
    mixed = list(given_)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert assign_splits(mixed, 0.3, 1) == assign_splits(given_, 0.3, 1)


@settings(deadline=None)
@given(candidates(), st.floats(1, 1e5), st.integers(1, 9))
def test_parts_are_the_records_in_whole_row_groups(given_: list[Candidate], shard_bytes: float, rows: int) -> None:
    kept, repeats = without_repeats(given_)
    assert sorted(c.index for c in kept + repeats) == [c.index for c in given_]
    assert len({c.picture for c in kept}) == len(kept)
    order = shuffled(kept, 2)
    parts = cut_into_parts(order, shard_bytes, rows)
    assert [c for part in parts for c in part] == order
    assert all(part and len(part) % rows == 0 for part in parts[:-1])

"""The plan: every sample once an epoch, the same for any number of workers, and resumable anywhere."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from medmo_ray.stream.plan import EpochPlan

plans = st.builds(
    EpochPlan,
    corpus=st.text("0123456789abcdef", min_size=4, max_size=4),
    rows=st.lists(st.integers(1, 9), min_size=1, max_size=12).map(tuple),
    seed=st.integers(0, 2**31),
    per_micro_batch=st.integers(1, 7),
    per_step=st.integers(1, 6),
    window_row_groups=st.integers(1, 5),
    epochs=st.integers(1, 3),
    num_samples=st.none() | st.integers(1, 60),
    max_steps=st.none() | st.integers(1, 20),
)


def walk(plan: EpochPlan) -> list[list[tuple[int, int, int]]]:
    """(epoch, row group, row) of each sample of each micro-batch, in the plan's order."""
    batches = [
        [(window.epoch, *place) for place in places] for window in plan.windows for places in plan.samples(window)
    ]
    return batches[: plan.num_micro_batches]


@given(plans)
def test_an_epoch_shows_every_sample_once(plan: EpochPlan) -> None:
    whole = EpochPlan(**{**vars_of(plan), "num_samples": None, "max_steps": None})
    seen = Counter(sample for batch in walk(whole) for sample in batch)
    expected = {(e, g, r) for e in range(plan.epochs) for g, rows in enumerate(plan.rows) for r in range(rows)}
    assert set(seen) == expected
    assert set(seen.values()) == {1}


@given(plans)
def test_a_shortened_epoch_is_the_beginning_of_the_whole_one(plan: EpochPlan) -> None:
    whole = EpochPlan(**{**vars_of(plan), "num_samples": None, "max_steps": None})
    cut = EpochPlan(**{**vars_of(plan), "max_steps": None})
    for epoch in range(plan.epochs):
        all_samples = [sample for batch in walk(whole) for sample in batch if sample[0] == epoch]
        some = [sample for batch in walk(cut) for sample in batch if sample[0] == epoch]
        assert some == all_samples[: plan.num_samples or len(all_samples)]


@given(plans)
def test_micro_batches_are_numbered_without_gaps_and_not_too_large(plan: EpochPlan) -> None:
    numbers = [window.first + place for window in plan.windows for place in range(len(plan.cut(window)))]
    assert numbers == list(range(plan.windows[-1].stop))
    assert all(1 <= len(batch) <= plan.per_micro_batch for batch in walk(plan))


@given(plans, st.integers(1, 5))
def test_the_ranks_together_do_the_steps_work_whatever_their_number(plan: EpochPlan, world_size: int) -> None:
    for step in range(plan.num_steps):
        rounds = plan.rounds(step, world_size)
        assert [number for turn in rounds for number in turn if number is not None] == list(plan.step(step))
        assert all(len(turn) == world_size for turn in rounds)
        assert sum(number is None for turn in rounds for number in turn) < world_size


@given(plans, st.integers(1, 5), st.data())
def test_the_stream_deals_each_rank_what_the_plan_says(plan: EpochPlan, world_size: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, plan.num_steps - 1))
    stream: list[int | None] = []
    for number in range(start * plan.per_step, plan.num_micro_batches):
        stream += [number, *[None] * plan.padding_after(number, world_size)]
    for rank in range(world_size):
        dealt = stream[rank::world_size]
        due = [turn[rank] for step in range(start, plan.num_steps) for turn in plan.rounds(step, world_size)]
        assert dealt == due


@given(plans, st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_a_run_interrupted_anywhere_loses_and_repeats_nothing(
    plan: EpochPlan, world_sizes: list[int], data: st.DataObject
) -> None:
    trained: list[int] = []
    done = 0
    for attempt, world_size in enumerate(world_sizes):
        last = attempt == len(world_sizes) - 1
        stop = plan.num_steps if last else data.draw(st.integers(done, plan.num_steps))
        for step in range(done, stop):
            trained += [number for turn in plan.rounds(step, world_size) for number in turn if number is not None]
        done = stop
    assert trained == list(range(plan.num_micro_batches))


@given(plans)
def test_the_digest_names_the_order(plan: EpochPlan) -> None:
    same = EpochPlan(**vars_of(plan))
    assert same.digest == plan.digest
    assert walk(same) == walk(plan)
    other = EpochPlan(**{**vars_of(plan), "seed": plan.seed + 1})
    assert other.digest != plan.digest
    longer = EpochPlan(**{**vars_of(plan), "epochs": plan.epochs + 1, "max_steps": None})
    assert longer.digest == plan.digest
    assert walk(longer)[: plan.num_micro_batches] == walk(plan)


def vars_of(plan: EpochPlan) -> dict:
    return {name: getattr(plan, name) for name in EpochPlan.__dataclass_fields__}

"""The plan of an epoch of 26 million samples: seconds, memory, and how good the order is that it gives.

    python benchmarks/bench_plan.py                        # plans of 26 M samples; order and walk over 1 M of them
    python benchmarks/bench_plan.py --walk 26000000        # the whole walk, some minutes

- plan, packed: fixed batches, and packs of `BUDGET` tokens. Targets: < 10 s, < 1 GB of this process.
- packing: tokens of packs that stay empty, beside first fit and the least that any packing could leave.
- walk: what each of 64 ranks consumes in each round of each step. Every sample exactly once; tokens of the busiest rank of a
  step < 3 % over the mean.
- order: how far the windows' order is from a uniform shuffle of the same samples, over a mixture of 20 datasets.
- reads: bytes of the corpus that an epoch reads, over the bytes that it uses, on drawn images of 256 px.

Lengths are drawn from a log-normal distribution around 700 tokens, cut at 2,048, and the sizes of the datasets fall from
28 % to 0.01 % of the samples: stated stand-ins for a corpus.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medmo_ray.config.sft import DataSettings, SftRecipe
from medmo_ray.stream.fit import best_fit
from medmo_ray.stream.pack import PackedPlan
from medmo_ray.stream.plan import EpochPlan

RESULT = Path(__file__).parent / "results" / "plan.json"
SAMPLES, ROW_GROUP, RANKS, BUDGET = 26_000_000, 64, 64, 8192
WINDOW = DataSettings().window_row_groups
TOGETHER = 512
"""Windows that are packed side by side, as a plan of 26 M samples does."""
LIMITS = {"seconds": 10.0, "gigabytes": 1.0, "imbalance": 0.03}
Facts = dict[str, float]


def rows_of(samples: int) -> tuple[int, ...]:
    """Row groups of `ROW_GROUP` rows."""
    whole, rest = divmod(samples, ROW_GROUP)
    return (ROW_GROUP,) * whole + ((rest,) if rest else ())


def drawn_lengths(samples: int) -> NDArray[np.int32]:
    """Stand-ins, drawn a million at a time, so that drawing them takes no memory to speak of."""
    random, found = np.random.default_rng(0), np.empty(samples, np.int32)
    for start in range(0, samples, 2**20):
        part = found[start : start + 2**20]
        part[:] = np.minimum(random.lognormal(np.log(700), 0.6, len(part)), 2048)
    return found


def planned(samples: int, packed: bool) -> Facts:
    """Make a plan and its digest; what that costs, the lengths included."""
    lengths = drawn_lengths(samples) if packed else None
    started, computed = time.perf_counter(), time.process_time()
    if lengths is None:
        plan = EpochPlan("0" * 16, rows_of(samples), 42, 2, 2 * RANKS, WINDOW)
    else:
        plan = PackedPlan("0" * 16, rows_of(samples), 42, 2, 2 * RANKS, WINDOW, token_budget=BUDGET, lengths=lengths)
    steps, digest = plan.num_steps, plan.digest
    seconds, computed = time.perf_counter() - started, time.process_time() - computed
    facts: Facts = {
        "samples": samples,
        "steps": steps,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(computed, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3),
    }
    if lengths is not None:
        facts["padding_share"] = _empty(lengths, plan.num_micro_batches, BUDGET)
    print(digest, facts, flush=True)
    return facts


def packing() -> dict[str, Facts]:
    """Windows of a few kinds of samples, packed by first fit and as the plan does it; CPU time of both in turn."""
    random, shape = np.random.default_rng(7), (TOGETHER, ROW_GROUP * WINDOW)
    kinds = {
        "lognormal around 700": (drawn_lengths(shape[0] * shape[1]).reshape(shape), 8192),
        "uniform to the budget": (random.integers(1, 8192, shape), 8192),
        "1,600, 600 or 80 and up to 400 more": (random.choice([1600, 600, 80], shape) + random.integers(0, 400, shape), 4096),
        "1,900 to 2,200": (1900 + random.integers(0, 300, shape), 8192),
        "2,000 to 6,000": (random.integers(2000, 6000, shape), 8192),
    }  # fmt: skip
    found: dict[str, Facts] = {}
    for name, (lengths, budget) in kinds.items():
        some = lengths[:4]
        started = time.process_time()
        theirs = sum(_first_fit(window, budget) for window in some)
        middle = time.process_time()
        packed = best_fit([window.astype(np.int32) for window in lengths], budget)
        ended = time.process_time()
        found[name] = {
            "token_budget": budget,
            "padding_share": _empty(some, sum(int(owners.max()) + 1 for owners in packed[:4]), budget),
            "padding_share_first_fit": _empty(some, theirs, budget),
            "padding_share_at_least": _empty(some, sum(-(-int(window.sum()) // budget) for window in some), budget),
            "us_a_sample": round(1e6 * (ended - middle) / lengths.size, 3),
            "us_a_sample_first_fit": round(1e6 * (middle - started) / some.size, 3),
        }
        print(name, found[name], flush=True)
    return found


def _first_fit(lengths: NDArray[np.int32], budget: int) -> int:
    room = np.full(len(lengths), budget)
    for length in np.sort(lengths)[::-1]:
        room[np.argmax(room >= length)] -= length
    return int((room < budget).sum())


def _empty(lengths: NDArray[np.int32], packs: int, budget: int) -> float:
    return round(1 - float(lengths.sum()) / (packs * budget), 4)


def walked(samples: int, window: int) -> Facts:
    """Walk an epoch as `RANKS` ranks do; count samples and tokens."""
    lengths = drawn_lengths(samples)
    plan = PackedPlan("0" * 16, rows_of(samples), 42, 2, 2 * RANKS, window, token_budget=BUDGET, lengths=lengths)
    windows, starts = plan.windows, np.concatenate(([0], np.cumsum(plan.rows)))
    seen, tokens = np.zeros(samples, np.uint8), np.zeros(plan.windows[-1].stop, np.int64)
    started = time.perf_counter()
    for some in windows:
        places = np.concatenate([np.arange(starts[group], starts[group + 1]) for group in some.row_groups])
        for number, rows in enumerate(plan.cut(some), some.first):
            seen[places[rows]] += 1
            tokens[number] = lengths[places[rows]].sum()
    seconds = time.perf_counter() - started
    over = []
    for step in range(plan.num_steps - 1):  # the last step of a run takes what is left
        load = np.zeros(RANKS)
        for turn in plan.rounds(step, RANKS):
            load += [0 if number is None else tokens[number] for number in turn]
        over.append(load.max() / load.mean() - 1)
    facts = {
        "window_row_groups": window,
        "samples": samples,
        "ranks": RANKS,
        "packs_a_rank_and_step": plan.per_step // RANKS,
        "steps": plan.num_steps,
        "token_budget": BUDGET,
        "cut_us_a_sample": round(1e6 * seconds / samples, 2),
        "seen_once": int((seen == 1).sum()),
        "padding_share": _empty(lengths, len(tokens), BUDGET),
        "imbalance_mean": round(float(np.mean(over)), 4),
        "imbalance_p99": round(float(np.quantile(over, 0.99)), 4),
        "imbalance_max": round(float(np.max(over)), 4),
        "steps_over_limit": int(np.sum(np.array(over) >= LIMITS["imbalance"])),
    }
    print(facts, flush=True)
    return facts


def ordered(samples: int) -> dict[str, Facts]:
    """The order of an epoch beside a uniform shuffle of the same samples, by the same measures."""
    found = {f"windows of {window} row groups": _measures(_order(samples, window)) for window in (WINDOW, 8 * WINDOW)}
    return {**found, "uniform shuffle": _measures(np.random.default_rng(1).permutation(samples))}


def _order(samples: int, window_row_groups: int) -> NDArray[np.int64]:
    """The corpus's places of all samples, in the order of training."""
    plan = EpochPlan("0" * 16, rows_of(samples), 42, 2, 2 * RANKS, window_row_groups)
    starts = np.concatenate(([0], np.cumsum(plan.rows)))
    places = [
        np.concatenate([np.arange(starts[group], starts[group + 1]) for group in window.row_groups])
        for window in plan.windows
    ]
    cut = (np.concatenate(plan.cut(window)) for window in plan.windows)
    return np.concatenate([rows[order] for rows, order in zip(places, cut, strict=True)])


def _measures(order: NDArray[np.int64]) -> Facts:
    """Of the corpus's place of each sample, in the order of training.

    mean_move: mean distance between the two places over the samples, 1/3 when uniform. neighbours_of_one_row_group: share of
    samples that follow one of their own row group. ks_…: Kolmogorov–Smirnov distance between the times at which a dataset's
    samples come and a uniform spread over the epoch.
    """
    samples = len(order)
    shares = np.geomspace(2800, 1, 20)
    ends = np.cumsum(shares / shares.sum() * samples).astype(np.int64)
    dataset = np.searchsorted(ends[:-1], order, side="right")
    group = order // ROW_GROUP
    distances = []
    for number in range(len(ends)):
        times = (np.flatnonzero(dataset == number) + 0.5) / samples
        spread = np.arange(len(times) + 1) / len(times)
        distances.append(max(np.max(spread[1:] - times), np.max(times - spread[:-1])))
    facts = {
        "samples": samples,
        "mean_move": round(float(np.abs(order - np.arange(samples)).mean()) / samples, 4),
        "neighbours_of_one_row_group": round(float((group[1:] == group[:-1]).mean()), 6),
        "largest_dataset": int(ends[0]),
        "ks_largest_dataset": round(float(distances[0]), 4),
        "ks_median": round(float(np.median(distances)), 4),
        "smallest_dataset": int(ends[-1] - ends[-2]),
        "ks_smallest_dataset": round(float(distances[-1]), 4),
    }
    print(facts, flush=True)
    return facts


def read(images: int) -> Facts:
    """Bytes of a small corpus that an epoch reads: the columns of its row groups, and the footer that each read parses."""
    import pyarrow.parquet as pq  # what is heavy comes after the plans, whose memory is measured

    from medmo_ray.corpus.read import read_samples
    from medmo_ray.stream.read import COLUMNS, TrainingRows

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "examples"))
    from small_run import write_corpus

    with tempfile.TemporaryDirectory() as folder:
        corpus = write_corpus(
            Path(folder) / "corpus", num_images=images, num_texts=images // 8, side_px=256, row_group_rows=ROW_GROUP
        )
        rows = TrainingRows(corpus, SftRecipe.model_validate({"cluster": {"num_workers": 1}}))
        columns = footers = groups = 0
        for window in rows.plan.windows:
            for number in window.row_groups:
                shard, group = rows.groups[number]
                facts = pq.read_metadata(corpus / shard.file)
                chunks = [facts.row_group(group).column(column) for column in range(facts.num_columns)]
                wanted = [chunk for chunk in chunks if chunk.path_in_schema.startswith(tuple(COLUMNS))]
                columns += sum(chunk.total_compressed_size for chunk in wanted)
                footers, groups = footers + facts.serialized_size, groups + 1
        used = sum(
            len(sample.messages) + sum(len(image.bytes) for image in sample.images)
            for sample in read_samples(corpus, "train")
        )
        samples = sum(window.rows for window in rows.plan.windows)
    found = {
        "samples": samples,
        "row_groups": groups,
        "samples_a_row_group": round(samples / groups, 1),
        "bytes_used": used,
        "columns_read_over_used": round(columns / used, 4),
        "read_over_used": round((columns + footers) / used, 4),
        "read_over_used_sample_by_sample": round((columns + footers) / used * samples / groups, 1),
    }
    print(found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--walk", type=int, default=1_000_000, help="samples of the walk")
    given = parser.parse_args()
    result = {
        "limits": LIMITS,
        "plan": planned(SAMPLES, packed=False),
        "packed": planned(SAMPLES, packed=True),
        "packing": packing(),
        "walk": [walked(given.walk, window) for window in (WINDOW, 8 * WINDOW)],
        "order": ordered(given.walk),
        "reads": read(1024),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    plans, walks = [result["plan"], result["packed"]], result["walk"]
    met = all(plan["seconds"] < LIMITS["seconds"] and plan["peak_gb"] < LIMITS["gigabytes"] for plan in plans)
    even = all(walk["imbalance_p99"] < LIMITS["imbalance"] for walk in walks)
    sys.exit(0 if met and even and all(walk["seen_once"] == given.walk for walk in walks) else 1)


if __name__ == "__main__":
    main()

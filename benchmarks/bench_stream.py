"""Samples a second from Parquet to model-ready batches: the plan stream against five other loaders.

    python benchmarks/bench_stream.py               # each side in a process of its own, taking turns
    python benchmarks/bench_stream.py --quick       # one round of few samples: that everything runs and is equal
    python benchmarks/bench_stream.py --memory      # 100,000 samples of small images: what memory does

Every side delivers the same samples, 768 x 768 px (2,304 patches), as padded micro-batches of ten, from two processes that
decode. What a batch teaches is compared with what is expected, sample by sample, before the clock starts: tokens and
targets exactly; patches exactly, or within a few levels for the stock processor. Then a warm-up, then the measured
samples: rate, CPU time of the whole process tree (Ray's daemons included), memory. `first batch` counts from the start of
the process. The trainer takes a batch, reads every page of it, and asks for the next.

ours:        Ray Data's plan stream as the training loop takes it, one rank.
loader:      torch's DataLoader over the same Parquet shards, with this project's encoder.
datasets:    Hugging Face streaming over the same shards, with this project's encoder.
mosaic:      MosaicML Streaming over MDS shards, with this project's encoder.
webdataset:  WebDataset over tar shards, with this project's encoder.
processor:   DataLoader with TRL's collator and Qwen's stock processor: what TRL's users run.

Others' packages are looked for in the environment and in .venv/peers (`make bench-stream` installs them there); a side
without its package is left out and named.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.append(str(Path(__file__).parent.parent / ".venv" / "peers"))  # last: what both hold is the environment's

import numpy as np
import psutil
from stream_sides import FORMS, NEEDS, SIDES, Batch, Corpora, checksum, digest
from tqdm import tqdm

RESULTS = Path(__file__).parent / "results" / "stream.json"
TARGETS = {"processor": 2.5, "loader": 1.0, "datasets": 1.0, "mosaic": 1.0, "webdataset": 1.0}
SIDE_PX, IMAGE_SIDES = 768, (512, 1024)
PAGE = 4096
CHECKED = 150
"""Samples that are compared, at the start of the warm-up: what is read ahead meanwhile is used up before the clock starts."""
MEMORY_SIDE_PX, MEMORY_SAMPLES, MEMORY_GROWTH = 64, 100_000, 1.1
MEMORY_RESULTS = RESULTS.with_name("stream_memory.json")
TOLERANCE = 4
"""Levels of 255 that the stock processor's pixels may differ: Pillow's JPEG decoder rounds in another way."""


def check(batch: Batch, corpora: Corpora) -> list[str]:
    """Compare a batch with what is expected.

    Returns:
        The digests of its samples.

    Raises:
        SystemExit: a sample is not one of the corpus, or its patches are others.
    """
    expected, found = corpora.expected, []
    stock = "pixel_values" in batch
    per_image = (corpora.side_px // 16) ** 2
    for row in range(len(batch["input_ids" if stock else "tokens"])):
        part = slice(row * per_image, (row + 1) * per_image)
        if stock:
            # The template's line break after the last turn, which this project does not teach, is left out.
            length = int(batch["attention_mask"][row].sum()) - 1
            tokens, labels = batch["input_ids"][row, :length], batch["labels"][row, :length]
            targets = np.append(labels[1:], -100)
        else:
            length = int(batch["lengths"][row])
            tokens, targets = batch["tokens"][row, :length], batch["targets"][row, :length]
        name = digest(tokens, targets)
        if name not in expected:
            raise SystemExit("a sample came out with other tokens or targets than the corpus has")
        image, patches = expected[name]
        if stock:
            _check_stock(batch["pixel_values"][part], corpora, image)
        elif checksum(batch["patches"][part]) != patches:
            raise SystemExit(f"image {image} came out with other patches")
        found.append(name)
    return found


def _check_stock(values: np.ndarray, corpora: Corpora, image: int) -> None:
    from medmo_ray.stream.images import load_pixels, patchify

    side = corpora.side_px
    ours = patchify(load_pixels((corpora.directory / "images" / str(image)).read_bytes(), (side, side)))
    theirs = values.reshape(-1, 3, 2, 256) * 127.5 + 127.5
    difference = np.abs(theirs - ours.reshape(-1, 3, 1, 256)).max()
    if difference > TOLERANCE:
        raise SystemExit(f"image {image} differs by {difference:.1f} levels from the stock processor's")


def touch(batch: Batch) -> int:
    """Read a byte of every page, as a copy to the device would; the number of samples."""
    for array in batch.values():
        array.reshape(-1).view(np.uint8)[::PAGE].sum()
    return len(batch["input_ids"] if "input_ids" in batch else batch["lengths"])


def tree() -> list[psutil.Process]:
    """This process and all that it started."""
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def cpu_s() -> float:
    """CPU seconds of the tree, of ended children too."""
    total = 0.0
    for process in tree():
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total


def memory_mb() -> dict[str, float]:
    """Proportional memory of the tree by role: shared pages count once."""
    found: dict[str, float] = {}
    for process in tree():
        try:
            name = process.name().split(".")[0] if process.pid != os.getpid() else "trainer"
            found[name] = found.get(name, 0) + process.memory_full_info().pss / 1e6
        except psutil.NoSuchProcess:
            continue
    return {name: round(value, 1) for name, value in sorted(found.items())}


def run_side(side: str, given: argparse.Namespace) -> dict[str, Any]:
    """Check, warm up and measure a side; the process ends afterwards."""
    corpora = Corpora(given.directory, SIDE_PX)
    batches = SIDES[side](corpora)
    batch = next(batches)
    first_s = time.time() - given.spawned
    names, warm = check(batch, corpora), len(batch["lengths"] if "lengths" in batch else batch["input_ids"])
    while warm < given.warm_up:
        batch = next(batches)
        names += check(batch, corpora) if given.check and warm < CHECKED else []
        warm += touch(batch)
    # The shuffle buffers of others reach into the next epoch only after what is checked here.
    if len(set(names)) != len(names):
        raise SystemExit(f"{side} delivered a sample twice")
    count, cpu, started = 0, cpu_s(), time.perf_counter()
    while count < given.measured:
        count += touch(next(batches))
    wall, cpu = time.perf_counter() - started, cpu_s() - cpu
    return {
        "samples_per_s": count / wall, "cpu_ms": 1000 * cpu / count, "cores": cpu / wall, "first_s": first_s,
        "memory_mb": sum(memory_mb().values()), "checked": len(names),
    }  # fmt: skip


def run_memory(given: argparse.Namespace) -> dict[str, Any]:
    """Stream many small samples through all of Ray Data's way; memory of each kind of process as it goes on."""
    found, count, started = [], 0, time.perf_counter()
    marks = [given.measured * mark // 10 for mark in range(1, 11)]
    for batch in SIDES["ours"](Corpora(given.directory, MEMORY_SIDE_PX)):
        count += touch(batch)
        if count >= marks[len(found)]:
            found.append({"samples": count, "seconds": round(time.perf_counter() - started, 1), **memory_mb()})
            print(json.dumps(found[-1]), file=sys.stderr, flush=True)
            if len(found) == len(marks):
                break
    first, last = (sum(row.values()) - row["samples"] - row["seconds"] for row in (found[0], found[-1]))
    return {"rows": found, "growth": round(last / first, 3), "first_mb": round(first), "last_mb": round(last)}


def start(side: str, given: argparse.Namespace, check: bool) -> dict[str, Any]:
    """A side in a process of its own."""
    command = [
        sys.executable, __file__, "--side", side, "--directory", str(given.directory), "--spawned", str(time.time()),
        *(["--memory"] if given.memory else []),
        "--warm-up", str(given.warm_up), "--measured", str(given.measured), *(["--check"] if check else []),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=None if given.memory else subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stdout[-2000:]}\n{(done.stderr or '')[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def versions() -> dict[str, str]:
    names = ("ray", "torch", "torchvision", "transformers", "trl", "datasets", "mosaicml-streaming", "webdataset")
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def compare(given: argparse.Namespace, sides: list[str]) -> dict[str, Any]:
    """All rounds; the medians and their ratios."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    turns = [(turn, side) for turn in range(given.rounds) for side in (sides if turn % 2 == 0 else sides[::-1])]
    for turn, side in tqdm(turns, desc="stream", unit="run"):
        runs[side].append(start(side, given, check=turn == 0))
    medians = {
        side: {name: round(statistics.median(run[name] for run in found), 2) for name in found[0]}
        for side, found in runs.items()
    }
    speed = {side: medians[side]["samples_per_s"] for side in sides}
    return {
        "figure": "samples a second in steady state, medians",
        "ratios": {f"ours / {side}": round(speed["ours"] / speed[side], 3) for side in sides if side != "ours"},
        "medians": medians,
        "targets": {f"ours / {side}": TARGETS[side] for side in sides if side != "ours"},
        "runs": runs,
    }


def table(result: dict[str, Any]) -> str:
    lines = ["side         samples/s  CPU ms/sample  cores  first batch s  memory MB  ours / side"]
    for side, found in result["medians"].items():
        ratio = result["ratios"].get(f"ours / {side}", 1.0)
        lines.append(
            f"{side:<11} {found['samples_per_s']:>10.1f} {found['cpu_ms']:>14.2f} {found['cores']:>6.2f} "
            f"{found['first_s']:>14.1f} {found['memory_mb']:>10.0f} {ratio:>12.3f}"
        )
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of few samples")
    parser.add_argument("--memory", action="store_true", help="ours alone, 100,000 samples of small images")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1200, help="of the corpus")
    parser.add_argument("--warm-up", type=int, default=600)
    parser.add_argument("--measured", type=int, default=800)
    parser.add_argument("--directory", type=Path, help="keep the corpora here and use them again")
    parser.add_argument("--side", choices=SIDES, help="run one side and print its measurement (what the rounds do)")
    parser.add_argument("--spawned", type=float, help="with --side: when its process was started")
    parser.add_argument("--check", action="store_true", help="with --side: compare the first samples")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.samples, given.warm_up, given.measured = 1, 600, 450, 100
    if given.memory and not given.side:
        given.sides, given.measured = ["ours"], MEMORY_SAMPLES
    return given


def main() -> None:
    given = parsed()
    if given.side:
        print(json.dumps(run_memory(given) if given.memory else run_side(given.side, given)))
        return
    missing = [side for side in given.sides if side in NEEDS and importlib.util.find_spec(NEEDS[side]) is None]
    for side in missing:
        print(f"{side} is left out: {NEEDS[side]} is not installed (make bench-stream installs it)")
    sides = [side for side in given.sides if side not in missing]
    with tempfile.TemporaryDirectory() as scratch:
        given.directory = given.directory or Path(scratch) / "corpora"
        if not (given.directory / "expected.json").is_file():
            from stream_corpus import write_corpora

            forms = tuple(FORMS[side] for side in sides if side in FORMS)
            small = (MEMORY_SIDE_PX, (MEMORY_SIDE_PX, MEMORY_SIDE_PX))
            write_corpora(given.directory, given.samples, *(small if given.memory else (SIDE_PX, IMAGE_SIDES)), forms)
        if given.memory:
            result = start("ours", given, check=False)
            MEMORY_RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            print(f"{result['first_mb']} MB after 10,000 samples, {result['last_mb']} MB after 100,000")
            if result["growth"] > MEMORY_GROWTH:
                raise SystemExit(f"memory grew {result['growth']}-fold")
            return
        result = compare(given, sides)
    print(table(result))
    result["settings"] = {
        "side_px": SIDE_PX, "images_px": IMAGE_SIDES, "samples": given.samples, "warm_up": given.warm_up,
        "measured": given.measured, "rounds": given.rounds, "workers": 2, "micro_batch": 10,
    }  # fmt: skip
    result["machine"] = {
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), **versions(),
    }  # fmt: skip
    if given.quick:
        return
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    below = [name for name, ratio in result["ratios"].items() if ratio < result["targets"][name]]
    if below:
        raise SystemExit(f"under target: {', '.join(below)}")


if __name__ == "__main__":
    main()

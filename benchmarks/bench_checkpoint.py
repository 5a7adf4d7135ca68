"""How long a checkpoint holds training up: written while it waits, and written beside it.

    python benchmarks/bench_checkpoint.py              # two sizes of a random Qwen3-VL, 9 turns each, some 2 minutes on 2 cores

One process, turns taken alternately; medians of the seconds in `CheckpointSaver.save`, each begun with no other checkpoint in
flight. `written` is the time until an asynchronous one is complete, with nothing else to do.
"""

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist

from medmo_ray.config.model import ModelSettings, TinyModel
from medmo_ray.config.sft import OptimizerSettings, SftCheckpointSettings, TuningSettings
from medmo_ray.model.progress import Progress
from medmo_ray.model.saver import CheckpointSaver
from medmo_ray.model.shard import load_sharded
from medmo_ray.model.store import Store
from medmo_ray.model.tiny import build_tiny_model
from medmo_ray.sft.schedule import adamw

RESULT = Path(__file__).parent / "results" / "checkpoint.json"
SIZES = {
    "tiny": TinyModel(vocab_size=512),
    "larger": TinyModel(vocab_size=8192, hidden_size=512, num_layers=6, num_heads=8, vision_hidden_size=256),
}


def measured(folder: Path, sizes: TinyModel, turns: int) -> dict[str, float]:
    """Medians over the turns, after one turn of each kind that is not counted."""
    model_directory = build_tiny_model(folder / "model", ["a cell and a bacterium"] * 8, sizes, seed=0)
    model = load_sharded(model_directory, ModelSettings(dtype="float32"), torch.device("cpu"), recompute=False)
    optimizer = adamw(model, OptimizerSettings(), TuningSettings())
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    optimizer.zero_grad()
    seconds: dict[str, list[float]] = {"synchronous": [], "asynchronous": [], "written": []}
    store = Store(str(folder / "checkpoints"))
    savers = {
        kind: CheckpointSaver(store, SftCheckpointSettings(asynchronous=kind == "asynchronous"), 60, 0, logging.warning)
        for kind in ("synchronous", "asynchronous")
    }
    for turn in range(2 * (turns + 1)):
        kind = ("synchronous", "asynchronous")[turn % 2]
        started = time.perf_counter()
        savers[kind].save(model, optimizer, Progress(turn + 1, turn + 1, "plan", "model", 1))
        held_up = time.perf_counter() - started
        savers[kind].settle()
        if turn >= 2:
            seconds[kind].append(held_up)
            if kind == "asynchronous":
                seconds["written"].append(time.perf_counter() - started)
    num_bytes = sum(file.stat().st_size for file in (folder / "checkpoints").glob("*/*")) / len(store.checkpoints()[0])
    facts = {name: round(median(values), 4) for name, values in seconds.items()}
    return {
        "megabytes": round(num_bytes / 1e6, 1),
        **facts,
        "ratio": round(facts["synchronous"] / facts["asynchronous"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=9)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="checkpoints-") as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=0, world_size=1)
        result = {
            "turns": turns,
            **{name: measured(Path(folder) / name, sizes, turns) for name, sizes in SIZES.items()},
        }
        dist.destroy_process_group()
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

"""Writers of checkpoints that are killed at random moments: `python killed_saver.py FOLDER KILLS`; prints what was found each time.

Each writer goes on from the last checkpoint and saves one after another, the weights of step n all being n.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from medmo_ray.config.sft import SftCheckpointSettings
from medmo_ray.model.checkpoint import load_checkpoint
from medmo_ray.model.progress import Progress, latest_checkpoint
from medmo_ray.model.recover import recover_checkpoints
from medmo_ray.model.saver import CheckpointSaver
from medmo_ray.model.store import Store


def write(folder: Path, number: int) -> None:
    """Check what is there, note it, and save until the end comes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group-{number}", rank=0, world_size=1)
    store, told = Store(str(folder / "checkpoints")), []
    model = nn.Linear(512, 512)
    optimizer = torch.optim.AdamW(model.parameters())
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    recover_checkpoints(store, told.append)
    found = latest_checkpoint(store)
    step = found[1].step if found else 0
    if found is not None:
        load_checkpoint(store, found[0], model, optimizer)
    whole = found is None or bool((model.weight == step).all() and (model.bias == step).all())
    line = json.dumps({"step": step, "whole": whole, "told": told})
    with (folder / "found.jsonl").open("a") as file:
        file.write(line + "\n")
    saver = CheckpointSaver(store, SftCheckpointSettings(keep=2), 60, step, told.append)
    while True:
        step += 1
        with torch.no_grad():
            for weight in model.parameters():
                weight.fill_(step)
        saver.save(model, optimizer, Progress(step, step, "p", "m", 1))


def main(folder: Path, kills: int) -> None:
    rng, notes = random.Random(0), folder / "found.jsonl"
    notes.touch()
    for number in range(kills + 1):
        writer = os.fork()
        if writer == 0:
            write(folder, number)
        while len(notes.read_text().splitlines()) <= number:
            time.sleep(0.005)
            if os.waitpid(writer, os.WNOHANG)[0]:
                sys.exit("a writer ended by itself")
        time.sleep(rng.uniform(0.02, 0.6))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

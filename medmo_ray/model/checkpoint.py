"""Training state on disk: sharded, complete or absent.

A directory gets its final name when every rank has written and state.json is in it, so a kill at any moment leaves the
checkpoint before it as the last one (`model.progress` says how they lie).
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)

from medmo_ray.model.progress import STATE_FILE, Progress, complete_checkpoints


def save_checkpoint(
    directory: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, keep: int
) -> Path:
    """Write the state of all ranks; collective. Older checkpoints beyond `keep` are removed.

    Returns:
        The directory of the complete checkpoint.
    """
    final = directory / f"step-{progress.step:08d}"
    part = final.with_name(final.name + ".part")
    rank = dist.get_rank()
    if rank == 0:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    dist.barrier()
    torch.save(_rng_state(), part / f"rng-{rank:05d}.pt")
    weights, moments = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": moments}, checkpoint_id=part)
    dist.barrier()
    if rank == 0:
        _write_durably(part / STATE_FILE, json.dumps(asdict(progress), indent=1) + "\n")
        shutil.rmtree(final, ignore_errors=True)
        part.replace(final)
        for old in complete_checkpoints(directory)[:-keep]:
            shutil.rmtree(old)
    dist.barrier()
    return final


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Read a checkpoint into a sharded model and its optimizer; collective, on any number of ranks.

    Random states come back where this rank wrote one.
    """
    weights, moments = get_state_dict(model, optimizer)
    state = {"model": weights, "optimizer": moments}
    dcp.load(state, checkpoint_id=path)
    set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    rng = path / f"rng-{dist.get_rank():05d}.pt"
    if rng.is_file():
        _set_rng_state(torch.load(rng, weights_only=True))


def gather_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """All weights on the CPU of rank 0, nothing on the others; collective."""
    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def _rng_state() -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _set_rng_state(state: Mapping[str, torch.Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _write_durably(file: Path, text: str) -> None:
    with file.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())

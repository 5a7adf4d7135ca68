"""Where a rank computes, and whether the model fits there."""

import os
from pathlib import Path

import psutil
import torch
import torch.distributed as dist

from medmo_ray.config.architecture import architecture_of
from medmo_ray.config.base import ClusterSettings
from medmo_ray.config.memory import GIB, Arithmetic, MicroBatch, training_memory
from medmo_ray.config.model import ModelSettings
from medmo_ray.config.sft import TuningSettings
from medmo_ray.errors import ClusterError


def rank_device(cluster: ClusterSettings) -> torch.device:
    """The device of this rank; on the CPU, torch is given the rank's share of the cores."""
    if cluster.use_gpu:
        return torch.device("cuda", torch.cuda.current_device())
    torch.set_num_threads(max(1, int(cluster.cpus_per_worker)))
    return torch.device("cpu")


def memory_lack(model: Path, device: torch.device, tuning: TuningSettings) -> ClusterError | None:
    """Compare what training state takes on each rank with what is free; collective, and all ranks get the same answer.

    Activations come on top and depend on the samples, so an answer of None is no promise.
    """
    architecture = architecture_of(ModelSettings(path=str(model)))
    if architecture is None:
        return None
    held = training_memory(architecture, Arithmetic(2, True, tuning), MicroBatch(0, 0, 0), dist.get_world_size())
    needed = held.total / GIB
    missing = torch.tensor(needed - _free_gib(device), dtype=torch.float64)
    dist.all_reduce(missing, op=dist.ReduceOp.MAX)
    if missing <= 0:
        return None
    return ClusterError(
        f"Training {architecture.name} ({architecture.parameters / 1e9:.1f} B parameters) on {dist.get_world_size()} workers "
        f"takes {needed:.1f} GiB on each before any activation, and a worker has {float(missing):.1f} GiB less than that free. "
        "Raise cluster.num_workers, use workers with more memory, or train less of the model (tuning.lora, tuning.frozen)."
    )


def _free_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**30
    return psutil.virtual_memory().available / 2**30 / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

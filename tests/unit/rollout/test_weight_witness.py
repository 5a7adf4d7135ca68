"""The witness of vLLM's weights, and the way from verl's shards to an export."""

import math
from pathlib import Path

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from medmo_ray.errors import TrainingError
from rollout.export import merged_state
from rollout.vllm_worker import SAMPLED, WeightWitness


def parameters() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(64, 32, generator=generator), torch.randn(SAMPLED * 3, generator=generator)]


def test_change_is_the_distance_between_two_transfers() -> None:
    held, witness = parameters(), WeightWitness(set())
    assert math.isnan(witness.look(held)["change"])
    assert witness.look(held)["change"] == 0
    held[0][3, 4] += 0.5
    report = witness.look(held)
    assert report["change"] == pytest.approx(0.5)
    assert report["transfer"] == 3


def test_a_transfer_that_moves_every_weight_a_little_is_seen() -> None:
    held, witness = parameters(), WeightWitness(set())
    witness.look(held)
    for parameter in held:
        parameter += 1e-6
    assert witness.look(held)["change"] > 1e-5


def test_what_arrived_and_what_is_held_are_compared_by_norm() -> None:
    """vLLM holds q, k and v as one matrix; a norm does not care. A tied head arrives beside its embedding."""
    held, witness = parameters(), WeightWitness(twice={"lm_head.weight"})
    witness.begin()
    witness.receive([("q", held[0][:16]), ("k", held[0][16:]), ("lm_head.weight", held[0])])
    witness.receive([("norm", held[1])])
    report = witness.look(held)
    assert report["received"] == pytest.approx(report["held"], rel=1e-12)
    witness.begin()
    witness.receive([("q", held[0][:16])])
    assert witness.look(held)["received"] < report["held"]


@pytest.fixture
def mesh(tmp_path: Path) -> object:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,), mesh_dim_names=("fsdp",))
    torch.distributed.destroy_process_group()


def test_shards_of_all_workers_make_the_whole_weight(tmp_path: Path, mesh: object) -> None:
    whole, plain = torch.arange(12.0).reshape(6, 2), torch.tensor([7.0])
    for rank, rows in enumerate((slice(0, 4), slice(4, 6))):
        state = {"weight": distribute_tensor(whole[rows].clone(), mesh, [Shard(0)]), "buffer": plain}
        torch.save(state, tmp_path / f"model_world_size_2_rank_{rank}.pt")
    merged = merged_state(tmp_path)
    assert torch.equal(merged["weight"], whole)
    assert torch.equal(merged["buffer"], plain)


def test_a_checkpoint_that_lacks_a_worker_is_refused(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "model_world_size_2_rank_1.pt")
    with pytest.raises(TrainingError, match="1 of 2 workers"):
        merged_state(tmp_path)
    with pytest.raises(TrainingError, match="holds 0 of"):
        merged_state(tmp_path / "nothing")

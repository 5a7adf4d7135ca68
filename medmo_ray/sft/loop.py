"""One rank of a supervised stage, from the loading of the model to its export."""

import torch
import torch.distributed as dist
from torch.nn.utils import clip_grad_norm_

from medmo_ray.errors import MedmoError, TrainingError
from medmo_ray.model.checkpoint import load_checkpoint, save_checkpoint
from medmo_ray.model.export import export_model
from medmo_ray.model.memory import memory_lack, rank_device
from medmo_ray.model.processor import local_directory, read_colours
from medmo_ray.model.progress import Progress, fingerprint, latest_checkpoint
from medmo_ray.model.shard import load_sharded
from medmo_ray.sft.batch import probe_of, to_device
from medmo_ray.sft.job import SftJob
from medmo_ray.sft.metrics import ConsumedLog, StepSums, answer_scores, not_finite
from medmo_ray.sft.schedule import adamw, learning_rate
from medmo_ray.sft.watch import Heartbeat
from medmo_ray.stream.loader import RankStream
from medmo_ray.telemetry import MetricsLog


def train_rank(job: SftJob, stream: RankStream) -> MedmoError | None:
    """Train from the last checkpoint to the end of the plan; collective over all ranks.

    Args:
        job: the stage.
        stream: this rank's micro-batches, from the last checkpoint on.

    Returns:
        The error for which all ranks stopped together, None when the stage is done.
    """
    recipe, plan, source = job.recipe, stream.plan, local_directory(job.model)
    rank, world_size = dist.get_rank(), dist.get_world_size()
    heartbeat = Heartbeat(job.heartbeats, rank)
    heartbeat.beat(0, "loading the model")
    device = rank_device(recipe.cluster)
    if (lack := memory_lack(source, device)) is not None:
        return lack
    torch.manual_seed(recipe.run.seed)
    model = load_sharded(source, recipe.model, device, recompute=recipe.activation_checkpointing)
    optimizer = adamw(model, recipe.optimizer)
    first = 0
    if (found := latest_checkpoint(job.checkpoints)) is not None:
        load_checkpoint(found[0], model, optimizer)
        first = found[1].step
    origin, colours = fingerprint(source), read_colours(source)
    consumed = ConsumedLog(job.consumed, rank, world_size, first)
    metrics_log = MetricsLog(job.metrics, first) if rank == 0 else None

    for step in range(first, plan.num_steps):
        heartbeat.beat(step, "waiting for data")
        sums = StepSums(device)
        numbers = [turn[rank] for turn in plan.rounds(step, world_size)]
        batches = [to_device(stream.take(number), device, colours) for number in numbers]
        # The loss is a mean over all targets of the step, wherever they are; FSDP averages gradients over the ranks.
        num_targets = torch.tensor(sum(batch.num_targets for batch in batches))
        sums.data_arrived()
        dist.all_reduce(num_targets)
        share = world_size / max(1, int(num_targets))

        heartbeat.beat(step, "forward and backward")
        for batch in batches:
            scores = answer_scores(model(**batch.inputs).logits, batch.targets)
            (scores["loss"] * share).backward()
            sums.add(batch, scores)
        norm = clip_grad_norm_(model.parameters(), recipe.optimizer.max_grad_norm).full_tensor()

        heartbeat.beat(step, "update")
        rate = learning_rate(step, plan.num_steps, recipe.optimizer)
        metrics = {**sums.finish(), "grad_norm": float(norm), "lr": rate}
        if broken := not_finite(metrics):
            return TrainingError(
                f"{' and '.join(broken)} became {metrics[broken[0]]} at step {step + 1}, on the samples that the last line of "
                f"{job.consumed}/*.jsonl comes after. The weights before it are in {job.checkpoints}. Lower "
                f"optimizer.lr (now {recipe.optimizer.lr:g}) or optimizer.max_grad_norm, or look at those samples."
            )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()

        done, last = step + 1, step + 1 == plan.num_steps
        consumed.write(done, numbers, batches)
        if metrics_log is not None and (done % recipe.log_every_steps == 0 or last):
            metrics_log.write(done, metrics)
        if done % recipe.checkpoint.every_steps == 0 or last:
            heartbeat.beat(step, "checkpoint")
            progress = Progress(done, plan.step(step).stop, plan.digest, origin, world_size)
            save_checkpoint(job.checkpoints, model, optimizer, progress, recipe.checkpoint.keep)

    heartbeat.beat(plan.num_steps, "export")
    del optimizer
    export_model(model, source, job.export, recipe.model, probe_of(source, device, colours))
    return None

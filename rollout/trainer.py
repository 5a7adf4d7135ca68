"""verl's synchronous trainer with the project's record of a run: metrics, rollouts, the state of the weights, progress.

The steps are verl's own; only its hooks are used.
"""

import json
import math
from pathlib import Path
from typing import Any

from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from medmo_ray.errors import TrainingError
from medmo_ray.ledger import append_step, drop_steps_after, read_ledger
from medmo_ray.telemetry import Gauges, MetricsLog, read_metrics
from rewards.monitors import Monitors
from rollout import advantages  # noqa: F401 (verl finds it by name)
from rollout.metrics import learning_rate, reward_metrics, step_row, weight_metrics
from rollout.monitoring import StageMonitors
from rollout.progress import SHOWN, Progress

ROLLOUTS = "rollouts"
WEIGHTS = "weights"


class DapoTrainer(PPOTrainerSync):
    """Trains one stage 4.

    Args:
        config: verl's.
        directory: of the stage.
        monitors: of cheating, at their start; None: none.
    """

    def __init__(self, config: Any, directory: Path, monitors: Monitors | None = None) -> None:
        super().__init__(config=config)
        self.directory = directory
        self.monitors = monitors
        self.watching: StageMonitors | None = None
        self.monitored: dict[str, float] = {}
        self.warnings: list[str] = []
        self.num_transfers = 0
        self.last: dict[str, float] = {}
        self.metrics: MetricsLog | None = None
        self.gauges = Gauges(config.trainer.experiment_name, stage=4)

    def on_init_end(self) -> None:
        self.metrics = MetricsLog(self.directory / "metrics.jsonl", resume_step=self.global_steps)
        drop_steps_after(self.directory, self.global_steps)
        restore_last_row(self.directory, self.metrics, self.global_steps)
        if self.monitors:
            self.watching = StageMonitors(self.monitors, self.directory, self.global_steps)
        self._enter("weight transfer")
        super().on_init_end()
        self.num_transfers += 1

    def on_step_begin(self) -> None:
        super().on_step_begin()
        self._enter("rollouts")

    def on_sample_end(self) -> None:
        super().on_sample_end()
        self._enter("log probabilities")

    def _step_once(self, *args: Any, **kwargs: Any) -> Any:
        # Before the checkpoint, so that a run that goes on from it lacks nothing; and where the step fails, to see why.
        try:
            batch = super()._step_once(*args, **kwargs)
        finally:
            append_step(self.directory, self.global_steps, self.replay_buffer.ledger())
        if self.watching:
            self.monitored, self.warnings = self.watching.observe(self.global_steps, self.replay_buffer.records)
        return batch

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        self._enter("update")
        return super()._update_actor(batch, metrics)

    def _save_checkpoint(self) -> None:
        self._enter("checkpoint")
        super()._save_checkpoint()

    def on_step_end(self) -> None:
        self._enter("weight transfer")
        super().on_step_end()
        self.num_transfers += 1
        self._pending_sync_metrics = weight_metrics(self.directory / WEIGHTS, self.num_transfers)

    def _compute_metrics(self, batch: Any, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super()._compute_metrics(batch, metrics, *args, **kwargs)
        assert self.metrics is not None
        row = step_row(metrics, self.replay_buffer.records) | self.monitored
        optimizer = self.config.actor_rollout_ref.actor.optim
        row["lr"] = learning_rate(self.global_steps, self.total_training_steps, optimizer)
        check_weights_moved(self.global_steps, row)
        self._write_rollouts(batch)
        self.metrics.write(self.global_steps, row)
        self.gauges.show(row)
        self.last = {name: row[name] for name in SHOWN if name in row}

    def _write_rollouts(self, batch: Any) -> None:
        """One line a completion of the step; `trained` says whether the policy learnt from it."""
        trained = {key.split("_")[0] for key in batch.keys}
        file = self.directory / ROLLOUTS / f"{self.global_steps:06d}.jsonl"
        lines = [
            json.dumps({**record, "trained": record["group"] in trained and not record["failed"]}, ensure_ascii=False)
            + "\n"
            for record in self.replay_buffer.records
        ]
        file.write_text("".join(lines), encoding="utf-8")

    def _enter(self, phase: str) -> None:
        """Say where the step is, for the watch that the driver keeps."""
        Progress(self.global_steps, self.total_training_steps, phase, self.last, self.warnings).write(self.directory)


def restore_last_row(directory: Path, metrics: MetricsLog, step: int) -> None:
    """Write the rewards of the step that a run goes on from, where the run was killed after its checkpoint and before its row.

    Args:
        directory: of the stage.
        metrics: its rows up to that step.
        step: of the checkpoint; 0 if there is none.
    """
    if step and step not in {row["step"] for row in read_metrics(metrics.path)}:
        rows = read_ledger(directory, [step]).to_pylist()
        metrics.write(
            step, reward_metrics([{**row, "terms": dict(row["terms"]), "reward": row["total"]} for row in rows])
        )


def check_weights_moved(step: int, row: dict[str, float]) -> None:
    """End a run whose updates do not reach vLLM: it would go on sampling from weights that nobody trains.

    Raises:
        TrainingError: the policy was updated and vLLM's weights are the same as before, or a number is not finite.
    """
    for name in ("loss", "grad_norm"):
        if not math.isfinite(row.get(name, 0.0)):
            raise TrainingError(
                f"step {step}: {name} is {row[name]}. Lower optimizer.lr, or look at the completions of the step in {ROLLOUTS}/"
            )
    change = row.get("weight_change")
    if change == 0 and row.get("lr", 0.0) > 0 and row.get("grad_norm", 0.0) > 0:
        raise TrainingError(
            f"step {step}: the policy was updated (gradient norm {row['grad_norm']:.3g}), and vLLM's weights did not change: "
            "the weight transfer brings nothing, and further steps would train on completions of an old policy"
        )

"""verl's replay buffer with bounded dynamic sampling, and with every judged completion kept for the step's record."""

import time
from typing import Any

import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

from medmo_ray.errors import TrainingError
from rollout.groups import GroupSelection
from rollout.reward_manager import NO_POOL


class BoundedSampler(ReplayBuffer):
    """Selects the groups of a step; loaded by verl through `trainer.v1.sampler.custom_sampler`.

    Attributes:
        records: what the reward manager said of each completion that ended in this step, and the group that it is of.
        selection: the step's groups.
        chosen: groups that the step trains on; empty until they are settled.
    """

    def __init__(self, *, sampler_kwargs: Any, **verl: Any) -> None:
        super().__init__(sampler_kwargs=sampler_kwargs, poll_interval=sampler_kwargs["poll_interval_s"], **verl)
        self.records: list[dict[str, Any]] = []
        self.selection = GroupSelection(0)
        self.chosen: frozenset[str] = frozenset()

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict[str, float]]:
        """Wait until the step's groups are settled, and hand over those it trains on.

        Raises:
            TrainingError: too many groups failed, or there is no reward pool; the message holds the reasons that were given.
        """
        options = self.sampler_kwargs
        self.records, self.chosen = [], frozenset()
        self.selection = selection = GroupSelection(
            batch_size, options["dynamic"], options["max_refill_rounds"], options["min_reward_std"]
        )
        judged: set[str] = set()
        while True:
            self._sync_metadata_from_transfer_queue()
            ended = (self.finished_keys[partition_id] | self.failure_keys[partition_id]) - judged
            self._judge(ended, partition_id)
            self._require_pool()
            judged |= ended
            num_running = len(self.pending_keys[partition_id]) + len(self.running_keys[partition_id])
            if due := selection.refills_due(num_running):
                self.refill_fn(due)
                selection.refilled(due)
            elif selection.is_settled(num_running):
                break
            else:
                time.sleep(self.poll_interval)
        return self._hand_over(partition_id, judged), selection.metrics()

    def ledger(self) -> list[dict[str, Any]]:
        """The step's completions as `medmo_ray.ledger` keeps them."""
        verdicts = self.selection.verdicts()
        return [
            {
                **record,
                "sample_id": record["id"],
                "text": record["completion"],
                "total": record["reward"],
                "verdict": verdicts.get(record["group"], "failed"),  # a step that broke off before it was judged
                "trained": record["group"] in self.chosen and not record["failed"],
            }
            for record in self.records
        ]

    def _judge(self, groups: set[str], partition_id: str) -> None:
        if not groups:
            return
        keys = [key for key in self.partitions[partition_id] if key.split("_")[0] in groups]
        answered: dict[str, list[dict[str, Any]]] = {group: [] for group in sorted(groups)}
        if keys:
            fields = tq.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=["extra_fields"])
            for key, extra in zip(keys, fields["extra_fields"], strict=True):
                record = getattr(extra, "data", extra)["reward_extra_info"]
                group = key.split("_")[0]
                answered[group].append({"group": group, **record})
        for group, records in answered.items():
            rewards = [float(record["reward"]) for record in records]
            self.selection.judge(group, rewards, complete=group in self.finished_keys[partition_id])
            self.records += records

    def _require_pool(self) -> None:
        reasons = [record["problems"][0] for record in self.records if record["failed"]]
        for reason in reasons:
            if reason.startswith(NO_POOL):
                raise TrainingError(f"{reason}. The same command goes on from the last checkpoint.")

    def _hand_over(self, partition_id: str, judged: set[str]) -> KVBatchMeta:
        try:
            chosen = self.selection.chosen()
        except TrainingError as error:
            reasons = sorted({reason for record in self.records if record["failed"] for reason in record["problems"]})
            raise TrainingError(
                f"{error}. {'; '.join(reasons[:3]) or 'No completion came back; see the log.'}"
            ) from None
        self.chosen = frozenset(chosen)
        self._clear_groups(partition_id, judged - self.chosen)
        return self._materialize_batch(partition_id, chosen, dict(self.partitions[partition_id]))

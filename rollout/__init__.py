"""Everything that touches verl or vLLM: stage 4, batched generation and the platform for machines without a GPU."""

WEIGHT_REPORTS = "MEDMO_WEIGHT_REPORTS"
"""Environment variable: directory that vLLM's workers report their weights to."""

ADVANTAGES = "grpo_of_scored"
"""Name under which verl finds `rollout.advantages`."""

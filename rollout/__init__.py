"""Everything that touches verl or vLLM: stage 4, batched generation and the platform for machines without a GPU."""

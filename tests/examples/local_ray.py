"""A Ray of a test module's own, on the CPU."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray


@contextmanager
def local_ray(num_cpus: int, **options: Any) -> Iterator[Any]:
    """A Ray that no other test sees, without dashboard and quiet; ends with the block.

    Args:
        num_cpus: logical cores; more than the machine has are fine.
        options: further arguments of `ray.init`.

    Yields:
        What `ray.init` returns.
    """
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    context = ray.init(address="local", num_cpus=num_cpus, num_gpus=0, **quiet, **options)
    try:
        yield context
    finally:
        ray.shutdown()

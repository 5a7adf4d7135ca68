"""A stage that loses a node, then its driver, and goes on with another number of workers: the same samples and losses."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import torch.distributed as dist
from small_run import recipe

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import resume_stage as drill
from resume_verdict import LIMIT, compare_losses, count_samples

from medmo_ray.sft.job import SftJob
from medmo_ray.sft.loop import train_rank
from medmo_ray.stream.loader import EncodeStage, RankStream, ReadStage, StreamSource
from medmo_ray.telemetry import read_metrics

pytestmark = pytest.mark.integration
STEPS, LR = 60, 1e-4


class InProcess:
    """The stages of the stream, one after the other, for a single rank without Ray."""

    def __init__(self, source: StreamSource) -> None:
        self._source = source

    def iter_batches(self, **options: object) -> Iterator[pa.Table]:
        read, encode = ReadStage(self._source), EncodeStage(self._source)
        for window in self._source.rows.plan.windows:
            yield from map(encode, read.read(window))


def undisturbed(here: Path) -> list[dict]:
    """Metrics of the same stage on one worker, in this process."""
    job = SftJob(recipe(**drill.sections(STEPS, LR, workers=1)), here / "alone", here / "model", here / "corpus")
    source = StreamSource(job.recipe, job.model, job.corpus, world_size=1, cursor=0)
    dist.init_process_group("gloo", init_method=f"file://{here}/group", rank=0, world_size=1)
    stream = RankStream(source.rows.plan, InProcess(source), patience_s=60)
    try:
        assert train_rank(job, stream) is None
    finally:
        stream.close()
        dist.destroy_process_group()
    return read_metrics(job.metrics)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="resume-") as folder:
        for name, value in drill.environment(Path(folder)).items():
            monkeypatch.setenv(name, value)
        drill.inputs(Path(folder))
        yield Path(folder)


def test_a_stage_outlives_its_node_and_its_driver_and_goes_on_with_more_workers(here: Path) -> None:
    nodes = drill.Nodes()
    stage = drill.Stage(here / "stage", nodes, STEPS, LR)
    try:
        stage.start(workers=2)
        stage.wait_for_step(4)
        before = stage.ranks()
        nodes.kill(before[0])
        stage.wait_for_end(before)
        stage.wait_for_step(stage.step + 3)
        stage.restart(workers=3)
        stage.finish()
    finally:
        stage.close()
        nodes.close()
    samples = count_samples(stage.directory / "consumed", drill.plan_of(here, STEPS), drill.PER_STEP)
    assert samples.as_planned, samples
    assert set(samples.steps_by_workers) == {2, 3}
    losses = compare_losses(undisturbed(here), stage.rows)
    assert losses.steps_that_differ > 0  # sums in another order: what is compared are two runs
    assert losses.largest_difference < LIMIT
    assert losses.last < losses.first - 0.5

"""Two real ranks that meet one fault after another: `python checkpoint_drills.py RANK FOLDER`.

FOLDER holds corpus/, model/ and disk/ (with a small file system on it, where one can be mounted). Each run has a directory of
its own there; what ended it is in drills.json, in the order of the runs.
"""

import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import torch
import torch.distributed as dist
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from small_run import recipe

from medmo_ray.errors import DataError
from medmo_ray.model.progress import latest_checkpoint
from medmo_ray.model.recover import recover_checkpoints
from medmo_ray.model.store import Store
from medmo_ray.sft import stop
from medmo_ray.sft.incidents import incidents
from medmo_ray.sft.job import SftJob
from medmo_ray.sft.loop import train_rank
from medmo_ray.stream.loader import EncodeStage, RankStream, ReadStage, StreamSource

RANKS, STEPS, EVERY = 2, 14, 3
FILE_LIMIT_BYTES = 100_000
"""Less than a rank's share of a checkpoint, more than any log."""

Faults = Mapping[int, Callable[[], None]]
"""Steps done → what happens as the next one begins."""


class Outage(DirFileSystem):
    """A store in a directory that answers nothing while a file DOWN is beside it."""

    protocol = "outage"

    def __init__(self, **options: Any) -> None:
        super().__init__(path=str(Path.cwd() / "store"), fs=LocalFileSystem(auto_mkdir=True), **options)

    def _join(self, path: Any) -> Any:
        if Path("DOWN").exists():
            raise ConnectionError("the store does not answer")
        return super()._join(path)


class FaultyStream(RankStream):
    """Sets faults off as steps begin."""

    def __init__(self, source: StreamSource, rank: int, faults: Faults) -> None:
        plan = source.rows.plan
        super().__init__(plan, InProcess(source, rank), 60)
        self._due = {plan.rounds(step, RANKS)[0][rank]: fault for step, fault in faults.items()}

    def take(self, expected: int | None) -> Any:
        if fault := self._due.pop(expected, None):
            fault()
        return super().take(expected)


class InProcess:
    """The stages of the stream, one after the other, without Ray; this rank's share."""

    def __init__(self, source: StreamSource, rank: int) -> None:
        self._source, self._rank = source, rank

    def iter_batches(self, **options: object) -> Iterator[pa.Table]:
        encode = EncodeStage(self._source)
        tables = (
            table
            for window in self._source.rows.plan.windows
            if window.stop > self._source.cursor
            for table in ReadStage(self._source).read(window)
        )
        for index, table in enumerate(tables):
            if index % RANKS == self._rank:
                yield encode(table)


class Drills:
    """The runs of one rank, all in one process."""

    def __init__(self, rank: int, folder: Path) -> None:
        self._rank, self._folder = rank, folder
        self._ended: list[tuple[str, str | None]] = []

    def run(self, name: str, faults: Faults | None = None, lr: float = 5e-3, **checkpoint: object) -> None:
        """Train from the last checkpoint in directory `name`; `store` in the settings is used as it is."""
        settings = recipe(checkpoint={"every_steps": EVERY, **checkpoint}, epochs=3, optimizer={"lr": lr})
        directory = self._folder / name
        directory.mkdir(exist_ok=True)
        job = SftJob(
            settings, directory, self._folder / "model", self._folder / "corpus", None, settings.checkpoint.store
        )
        stop.listen()
        ended = self._train(job, faults or {})
        self._ended.append((name, None if ended is None else str(ended)))
        dist.barrier()
        if self._rank == 0:
            (self._folder / "drills.json").write_text(json.dumps(self._ended, indent=1))

    def only(self, rank: int, fault: Callable[[], None]) -> Callable[[], None]:
        """A fault of one rank."""
        return fault if rank == self._rank else lambda: None

    def after(self, checkpoints: Path, fault: Callable[[], None]) -> Callable[[], None]:
        """A fault that waits for the first checkpoint."""

        def wait() -> None:
            while not (checkpoints / f"step-{EVERY:08d}" / "state.json").exists():
                time.sleep(0.02)
            fault()

        return wait

    def copy(self, source: str, target: str) -> None:
        """Begin a run where another one stands."""
        if self._rank == 0:
            shutil.copytree(self._folder / source, self._folder / target)
        dist.barrier()

    def damage(self, name: str, change: Callable[[Path], None]) -> None:
        """Change the second rank's share of the last checkpoint."""
        if self._rank == 0:
            found = latest_checkpoint(Store(str(self._folder / name / "checkpoints")))
            assert found is not None
            change(self._folder / name / "checkpoints" / found[0] / "__1_0.distcp")
        dist.barrier()

    def _train(self, job: SftJob, faults: Faults) -> object:
        try:
            recover_checkpoints(job.store, incidents(job.incidents))
        except DataError as error:
            return error
        found = latest_checkpoint(job.store)
        cursor = found[1].cursor if found else 0
        stream = FaultyStream(StreamSource(job.recipe, job.model, job.corpus, RANKS, cursor), self._rank, faults)
        try:
            return train_rank(job, stream)
        finally:
            stream.close()


def small_files() -> None:
    """From now on no file of this process may be larger than a limit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, resource.RLIM_INFINITY))


def flip(file: Path) -> None:
    """One bit in the middle."""
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def main(rank: int, folder: Path) -> None:
    os.chdir(folder)
    torch.set_num_threads(1)
    fsspec.register_implementation("outage", Outage)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=RANKS)
    drills, down = Drills(rank, folder), Path("DOWN")
    drills.run("calm")

    drills.run("limited", {4: drills.after(folder / "limited/checkpoints", small_files)})
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    drills.run("limited")

    drills.run("asked", {5: drills.only(1, lambda: os.kill(os.getpid(), signal.SIGTERM))})
    for name, change in (("flipped", flip), ("halved", halve), ("lost", Path.unlink)):
        drills.copy("asked", name)
        drills.damage(name, change)
        if name == "lost":
            drills.damage(name, lambda file: shutil.rmtree(file.parent.parent / f"step-{EVERY:08d}"))
    drills.run("asked")
    drills.run("flipped")
    drills.run("halved")
    drills.run("lost")

    drills.copy("limited", "poisoned")
    drills.damage("poisoned", lambda file: shutil.rmtree(file.parent))  # the one of step 12 is left
    drills.run("poisoned", lr=1e30)
    drills.run("poisoned")

    store = "outage://runs/a"
    # Down as step 3 is saved, up again before step 6 is: steps 4 and 5 are done meanwhile.
    drills.run(
        "outage", {2: drills.only(0, down.touch), 5: drills.only(0, down.unlink)}, store=store, keep_every_steps=6
    )
    fails = drills.after(folder / "store/runs/b", down.touch)
    drills.run("long_outage", {4: drills.only(0, fails)}, store="outage://runs/b", retry_s=1)
    if rank == 0:
        down.unlink()
    drills.run("long_outage", store="outage://runs/b")

    if (folder / "disk" / "mounted").exists():
        fills = drills.after(folder / "disk/full/checkpoints", lambda: fill(folder / "disk"))
        drills.run("disk/full", {4: drills.only(0, fills)})
        if rank == 0:
            (folder / "disk" / "ballast").unlink()
        drills.run("disk/full")
    dist.destroy_process_group()


def fill(disk: Path) -> None:
    """Leave no more than a megabyte."""
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 1_000_000))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

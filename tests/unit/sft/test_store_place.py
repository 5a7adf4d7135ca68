"""Where a stage's checkpoints are on a store: with the work that they belong to, and with no other."""

from pathlib import Path

import fsspec
import pytest
from small_run import recipe, write_corpus, write_model

from medmo_ray.errors import ConfigError
from medmo_ray.model.progress import Progress, state_text
from medmo_ray.sft.job import SftJob
from medmo_ray.sft.train import check_job


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    corpus = write_corpus(folder / "corpus", num_images=2, num_texts=14)
    return write_model(folder / "model", corpus), corpus


def checked(directory: Path, inputs: tuple[Path, Path], store: str = "memory://bucket/", **sections: object) -> SftJob:
    return check_job(SftJob(recipe(checkpoint={"store": store}, **sections), directory, *inputs))[0]


def test_other_settings_have_another_place_and_other_machines_the_same(
    tmp_path: Path, inputs: tuple[Path, Path]
) -> None:
    first = checked(tmp_path, inputs).store.url
    assert first.startswith("memory://bucket/medmo/stage1-")
    assert checked(tmp_path / "elsewhere", inputs, cluster={"num_workers": 3}, max_failures=9).store.url == first
    assert checked(tmp_path, inputs, optimizer={"lr": 1e-4}).store.url != first
    assert checked(tmp_path, inputs, run={"name": "other"}).store.url == first.replace("/medmo/", "/other/")


def test_only_a_run_that_begins_anew_removes_what_is_there(tmp_path: Path, inputs: tuple[Path, Path]) -> None:
    fsspec.filesystem("memory").store.clear()
    job, plan = check_job(SftJob(recipe(checkpoint={"store": "memory://bucket"}), tmp_path, *inputs))
    with pytest.raises(ConfigError, match="another starting model"):
        job.store.commit("step-00000003", state_text(Progress(3, 6, plan.digest, "another", 2), {}))
        checked(tmp_path, inputs)
    job.metrics.write_text("")
    with pytest.raises(ConfigError, match="another starting model"):
        checked(tmp_path, inputs, run={"overwrite": True})
    job.metrics.unlink()
    assert checked(tmp_path, inputs, run={"overwrite": True}).store.checkpoints() == ([], [])


def test_a_store_without_its_library_is_refused_before_anything_starts(
    tmp_path: Path, inputs: tuple[Path, Path]
) -> None:
    with pytest.raises(ConfigError, match=r"nonsense://b.* cannot be opened: Protocol not known"):
        checked(tmp_path, inputs, store="nonsense://b")

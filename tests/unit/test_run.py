"""The directory of a run: identities, what is skipped, what is refused, what survives."""

import json
from pathlib import Path

import pytest

from medmo_ray.config.load import load_recipe
from medmo_ray.config.sft import SftRecipe
from medmo_ray.errors import ConfigError, DataError
from medmo_ray.run import StageDirectory, identity

INPUTS = {"corpus": "c1", "model": "m1"}


def recipe(*overrides: str) -> SftRecipe:
    return load_recipe(SftRecipe, overrides=overrides)


@pytest.mark.parametrize("override", ["optimizer.lr=0.5", "run.seed=7", "epochs=2", "data.image_side_px=64"])
def test_what_changes_the_result_changes_the_identity(override: str) -> None:
    assert identity(recipe(override), INPUTS) != identity(recipe(), INPUTS)


@pytest.mark.parametrize(
    "override",
    ["run.name=other", "run.root=elsewhere", "cluster.num_workers=3", "checkpoint.every_steps=7", "stall_timeout_s=9"],
)
def test_what_does_not_change_the_result_keeps_the_identity(override: str) -> None:
    assert identity(recipe(override), INPUTS) == identity(recipe(), INPUTS)


def test_other_inputs_are_other_work() -> None:
    assert identity(recipe(), {**INPUTS, "corpus": "c2"}) != identity(recipe(), INPUTS)


def test_a_complete_stage_is_skipped_and_kept(tmp_path: Path) -> None:
    stage = StageDirectory(tmp_path / "stage1")
    assert stage.prepare(recipe(), INPUTS, overwrite=False)
    (stage.path / "export").mkdir()
    stage.finish(trained_s=1)
    assert not stage.prepare(recipe("run.name=x"), INPUTS, overwrite=False)
    assert stage.export.is_dir()


def test_an_interrupted_stage_is_gone_on_with(tmp_path: Path) -> None:
    stage = StageDirectory(tmp_path / "stage1")
    stage.prepare(recipe(), INPUTS, overwrite=False)
    (stage.path / "metrics.jsonl").write_text('{"step": 1}\n')
    assert stage.prepare(recipe(), INPUTS, overwrite=False)
    assert stage.metrics.read_text() == '{"step": 1}\n'


def test_other_work_in_the_same_place_is_refused_by_name_and_left_alone(tmp_path: Path) -> None:
    stage = StageDirectory(tmp_path / "stage1")
    stage.prepare(recipe(), INPUTS, overwrite=False)
    (stage.path / "export").mkdir()
    with pytest.raises(ConfigError) as error:
        stage.prepare(recipe("optimizer.lr=0.5"), {**INPUTS, "model": "m2"}, overwrite=False)
    assert "optimizer.lr: 1e-05 there, 0.5 here" in str(error.value)
    assert "model: another one" in str(error.value) and "run.overwrite=true" in str(error.value)
    assert stage.export.is_dir()


def test_overwrite_replaces_other_work(tmp_path: Path) -> None:
    stage = StageDirectory(tmp_path / "stage1")
    stage.prepare(recipe(), INPUTS, overwrite=False)
    (stage.path / "export").mkdir()
    assert stage.prepare(recipe("optimizer.lr=0.5"), INPUTS, overwrite=True)
    assert not stage.export.exists()


def test_a_folder_that_is_no_stage_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "stage1").mkdir()
    (tmp_path / "stage1" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds no run\.json"):
        StageDirectory(tmp_path / "stage1").prepare(recipe(), INPUTS, overwrite=True)
    assert (tmp_path / "stage1" / "thesis.txt").read_text() == "mine"


def test_a_damaged_record_says_so(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"identity": "a')
    with pytest.raises(DataError, match="is damaged"):
        StageDirectory(tmp_path).read_run()


def test_a_run_records_what_it_was_made_with(tmp_path: Path) -> None:
    stage = StageDirectory(tmp_path / "stage1")
    stage.prepare(recipe("run.seed=5"), INPUTS, overwrite=False)
    run = json.loads((stage.path / "run.json").read_text())
    assert run["identity"] == identity(recipe("run.seed=5"), INPUTS)
    assert run["inputs"] == INPUTS
    assert run["packages"]["ray"] == "2.56.1" and run["packages"]["verl"] == "0.9.1"
    assert "seed: 5" in (stage.path / "recipe.yaml").read_text()

"""cluster.yaml against Ray's own schema, and against what the jobs ask for."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from medmo_ray.config.dapo import RewardPoolSettings


@pytest.fixture(scope="module")
def cluster(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "cluster.yaml").read_text(encoding="utf-8"))


def test_fits_rays_schema(cluster: dict[str, Any]) -> None:
    import jsonschema
    import ray.autoscaler

    schema = Path(ray.autoscaler.__file__).parent / "ray-schema.json"
    jsonschema.validate(cluster, json.loads(schema.read_text(encoding="utf-8")))


def test_ray_completes_it_as_the_launcher_does(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(cluster)
    validate_config(prepared)
    assert prepared["head_node_type"] in prepared["available_node_types"]


def test_each_kind_of_work_has_its_nodes(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert sum(kind["resources"].get("GPU", 0) * kind["max_workers"] for kind in types.values()) == 64
    resource = RewardPoolSettings().node_resource
    assert [name for name, kind in types.items() if resource in kind["resources"]] == ["reward"]
    assert "GPU" not in types["reward"]["resources"]
    assert cluster["max_workers"] >= sum(kind["max_workers"] for kind in types.values())


def test_every_node_runs_the_pinned_ray(cluster: dict[str, Any]) -> None:
    import ray

    assert ray.__version__ in cluster["docker"]["image"]

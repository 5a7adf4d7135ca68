"""The recipes of the four stages hold the paper's own numbers (supplementary, tables 1-3 and section 2.4)."""

from pathlib import Path

import pytest

from medmo_ray.config.dapo import DapoRecipe
from medmo_ray.config.load import load_recipe
from medmo_ray.config.sft import SftRecipe

RECIPES = Path(__file__).parents[3] / "recipes"


@pytest.mark.parametrize(
    ("stage", "batch", "accumulation", "lr", "side_px"),
    [(1, 10, 2, 1e-5, 768), (2, 2, 8, 8e-6, 1280), (3, 14, 2, 5e-6, None)],
    ids=["table 1", "table 2", "table 3"],
)
def test_supervised_stages(stage: int, batch: int, accumulation: int, lr: float, side_px: int | None) -> None:
    recipe = load_recipe(SftRecipe, [RECIPES / f"stage{stage}.yaml"])
    assert (recipe.batch.per_worker, recipe.batch.accumulation) == (batch, accumulation)
    assert recipe.optimizer.lr == lr
    assert recipe.data.image_side_px == side_px
    assert (recipe.epochs, recipe.model.dtype, recipe.cluster.num_workers) == (1, "bfloat16", 64)


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_what_all_stages_share(stage: int) -> None:
    recipe = load_recipe(SftRecipe if stage < 4 else DapoRecipe, [RECIPES / f"stage{stage}.yaml"])
    optimizer = recipe.optimizer
    assert (optimizer.betas, optimizer.weight_decay, optimizer.warmup_share) == ((0.9, 0.999), 0.1, 0.1)
    assert (optimizer.schedule, recipe.run.seed) == ("cosine", 42)


def test_stage_four() -> None:
    recipe = load_recipe(DapoRecipe, [RECIPES / "stage4.yaml"])
    algorithm, prompts = recipe.algorithm, recipe.prompts
    assert (algorithm.clip_low, algorithm.clip_high, algorithm.temperature) == (0.15, 0.25, 1.0)
    assert (algorithm.completions_per_prompt, algorithm.epochs) == (8, 2)
    assert (algorithm.batch_per_worker, algorithm.accumulation) == (2, 4)
    assert (prompts.max_prompt_tokens, prompts.max_completion_tokens, prompts.image_side_px) == (2048, 1024, None)
    assert (recipe.reward.lambda_fn, recipe.reward.lambda_fp) == (0, 0)

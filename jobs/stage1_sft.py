"""Stage 1: general SFT on captions at 768 × 768 pixels (supplementary 2.1, table 1).

here:        python jobs/stage1_sft.py recipes/rehearsal/stage1.yaml
a cluster:   ray job submit --working-dir . -- python jobs/stage1_sft.py
the plan:    python jobs/stage1_sft.py --dry-run
"""

from pathlib import Path

from medmo_ray.config.command import command
from medmo_ray.config.sft import SftRecipe
from medmo_ray.config.stage_plans import plan_sft

DEFAULT = Path(__file__).parents[1] / "recipes" / "stage1.yaml"


def run(recipe: SftRecipe) -> None:
    from medmo_ray.pipeline import run_stage

    run_stage(recipe)


if __name__ == "__main__":
    command(SftRecipe, run, plan_sft, description=__doc__, default=DEFAULT)

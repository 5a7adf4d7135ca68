"""Stage 4: DAPO with verl, vLLM rollouts and a separate pool of reward actors (supplementary 2.4).

here:        python jobs/stage4_dapo.py recipes/rehearsal/stage4.yaml
a cluster:   ray job submit --working-dir . -- python jobs/stage4_dapo.py
the plan:    python jobs/stage4_dapo.py --dry-run
"""

from pathlib import Path

from medmo_ray.config.command import command
from medmo_ray.config.dapo import DapoRecipe
from medmo_ray.config.stage_plans import plan_dapo

DEFAULT = Path(__file__).parents[1] / "recipes" / "stage4.yaml"


def run(recipe: DapoRecipe) -> None:
    from medmo_ray.pipeline import run_stage
    from rollout.launch import run_dapo

    run_stage(recipe, run_dapo)


if __name__ == "__main__":
    command(DapoRecipe, run, plan_dapo, description=__doc__, default=DEFAULT)

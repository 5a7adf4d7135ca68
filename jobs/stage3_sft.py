"""Stage 3: text-only instruction tuning (supplementary 2.3, table 3).

here:        python jobs/stage3_sft.py recipes/rehearsal/stage3.yaml
a cluster:   ray job submit --working-dir . -- python jobs/stage3_sft.py
the plan:    python jobs/stage3_sft.py --dry-run
"""

from pathlib import Path

from medmo_ray.config.command import command
from medmo_ray.config.sft import SftRecipe
from medmo_ray.config.stage_plans import plan_sft

DEFAULT = Path(__file__).parents[1] / "recipes" / "stage3.yaml"


def run(recipe: SftRecipe) -> None:
    from medmo_ray.pipeline import run_stage

    run_stage(recipe)


if __name__ == "__main__":
    command(SftRecipe, run, plan_sft, description=__doc__, default=DEFAULT)

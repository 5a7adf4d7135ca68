"""Stage 2: high-resolution SFT on VQA, reports and grounding (supplementary 2.2, table 2).

here:        python jobs/stage2_sft.py recipes/rehearsal/stage2.yaml
a cluster:   ray job submit --working-dir . -- python jobs/stage2_sft.py
the plan:    python jobs/stage2_sft.py --dry-run
"""

from pathlib import Path

from medmo_ray.config.command import command
from medmo_ray.config.sft import SftRecipe
from medmo_ray.config.stage_plans import plan_sft

DEFAULT = Path(__file__).parents[1] / "recipes" / "stage2.yaml"


def run(recipe: SftRecipe) -> None:
    from medmo_ray.pipeline import run_stage

    run_stage(recipe)


if __name__ == "__main__":
    command(SftRecipe, run, plan_sft, description=__doc__, default=DEFAULT)

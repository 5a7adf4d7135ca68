"""Everything in order: corpus, stages 1–3 (SFT), stage 4 (DAPO), report. What is complete is skipped.

here:        python jobs/pipeline.py recipes/rehearsal/pipeline.yaml
own images:  python jobs/pipeline.py recipes/rehearsal/pipeline.yaml corpus.source=voc corpus.path=/data/blood
a cluster:   ray job submit --working-dir . -- python jobs/pipeline.py
"""

from pathlib import Path

from medmo_ray.config.command import command
from medmo_ray.config.pipeline import PipelineRecipe
from medmo_ray.config.stage_plans import plan_pipeline

DEFAULT = Path(__file__).parents[1] / "recipes" / "pipeline.yaml"


def run(recipe: PipelineRecipe) -> None:
    from medmo_ray.pipeline import run_pipeline
    from rollout.launch import run_dapo

    print(f"report: {run_pipeline(recipe, run_dapo)}")


if __name__ == "__main__":
    command(PipelineRecipe, run, plan_pipeline, description=__doc__, default=DEFAULT)

"""The report of a run, finished or not: one HTML page with curves, tables and boxes on held-out images.

here:        python jobs/report.py run.name=rehearsal
             python jobs/report.py recipes/rehearsal/pipeline.yaml
a cluster:   ray job submit --working-dir . -- python jobs/report.py run.name=medmo-8b
"""

from medmo_ray.config.command import command
from medmo_ray.config.report import ReportRecipe, plan_report


def run(recipe: ReportRecipe) -> None:
    from medmo_ray.config.stage_plans import run_directory
    from medmo_ray.reports.build import build_report

    print(f"report: {build_report(run_directory(recipe.run))}")


if __name__ == "__main__":
    command(ReportRecipe, run, plan_report, description=__doc__)

"""Recipe of a report: which run it is about."""

from pydantic import ConfigDict

from medmo_ray.config.base import RunSettings, Settings
from medmo_ray.config.plan import Plan
from medmo_ray.config.stage_plans import run_directory

STAGES = (1, 2, 3, 4)


class ReportRecipe(Settings):
    """What `jobs/report.py` runs. Any recipe of the run may be given: only its `run` is read."""

    model_config = ConfigDict(extra="ignore")

    run: RunSettings = RunSettings()


def plan_report(recipe: ReportRecipe) -> Plan:
    """Plan of `jobs/report.py`: what is there to read."""
    run = run_directory(recipe.run)
    plan = Plan(f"report of {run}")
    plan.add("corpus", "found" if (run / "corpus" / "manifest.json").is_file() else "not there", "corpus/manifest.json")
    for number in STAGES:
        stage = run / f"stage{number}"
        state = "complete" if (stage / "COMPLETE").is_file() else "begun" if stage.is_dir() else "not there"
        plan.add(
            f"stage {number}",
            state,
            f"{stage.name}/: metrics.jsonl, evaluation.json, held_out.jsonl, run.json, recipe.yaml",
        )
    plan.add("writes", str(run / "report.html"), "one file, no network, no GPU, seconds")
    if not run.is_dir():
        plan.lacks.append(f"the run: there is no {run}; set run.name, and run.root or MEDMO_HOME")
    return plan

"""What a run was made from: recipes, digests, seeds, versions, code, machine, command."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medmo_ray.reports.gather import RunFacts, StageFacts
from medmo_ray.reports.markup import Markup, joined, tag
from medmo_ray.reports.tables import part, row, table, when

MAX_RECIPE_CHARS = 20_000


def provenance_table(run: RunFacts) -> Markup:
    """What each stage was made from; a value that all stages share stands once."""
    stages = [stage for stage in run.stages if stage.started]
    if not stages:
        return tag("p", "No stage was started.", class_="note")
    facts: tuple[tuple[str, Callable[[StageFacts], str]], ...] = (
        ("Started", lambda stage: when(stage.run.get("started")) or "–"),
        ("Command", lambda stage: _command(stage.run.get("command"))),
        ("Model", lambda stage: _model(stage.recipe)),
        ("Corpus digest", lambda stage: _text(part(stage.run, "inputs").get("corpus"))),
        ("Model digest", lambda stage: _text(part(stage.run, "inputs").get("model"))),
        ("Identity", lambda stage: _text(stage.run.get("identity"))),
        ("Seed", lambda stage: _text(part(stage.recipe, "run").get("seed"))),
        ("Git revision", lambda stage: _text(stage.run.get("git_revision"))),
        ("Python", lambda stage: _text(stage.run.get("python"))),
        ("Packages", lambda stage: _pairs(part(stage.run, "packages"))),
        ("Machine", lambda stage: _pairs(part(stage.run, "machine"))),
    )
    rows = [_shared_row(name, [fact(stage) for stage in stages]) for name, fact in facts]
    if run.manifest:
        rows.insert(0, _shared_row("Coordinate frame", [run.manifest.frame] * len(stages)))
    shown = table(["", *(f"Stage {stage.number}" for stage in stages)], rows, "what the run was made from")
    recipes = [
        tag(
            "details",
            tag("summary", f"Recipe of stage {stage.number}"),
            tag("pre", stage.recipe_text[:MAX_RECIPE_CHARS]),
        )
        for stage in stages
        if stage.recipe_text
    ]
    return joined((shown, *recipes))


def _model(recipe: Mapping[str, Any]) -> str:
    model = part(recipe, "model")
    tiny = part(model, "tiny")
    if tiny:
        return f"tiny random Qwen3-VL ({_pairs(tiny)})"
    origin = model.get("path") or (f"{model['base']}, weights of the stage before" if model.get("base") else "")
    return f"{origin}, {model['dtype']}" if origin and model.get("dtype") else _text(origin)


def _shared_row(name: str, values: Sequence[str]) -> Markup:
    if len(set(values)) == 1:
        return row(name, tag("td", values[0], colspan=len(values)))
    return row(name, *(tag("td", value) for value in values))


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())[:2000] or "–"


def _command(value: Any) -> str:
    return shlex.join(map(str, value))[:2000] if isinstance(value, list) and value else _text(value)


def _text(value: Any) -> str:
    return "–" if value in (None, "", []) else str(value)[:2000]

"""The command line that every job shares: `python jobs/NAME.py [RECIPE.yaml …] [key.path=value …] [--dry-run]`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from pydantic.fields import FieldInfo

from medmo_ray.config.base import Settings
from medmo_ray.config.load import _nested_settings, load_recipe
from medmo_ray.config.plan import Plan
from medmo_ray.errors import ConfigError, MedmoError

R = TypeVar("R", bound=Settings)


def command(
    kind: type[R],
    run: Callable[[R], None],
    plan: Callable[[R], Plan],
    *,
    description: str,
    default: Path | None = None,
    arguments: Sequence[str] | None = None,
) -> None:
    """Resolve the recipe, then run it, or print its plan.

    Args:
        kind: the recipe class of the job.
        run: starts the job; it imports what is heavy, so that `--help` and `--dry-run` answer in a second.
        plan: what the run would do, cost and need.
        description: shown by `--help`.
        default: the recipe of a bare call.
        arguments: the command line; unset: that of the process.

    An error of ours ends the process with code 2 and its message alone; Ctrl-C with 130.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "-h" in given or "--help" in given:
        _print_help(kind, description, default)
        return
    try:
        dry_run, files, overrides = _sort_arguments(given)
        recipe = load_recipe(kind, files or ([default] if default else []), overrides)
        if dry_run:
            _print_dry_run(recipe, plan(recipe))
        else:
            refuse_the_impossible(plan(recipe))
            run(recipe)
    except MedmoError as error:
        _stop(f"error: {error}", 2)
    except KeyboardInterrupt:
        _stop("interrupted; what was finished is kept, the same command goes on from there", 130)


def refuse_the_impossible(plan: Plan) -> None:
    """Stop a run before a cluster is billed for it.

    Raises:
        ConfigError: its plan says that it cannot run as stated anywhere; the message says why.
    """
    if plan.impossible:
        reasons = "\n".join(f"  {reason}" for reason in plan.impossible)
        raise ConfigError(f"this cannot run as stated (--dry-run prints the whole plan):\n{reasons}")


def _sort_arguments(given: Sequence[str]) -> tuple[bool, list[Path], list[str]]:
    dry_run, files, overrides = False, [], []
    for argument in given:
        if argument == "--dry-run":
            dry_run = True
        elif argument.startswith("-"):
            raise ConfigError(
                f"unknown option {argument!r}; allowed: --dry-run, --help, recipe files and key.path=value"
            )
        elif "=" in argument:
            overrides.append(argument)
        elif argument.endswith((".yaml", ".yml")):
            files.append(Path(argument))
        else:
            raise ConfigError(
                f"cannot read the argument {argument!r}: give a recipe file ending in .yaml, or key.path=value"
            )
    return dry_run, files, overrides


def _print_dry_run(recipe: Settings, plan: Plan) -> None:
    print("# the resolved recipe")
    print(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120))
    print(plan.text())
    if plan.impossible:
        sys.exit(2)


def _print_help(kind: type[Settings], description: str, default: Path | None) -> None:
    program = Path(sys.argv[0]).name
    print(f"usage: python jobs/{program} [RECIPE.yaml …] [key.path=value …] [--dry-run] [--help]\n")
    print(description.strip(), "\n")
    if default:
        print(f"without a recipe file: {default.parent.name}/{default.name}")
    print("settings (defaults < recipe files, left to right < key.path=value):\n")
    for path, field in _settings_of(kind, ()):
        default_value = field.get_default(call_default_factory=True)
        print(f"  {path:<42} {_type_name(field):<28} [{default_value}]  {field.description or ''}".rstrip())


def _settings_of(kind: type[Settings], parents: tuple[str, ...]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in kind.model_fields.items():
        nested = _nested_settings(kind, name)
        if nested is None:
            yield ".".join((*parents, name)), field
        else:
            yield from _settings_of(nested, (*parents, name))


def _type_name(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = text.replace("typing.", "").replace("Literal[", "").replace("]", "") if "Literal" in text else text
    return text if len(text) <= 60 else text[:57] + "…"


def _stop(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)

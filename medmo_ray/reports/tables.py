"""Tables as markup, and safe access to values that another process wrote."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from medmo_ray.reports.markup import Markup, tag


def table(head: Sequence[str], rows: Sequence[Markup], name: str) -> Markup:
    """A table that scrolls sideways where it does not fit; `name` is for screen readers."""
    shown = tag("table", tag("thead", tag("tr", *(tag("th", text, scope="col") for text in head))), tag("tbody", *rows))
    return tag("div", shown, class_="scroll", tabindex=0, role="region", aria_label=name)


def row(name: str, *cells: Markup) -> Markup:
    """A row with its heading."""
    return tag("tr", tag("th", name, scope="row"), *cells)


def number_cell(*content: object) -> Markup:
    """A cell that stays on one line."""
    return tag("td", *content, class_="number")


def part(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping under a key; empty where there is none."""
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def number(values: Mapping[str, Any], key: str) -> float:
    """The finite number under a key, else NaN."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if abs(value) < 1e15 else math.nan


def when(timestamp: object) -> str:
    """`2026-01-31T08:15:00Z` as `2026-01-31 08:15 UTC`; anything else as it is."""
    text = str(timestamp or "")
    return (
        f"{text[:10]} {text[11:16]} UTC" if len(text) == 20 and text[10] == "T" and text.endswith("Z") else text[:200]
    )

"""HTML and SVG as text in which everything that is not markup is escaped."""

import html
import re
from collections.abc import Iterable

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Markup(str):
    """Text that is HTML already; every other string is escaped when it becomes part of a page."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Any value as text of a page, whatever it holds: tags, quotes, control characters, lone surrogates."""
    if isinstance(text, Markup):
        return text
    sound = str(text).encode("utf-8", "replace").decode("utf-8")
    return Markup(html.escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", sound), quote=True))


def joined(parts: Iterable[object]) -> Markup:
    """Parts one after the other; None is left out."""
    return Markup("".join(escape(part) for part in parts if part is not None))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """One element.

    Args:
        name: of the element.
        children: markup as it is, anything else as escaped text; None is left out.
        attributes: `class_` is class, another `_` is `-`; None and False leave the attribute out, True gives its bare name.

    Example:
        `tag("p", "a < b", class_="note")` is `<p class="note">a &lt; b</p>`.
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{joined(children)}</{name}>")


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(value)}"'

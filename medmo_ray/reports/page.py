"""The frame of the page: everything it needs is inside it, and a policy forbids it to load or run anything else."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from medmo_ray.reports.markup import Markup, joined, tag

HERE = Path(__file__).parent


def document(title: str, head: Markup, sections: Sequence[tuple[str, str, str, Markup]]) -> str:
    """The whole page.

    Args:
        title: of the browser's tab.
        head: above the navigation.
        sections: (anchor, name in the navigation, heading, content).
    """
    style = (HERE / "report.css").read_text(encoding="utf-8")
    script = (HERE / "report.js").read_text(encoding="utf-8")
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{known}'"
    links = [tag("li", tag("a", name, href=f"#{anchor}")) for anchor, name, _, _ in sections]
    bodies = [tag("section", tag("h2", heading), content, id=anchor) for anchor, _, heading, content in sections]
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("title", title),
            tag("link", rel="icon", href="data:,"),
            tag("style", Markup(style)),
        ),
        tag(
            "body",
            tag("header", head),
            tag("nav", tag("ul", *links), aria_label="sections"),
            tag("main", joined(bodies), tag("footer", "Written by medmo-ray from the run directory alone; this file needs no network.")),
            tag("div", id="tip", role="status", hidden=True),
            tag("script", Markup(script)),
        ),
        lang="en",
    )  # fmt: skip
    return f"<!doctype html>\n{page}\n"

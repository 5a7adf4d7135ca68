"""Text becomes part of a page only as text."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmo_ray.reports.markup import Markup, escape, joined, tag


class Reader(HTMLParser):
    """What a browser's parser makes of markup: tags with their attributes, and text."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text())
def test_any_text_stays_text(text: str) -> None:
    read = Reader(tag("p", text, title=text))
    assert [name for name, _ in read.tags] == ["p"]
    sound = "".join("\ufffd" if (c < " " and c not in "\t\n\r") or c == "\x7f" else c for c in text)
    assert read.text.replace("\r", "\n") == sound.replace("\r", "\n")
    assert list(read.tags[0][1]) == ["title"]


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;b&gt;", "]]>", "<!--"]
)
def test_hostile_text_is_shown_as_it_was_written(text: str) -> None:
    read = Reader(tag("p", text, data_value=text))
    assert read.text == text
    assert read.tags == [("p", {"data-value": text})]


def test_a_lone_surrogate_can_be_written_as_utf_8() -> None:
    assert escape("a\ud800b").encode("utf-8") == b"a?b"


def test_markup_is_not_escaped_again() -> None:
    assert tag("b", tag("i", "a & b")) == "<b><i>a &amp; b</i></b>"
    assert joined([Markup("<hr>"), None, "<hr>"]) == "<hr>&lt;hr&gt;"


def test_attributes() -> None:
    made = tag("input", class_="a", checked=True, disabled=False, aria_label="x", width=0, id=None)
    assert made == '<input class="a" checked aria-label="x" width="0">'

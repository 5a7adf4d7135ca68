"""How labels are compared: case, blanks, punctuation and the plural of a word do not count."""

import re
from functools import lru_cache

_NOT_WORD = re.compile(r"[^\w]+")
_ARTICLES = {"a", "an", "the"}


@lru_cache(maxsize=65_536)
def normalise(label: str) -> str:
    """`label` in lower case, words separated by one blank, without punctuation and leading articles."""
    words = _NOT_WORD.sub(" ", label.casefold()).split()
    while words and words[0] in _ARTICLES:
        words.pop(0)
    return " ".join(words)

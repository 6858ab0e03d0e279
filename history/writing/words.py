"""The words by which a task is found: of its name, its error and its arguments, in lower case."""

import re
from collections.abc import Iterable

MAX_WORDS = 200
MAX_CHARS = 40
_LOOKED_AT_CHARS = 16 * 1024
_WORD = re.compile(r"[^\W_]+")


def words_of(texts: Iterable[str]) -> list[str]:
    """Return the whole words of texts, each once, in their order.

    Args:
        texts: what counts most first: beyond `MAX_WORDS` words the rest is not found.
    """
    found: dict[str, None] = {}
    for text in texts:
        for word in _WORD.findall(text[:_LOOKED_AT_CHARS].lower()):
            found.setdefault(word[:MAX_CHARS])
            if len(found) >= MAX_WORDS:
                return list(found)
    return list(found)

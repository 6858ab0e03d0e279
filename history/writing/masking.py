"""Secrets taken out of JSON: the values of keys that match a pattern, and nothing else of the text.

The text is looked through, not decoded: what is kept stays as it was written, number for number.
"""

import fnmatch
import json
import re
from collections.abc import Callable, Iterable
from functools import lru_cache

MASKED = '"***"'
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)


class Mask:
    """Hides the values of some keys.

    Args:
        patterns: of keys (fnmatch), in lower case.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        words = "|".join(f"(?:{fnmatch.translate(one)})" for one in patterns)
        matches = re.compile(words or "(?!)").match
        self.hides: Callable[[str], bool] = lru_cache(4096)(lambda key: bool(matches(key.lower())))
        """Whether the value of a key is a secret."""

    def apply(self, text: str) -> tuple[str, bool]:
        """Return JSON with `"***"` for each secret, and whether there was one.

        Args:
            text: JSON. What is not stays as it is, up to where it is not.
        """
        parts: list[str] = []
        kept, hidden_from = 0, -1
        depth, hidden_depth = 0, 0
        objects: list[bool] = []
        key, before = "", ""
        for token in _TOKEN.finditer(text):
            word = token[0]
            if hidden_from >= 0:  # within the value of a secret
                if word in "[{":
                    hidden_depth += 1
                elif word in "]}":
                    hidden_depth -= 1
                if hidden_depth < 0 or (hidden_depth == 0 and word not in ",:"):
                    end = token.start() if hidden_depth < 0 else token.end()
                    parts += (text[kept:hidden_from], MASKED)
                    kept, hidden_from = end, -1
                    if hidden_depth >= 0:
                        before = word
                        continue
                else:
                    continue
            if word in "[{":
                objects.append(word == "{")
                depth += 1
            elif word in "]}" and objects:
                objects.pop()
                depth -= 1
            elif word == ":" and objects and objects[-1]:
                key = _text(before)
                if self.hides(key):
                    hidden_from, hidden_depth = token.end(), 0
            before = word
        if not parts:
            return text, False
        return "".join((*parts, text[kept:])), True


def _text(quoted: str) -> str:
    if "\\" not in quoted:
        return quoted[1:-1]
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted

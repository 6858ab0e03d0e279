"""Why MongoDB refuses a document, in few words. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.encoding import clean

_MAX_VALUE_CHARS = 40
_MOST_RULES = 20


def reason_of(write_error: Mapping[str, Any]) -> str:
    """Return why a document was refused, at most 300 characters.

    What the collection's validator found (`errInfo`, since MongoDB 5.0) is named rule by rule; of a
    message that quotes the document its beginning and its end are kept.
    """
    text = str(write_error["errmsg"])
    found = write_error.get("errInfo")
    details = found.get("details") if isinstance(found, Mapping) else None
    if isinstance(details, Mapping):
        rules = list(dict.fromkeys(_rules(details, ())))[:_MOST_RULES]
        if rules:
            text = f"{text}: {'; '.join(rules)}"
    return clean(text)


def _rules(details: Any, path: tuple[str, ...]) -> Iterator[str]:
    """Yield each rule that the document breaks: what stands at the ends of the tree."""
    if isinstance(details, list):
        for one in details:
            yield from _rules(one, path)
        return
    if not isinstance(details, Mapping):
        return
    if isinstance(details.get("propertyName"), str):
        path = (*path, details["propertyName"])
    if isinstance(details.get("itemIndex"), int):
        path = (*path, str(details["itemIndex"]))
    inner = [one for name, one in details.items() if name != "specifiedAs" and _is_tree(one)]
    if inner:
        for one in inner:
            yield from _rules(one, path)
        return
    place = f"{'.'.join(path)}: " if path else ""
    for name, words in (("missingProperties", "lacks"), ("additionalProperties", "may not have")):
        if isinstance(details.get(name), list):
            yield f"{place}{words} {', '.join(map(str, details[name]))}"
            return
    if "reason" in details:
        yield f"{place}{_rule(details)}: {details['reason']}{_considered(details)}"


def _is_tree(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and any(isinstance(one, Mapping) for one in value)
    )


def _rule(details: Mapping[str, Any]) -> str:
    """Return what was asked for: `minimum 0`, or a query as it is."""
    name, asked = details.get("operatorName", ""), details.get("specifiedAs")
    if isinstance(asked, Mapping) and list(asked) == [name] and name[:1] != "$":
        return f"{name} {_short(asked[name])}"
    return str(name) if asked is None else _short(asked)


def _considered(details: Mapping[str, Any]) -> str:
    if "consideredValue" not in details:
        return ""
    kind = details.get("consideredType")
    return f" ({_short(details['consideredValue'])}{f', {kind}' if kind else ''})"


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[: _MAX_VALUE_CHARS - 1]}…"

"""A layout that adds to another: `extends = "default"`, or the path of a file. Pure.

What a layout adds has names of its own. A queue that it wants otherwise is another layout: copy the
file.
"""

from collections.abc import Iterator, Mapping
from typing import Any

FIELD = "extends"


def extended(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return both documents as one; the own routes come first, so that their patterns win.

    Args:
        base: the tables of a layout that is valid.
        own: the tables of the layout that extends it, of whatever shape.
    """
    merged = {name: value for name, value in own.items() if name != FIELD}
    for section in ("exchanges", "queues"):
        added = own.get(section, {})
        if isinstance(added, dict):
            merged[section] = {**base.get(section, {}), **added}
    for section in ("routes", "apps"):
        added = own.get(section, [])
        if isinstance(added, list):
            merged[section] = [*added, *base.get(section, [])]
    return merged


def doubles(base: Mapping[str, Any], own: Mapping[str, Any], source: str) -> Iterator[str]:
    """Yield a sentence for each name of the own document that its base has.

    Args:
        base: the tables of a layout that is valid.
        own: the tables of the layout that extends it, of whatever shape.
        source: the file of the base.
    """
    for section in ("exchanges", "queues"):
        tables = own.get(section, {})
        if isinstance(tables, dict):
            for name in sorted(tables.keys() & base.get(section, {}).keys()):
                yield f"{section.removesuffix('s')} {name!r}: {source}, which this extends, has it"
    rows = own.get("routes", [])
    known = {row["task"] for row in base.get("routes", [])}
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("task") in known:
            yield f"route {row['task']!r}: {source}, which this extends, has it"

"""Where in a layout file a fault lies. Pure.

By the words of the fault: a decoded TOML file has no lines.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_TASK = re.compile(r"""\s*task\s*=\s*["']([^"']*)["']""")
_KEY = re.compile(r"""([A-Za-z_][\w-]*|"[^"]*")\s*=""")
_SUBJECT = re.compile(
    r"(?P<kind>exchange|queue|route) '(?P<name>[^']*)'|route (?P<place>\d+)"
    r"|binding '[^']*' → '(?P<queue>[^']*)'"
)
_TOML_PLACE = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column \d+\)", re.DOTALL)


@dataclass(slots=True)
class _Table:
    line: int
    names: set[str]
    """What faults call it: `queue 'default'`, `route 2`, `route 'demo.*'`."""
    lines: list[tuple[int, str]]


def located(fault: str, file: str, text: str) -> str:
    """Put the file in front of a fault, with the line where it lies if that is known.

    Args:
        fault: One sentence of `topology.layout`, or of the TOML decoder.
        file: Its name.
        text: Its content.
    """
    if found := _TOML_PLACE.fullmatch(fault):
        return f"{file}:{found['line']}: {found['what']}"
    line = _line(fault, text)
    return f"{file}:{line}: {fault}" if line else f"{file}: {fault}"


def _line(fault: str, text: str) -> int | None:
    subject, _, said = fault.partition(": ")
    words = set(re.findall(r"[A-Za-z_][\w-]*", said))
    quoted = [f'"{value}"' for value in re.findall(r"'([^']+)'", said)]
    tables = [table for table in _tables(text) if _names(subject) & table.names]
    keyed = [
        (number, line) for table in tables for number, line in table.lines if _keys(line) & words
    ]
    exact = [place for place in keyed if any(value in place[1] for value in quoted)]
    for places in (exact, keyed):
        if places:
            return places[0][0]
    return tables[0].line if tables else None


def _names(subject: str) -> set[str]:
    """What a fault is about; `the layout` is what stands before the first table, or names one."""
    found = _SUBJECT.match(subject)
    if found is None:
        return {"the layout"}
    if found["queue"]:
        return {f"queue '{found['queue']}'"}
    return {f"route {found['place']}"} if found["place"] else {f"{found['kind']} '{found['name']}'"}


def _tables(text: str) -> Iterator[_Table]:
    table = _Table(1, {"the layout"}, [])
    routes = 0
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header is None:
            table.lines.append((number, line))
            if task := _TASK.match(line):
                table.names.add(f"route '{task[1]}'")
            continue
        yield table
        words = [word.strip().strip("\"'") for word in header[2].split(".", 1)]
        if words[0] == "routes":
            routes += 1
            names = {f"route {routes}"}
        elif len(words) == 2 and words[0] in ("queues", "exchanges"):
            names = {f"{words[0].removesuffix('s')} '{words[1]}'"}
        else:
            names = {"the layout"}  # a section that there is not
        table = _Table(number, names, [(number, f"{words[0]} =")] if "the layout" in names else [])
    yield table


def _keys(line: str) -> set[str]:
    return {key.strip('"') for key in _KEY.findall(line.partition("#")[0])}

"""A TOML file as a `Topology`, with every fault of the file in one error."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from penstock.wire.app_description import AppDescription
from topology import described
from topology.consistency import find_faults
from topology.entities import APPS_QUEUE, Binding, Exchange, Queue
from topology.errors import TopologyError
from topology.extending import FIELD, doubles, extended
from topology.layout_lines import located
from topology.model import Topology
from topology.route import Route

DEFAULT_LAYOUT = Path(__file__).with_name("default.toml")
"""The layout that ships."""

Entity = TypeVar("Entity", Exchange, Queue, Binding, Route)

_TYPES: Mapping[str, tuple[type | UnionType, str]] = {
    "publishable": (bool, "true or false"),
    "dead_letter": (bool, "true or false"),
    "privileged": (bool, "true or false"),
    "announced": (bool, "true or false"),
    "ignore_result": (bool, "true or false"),
    "show_arguments": (bool, "true or false"),
    "keep_arguments": (bool, "true or false"),
    "max_priority": (int, "a whole number"),
    "limit": (int, "a whole number"),
    "delivery_limit": (int, "a whole number"),
    "message_ttl_ms": (int, "a whole number"),
    "initial_group_size": (int, "a whole number"),
    "shards": (int, "a whole number"),
    "arguments": (dict, "a table"),
    "priority": (int, "a whole number"),
    "expires": (int | float, "a number of seconds"),
}
"""What a field holds when it is not a string."""


def load_from_env(environment: Mapping[str, str]) -> Topology:
    """Load the layout that ``TOPOLOGY_FILE`` names, else the one that ships.

    Raises:
        TopologyError: as `load`.
    """
    path = environment.get("TOPOLOGY_FILE")
    return load(Path(path) if path else None)


def load(path: Path | None = None) -> Topology:
    """Read a layout.

    Args:
        path: a TOML file, with what it `extends`; None: the layout that ships.

    Raises:
        TopologyError: the file cannot be read, is not TOML, or has faults; holds all of them.
    """
    path = path or DEFAULT_LAYOUT
    document = _document(path, ())
    return parse(document, str(path), described.read(document[described.FIELD]))


def _document(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """Read a layout with what it extends, as the tables of one file without faults.

    Args:
        path: a TOML file.
        extending: the files that led to it.

    Raises:
        TopologyError: as `load`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows write a mark
    except OSError as error:
        raise TopologyError([f"{path}: {error.strerror or error}"]) from error
    except ValueError as error:
        raise TopologyError([f"{path}: {error}"]) from error
    with _located(path, text):
        document = tomllib.loads(text)
        document[described.FIELD] = described.resolved(document, path.parent)
        base = _base(document[FIELD], path, extending) if FIELD in document else None
    if base is not None:
        below = _document(base, (*extending, path))
        with _located(path, text):
            if faults := list(doubles(below, document, str(base))):
                raise TopologyError(faults)
            document = extended(below, document)
    with _located(path, text):
        parse(document)
    return document


@contextmanager
def _located(path: Path, text: str) -> Iterator[None]:
    """Put the file, and the line where it lies, in front of each fault."""
    try:
        yield
    except tomllib.TOMLDecodeError as error:
        raise TopologyError([located(str(error), str(path), text)]) from error
    except TopologyError as error:
        raise TopologyError(located(fault, str(path), text) for fault in error.faults) from None


def _base(name: Any, path: Path, extending: tuple[Path, ...]) -> Path:
    """Return the file that a layout extends.

    Raises:
        TopologyError: it names none, or one that extends this.
    """
    if not isinstance(name, str) or not name:
        raise TopologyError([f'the layout: {FIELD} must be "default" or the path of a file'])
    base = DEFAULT_LAYOUT if name == "default" else path.parent / name
    if not base.is_file():
        raise TopologyError([f"the layout: {FIELD}: there is no file {base}"])
    if any(base.samefile(one) for one in (*extending, path)):
        raise TopologyError([f"the layout: {FIELD}: {base} extends this layout"])
    return base


def parse(
    document: Mapping[str, Any], source: str = "", apps: Iterable[AppDescription] = ()
) -> Topology:
    """Build a topology from a decoded layout file.

    Args:
        document: the tables of the file.
        source: its name, for messages.
        apps: what the files describe that it names.

    Raises:
        TopologyError: the document has faults; holds all of them.
    """
    reader = _Reader()
    reader.known(document, ("exchanges", "queues", "routes", FIELD, described.FIELD), "the layout")
    exchanges = [
        reader.entity(Exchange, {"type": "", **table}, f"exchange {name!r}", name=name)
        for name, table in reader.tables(document, "exchanges")
    ]
    queues, bindings = [], []
    for name, table in reader.tables(document, "queues"):
        own = {key: value for key, value in table.items() if key != "bindings"}
        if own.get("owner") == "app":
            own = {**APPS_QUEUE, **own}
        queues.append(reader.entity(Queue, own, f"queue {name!r}", name=name))
        bindings += [
            reader.entity(Binding, binding, f"queue {name!r}, binding {place}", queue=name)
            for place, binding in reader.rows(table, "bindings", f"queue {name!r}: bindings")
        ]
    routes = [
        reader.entity(Route, row, f"route {place}")
        for place, row in reader.rows(document, "routes", "routes")
    ]
    if reader.faults:
        others = find_faults(
            exchanges,
            queues,
            _complete(bindings, "exchange"),
            _complete(routes, "task", "routing_key"),
        )
        raise TopologyError(dict.fromkeys((*reader.faults, *others)))
    return Topology(
        exchanges=exchanges,
        queues=queues,
        bindings=bindings,
        routes=routes,
        source=source,
        apps=apps,
    )


def _complete(entities: Iterable[Entity], *needed: str) -> list[Entity]:
    """Leave out what lacks a field: that was told, and what follows from it is no news."""
    return [entity for entity in entities if all(getattr(entity, name) for name in needed)]


class _Reader:
    """Turns tables into entities; a field of the wrong type is noted and left at its default."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def known(self, table: Mapping[str, Any], names: tuple[str, ...], here: str) -> None:
        for name in table:
            if name not in names:
                near = get_close_matches(name, names, n=1)
                known = f"; there are {', '.join(names)}"
                hint = f"; do you mean {near[0]!r}?" if near else known
                self.faults.append(f"{here}: unknown field {name!r}{hint}")

    def tables(
        self, document: Mapping[str, Any], section: str
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the named tables of a section."""
        tables = document.get(section, {})
        if not isinstance(tables, dict):
            self._fault(f"{section} must be tables: [{section}.<name>]")
            return
        for name, table in tables.items():
            if isinstance(table, dict):
                yield name, table
            else:
                self._fault(f"{section}.{name} must be a table")

    def rows(
        self, table: Mapping[str, Any], field: str, here: str
    ) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the tables of an array, counted from one."""
        rows = table.get(field, [])
        if not isinstance(rows, list):
            self._fault(f"{here} must be an array of tables")
            return
        for place, row in enumerate(rows, start=1):
            if isinstance(row, dict):
                yield place, row
            else:
                self._fault(f"{here}: entry {place} must be a table")

    def entity(
        self, kind: type[Entity], table: Mapping[str, Any], here: str, **given: str
    ) -> Entity:
        """Build one entity from its table."""
        own = [field for field in fields(kind) if field.name not in given]
        self.known(table, tuple(field.name for field in own), here)
        values: dict[str, Any] = dict(given)
        for field in own:
            if field.name in table:
                value = table[field.name]
                wanted, wording = _TYPES.get(field.name, (str, "a string"))
                if isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
                    values[field.name] = value
                    continue
                self._fault(f"{here}: {field.name} must be {wording}")
            elif field.default is MISSING and field.default_factory is MISSING:
                self._fault(f"{here}: {field.name} is missing")
            if field.default is MISSING and field.default_factory is MISSING:
                values[field.name] = ""
        return kind(**values)

    def _fault(self, fault: str) -> None:
        if fault not in self.faults:
            self.faults.append(fault)
